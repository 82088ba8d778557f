"""Formats, file sizes and metadata: the pixels stay what they are, or as near as a quality allows."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Final, Literal

from PIL import Image
from pydantic import Field

from lorasmith.datasets.pictures.contract import Frame, PictureTool, ToolError

Format = Literal["jpeg", "png", "webp"]
_SUFFIXES: Final = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}
_WORST: Final = 50
"""Quality below which blocks are what a model would learn."""
_KEPT_SEGMENTS: Final = frozenset((0xE0, 0xEE))  # JFIF, and Adobe's, which says how colours are stored
_PNG_KEPT: Final = frozenset((b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB"))
_WEBP_KEPT: Final = frozenset((b"VP8 ", b"VP8L", b"ALPH", b"VP8X"))
_WEBP_EXTRAS: Final = 0x20 | 0x08 | 0x04  # in VP8X: there is a colour profile, EXIF, XMP


class Convert(PictureTool):
    """Store pictures in another format."""

    name: ClassVar[str] = "convert"
    on_references: ClassVar[Literal["leave", "along", "cut", "refuse"]] = "leave"
    format: Format
    """jpeg and webp lose a little, png nothing."""
    quality: Annotated[int, Field(ge=1, le=100)] = 95
    """Of jpeg and webp, 1 to 100."""

    def describe(self) -> str:
        quality = "" if self.format == "png" else f" at quality {self.quality}"
        return f"Store pictures as {self.format.upper()}{quality}."

    def size_after(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def work(self, frame: Frame) -> Sequence[Frame]:
        if frame.file is not None and format_of(frame.file.read_bytes()) == self.format:
            return (frame,)
        note = f"convert:{self.format}" + ("" if self.format == "png" else f":{self.quality}")
        return (_with_content(frame, encode(frame.image, self.format, self.quality), self.format, note),)


class Compress(PictureTool):
    """Make files smaller: to a quality, or to the best quality that stays within a size."""

    name: ClassVar[str] = "compress"
    on_references: ClassVar[Literal["leave", "along", "cut", "refuse"]] = "leave"
    format: Literal["jpeg", "webp"] = "jpeg"
    """The format of the smaller file."""
    quality: Annotated[int, Field(ge=_WORST, le=100)] = 90
    """The most quality that is used, 50 to 100."""
    max_bytes: Annotated[int, Field(ge=1000)] | None = None
    """The most bytes a file may have; quality is lowered for it, to 50 at the worst."""

    def describe(self) -> str:
        limit = f", and lower where a file would be larger than {self.max_bytes:,} bytes" if self.max_bytes else ""
        return f"Store pictures as {self.format.upper()} at quality {self.quality}{limit}; files that are smaller stay."

    def size_after(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def work(self, frame: Frame) -> Sequence[Frame]:
        now = frame.file.stat().st_size if frame.file is not None else None
        if now is not None and self.max_bytes is not None and now <= self.max_bytes:
            return (frame,)
        quality = self.quality
        content = encode(frame.image, self.format, quality)
        if self.max_bytes is not None and len(content) > self.max_bytes:
            quality, content = self._within(frame.image)
        if now is not None and len(content) >= now:
            return (frame,)
        return (_with_content(frame, content, self.format, f"compress:{self.format}:{quality}"),)

    def _within(self, image: Image.Image) -> tuple[int, bytes]:
        """The best quality below the wanted one whose file is small enough."""
        assert self.max_bytes is not None
        low, high = _WORST, self.quality - 1
        found: tuple[int, bytes] | None = None
        while low <= high:
            middle = (low + high) // 2
            content = encode(image, self.format, middle)
            if len(content) <= self.max_bytes:
                found, low = (middle, content), middle + 1
            else:
                high = middle - 1
        if found is None:
            raise ToolError(f"does not fit into {self.max_bytes:,} bytes at quality {_WORST}; make it smaller first")
        return found


class StripMetadata(PictureTool):
    """Remove EXIF, GPS positions, prompts, comments and thumbnails from stored files; not one pixel changes."""

    name: ClassVar[str] = "strip_metadata"
    on_references: ClassVar[Literal["leave", "along", "cut", "refuse"]] = "leave"

    def describe(self) -> str:
        return "Remove metadata (EXIF, GPS, prompts, comments) from the stored files; pixels stay as they are."

    def size_after(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def work(self, frame: Frame) -> Sequence[Frame]:
        if frame.file is None:
            return (frame,)
        content = frame.file.read_bytes()
        kind = format_of(content)
        if kind is None:
            return (_with_content(frame, encode(frame.image, "png", 100), "png", "strip_metadata"),)
        try:
            bare = {"jpeg": _bare_jpeg, "png": _bare_png, "webp": _bare_webp}[kind](content)
        except (struct.error, IndexError) as cause:
            raise ToolError(f"has a {kind.upper()} file that cannot be taken apart ({cause})") from cause
        return (frame,) if bare == content else (_with_content(frame, bare, kind, "strip_metadata"),)


def encode(image: Image.Image, format: Format, quality: int) -> bytes:
    """The bytes of a file without any metadata."""
    stream = io.BytesIO()
    plain = Image.new("RGB", image.size)
    plain.paste(image)
    if format == "png":
        plain.save(stream, "PNG", compress_level=1)
    elif format == "jpeg":
        sampling = 0 if quality >= 95 else 2  # 4:4:4 where quality is what was asked for
        plain.save(stream, "JPEG", quality=quality, subsampling=sampling)
    else:
        plain.save(stream, "WEBP", quality=quality, method=4)
    return stream.getvalue()


def format_of(content: bytes) -> Format | None:
    """The format of a file by its first bytes, of those written here."""
    if content.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    return "webp" if content[:4] == b"RIFF" and content[8:12] == b"WEBP" else None


def suffix_of(format: Format) -> str:
    """The suffix that goes with a format, with its dot."""
    return _SUFFIXES[format]


def _with_content(frame: Frame, content: bytes, format: Format, note: str) -> Frame:
    """The frame with its new file, and with the pixels that this file shows."""
    with Image.open(io.BytesIO(content)) as image:
        shown = image.convert("RGB")
    return replace(frame, image=shown, content=content, suffix=_SUFFIXES[format], notes=(*frame.notes, note))


def _bare_jpeg(content: bytes) -> bytes:
    """A JPEG without its application segments and comments (ITU T.81, annex B)."""
    kept = [content[:2]]
    at = 2
    while at < len(content):
        while content[at] == 0xFF and content[at + 1] == 0xFF:  # fill bytes
            at += 1
        if content[at] != 0xFF:
            raise IndexError(f"no marker at byte {at}")
        marker = content[at + 1]
        if marker == 0xDA:  # the scan: all that follows is picture
            end = content.rfind(b"\xff\xd9")
            return b"".join([*kept, content[at : end + 2] if end > at else content[at:]])
        (length,) = struct.unpack(">H", content[at + 2 : at + 4])
        application, comment = 0xE0 <= marker <= 0xEF, marker == 0xFE
        if not (application or comment) or marker in _KEPT_SEGMENTS:
            kept.append(content[at : at + 2 + length])
        at += 2 + length
    raise IndexError("it holds no picture data")


def _bare_png(content: bytes) -> bytes:
    """A PNG with the chunks that its pixels need (PNG specification, section 11)."""
    kept = [content[:8]]
    for name, body in _png_chunks(content):
        if name in _PNG_KEPT:
            kept.append(struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)))
    return b"".join(kept)


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at + 12 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        yield content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        at += 12 + length


def _bare_webp(content: bytes) -> bytes:
    """A WebP without its EXIF, XMP and profile chunks (RFC 9649)."""
    kept = []
    at = 12
    while at + 8 <= len(content):
        name, (length,) = content[at : at + 4], struct.unpack("<I", content[at + 4 : at + 8])
        body = content[at + 8 : at + 8 + length]
        if name == b"VP8X":
            body = bytes([body[0] & ~_WEBP_EXTRAS]) + body[1:]
        if name in _WEBP_KEPT:
            kept.append(name + struct.pack("<I", length) + body + (b"\0" if length % 2 else b""))
        at += 8 + length + length % 2
    inside = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(inside)) + inside
