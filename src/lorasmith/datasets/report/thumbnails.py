"""Small pictures for the page, made in a few threads; ten thousand of them have to fit into one file."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from PIL import Image

from lorasmith.datasets.report.record import Thumbnail

_SIDE: Final = 112  # pixels: shown at this size or less
_QUALITY: Final = 55
_THREADS: Final = max(1, min(4, os.cpu_count() or 1))
_CHUNK: Final = 64


def thumbnails(
    paths: Sequence[Path], *, side: int = _SIDE, progress: Callable[[int, int], None] | None = None
) -> list[Thumbnail | None]:
    """A thumbnail of each file in order; None for one that is missing or damaged.

    Args:
        paths: files of pictures.
        side: pixels of the longer side.
        progress: called with (done, all) after every few.
    """
    made: list[Thumbnail | None] = []
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="thumbnail") as pool:
        for chunk in _chunks(paths):
            made.extend(pool.map(lambda path: thumbnail(path, side), chunk))
            if progress is not None:
                progress(len(made), len(paths))
    return made


def thumbnail(path: Path, side: int = _SIDE) -> Thumbnail | None:
    """One thumbnail; None when the file is missing or damaged."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (side, side))
            image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
            return encoded(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError):
        return None


def encoded(image: Image.Image) -> Thumbnail:
    """A small picture as it stands in the page."""
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=_QUALITY, method=2)
    return Thumbnail(base64.b64encode(stream.getvalue()).decode("ascii"), image.width, image.height)


def _chunks(paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
    for start in range(0, len(paths), _CHUNK):
        yield paths[start : start + _CHUNK]
