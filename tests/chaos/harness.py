"""Kills workers and dispatchers at random moments, and counts what was lost, done twice or damaged.

Used by the tests, with few kills, and by ``bench/chaos.py``, with many.
"""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lorasmith import processes
from lorasmith.files import read_json
from lorasmith.jobs import Jobs
from lorasmith.queue.fsck import examine
from lorasmith.queue.verbs import Queue
from tests.chaos.dispatching import command
from tests.chaos.sturdy_worker import is_whole

DISPATCHING = Path(__file__).with_name("dispatching.py")
EVERY = 5
"""Steps between two checkpoints."""


@dataclass
class Tally:
    """What came of it."""

    jobs: int = 0
    kills: dict[str, int] = field(default_factory=lambda: {"worker": 0, "dispatcher": 0, "both": 0})
    lost: int = 0
    run_twice_at_once: int = 0
    corrupt: list[str] = field(default_factory=list)
    attempts: int = 0
    steps_asked: int = 0
    steps_done: int = 0
    most_steps_repeated: int = 0
    """After one kill; one checkpoint interval is allowed."""
    adopted: int = 0
    """How often a new dispatcher found a worker at work that another had started."""
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{sum(self.kills.values())} kills ({', '.join(f'{k} {n}' for k, n in self.kills.items())}), {self.jobs} "
            f"jobs in {self.attempts} attempts: {self.lost} lost, {self.run_twice_at_once} run twice at once, "
            f"{len(self.corrupt)} corrupt, at most {self.most_steps_repeated} steps repeated, {self.adopted} adopted, "
            f"{self.seconds:.0f} s"
        )


class Chaos:
    """One home, its jobs, a dispatcher that is killed and started again, and workers that are killed."""

    def __init__(self, home: Path, *, seed: int = 1, lanes: int = 3) -> None:
        self.home, self.lanes = home, lanes
        self.random = random.Random(seed)
        self.queue = Queue.open(Jobs(home, command=command))
        self.dispatcher: subprocess.Popen[bytes] | None = None

    def submit(self, count: int, steps: int, seconds: float) -> None:
        for number in range(count):
            toy = {"steps": steps, "every": EVERY, "seconds": seconds}
            self.queue.submit("import", {"toy": toy}, name=f"job {number}")

    def start(self, shift: float = 0.0) -> None:
        log = (self.home / "dispatcher.log").open("ab")
        with log:
            self.dispatcher = subprocess.Popen(
                [sys.executable, str(DISPATCHING), str(self.home), str(self.lanes), str(shift)],
                stdout=log,
                stderr=log,
                cwd=Path(__file__).parents[2],
            )

    def kill_dispatcher(self) -> None:
        assert self.dispatcher is not None
        self.dispatcher.kill()
        self.dispatcher.wait()

    def kill_worker(self) -> bool:
        """Kill one worker of those that own a folder; False when there is none."""
        owners = list(self.home.glob("jobs/*/owner.json"))
        self.random.shuffle(owners)
        for owner in owners:
            process = processes.find(read_json(owner))
            if process is not None:
                processes.end(process, kill=True)
                return True
        return False

    def alive(self) -> int:
        """Workers at work."""
        return sum(processes.find(read_json(owner)) is not None for owner in self.home.glob("jobs/*/owner.json"))

    def run(self, kills: int, *, rest: tuple[float, float] = (0.05, 0.6), patience: float = 900.0) -> Tally:
        """Kill so often, let everything come to its end, and count."""
        tally, began = Tally(), time.monotonic()
        self.start()
        victims = [victim for victim in ("worker", "dispatcher", "both") for _ in range(-(-kills // 3))][:kills]
        self.random.shuffle(victims)
        while victims and not self._all_done():
            victim = victims[-1]
            if victim != "dispatcher":
                self.until(lambda: self.alive() > 0 or self._all_done())
            time.sleep(self.random.uniform(*rest))
            if victim != "dispatcher" and not self.kill_worker():
                continue  # it has ended just now: another one
            if victim != "worker":
                self.kill_dispatcher()
                tally.adopted += self.alive()
                self.start()
            victims.pop()
            tally.kills[victim] += 1
        self.finish(patience)
        tally.seconds = round(time.monotonic() - began, 1)
        return self.count(tally)

    def finish(self, patience: float = 900.0) -> None:
        """Let everything come to its end."""
        self.until(self._all_done, patience)
        if self.dispatcher is not None:
            self.dispatcher.wait(timeout=patience)

    def until(self, condition: Callable[[], bool], patience: float = 300.0) -> None:
        deadline = time.monotonic() + patience
        while not condition():
            if self.dispatcher is None or self.dispatcher.poll() is not None:
                self.start()
            assert time.monotonic() < deadline, f"{self.queue.counts()} {(self.home / 'dispatcher.log').read_text()}"
            time.sleep(0.05)

    def _all_done(self) -> bool:
        return not self.queue.counts().keys() - {"succeeded", "failed", "cancelled"}

    def count(self, tally: Tally) -> Tally:
        """Look at every folder and at the database."""
        for row in self.queue.list():
            folder = self.queue.job(row.id).folder
            asked = int(folder.record().payload["toy"]["steps"])
            lines = [line.split() for line in (folder.path / "steps.txt").read_text().splitlines()]
            steps, workers = [int(line[0]) for line in lines], [line[1] for line in lines]
            tally.jobs += 1
            tally.attempts += row.attempt
            tally.steps_asked += asked
            tally.steps_done += len(steps)
            tally.lost += row.state != "succeeded" or set(steps) != set(range(1, asked + 1))
            changes = [worker for worker, before in zip(workers, ["", *workers], strict=False) if worker != before]
            tally.run_twice_at_once += (folder.path / "doubles.txt").exists() or len(changes) != len(set(changes))
            for before, step in itertools.pairwise(steps):
                tally.most_steps_repeated = max(tally.most_steps_repeated, before - step + 1)
            tally.corrupt += [str(path) for path in (folder.path / "checkpoints").glob("[0-9]*") if not is_whole(path)]
        tally.corrupt += [f"{one.job}: {one.sentence}" for one in examine(self.queue)]
        return tally

    def close(self) -> None:
        if self.dispatcher is not None and self.dispatcher.poll() is None:
            self.kill_dispatcher()
        while self.kill_worker():
            continue
        self.queue.close()
