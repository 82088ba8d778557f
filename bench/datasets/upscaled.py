"""Whether pictures that were enlarged and then saved as JPEG are told from those that were not.

    python bench/datasets/upscaled.py [FOLDER ...]

Generated photographs and drawings, and the photographs in the folders given (say, the sample pictures of scikit-image
and scikit-learn). Pictures that are soft as they are (``is_soft``) are left out on both sides, for nobody could tell.
Prints the share of enlarged ones found and of others taken for them, at the threshold and where one in a hundred is a
false alarm.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from bench.datasets import pictures  # noqa: E402

from lorasmith.datasets.signals import Signals, measure  # noqa: E402
from lorasmith.datasets.signals.values import UPSCALED, UPSCALED_STRONG_JPEG  # noqa: E402

SIDE = 900
WAYS = (
    (1.5, Image.Resampling.BICUBIC),
    (2, Image.Resampling.BICUBIC),
    (2, Image.Resampling.LANCZOS),
    (3, Image.Resampling.BICUBIC),
    (4, Image.Resampling.BICUBIC),
)


def photographs(folders: list[Path]) -> Iterator[Image.Image]:
    """All pictures of the folders, and two quarters of the larger ones."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() not in (".png", ".jpg", ".jpeg") or path.stat().st_size < 30_000:
                continue
            with Image.open(path) as opened:
                image = opened.convert("RGB")
            image.thumbnail((SIDE, SIDE))
            width, height = image.size
            if min(width, height) >= 200:
                yield image
            if min(width, height) >= 512:
                yield image.crop((0, 0, width // 2, height // 2))
                yield image.crop((width // 2, height // 2, width, height))


def measured(image: Image.Image, quality: int, path: Path) -> Signals:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    path.write_bytes(stream.getvalue())
    return measure(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--pictures", type=int, default=15)
    arguments = parser.parse_args()
    rng = np.random.default_rng(9)
    native = list(photographs(arguments.folders))
    native += [pictures.photograph(rng, 512, 384) for _ in range(arguments.pictures)]
    drawings = [pictures.drawing(rng, 384) for _ in range(arguments.pictures)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one"
        for quality in (95, 85, 75):
            sharp = [image for image in native if not measured(image, quality, path).is_soft]
            plain = np.array([measured(image, quality, path).upscale_evidence for image in [*sharp, *drawings]])
            bar = float(np.quantile(plain, 0.99, method="higher"))
            threshold = UPSCALED if quality >= 80 else UPSCALED_STRONG_JPEG
            alarms = int((plain >= threshold).sum())
            sys.stdout.write(f"JPEG {quality}: {alarms} false alarms in {plain.size}; 1 % at {bar:.1f} dB\n")
            for factor, how in WAYS:
                made = [measured(pictures.enlarged(image, factor, how), quality, path) for image in sharp]
                evidence = np.array([one.upscale_evidence for one in made])
                said = sum(one.is_upscaled for one in made)
                sys.stdout.write(
                    f"    {factor:g} x {how.name.lower():8} {(evidence >= threshold).mean():4.0%} over the "
                    f"threshold, {(evidence > bar).mean():4.0%} at 1 %; reported {said} of {len(made)}\n"
                )
                sys.stdout.flush()


if __name__ == "__main__":
    main()
