"""How long whole processes take to answer, and how much memory they hold.

    python bench/startup.py [--repeat 5] [--home FOLDER]

command line    ``lorasmith --help``, ``--version``, ``train --help``, ``jobs``: the median of warm runs
first step      from starting ``train`` to the first optimizer step on the sandbox, cold cache and warm cache
generation      one picture on the sandbox, whole process
memory          the largest resident size of each process, as the system counts it

Prints a table; with ``--out FILE`` also writes JSON with date and machine, for ``bench/results/``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "src")}
LORASMITH = (sys.executable, "-m", "lorasmith.cli")


@dataclass(frozen=True)
class Figure:
    """One measured process: seconds of wall clock and bytes of resident memory at its largest."""

    name: str
    seconds: float
    memory: int


def measure(name: str, command: Sequence[str]) -> Figure:
    """Run a command to its end, with the memory of its children in the figure."""
    started = time.perf_counter()
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    ) as child:
        watcher = psutil.Process(child.pid)
        memory = 0
        while child.poll() is None:
            memory = max(memory, _resident(watcher))
            try:
                child.wait(0.01)
            except subprocess.TimeoutExpired:
                continue
        seconds = time.perf_counter() - started
        said = child.stdout.read() if child.stdout else ""
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}:\n{said[-2000:]}")
    return Figure(name, seconds, memory)


def _resident(process: psutil.Process) -> int:
    """Bytes of a process and its children; 0 when it has just ended."""
    try:
        return sum(int(one.memory_info().rss) for one in (process, *process.children(recursive=True)))
    except psutil.Error:
        return 0


def median(name: str, command: Sequence[str], repeat: int) -> Figure:
    """The median of ``repeat`` runs after one that warms the disk."""
    measure(name, command)
    runs = [measure(name, command) for _ in range(repeat)]
    return Figure(name, statistics.median(run.seconds for run in runs), max(run.memory for run in runs))


def first_step(home: Path) -> list[Figure]:
    """Seconds from ``start`` to the first loss, with nothing cached and with everything cached; the worker's memory."""
    from lorasmith.events import Metric
    from lorasmith.sandbox import samples
    from lorasmith.studio import Studio

    studio = Studio(home)
    archive = home / "mascot.zip"
    home.mkdir(parents=True, exist_ok=True)
    samples.write_mascot_zip(archive)
    version = studio.import_dataset(archive)
    figures: list[Figure] = []
    for name in ("first step, nothing cached", "first step, cached"):
        config = {"base": "sandbox", "max_train_steps": 3, "data": {"resolution": 128}, "optimizer.lr_warmup_steps": 0}
        started = time.perf_counter()
        job = studio.train(version, config)
        seconds, memory = 0.0, 0
        for event in job.follow():
            if isinstance(event, Metric) and "loss" in event.values:
                seconds = seconds or time.perf_counter() - started
                memory = max(memory, int(event.values.get("rss_bytes", 0)))
        figures.append(Figure(name, seconds, memory))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--home", type=Path, help="a folder for the jobs; left out, a temporary one")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = options.home or Path(folder) / "home"
        figures = [
            median("python, nothing imported", (sys.executable, "-c", ""), options.repeat),
            median("lorasmith --help", (*LORASMITH, "--help"), options.repeat),
            median("lorasmith --version", (*LORASMITH, "--version"), options.repeat),
            median("lorasmith train --help", (*LORASMITH, "train", "--help"), options.repeat),
            median("lorasmith jobs", (*LORASMITH, "--home", str(home), "jobs"), options.repeat),
            *first_step(home),
            measure("generate one picture", (*LORASMITH, "--home", str(home), "generate", "a red star",
                                             "--base", "sandbox", "--steps", "20")),
        ]  # fmt: skip
    show(figures)
    if options.out is not None:
        options.out.write_text(json.dumps(document(figures), indent=2) + "\n", encoding="utf-8")


def show(figures: Sequence[Figure]) -> None:
    for figure in figures:
        sys.stdout.write(f"{figure.name:32} {figure.seconds:8.2f} s {figure.memory / 1e6:10,.0f} MB\n")


def document(figures: Sequence[Figure]) -> dict[str, Any]:
    """The figures with date and machine."""
    from lorasmith.demo.watch import machine_facts

    return {
        "bench": "startup",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": dict(machine_facts()),
        "load": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else [],
        "figures": [asdict(figure) for figure in figures],
    }


if __name__ == "__main__":
    main()
