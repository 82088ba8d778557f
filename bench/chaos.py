"""Kills, fills, locks and misleads the queue, and prints what was lost.

    python bench/chaos.py [--kills 200] [--locked 30] [--seconds 30] [--seed 1] [--only NAME ...]

    kills   workers, dispatchers and both are killed at random moments while jobs run
    claims  500 jobs wait while another process cancels and reorders 20 a second; how long a claim takes
    locked  another process holds the database's write lock for a while; jobs that fail by it
    disk    a small file system (a mount, where that is allowed) runs full under running jobs; what is damaged
    clock   dispatchers whose clock is a day early or late; jobs tried again by it

Workers are real processes with the real worker's skeleton and a toy that counts steps. The results go to
``bench/results/chaos.json``; ends with exit code 1 where something was lost, doubled or damaged.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from lorasmith.jobs import Jobs  # noqa: E402
from lorasmith.queue.dispatcher import Dispatcher, Pace  # noqa: E402
from lorasmith.queue.fsck import examine  # noqa: E402
from lorasmith.queue.records import Superseded  # noqa: E402
from lorasmith.queue.retries import Retries  # noqa: E402
from lorasmith.queue.verbs import Queue  # noqa: E402
from tests.chaos.dispatching import command  # noqa: E402
from tests.chaos.harness import EVERY, Chaos  # noqa: E402

RESULTS = ROOT / "bench" / "results" / "chaos.json"
WAITING = 500
PER_SECOND = 20
SMALL_DISK = "24m"


def kills(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Killed at random moments."""
    chaos = Chaos(home, seed=given.seed)
    try:
        chaos.submit(max(4, given.kills // 2), steps=60, seconds=0.02)
        tally = chaos.run(given.kills)
        tell(f"kills   {tally}")
        good = not (tally.lost or tally.run_twice_at_once or tally.corrupt) and tally.most_steps_repeated <= EVERY
        return tally.as_dict() | {"checkpoint_interval": EVERY, "good": good}
    finally:
        chaos.close()


def claims(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """How long a claim takes while others change the order."""
    queue = Queue.open(Jobs(home, command=command))
    payload = {"toy": {"steps": 1}}
    for _ in range(WAITING + int(PER_SECOND * given.seconds) + 1):  # so that never fewer than that wait
        queue.submit("import", payload)
    code = (
        "import sys, time, random\nfrom pathlib import Path\nfrom lorasmith.jobs import Jobs\n"
        "from lorasmith.queue.verbs import Queue\n"
        "home, seconds, rate, seed = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])\n"
        "queue, chance, done = Queue.open(Jobs(home)), random.Random(seed), 0\nbegan = time.monotonic()\n"
        "while time.monotonic() - began < seconds:\n"
        "    for _ in range(2):\n"
        "        waiting = queue.list(states=['queued'], limit=400)\n"
        "        row = chance.choice(waiting)\n"
        "        (queue.front if _ else queue.cancel)(row.id)\n"
        "    done += 1\n"
        "    time.sleep(max(0.0, began + done / rate - time.monotonic()))\n"
        "print(done)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    dispatcher = Dispatcher(queue, lanes={"light": 1})
    with dispatcher:
        other = subprocess.Popen(
            [sys.executable, "-c", code, str(home), str(given.seconds), str(PER_SECOND), str(given.seed)],
            stdout=subprocess.PIPE,
            env=environment,
        )
        took: list[float] = []
        syncs: list[float] = []
        while other.poll() is None:
            syncs.append(_sync(home))
            began = time.perf_counter()
            row = dispatcher.claim("light")
            took.append((time.perf_counter() - began) * 1000)
            if row is not None:  # back into the queue: it shall not run empty
                with contextlib.suppress(Superseded):  # the other process has cancelled it just now
                    dispatcher._move(row, "queued", "Measured.", attempt=0, lane="")
            time.sleep(0.01)
        rounds = int(other.communicate()[0])
    took.sort()
    syncs.sort()
    result = {
        "fsync_ms_median": round(statistics.median(syncs), 2),
        "fsync_ms_p99": round(syncs[int(len(syncs) * 0.99)], 2),
        "waiting_at_the_end": queue.counts()["queued"],
        "claims": len(took),
        "cancels_per_second": round(rounds / given.seconds, 1),
        "reorders_per_second": round(rounds / given.seconds, 1),
        "claim_ms_median": round(statistics.median(took), 2),
        "claim_ms_p99": round(took[int(len(took) * 0.99)], 2),
        "claim_ms_most": round(took[-1], 2),
    }
    queue.close()
    tell(f"claims  {result}")
    return result | {"good": result["claim_ms_p99"] < 5.0}


def locked(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Somebody else has the write lock."""
    chaos = Chaos(home, seed=given.seed)
    try:
        chaos.submit(6, steps=200, seconds=0.02)
        chaos.start()
        chaos.until(lambda: chaos.alive() > 0)
        with closing(sqlite3.connect(home / "studio.db", timeout=60, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            before = _steps(home)
            time.sleep(given.locked)
            during = _steps(home) - before
            other.execute("ROLLBACK")
        chaos.finish()
        states = chaos.queue.counts()
        result = {"seconds": given.locked, "steps_done_meanwhile": during, "states": dict(states)}
        tell(f"locked  {result}")
        return result | {"good": states == {"succeeded": 6} and during > 0}
    finally:
        chaos.close()


def disk(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """The disk runs full, and has room again."""
    home.mkdir(parents=True)
    mounted = os.name == "posix" and os.geteuid() == 0
    mounted = mounted and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(home)], check=False
    ).returncode == 0  # fmt: skip
    if not mounted:
        tell("disk    left out: no small file system can be mounted here")
        return {"left_out": "no small file system can be mounted here", "good": True}
    try:
        return _fill(home)
    finally:
        subprocess.run(["umount", "-l", str(home)], check=False)


def _fill(home: Path) -> dict[str, Any]:
    queue = Queue.open(Jobs(home, command=command))
    rows = [queue.submit("import", {"toy": {"steps": 150, "every": EVERY, "seconds": 0.02}}) for _ in range(4)]
    pace = Pace(look=0.05, search=0.5, report=0.2)
    room = 4_000_000
    dispatcher = Dispatcher(
        queue, lanes={"light": 2}, pace=pace, retries=Retries(infrastructure=1000, rest=0.5), room=room
    )
    with dispatcher:
        thread = threading.Thread(target=dispatcher.run)
        thread.start()
        _wait(lambda: _steps(home) > 20)
        filler = home / "filler"
        with filler.open("wb", buffering=0) as stream:
            try:
                while True:
                    stream.write(b"\0" * 4096)
            except OSError:
                pass
        time.sleep(3.0)  # measured: workers and the dispatcher meet the full disk many times
        full = dict(queue.counts())
        filler.unlink()
        _wait(lambda: queue.counts() == {"succeeded": 4})
        dispatcher.end()
        thread.join()
    repeated = [entry.detail.get("error", "") for entry in queue.journal(limit=100_000) if entry.kind == "attempt"]
    damage = queue.database.damage()
    left = [f"{one.job}: {one.sentence}" for one in examine(queue)]
    states = dict(queue.counts())
    queue.close()
    result = {
        "states_while_full": full,
        "attempts": len(repeated),
        "states": states,
        "damage": damage,
        "differences": left,
    }
    tell(f"disk    {result}")
    return result | {"good": states == {"succeeded": len(rows)} and not damage and not left}


def clock(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Dispatchers whose clock is wrong."""
    chaos = Chaos(home, seed=given.seed)
    try:
        chaos.submit(6, steps=150, seconds=0.02)
        shifts = (0.0, 86_400.0, -86_400.0, 0.0)
        for shift in shifts:
            chaos.start(shift)
            chaos.until(lambda: chaos.alive() > 0)
            time.sleep(1.5)
            chaos.kill_dispatcher()
        chaos.start(-86_400.0)
        chaos.finish()
        rows = chaos.queue.list()
        result = {"states": dict(chaos.queue.counts()), "attempts": sum(row.attempt for row in rows), "jobs": len(rows)}
        tell(f"clock   {result}")
        return result | {"good": result["states"] == {"succeeded": 6} and result["attempts"] == 6}
    finally:
        chaos.close()


def _sync(folder: Path) -> float:
    """How long this disk takes at this moment to make 4 kB durable, in milliseconds. A claim waits for one such, and
    for another one where somebody else is writing: it cannot be quicker."""
    with (folder / "syncs").open("ab", buffering=0) as stream:
        stream.write(b"x" * 4096)
        began = time.perf_counter()
        os.fsync(stream.fileno())
        return (time.perf_counter() - began) * 1000


def tell(line: str) -> None:
    """Say a result at once: the next one takes minutes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _steps(home: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in home.glob("jobs/*/steps.txt"))


def _wait(condition: Callable[[], bool], patience: float = 300.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it never came to that")
        time.sleep(0.1)


PARTS: dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    "kills": kills,
    "claims": claims,
    "locked": locked,
    "disk": disk,
    "clock": clock,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--locked", type=float, default=30.0, help="seconds")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long claims are measured")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    given = parser.parse_args()
    known: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in given.only:
        with tempfile.TemporaryDirectory() as place:
            result = PARTS[name](Path(place) / "home", given)
        load = [round(one, 1) for one in os.getloadavg()] if hasattr(os, "getloadavg") else None
        known[name] = result | {"measured": f"{datetime.now(UTC):%Y-%m-%d}", "load": load}
    known["machine"] = (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    RESULTS.write_text(json.dumps(known, indent=2, ensure_ascii=False) + "\n")
    return 0 if all(known[name]["good"] for name in given.only) else 1


if __name__ == "__main__":
    sys.exit(main())
