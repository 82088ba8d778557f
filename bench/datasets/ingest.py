"""How fast pictures come in, as ratios within one run (other programs may share the machine).

    python bench/datasets/ingest.py            about three minutes
    python bench/datasets/ingest.py --quick    half a minute; with --json FILE the figures are written there too

1. JPEGs of 12 megapixels to 1024 pixels: ``open_reduced`` against Pillow's whole decode and LANCZOS, in CPU time of
   one thread, and how alike the results are. Then the same as part of an import that writes PNGs, against a plain loop
   in Pillow that does the same.
2. Importing JPEGs of one megapixel: pictures a second, and CPU time for each.
3. Memory above the base at 1,000 and at 5,000 small pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src")]

from lorasmith.datasets.images import open_reduced  # noqa: E402
from lorasmith.datasets.store import DatasetStore  # noqa: E402

SIDE = 1024
MEMORY = """
import sys, threading, time
from pathlib import Path
import psutil
sys.path.insert(0, sys.argv[1])
from lorasmith.datasets.store import DatasetStore
used = lambda: psutil.Process().memory_info().rss / 2**20
base, peak, done = used(), [0.0], threading.Event()
def look():
    while not done.wait(0.02):
        peak[0] = max(peak[0], used())
thread = threading.Thread(target=look)
thread.start()
version = DatasetStore(Path(sys.argv[3])).import_source(Path(sys.argv[2]))
done.set()
thread.join()
print(len(version.items), max(peak[0], used()) - base)
"""


def photo(width: int, height: int, seed: int) -> Image.Image:
    """Light, shapes, texture and grain, falling off with frequency about as photographs do."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for side in (3, 12, 48, 192, 768):
        cells = rng.integers(0, 256, (side * height // width + 1, side, 3)).astype(np.uint8)
        layer = Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(layer, np.float32) / side**0.75
    total += rng.normal(0, 0.8, (height, width, 1)).astype(np.float32)
    total -= total.min()
    return Image.fromarray((255 * total / total.max()).astype(np.uint8))


def write_photos(folder: Path, count: int, width: int, height: int, different: int) -> Iterator[Path]:
    """JPEGs; only so many are painted, the others differ in one patch, for painting takes longer than importing."""
    folder.mkdir()
    painted = [photo(width, height, seed) for seed in range(min(count, different))]
    for number in range(count):
        picture = painted[number % len(painted)].copy()
        color = (number * 7 % 256, number // 36 % 256, number // 9216 * 50)
        picture.paste(color, (8, 8, width // 3, height // 3))
        path = folder / f"{number:05}.jpg"
        picture.save(path, quality=90)
        yield path


def whole(path: Path) -> Image.Image:
    """What everybody does."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        scale = SIDE / max(image.size)
        return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)


def cpu_ms(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return (time.process_time() - start) * 1000


def psnr(one: Image.Image, other: Image.Image) -> float:
    difference = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    return float(10 * np.log10(255**2 / (difference**2).mean()))


def large(root: Path, count: int) -> dict[str, float]:
    paths = list(write_photos(root / "large", count, 4000, 3000, 3))
    ratios, alike = [], []
    for path in paths:
        ours = cpu_ms(partial(open_reduced, path, SIDE))
        theirs = cpu_ms(partial(whole, path))
        ratios.append(theirs / ours)
        alike.append(psnr(open_reduced(path, SIDE), whole(path)))
    ratio, worst = median(ratios), min(alike)
    say(f"12 MP to {SIDE} px: {ratio:.2f} x Pillow's whole decode + LANCZOS (>= 2.5), at {worst:.1f} dB (>= 45)")

    def loop() -> None:
        for path in paths:
            (root / "out.jpg").write_bytes(path.read_bytes())
            whole(path).save(root / "out.png")

    def brought() -> None:
        DatasetStore(root / "large home").import_source(root / "large", max_side=SIDE)

    whole_import = cpu_ms(loop) / cpu_ms(brought)
    say(f"  as an import that keeps the originals and writes PNGs: {whole_import:.2f} x a Pillow loop")
    return {"reduce_ratio": ratio, "reduce_decibel": worst, "import_ratio": whole_import}


def middling(root: Path, count: int) -> dict[str, float]:
    for path in write_photos(root / "middling", count, 1152, 864, 8):
        path.with_suffix(".txt").write_text(f"caption of {path.stem}", encoding="utf-8")
    start, cpu = time.perf_counter(), time.process_time()
    version = DatasetStore(root / "middling home").import_source(root / "middling")
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    again = time.perf_counter()
    DatasetStore(root / "middling home").import_source(root / "middling")
    again = time.perf_counter() - again
    speed = len(version.items) / wall
    say(
        f"1 MP: {speed:.0f} pictures/s (>= 100), {cpu * 1000 / len(version.items):.1f} ms of CPU each on "
        f"{os.cpu_count()} cores; the same again, as a no-op: {len(version.items) / again:.0f}/s"
    )
    each = cpu * 1000 / len(version.items)
    return {"per_second": speed, "processor_ms_each": each, "again_per_second": len(version.items) / again}


def small(root: Path, counts: tuple[int, int]) -> dict[str, float]:
    grown = []
    for count in counts:
        list(write_photos(root / f"small {count}", count, 96, 64, 8))
        command = [
            sys.executable,
            "-c",
            MEMORY,
            str(ROOT / "src"),
            str(root / f"small {count}"),
            str(root / f"h{count}"),
        ]
        items, megabytes = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        grown.append(float(megabytes))
        say(f"{items} small pictures: {float(megabytes):.0f} MB above the base")
    return {"megabytes": grown[1]}


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    quick = options.quick
    with tempfile.TemporaryDirectory(prefix="lorasmith ingest ") as temporary:
        root = Path(temporary)
        found = large(root, 3 if quick else 12)
        found |= middling(root, 100 if quick else 600)
        found |= small(root, (200, 1000) if quick else (1000, 5000))
    say(f"peak of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    held = found["reduce_ratio"] >= 2.5 and found["reduce_decibel"] >= 45 and found["per_second"] >= 100
    return 0 if held and found["megabytes"] <= 300 else 1


if __name__ == "__main__":
    sys.exit(main())
