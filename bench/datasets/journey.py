"""One whole journey of a dataset in one process: what each step takes, and what memory it needs.

    python bench/datasets/journey.py [--sizes 1000 10000 100000] [--json FILE]

Import of tiny real pictures with captions beside them, listing, a query, the preview of a bulk edit, the edit, undo,
statistics, the checks that need no pixels, and the captions written to files. Memory is the resident set above that
of the same process with everything imported and nothing done, looked at fifty times a second. Every size runs in a
process of its own.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import psutil  # noqa: E402
from bench.datasets.captions import captions as lines_of_tags  # noqa: E402

from lorasmith.curation import Curation  # noqa: E402
from lorasmith.datasets.captions.files import write_captions  # noqa: E402
from lorasmith.datasets.store import DatasetStore  # noqa: E402

QUERY = "tag:*_hair -tag:sword tags:>9"
EDIT = ("add_trigger_word", {"word": "zorbix"})
PROSE = "A photograph of a black dog and a cat near the river number {}. The light is low, and it looks calm."


def write_source(folder: Path, count: int) -> None:
    """PNGs of 8 to 16 pixels with noise in them, and a caption beside each: mostly tags, some prose, some lines."""
    folder.mkdir(parents=True)
    chance = random.Random(count)
    for number, tags in enumerate(lines_of_tags(count)):
        stem = folder / f"IMG_{number:06}"
        stem.with_suffix(".png").write_bytes(png(chance))
        caption = PROSE.format(number) if number % 10 == 9 else tags
        caption += f"\nthe same once more, {number}" if number % 50 == 0 else ""
        stem.with_suffix(".txt").write_text(caption, encoding="utf-8")


def png(chance: random.Random) -> bytes:
    """An RGB PNG, written by hand: a library takes longer for it than everything else here."""
    width, height = chance.randint(8, 16), chance.randint(8, 16)
    rows = b"".join(b"\0" + chance.randbytes(3 * width) for _ in range(height))

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


class Meter:
    """Seconds and megabytes by step."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        gc.collect()
        self.base = self._process.memory_info().rss
        self.steps: dict[str, dict[str, float]] = {}

    def above(self) -> float:
        return (self._process.memory_info().rss - self.base) / 1e6

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        peak, done = [self.above()], threading.Event()

        def look() -> None:
            while not done.wait(0.02):
                peak[0] = max(peak[0], self.above())

        watching = threading.Thread(target=look)
        watching.start()
        wall, processor = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            done.set()
            watching.join()
        after = self.above()
        self.steps[name] = {
            "seconds": round(wall, 4),
            "processor_seconds": round(processor, 4),
            "peak_megabytes": round(max(peak[0], after), 1),
            "megabytes_after": round(after, 1),
        }


def travel(source: Path, home: Path) -> dict[str, Any]:
    """All steps, one after the other, as a program would that stays open."""
    _import_everything(home)
    meter = Meter()
    with meter.step("import"):
        DatasetStore(home).import_source(source, name="set")
    curation = Curation(home)
    with meter.step("read"):
        version = curation.version("set")
    with meter.step("list"):
        names = curation.select(version, "")
    with meter.step("filter"):
        found = curation.select(version, QUERY)
    with meter.step("preview"):
        shown = curation.preview_edit(version, *EDIT)
    with meter.step("edit"):
        edited = curation.edit(version, *EDIT)
    with meter.step("edit of 10 %"):
        tenth = curation.edit(edited, "add_suffix", {"text": ", watercolor"}, where="name:*7.png")
    with meter.step("undo"):
        undone = curation.undo("set", 2)
    assert undone.root == version.root
    with meter.step("statistics"):
        curation.statistics(tenth)
    with meter.step("checks without pixels"):
        curation.inspect(tenth, pictures=False)
    with meter.step("captions written"):
        write_captions(tenth.items, home / "captions")
    counted = {"listed": len(names), "found": len(found), "changed": shown.changed}
    peak = max(step["peak_megabytes"] for step in meter.steps.values())
    return {"items": len(version.items), "base_megabytes": round(meter.base / 1e6, 1), "peak_megabytes": peak} | {
        "counted": counted,
        "steps": meter.steps,
    }


def _import_everything(home: Path) -> None:
    """Go once with three pictures: what modules and tables of a tokenizer weigh is weight that no dataset adds."""
    with tempfile.TemporaryDirectory(prefix="lorasmith warm ") as folder:
        source, aside = Path(folder) / "three", Path(folder) / "home"
        write_source(source, 3)
        DatasetStore(aside).import_source(source, name="set")
        curation = Curation(aside)
        curation.select("set", QUERY)
        curation.edit("set", *EDIT)
        curation.statistics("set")
        curation.inspect("set", pictures=False)


def show(journey: Mapping[str, Any]) -> None:
    """As a table."""
    sys.stdout.write(f"\n{journey['items']:,} items, {journey['base_megabytes']} MB before them\n")
    for name, step in journey["steps"].items():
        sys.stdout.write(
            f"  {name:<24}{step['seconds']:>9.3f} s {step['processor_seconds']:>9.3f} s cpu"
            f"{step['peak_megabytes']:>9.1f} MB at most{step['megabytes_after']:>9.1f} MB after\n"
        )
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--travel", nargs=2, metavar=("SOURCE", "HOME"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.travel:
        sys.stdout.write(json.dumps(travel(*map(Path, options.travel))))
        return 0
    found = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory(prefix="lorasmith journey ") as folder:
            source, home = Path(folder) / "pictures", Path(folder) / "home"
            write_source(source, size)
            command = [sys.executable, __file__, "--travel", str(source), str(home)]
            found.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
            show(found[-1])  # now, for taking away half a million files takes a while
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
