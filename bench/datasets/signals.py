"""How fast and how right the measurements of pictures are: hashes, near pairs, signals, overlays.

    python bench/datasets/signals.py [--photos FOLDER] [--json FILE] [--pictures 24] [--hashes 100000]

Needs `pip install ImageHash`. Everything is generated from seeds; `--photos` adds a folder of real photographs to
the pictures of which nothing should be said. Times are processor time of one process, both sides of a ratio taken in
turns. Ends with 1 when a gate is missed.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from bench.datasets import pictures  # noqa: E402

from lorasmith.datasets.overlay import common_overlay  # noqa: E402
from lorasmith.datasets.phash import near_pairs, orientations, phash, phash_file  # noqa: E402
from lorasmith.datasets.signals import Signals, measure  # noqa: E402
from lorasmith.sandbox import world  # noqa: E402

REMARKS = (
    "is_blurred", "is_soft", "is_too_dark", "is_too_bright", "is_low_contrast", "has_borders", "is_low_quality_jpeg",
    "is_blocky", "is_upscaled", "is_gray",
)  # fmt: skip
HASH_GATE, PAIRS_GATE = 2.0, 3.0


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def seconds(action: Callable[[], object]) -> float:
    started = time.process_time()
    action()
    return time.process_time() - started


def bench_hash(folder: Path) -> dict[str, Any]:
    """Ours against imagehash, from file to hash, and on equal input."""
    import imagehash

    def theirs(path: Path) -> int:
        with Image.open(path) as image:
            return int(str(imagehash.phash(image)), 16)

    found: dict[str, Any] = {}
    rng = np.random.default_rng(0)
    for label, size, number, rounds in (("1024 px", (1024, 768), 12, 5), ("12 MP", (4000, 3000), 3, 3)):
        paths = []
        for i in range(number):
            path = folder / f"{label} {i}.jpg"
            photograph = pictures.photograph(rng, *(size if size[0] < 2000 else (1000, 750)))
            noisy = np.asarray(photograph.resize(size)).astype(np.int16) + rng.normal(0, 3, (*size[::-1], 1))
            Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path, quality=92)
            paths.append(path)
        times = [
            (seconds(partial(theirs, path)), seconds(partial(phash_file, path)))
            for _ in range(rounds)
            for path in paths
        ]
        drift = [(theirs(path) ^ phash_file(path)).bit_count() for path in paths]
        slow, fast = (statistics.median(column) * 1000 for column in zip(*times, strict=True))
        found[label] = {"imagehash_ms": slow, "ours_ms": fast, "ratio": slow / fast, "drift_bits": max(drift)}
        say(f"hash, {label}: imagehash {slow:.1f} ms, ours {fast:.1f} ms, {slow / fast:.1f} x, drift {max(drift)} bits")
    images = [pictures.scene(rng) for _ in range(100)] + [pictures.photograph(rng, 320, 240) for _ in range(100)]
    same = sum(phash(image) == int(str(imagehash.phash(image)), 16) for image in images)
    found["identical"] = [same, len(images)]
    say(f"hash, equal input: {same} of {len(images)} identical")
    turned = [(k ^ phash(image.transpose(Image.Transpose.ROTATE_90))).bit_count()
              for image in images for k in (orientations(image)[7],)]  # fmt: skip
    found["turned_bits"] = [float(np.mean(turned)), max(turned)]
    say(
        f"hash, a quarter left: {np.mean(turned):.2f} bits on average from hashing the turned picture, "
        f"{max(turned)} at most"
    )
    return found


def bench_pairs(count: int) -> dict[str, Any]:
    """A tenth are copies with 0 to 8 bits changed; compared with looking at every pair."""
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    copies = count // 10
    for place, source in zip(range(count - copies, count), rng.permutation(count - copies)[:copies], strict=True):
        bits = rng.choice(64, int(rng.integers(0, 9)), replace=False)
        hashes[place] = hashes[source] ^ np.uint64(sum(1 << int(bit) for bit in bits))
    took = statistics.median(seconds(lambda: near_pairs(hashes)) for _ in range(3))
    i, j, distance = near_pairs(hashes, equal="all")
    expected = set()
    started = time.process_time()
    for top in range(0, count, 40):
        apart = np.bitwise_count(hashes[top : top + 40, None] ^ hashes[None, top:])
        for row, column in zip(*np.nonzero(apart <= 8), strict=True):
            if row < column:
                expected.add((top + int(row), top + int(column), int(apart[row, column])))
    scan = time.process_time() - started
    exact = expected == set(zip(i.tolist(), j.tolist(), distance.tolist(), strict=True))
    say(f"near pairs among {count}: {took:.2f} s, every pair looked at {scan:.1f} s; {len(i)} pairs, exact: {exact}")
    return {"hashes": count, "seconds": took, "scan_seconds": scan, "pairs": len(i), "exact": exact}


def bench_signals(folder: Path, number: int, photos: Path | None) -> dict[str, Any]:
    """What is said of pictures with one fault each, and of pictures with none."""
    rng = np.random.default_rng(2)
    sound = [pictures.photograph(rng) for _ in range(number)]
    path = folder / "one"
    spent: list[float] = []

    def said(images: Iterable[Image.Image], kind: str = "JPEG", **options: object) -> list[Signals]:
        found = []
        for image in images:
            image.save(path, format=kind, **({"quality": 92} | options if kind == "JPEG" else options))
            spent.append(seconds(lambda: found.append(measure(path))))
        return found

    def through_jpeg(image: Image.Image, quality: int) -> Image.Image:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality)
        return Image.open(stream)

    black, white, red = (0, 0, 0), (255, 255, 255), (200, 30, 90)
    damaged: dict[tuple[str, str], list[Signals]] = {
        ("is_blurred", "blur, sigma 2 at 1024 px"): said(pictures.blurred(p, 2) for p in sound),
        ("is_blurred", "blur, sigma 4 at 1024 px"): said(pictures.blurred(p, 4) for p in sound),
        ("is_upscaled", "enlarged 2 x, JPEG 92"): said(pictures.enlarged(p, 2) for p in sound),
        ("is_upscaled", "enlarged 2 x Lanczos, PNG"): said(
            (pictures.enlarged(p, 2, Image.Resampling.LANCZOS) for p in sound), "PNG"
        ),
        ("is_upscaled", "enlarged 3 x, JPEG 92"): said(pictures.enlarged(p, 3) for p in sound),
        ("has_borders", "black bars, 4 %"): said(pictures.letterboxed(p, 0.04, black, upright=False) for p in sound),
        ("has_borders", "white bars at the sides, 10 %"): said(
            (pictures.letterboxed(p, 0.1, white, upright=True) for p in sound), quality=75
        ),
        ("has_borders", "red bars, 30 %"): said(pictures.letterboxed(p, 0.3, red, upright=False) for p in sound),
        ("is_too_dark", "an eighth of the light"): said(ImageEnhance.Brightness(p).enhance(0.12) for p in sound),
        ("is_too_bright", "2.6 times the light"): said(p.point(lambda v: min(255, v * 2.6)) for p in sound),
        ("is_low_contrast", "a tenth of the contrast"): said(p.point(lambda v: 120 + v * 0.1) for p in sound),
        ("is_gray", "gray, JPEG 70"): said((p.convert("L").convert("RGB") for p in sound), quality=70),
        ("is_low_quality_jpeg", "JPEG 60"): said(sound, quality=60),
        ("is_blocky", "JPEG 40 saved as PNG"): said((through_jpeg(p, 40) for p in sound), "PNG"),
    }
    found: dict[str, Any] = {"recall": {}, "false_alarms": {}}
    for (remark, label), measured in damaged.items():
        right = sum(getattr(signals, remark) for signals in measured)
        found["recall"][label] = [right, len(measured)]
        say(f"{remark[3:] if remark.startswith('is_') else 'borders':16} {label:32} {right} of {len(measured)}")
    clean = {
        "photographs, PNG": said(sound, "PNG"),
        "photographs, JPEG 92": said(sound),
        "drawings": said((pictures.drawing(rng) for _ in range(2 * number)), "PNG"),
        "sandbox scenes": said((pictures.scene(rng) for _ in range(2 * number)), "PNG"),
    }
    if photos is not None:
        files = [
            file for file in sorted(photos.rglob("*")) if file.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")
        ]
        clean["real photographs"] = [measure(file) for file in files]
    for label, measured in clean.items():
        alarms = {remark: sum(getattr(signals, remark) for signals in measured) for remark in REMARKS}
        found["false_alarms"][label] = {"pictures": len(measured)} | alarms
        listed = ", ".join(f"{remark} {n}" for remark, n in alarms.items() if n) or "none"
        say(f"false alarms, {label} ({len(measured)}): {listed}")
    found["measure_ms"] = statistics.median(spent) * 1000
    say(f"measure: {found['measure_ms']:.0f} ms for a picture (median, most 1024 x 768)")
    return found


def bench_overlay(rounds: int) -> dict[str, Any]:
    """Faint text (alpha 60 of 255) on some of a set, and sets that have nothing in common."""
    rng = np.random.default_rng(3)
    hits: dict[str, list[int]] = {}
    alarms: dict[str, list[int]] = {}

    def count(table: dict[str, list[int]], label: str, images: list[Image.Image]) -> None:
        entry = table.setdefault(label, [0, 0])
        entry[0] += common_overlay(images) is not None
        entry[1] += 1

    for size in (8, 15, 40):
        for _ in range(rounds):
            photographs = [pictures.photograph(rng, 768, 512) for _ in range(size)]
            place = (float(rng.uniform(0.05, 0.6)), float(rng.uniform(0.05, 0.9)))
            for share in (1.0, 0.5, 0.25, 0.2):
                marked = [
                    pictures.watermarked(image, "(c) studio name", 60, place) if i < share * size else image
                    for i, image in enumerate(photographs)
                ]
                count(hits, f"on {share:.0%} of {size}", marked)
            count(alarms, f"{size} photographs", photographs)
            count(alarms, f"{size} drawings", [pictures.drawing(rng, 512) for _ in range(size)])
            count(alarms, f"{size} scenes", [pictures.scene(rng) for _ in range(size)])
            mascots = [world.draw_mascot(world.mascot_scene(rng), rng) for _ in range(size)]
            count(alarms, f"{size} of one mascot", mascots)
    for label, (right, number) in hits.items():
        say(f"overlay {label}: {right} of {number} sets")
    for label, (wrong, number) in alarms.items():
        say(f"overlay, false alarms, {label}: {wrong} of {number} sets")
    return {"recall": hits, "false_alarms": alarms}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of real photographs without faults")
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--hashes", type=int, default=100_000)
    parser.add_argument("--sets", type=int, default=3, help="sets of each kind for the overlay")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lorasmith signals ") as temporary:
        folder = Path(temporary)
        found = {"hash": bench_hash(folder), "pairs": bench_pairs(arguments.hashes)}
        found["signals"] = bench_signals(folder, arguments.pictures, arguments.photos)
        found["overlay"] = bench_overlay(arguments.sets)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    gates = {
        f"hash at least {HASH_GATE:.0f} x imagehash": min(found["hash"][s]["ratio"] for s in ("1024 px", "12 MP"))
        >= HASH_GATE,
        "identical on equal input": found["hash"]["identical"][0] == found["hash"]["identical"][1],
        "near pairs exact": found["pairs"]["exact"],
        f"near pairs in {PAIRS_GATE:.0f} s": found["pairs"]["seconds"] <= PAIRS_GATE,
    }
    for gate, held in gates.items():
        say(f"{'held' if held else 'MISSED'}: {gate}")
    return 0 if all(gates.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
