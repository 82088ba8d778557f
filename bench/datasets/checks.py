"""What the checks of a dataset find, what they find wrongly, and how long they take.

    python bench/datasets/checks.py [--scenes 200] [--items 1000 10000] [--out FILE]

recall        share of made-up sets with the fault, drawn anew each time, in which the check named every item it had to
false alarms  share of sets that come close to the fault, or are clean, in which it spoke all the same
unseen        the same per caption, on wordings (``unseen_captions.py``) that no check was adjusted to
time          all checks that need no pixels, on sets of tags, best of three

The sets are those of ``tests/datasets/check_cases.py``, and the checks were adjusted until they passed: the first table
shows that nothing broke. What a check does on captions of other people is better told by the unseen ones.
Signals and groups of duplicates are given, not measured; how well those are measured is their own bench's matter.
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

from bench.datasets.unseen_captions import SPELLINGS, UNSEEN  # noqa: E402

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


@dataclass(frozen=True)
class Unseen:
    """One text check on captions it was not adjusted to."""

    id: str
    faults: int
    found: int
    sound: int
    alarms: int
    missed: tuple[str, ...]
    alarmed: tuple[str, ...]


def on_unseen(home: Path) -> list[Unseen]:
    """Every text check on the captions written for it, and C14 on pairs of spellings."""

    def speaks(id_: str, texts: dict[int, str]) -> bool:
        scene = clean(random.Random(1), 24, tags)
        names = {scene.change(place, caption=text) for place, text in texts.items()}
        findings = inspect(scene.context(home), only={id_}).findings
        return any(names & set(finding.items) for finding in findings)

    def twelve_to_one(pair: tuple[str, str]) -> dict[int, str]:
        return {place: f"zorbix, {pair[place == 12]}" for place in range(13)}

    measured = []
    for id_, (faults, sound) in UNSEEN.items():
        missed = tuple(text for text in faults if not speaks(id_, {0: text}))
        alarmed = tuple(text for text in sound if speaks(id_, {0: text}))
        measured.append(Unseen(id_, len(faults), len(faults) - len(missed), len(sound), len(alarmed), missed, alarmed))
    same, different = SPELLINGS
    missed = tuple(" / ".join(pair) for pair in same if not speaks("C14", twelve_to_one(pair)))
    alarmed = tuple(" / ".join(pair) for pair in different if speaks("C14", twelve_to_one(pair)))
    measured.append(Unseen("C14", len(same), len(same) - len(missed), len(different), len(alarmed), missed, alarmed))
    return measured


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

        def mark(done: int, total: int, title: str, marks: list[tuple[float, str]] = marks) -> None:
            marks.append((time.perf_counter(), title))

        inspect(context, progress=mark)
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
        unseen = on_unseen(home)
        timings = [timing(items, home) for items in options.items]
    lines = [f"{'id':4} {'recall':>7} {'near':>7} {'clean':>7}  check ({options.scenes} sets each)"]
    lines += [f"{m.id:4} {m.recall:7.1%} {m.near_alarms:7.1%} {m.clean_alarms:7.1%}  {m.title}" for m in measured]
    lines += ["", "captions no check was adjusted to"]
    for u in unseen:
        lines.append(f"{u.id:4} {u.found} of {u.faults} found, {u.alarms} alarms on {u.sound} sound ones")
        lines += [f"       missed: {text[:90]}" for text in u.missed] + [
            f"       alarm: {text[:90]}" for text in u.alarmed
        ]
    lines += ["", *(f"{t.items:>7,} pictures: {t.seconds:.2f} s, of which the most by: {t.slowest}" for t in timings)]
    sys.stdout.write("\n".join(lines) + "\n")
    if options.out:
        record = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            "checks": [asdict(m) for m in measured],
            "unseen": [asdict(u) for u in unseen],
            "timings": [asdict(t) for t in timings],
        }
        options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return int(any(m.recall < 1 or m.clean_alarms > 0 for m in measured))


if __name__ == "__main__":
    sys.exit(main())
