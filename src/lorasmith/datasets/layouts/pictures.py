"""The pictures of an export: the stored bytes where the target reads them, or else a PNG of the same pixels."""

from __future__ import annotations

import io
from collections.abc import Collection
from pathlib import Path
from typing import Final

from PIL import Image

from lorasmith.datasets.manifest import Item
from lorasmith.errors import DatasetError

SUFFIX_OF: Final = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "GIF": ".gif",
    "AVIF": ".avif",
}
EVERY_FORMAT: Final = frozenset(SUFFIX_OF)
_MAGIC: Final = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG", "PNG"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"GIF8", "GIF"),
)


def format_of(beginning: bytes) -> str:
    """The format of a picture by its first 16 bytes; empty when it is none that is known."""
    if beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP":
        return "WEBP"
    if beginning[4:12] in (b"ftypavif", b"ftypavis"):
        return "AVIF"
    return next((name for magic, name in _MAGIC if beginning.startswith(magic)), "")


def stored_format(item: Item) -> str:
    """The format of an item's picture as its version tells it: what was converted on the way in is a PNG."""
    if item.image != item.original:
        return "PNG"
    stated = str(item.provenance.get("format", ""))
    suffix = Path(item.name).suffix.lower()
    by_name = {".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".tiff": "TIFF"} | {v: k for k, v in SUFFIX_OF.items()}
    return stated if stated in SUFFIX_OF else by_name.get(suffix, "PNG")


def needs_png(blob: Path, formats: Collection[str]) -> bool:
    """Whether the bytes at ``blob`` are in none of these formats."""
    with blob.open("rb") as stream:
        return format_of(stream.read(16)) not in formats


def suffix_of(blob: Path) -> str:
    """The suffix that fits the bytes at ``blob``, e.g. ``.jpg``."""
    with blob.open("rb") as stream:
        return SUFFIX_OF.get(format_of(stream.read(16)), ".png")


def png_of(item: Item, blob: Path, mask: Path | None = None) -> bytes:
    """The picture as a PNG of the same pixels; with a mask, as its alpha channel.

    Raises:
        DatasetError: picture or mask is damaged, or they differ in size.
    """
    try:
        with Image.open(blob) as opened:
            image = opened.convert("RGB")
        if mask is not None:
            with Image.open(mask) as opened:
                gray = opened.convert("L")
            if gray.size != image.size:
                raise DatasetError(f"The mask of '{item.name}' is {gray.size}, not {image.size}.", "Make it anew.")
            image.putalpha(gray)
    except (OSError, SyntaxError, ValueError) as cause:
        raise DatasetError(f"The stored picture of '{item.name}' is damaged: {cause}.", "Import it again.") from cause
    return _png(image)


def mask_png(item: Item, blob: Path) -> bytes:
    """A mask as a gray PNG.

    Raises:
        DatasetError: it is damaged.
    """
    try:
        with Image.open(blob) as opened:
            return _png(opened.convert("L"))
    except (OSError, SyntaxError, ValueError) as cause:
        raise DatasetError(f"The stored mask of '{item.name}' is damaged: {cause}.", "Make it anew.") from cause


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)
    return stream.getvalue()
