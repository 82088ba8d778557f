"""What the checks of a dataset find, what they find wrongly, and how long they take.

    python bench/datasets/checks.py [--scenes 200] [--items 1000 10000] [--out FILE]

recall        share of made-up sets with the fault, drawn anew each time, in which the check named every item it had to
false alarms  share of sets that come close to the fault, or are clean, in which it spoke all the same
time          all checks that need no pixels, on sets of tags, best of three

The sets are those of ``tests/datasets/check_cases.py``. The recall is that of the written faults in their variations:
it says that nothing known is missed, and not that nothing else exists.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from lorasmith.datasets.checks import CHECKS, inspect  # noqa: E402
from tests.datasets.check_cases import scene_for  # noqa: E402
from tests.datasets.check_scenes import Shelf, clean, tags  # noqa: E402


@dataclass(frozen=True)
class Rates:
    """One check over many scenes; shares 0 to 1."""

    id: str
    title: str
    scenes: int
    recall: float
    near_alarms: float
    clean_alarms: float


@dataclass(frozen=True)
class Timing:
    """All checks that need no pixels on one set."""

    items: int
    seconds: float
    slowest: str


def alarms_on_clean(scenes: int, home: Path) -> Counter[str]:
    """In how many clean sets each check spoke."""
    counts: Counter[str] = Counter()
    for seed in range(scenes):
        report = inspect(clean(random.Random(seed)).context(home))
        counts.update({finding.id for finding in report.findings})
    return counts


def rates(id_: str, scenes: int, home: Path, on_clean: Counter[str]) -> Rates:
    """Recall and false alarms of one check."""
    found = alarms = 0
    for seed in range(scenes):
        scene, expected = scene_for(id_, seed, bad=True)
        findings = inspect(scene.context(home), only={id_}).findings
        found += bool(findings) and set(expected) <= {name for finding in findings for name in finding.items}
        near, _ = scene_for(id_, seed, bad=False)
        alarms += bool(inspect(near.context(home), only={id_}).findings)
    return Rates(id_, CHECKS[id_].title, scenes, found / scenes, alarms / scenes, on_clean[id_] / scenes)


def timing(items: int, home: Path) -> Timing:
    """Best of three runs over a set of tags without signals."""
    scene = clean(random.Random(items), items, tags)
    best, slowest = float("inf"), ""
    for _ in range(3):
        context = scene.context(home)
        context.signals = context.groups = context.compared = None
        context.store = Shelf(home)
        marks: list[tuple[float, str]] = []
        started = time.perf_counter()
        inspect(context, progress=lambda done, total, title, marks=marks: marks.append((time.perf_counter(), title)))
        seconds = time.perf_counter() - started
        ends = [mark[0] for mark in marks[1:]] + [started + seconds]
        spent, name = max((end - begin, title) for (begin, title), end in zip(marks, ends, strict=True))
        if seconds < best:
            best, slowest = seconds, f"{name} ({spent:.2f} s)"
    return Timing(items, best, slowest)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both tables; returns 1 when a check misses what it must find or speaks on a clean set."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--items", type=int, nargs="*", default=[1_000, 10_000])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        on_clean = alarms_on_clean(options.scenes, home)
        measured = [rates(id_, options.scenes, home, on_clean) for id_ in CHECKS]
        timings = [timing(items, home) for items in options.items]
    lines = [f"{'id':4} {'recall':>7} {'near':>7} {'clean':>7}  check ({options.scenes} sets each)"]
    lines += [f"{m.id:4} {m.recall:7.1%} {m.near_alarms:7.1%} {m.clean_alarms:7.1%}  {m.title}" for m in measured]
    lines += [f"{t.items:>7,} pictures: {t.seconds:.2f} s, of which the most by: {t.slowest}" for t in timings]
    sys.stdout.write("\n".join(lines) + "\n")
    if options.out:
        record = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            "checks": [asdict(m) for m in measured],
            "timings": [asdict(t) for t in timings],
        }
        options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return int(any(m.recall < 1 or m.clean_alarms > 0 for m in measured))


if __name__ == "__main__":
    sys.exit(main())
