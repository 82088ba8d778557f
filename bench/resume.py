"""Kills the real worker at random moments and compares the adapter with that of a run left alone.

    python bench/resume.py [--kills 20] [--seed 0]

Every round is a fresh home, so that the caching pass is hit too. A kill is SIGKILL, some events and some milliseconds
after the worker began to speak; the round goes on, killed up to five times, until it ends by itself. Prints where the
kills fell and whether every SHA-256 is the same; ends with exit code 1 if one is not.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

LIBRARIES = ["torch", "diffusers", "transformers", "peft", "lorasmith.training.loop", "diffusers.loaders.peft"]
MOST_KILLS_A_ROUND = 5


def work(folder: str) -> None:
    """The worker, in a process of its own."""
    from lorasmith import worker

    sys.exit(worker.main([folder]))


def context() -> Any:
    """Processes that begin with the libraries already imported, where the system can do that."""
    if os.name == "nt":
        return multiprocessing.get_context("spawn")
    chosen = multiprocessing.get_context("forkserver")
    chosen.set_forkserver_preload(LIBRARIES)
    return chosen


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.exists() else []


@dataclass
class Killer:
    """Starts workers and ends them."""

    seed: int
    log: list[str] = field(default_factory=list)
    """The phase each kill fell into."""

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._context = context()

    def finish(self, folder: Path) -> dict[str, Any]:
        """Let the worker run to its end; its result."""
        process = self._context.Process(target=work, args=(str(folder),))
        process.start()
        process.join()
        result: dict[str, Any] = json.loads((folder / "result.json").read_bytes())
        return result

    def kill_once(self, folder: Path, most_events: int) -> bool:
        """Kill the worker at a random moment; False when it had ended before."""
        events, delay = self._random.randrange(most_events), self._random.uniform(0, 0.15)
        before = len(lines_of(folder / "events.jsonl"))
        process = self._context.Process(target=work, args=(str(folder),))
        process.start()
        while process.is_alive() and len(lines_of(folder / "events.jsonl")) < before + events + 1:
            process.join(0.002)
        process.join(delay)
        killed = bool(process.is_alive())
        process.kill()
        process.join()
        if killed:
            phases = [json.loads(line) for line in lines_of(folder / "events.jsonl") if b'"kind": "phase"' in line]
            self.log.append(phases[-1]["name"] if phases else "starting")
        return killed

    def round(self, folder: Path, *, kills: int, most_events: int) -> str:
        """Kill up to ``kills`` times, let it end, return the adapter's SHA-256."""
        for _ in range(kills):
            if not self.kill_once(folder, most_events):
                break
        return str(self.finish(folder)["output"]["sha256"])


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill the worker at random moments and compare the results.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    from tests.tiny import build_tiny_base
    from tests.training.home import make_dataset, make_job, quick_config

    with tempfile.TemporaryDirectory(prefix="lorasmith resume ") as folder:
        root = Path(folder)
        config = quick_config(build_tiny_base(root / "tiny"), **{"max_train_steps": 12, "validation_every_steps": 4})
        killer = Killer(options.seed)
        whole = root / "uninterrupted"
        job = make_job(whole, config, make_dataset(whole))
        expected = str(killer.finish(job.path)["output"]["sha256"])
        events = len(lines_of(job.path / "events.jsonl"))
        different = rounds = 0
        while len(killer.log) < options.kills:
            home = root / f"round {rounds}"
            job = make_job(home, config, make_dataset(home))
            kills = min(MOST_KILLS_A_ROUND, options.kills - len(killer.log))
            different += killer.round(job.path, kills=kills, most_events=events * 2 // 3) != expected
            rounds += 1
    where = ", ".join(f"{name} {count}" for name, count in Counter(killer.log).most_common())
    sys.stdout.write(f"{len(killer.log)} kills in {rounds} rounds ({where})\n")
    sys.stdout.write(f"uninterrupted SHA-256 {expected}; rounds that ended otherwise: {different}\n")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
