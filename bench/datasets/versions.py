"""How the cost of versions grows with the dataset: one edit, ten per cent edited, undo, reading, listing, memory.

    python bench/datasets/versions.py [--sizes 1000 10000 100000] [--json FILE]

Items name blobs that do not exist: a store of the bench's own says that every blob is there, for versions only ever ask
whether one is. Every size runs in its own process. Seconds are those of one run with warm caches and tell more by their
ratios than by themselves; processor seconds stand beside them, for the machine may be busy. Memory is what the process
holds over what it held with the store open: once with one version, once with a second one that was edited, both read
from disk.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src")]

import psutil  # noqa: E402

from lorasmith.datasets.history import diff  # noqa: E402
from lorasmith.datasets.manifest import Fate, Item, Operation  # noqa: E402
from lorasmith.datasets.store import DatasetStore  # noqa: E402

MEGABYTE = 1e6
EDIT = Operation(name="edit")
T = TypeVar("T")


class StoreWithoutPictures(DatasetStore):
    """A store that takes every blob to be there."""

    def holds(self, sha256: str) -> bool:
        return True


def make_items(count: int) -> list[Item]:
    """Items as an import makes them, every third one converted, with captions of some twenty tags."""
    words = [f"tag {number}" for number in range(400)]
    items = []
    for number in range(count):
        image = hashlib.sha256(f"image {number}".encode()).hexdigest()
        original = hashlib.sha256(f"file {number}".encode()).hexdigest() if number % 3 == 0 else image
        name = f"photos {number // 1000}/IMG_{number:06}.png"
        tags = ", ".join(words[(number * 7 + k * k) % 400] for k in range(20))
        provenance = {"source": name, "transforms": [], "format": "PNG", "caption": f"{name[:-4]}.txt"}
        items.append(Item(name, image, original, 1024, 768, caption=f"ohwx, {tags}", provenance=provenance))
    return items


def make_ledger(items: list[Item]) -> list[Fate]:
    """The fates of the pictures and of their captions."""
    pictures = [
        Fate(path=i.name, fate="taken", rule="image", detail="is taken as it came.", item=i.name) for i in items
    ]
    captions = [
        Fate(path=f"{i.name}.txt", fate="taken", rule="caption", detail=f"is the caption of {i.name}.", item=i.name)
        for i in items
    ]
    return pictures + captions


def measure(count: int, home: Path) -> dict[str, float]:
    """All figures for one size."""
    figures: dict[str, float] = {"items": count}

    def timed(label: str, work: Callable[[], T]) -> T:
        wall, processor = time.perf_counter(), time.process_time()
        result = work()
        figures[f"{label} s"] = round(time.perf_counter() - wall, 4)
        figures[f"{label} cpu s"] = round(time.process_time() - processor, 4)
        return result

    store = StoreWithoutPictures(home)
    items = make_items(count)
    first = timed("create", lambda: store.create("set", items, Operation(name="import"), make_ledger(items)))
    middle = count // 2
    one = list(first.items)
    one[middle] = replace(one[middle], caption="one edited caption")
    disk = _bytes_below(home)
    second = timed("edit of one", lambda: store.commit(first, one, EDIT))
    figures["edit of one kB written"] = round((_bytes_below(home) - disk) / 1e3, 1)
    many = [replace(i, caption=f"{i.caption}, new") if n % 10 == 3 else i for n, i in enumerate(second.items)]
    third = timed("edit of 10 %", lambda: store.commit(second, many, EDIT))
    timed("undo", lambda: store.undo("set"))
    timed("redo", lambda: store.redo("set"))
    timed("diff", lambda: diff(second, third))
    timed("list", lambda: [(e.number, e.words, e.count) for name in store.names() for e in store.history(name)])
    fresh = StoreWithoutPictures(home)
    timed("undo after a restart", lambda: fresh.undo("set"))
    timed("garbage", fresh.garbage)
    return figures


def measure_memory(home: Path) -> dict[str, float]:
    """Reading and what it holds, in a process that has done nothing else."""
    store = StoreWithoutPictures(home)
    gc.collect()
    process = psutil.Process()
    base = process.memory_info().rss
    wall, processor = time.perf_counter(), time.process_time()
    one = store.get("set@1")
    figures = {"read s": round(time.perf_counter() - wall, 4), "read cpu s": round(time.process_time() - processor, 4)}
    figures["one version MB"] = round((process.memory_info().rss - base) / MEGABYTE, 1)
    other = store.get("set@3")
    figures["two versions MB"] = round((process.memory_info().rss - base) / MEGABYTE, 1)
    apart = StoreWithoutPictures(home).get("set@3")  # nothing shared with the two
    figures["three versions, two stores MB"] = round((process.memory_info().rss - base) / MEGABYTE, 1)
    assert len(one.items) == len(other.items) == len(apart.items)
    return figures


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _run(*arguments: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def main() -> int:
    """Measure every size and write a table; with ``--json`` the figures too."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--json", type=Path, help="where the figures go as JSON")
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "HOME"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        what, home = options.measure
        figures = measure_memory(Path(home)) if what == "memory" else measure(int(what), Path(home))
        sys.stdout.write(json.dumps(figures))
        return 0
    columns = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory(prefix="lorasmith versions ") as home:
            columns.append(_run("--measure", str(size), home) | _run("--measure", "memory", home))
    for row in columns[0]:
        sys.stdout.write(f"{row:>32}  " + "".join(f"{column[row]:>14,}" for column in columns) + "\n")
    if options.json:
        options.json.write_text(json.dumps(columns, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
