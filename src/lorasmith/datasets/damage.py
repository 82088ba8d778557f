"""Damaged pictures: how far they decode, and the one kind of damage that costs nothing and is mended.

A JPEG may lack nothing but the two bytes that mark its end. libjpeg fills whatever is missing with gray and only
warns, so that a mark put behind a half file would pass as well. What tells them apart: bytes put before the mark are
skipped when the picture data is complete, and become picture where it is not.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Final

from PIL import Image

_END: Final = b"\xff\xd9"
_START_OF_SCAN: Final = 0xDA
_PROGRESSIVE: Final = 0xC2
_STANDALONE: Final = (0x01, *range(0xD0, 0xD9))  # markers without a length
# Three unlike fillers without 0xFF: a last block that lacks a bit or two shows in at least one of them.
_FILLERS: Final = (b"\x5a\xc3\x17\x88" * 64, b"\x00\x01" * 128, b"\xfe\xa9\x6c" * 80)
_COEFFICIENTS: Final = 64
DECODING: Final = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, RuntimeError, AttributeError,
    struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip
"""Pillow's decoders raise all of these on damaged bytes; which one depends on where the damage lies."""


def complete_jpeg(content: bytes) -> bytes | None:
    """The JPEG with its end mark, if that is all it lacks; None when it is no such JPEG or picture data is missing."""
    body = content.rstrip(b"\x00").removesuffix(b"\xff")
    if not content.startswith(b"\xff\xd8\xff") or body.endswith(_END) or not _has_every_scan(body):
        return None
    mended = body + _END
    plain = _pixels(mended)
    if plain is None or any(_pixels(body + filler + _END) != plain for filler in _FILLERS):
        return None
    return mended


def _pixels(content: bytes) -> bytes | None:
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            image.load()
            return image.tobytes()
    except DECODING:
        return None


def _has_every_scan(content: bytes) -> bool:
    """Whether every coefficient of a progressive JPEG got its last bit; true of any other JPEG with a scan."""
    progressive, scans = False, 0
    low_bit: dict[tuple[int, int], int] = {}
    position = 2
    while (position := content.find(b"\xff", position)) >= 0 and position + 4 <= len(content):
        marker = content[position + 1]
        if marker in (0x00, 0xFF) or marker in _STANDALONE:
            position += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(content[position + 2 : position + 4], "big")
        segment = content[position + 4 : position + 2 + length]
        if marker == _PROGRESSIVE:
            progressive = True
        if marker == _START_OF_SCAN and segment and len(segment) >= 4 + 2 * segment[0]:
            scans += 1
            count = segment[0]
            first, last, bits = segment[1 + 2 * count : 4 + 2 * count]
            for component in segment[1 : 1 + 2 * count : 2]:
                low_bit.update({(component, k): bits & 0x0F for k in range(first, min(last, _COEFFICIENTS - 1) + 1)})
        position += 2 + max(length, 2)
    if not progressive:
        return scans > 0
    components = {component for component, _ in low_bit}
    return bool(components) and all(
        low_bit.get((component, k)) == 0 for component in components for k in range(_COEFFICIENTS)
    )


def how_far(image: Image.Image) -> int | None:
    """How many percent of its rows a picture holds whose ``load`` failed; None when that cannot be told.

    Rows that were never decoded are zero. Of an interlaced or progressive picture, which fills all of them at once,
    nothing is said; one with a black edge looks that much shorter than it is.
    """
    if image.info.get("interlace") or image.info.get("progressive") or not image.height:
        return None
    held = getattr(image, "_im", None)  # None before decoding began, where ``im`` would assert
    if held is None or not hasattr(held, "getbbox"):
        return None
    box = held.getbbox()
    percent = 100 * (box[3] - box[1]) // image.height if box else 0  # a BMP fills from below
    return percent if 0 < percent < 100 else None
