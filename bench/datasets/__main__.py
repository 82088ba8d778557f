"""Every figure that the dataset room has to hold, measured in one run: ``python bench/datasets.py [--quick]``.

Each measurement runs in a child process, one after the other, so that none warms another up. Ratios compare both sides
within one run. What is given in seconds is processor time, since other work on the machine must not count; what people
wait for is in the JSON beside it. Prints a table, writes it with date, machine and load as JSON, and draws how every
operation grows from 1,000 to 100,000 items. Ends with 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from bench.datasets.chart import growth_chart  # noqa: E402

PLOTTED = ("read", "list", "filter", "preview", "edit of 10 %", "undo", "statistics", "checks without pixels")


@dataclass(frozen=True)
class Gate:
    """One figure and its bar."""

    what: str
    figure: float
    bar: float
    unit: str
    at_least: bool = False
    """Whether more is better."""
    note: str = ""

    @property
    def holds(self) -> bool:
        return self.figure >= self.bar if self.at_least else self.figure <= self.bar

    @property
    def line(self) -> str:
        sign = ">=" if self.at_least else "<="
        figure, bar = f"{self.figure:.4g} {self.unit}", f"{sign} {self.bar:g} {self.unit}"
        return f"{self.what:<58}{figure:>18}{bar:>18}  {'holds' if self.holds else 'MISSED'}  {self.note}".rstrip()


@dataclass
class Bench:
    """Runs the scripts of this folder, each into a JSON file of its own."""

    folder: Path
    load: dict[str, tuple[float, ...]]
    """Load averages when each began."""

    def run(self, script: str, *arguments: str, flag: str = "--json", tag: str = "") -> Any:
        name = f"{script}{tag}"
        sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {script} {' '.join(arguments)}\n")
        self.load[name] = os.getloadavg() if hasattr(os, "getloadavg") else ()
        out = self.folder / f"{name}.json"
        command = [sys.executable, str(HERE / f"{script}.py"), *arguments, flag, str(out)]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        if not out.exists():
            raise SystemExit(f"{script}.py ended with {done.returncode} and left no figures:\n{done.stdout}")
        return json.loads(out.read_text(encoding="utf-8"))


def ingest_gates(found: Mapping[str, float]) -> list[Gate]:
    pace = f"by the clock, {os.cpu_count()} cores under this load: {found['per_second']:.0f}"
    return [
        Gate("12 MP JPEG to 1024 px, over Pillow decode + LANCZOS", found["reduce_ratio"], 2.5, "x", True),
        Gate("  and how alike at least", found["reduce_decibel"], 45, "dB", True),
        Gate("import at 1 MP, per second of one core", 1000 / found["processor_ms_each"], 100, "pictures", True, pace),
    ]


def signal_gates(found: Mapping[str, Any]) -> list[Gate]:
    hashed, pairs = found["hash"], found["pairs"]
    same, tried = hashed["identical"]
    return [
        Gate("pHash from a 1024 px file, over imagehash", hashed["1024 px"]["ratio"], 2, "x", True),
        Gate("pHash from a 12 MP file, over imagehash", hashed["12 MP"]["ratio"], 2, "x", True),
        Gate("pHash on equal input, identical", 100 * same / tried, 100, "%", True, f"{same} of {tried}"),
        Gate(f"pairs within 8 bits among {pairs['hashes']:,} hashes", pairs["seconds"], 3, "s"),
        Gate("  and exact", float(pairs["exact"]), 1, "", True, "compared with every pair looked at"),
    ]


def caption_gates(found: Mapping[str, Any], kind: str, bar: float) -> list[Gate]:
    rows = found["operations"]
    slowest = max(rows, key=lambda row: row["processor_seconds"])
    applied = max(rows, key=lambda row: row["apply_10k_processor_seconds"])
    few = f"{found['captions']:,} {kind}"
    return [
        _slowest(f"preview of the slowest operation, {few}", slowest, "processor_seconds", bar),
        _slowest(f"slowest operation on 10,000 {kind}", applied, "apply_10k_processor_seconds", 1),
    ]


def _slowest(what: str, row: Mapping[str, Any], key: str, bar: float) -> Gate:
    return Gate(what, row[key], bar, "s", note=row["operation"])


def journey_gates(journeys: Sequence[Mapping[str, Any]]) -> list[Gate]:
    gates = []
    for journey in journeys:
        steps, count = journey["steps"], f"{journey['items']:,}"
        if journey["items"] == 10_000:
            listed = sum(steps[name]["processor_seconds"] for name in ("read", "list", "filter"))
            edit, undo = steps["edit"]["processor_seconds"], steps["undo"]["processor_seconds"]
            gates += [
                Gate(f"read from disk, list and filter {count} items", 1000 * listed, 200, "ms"),
                Gate(f"bulk edit of {journey['counted']['changed']:,} captions, stored", edit, 1, "s"),
                Gate(f"undo at {count} items", undo, 1, "s"),
            ]
        note = f"most by: {max(steps, key=lambda name: steps[name]['peak_megabytes'])}"
        gates.append(
            Gate(f"memory above the base, {count} items, at most", journey["peak_megabytes"], 300, "MB", note=note)
        )
    return gates


def query_gates(found: Mapping[str, Any]) -> list[Gate]:
    slow = {text: row["10000"] for text, row in found["milliseconds"].items() if text[0] != "(" or ":" in text}
    slow.pop("tokens:>75", None)  # counts tokens, which listing and filtering do not
    worst = max(slow, key=lambda text: slow[text])
    return [Gate("the slowest of thirteen queries, 10,000 items", slow[worst], 200, "ms", note=worst[:40])]


def check_gates(found: Mapping[str, Any]) -> list[Gate]:
    recall = min(check["recall"] for check in found["checks"])
    alarms = max(check["clean_alarms"] for check in found["checks"])
    return [
        Gate("checks: least recall of any, generated sets", 100 * recall, 100, "%", True),
        Gate("checks: most false alarms of any, clean sets", 100 * alarms, 0, "%"),
    ]


def measured(bench: Bench, sizes: Sequence[int], *, quick: bool) -> tuple[list[Gate], list[dict[str, Any]]]:
    gates = ingest_gates(bench.run("ingest", *(("--quick",) if quick else ())))
    journeys = bench.run("journey", "--sizes", *map(str, sizes))
    gates += journey_gates(journeys)
    gates += query_gates(bench.run("query", "--sizes", "10000", "--repeat", "3", flag="--out"))
    captions = ("--captions", "10000") if quick else ()
    gates += caption_gates(bench.run("captions", *captions), "captions of tags", 0.5)
    gates += caption_gates(bench.run("captions", "--mixed", *captions, tag=" mixed"), "captions of every kind", 0.5)
    few = ("--pictures", "2", "--sets", "1", "--hashes", "20000") if quick else ("--pictures", "4", "--sets", "1")
    gates += signal_gates(bench.run("signals", *few))
    gates += check_gates(bench.run("checks", "--scenes", "5" if quick else "20", "--items", flag="--out"))
    return gates, journeys


def draw(journeys: Sequence[Mapping[str, Any]], note: str) -> str:
    """The growth plot of the journeys."""
    seconds = {name: [(j["items"], j["steps"][name]["processor_seconds"]) for j in journeys] for name in PLOTTED}
    memory = {"at most": [(journey["items"], journey["peak_megabytes"]) for journey in journeys]}
    memory["version read"] = [(j["items"], j["steps"]["read"]["megabytes_after"]) for j in journeys]
    chart: str = growth_chart(seconds, memory, note)
    return chart


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two minutes, up to 10,000 items")
    parser.add_argument("--results", type=Path, help="folder for datasets.json and datasets.svg; bench/results")
    options = parser.parse_args()
    results = options.results or (None if options.quick else ROOT / "bench" / "results")
    started = time.monotonic()
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    with tempfile.TemporaryDirectory(prefix="lorasmith bench ") as folder:
        bench = Bench(Path(folder), {})
        sizes = (1_000, 10_000) if options.quick else (1_000, 10_000, 100_000)
        gates, journeys = measured(bench, sizes, quick=options.quick)
    sys.stdout.write("".join(f"{gate.line}\n" for gate in gates))
    missed = sum(not gate.holds for gate in gates)
    load = max((averages[0] for averages in bench.load.values() if averages), default=0.0)
    sys.stdout.write(f"\n{len(gates) - missed} of {len(gates)} hold; {machine}; load up to {load:.1f}\n")
    if results is not None:
        date = datetime.now(UTC).isoformat(timespec="seconds")
        record = {
            "date": date,
            "machine": machine,
            "load": bench.load,
            "minutes": round((time.monotonic() - started) / 60, 1),
            "gates": [asdict(gate) | {"holds": gate.holds} for gate in gates],
            "growth": journeys,
        }
        results.mkdir(parents=True, exist_ok=True)
        (results / "datasets.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        (results / "datasets.svg").write_text(draw(journeys, f"{date[:10]}, {machine}") + "\n", encoding="utf-8")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
