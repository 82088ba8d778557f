"""Reads the header of a GGUF file: names, shapes and formats of its tensors, where they lie, and its plain metadata.

The format (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): ``GGUF``, version, number of tensors, number
of metadata entries; then those entries, then the tensors. Lengths are little-endian. Axes are told innermost first and
turned around here, so that shapes read as in other files. Everything is capped, nothing is allocated on the word of
the file, and a tensor has to lie within it, apart from the others.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from lorasmith.bases.header import MAX_AXES, MAX_KEY_LENGTH, MAX_TENSORS, Header
from lorasmith.errors import BaseError

MAX_ENTRIES: Final = 10_000
MAX_TEXT: Final = 1_000_000  # characters of one metadata value that is kept; a tokenizer's word list is skipped
MAX_HEADER: Final = 100_000_000
_ORIGINAL_SHAPE = "comfy.gguf.orig_shape."
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_TEXT, _ARRAY = 8, 9
_ALIGNMENT: Final = 32  # bytes, where the file states none
_FORMATS = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4",
}  # fmt: skip
BLOCKS: Final = {
    "F32": (1, 4), "F16": (1, 2), "BF16": (1, 2), "F64": (1, 8), "I8": (1, 1), "I16": (1, 2), "I32": (1, 4),
    "I64": (1, 8), "Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_0": (32, 34),
    "Q8_1": (32, 40), "Q2_K": (256, 84), "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176),
    "Q6_K": (256, 210), "Q8_K": (256, 292), "IQ2_XXS": (256, 66), "IQ2_XS": (256, 74), "IQ3_XXS": (256, 98),
    "IQ1_S": (256, 50), "IQ4_NL": (32, 18), "IQ3_S": (256, 110), "IQ2_S": (256, 82), "IQ4_XS": (256, 136),
    "IQ1_M": (256, 56), "TQ1_0": (256, 54), "TQ2_0": (256, 66), "MXFP4": (32, 17), "NVFP4": (64, 36),
}  # fmt: skip
"""Numbers of a block, and its bytes; a block never reaches beyond a row."""
PLAIN: Final = frozenset({"F32", "F16", "BF16"})
UNPACKED: Final = PLAIN | frozenset(BLOCKS) - {"F64", "I8", "I16", "I32", "I64", "Q8_1", "Q8_K", "NVFP4"}
"""Formats whose tensors can be loaded; all but the plain ones by the package ``gguf``."""


@dataclass(frozen=True)
class Stored:
    """Where the data of a tensor lie: their format, first byte in the file, and number of bytes."""

    kind: str
    begin: int
    size: int


class _Reader:
    """Numbers and texts one after another, never past the end or the cap."""

    def __init__(self, stream: BinaryIO, name: str, size: int) -> None:
        self._stream, self._name, self._left = stream, name, min(size, MAX_HEADER)

    def take(self, count: int) -> bytes:
        if count > self._left:
            raise BaseError(f"The header of {self._name} is damaged, or cut short.", "Download it again.")
        self._left -= count
        found = self._stream.read(count)
        if len(found) != count:
            raise BaseError(f"The header of {self._name} is cut short.", "Download it again.")
        return found

    def skip(self, count: int) -> None:
        if count > self._left:
            raise BaseError(f"The header of {self._name} is damaged, or cut short.", "Download it again.")
        self._left -= count
        self._stream.seek(count, 1)

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def text(self, longest: int) -> str:
        length = self.number("<Q")
        if length > longest:
            raise BaseError(f"A name in {self._name} claims {length:,} characters.", "Download it again.")
        return self.take(length).decode("utf-8", "replace")

    def value(self, kind: int) -> str | list[int] | None:
        """A metadata value as text, a short list of whole numbers as such; None for what is skipped."""
        if kind == _TEXT:
            length = self.number("<Q")
            if length > MAX_TEXT:
                self.skip(length)
                return None
            return self.take(length).decode("utf-8", "replace")
        if kind == _ARRAY:
            return self._array()
        if kind not in _SCALARS:
            raise BaseError(f"The metadata of {self._name} are damaged.", "Download it again.")
        form = _SCALARS[kind]
        return str(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def _array(self) -> list[int] | None:
        kind, count = self.number("<I"), self.number("<Q")
        if kind == _TEXT:
            if count > self._left // 8:
                raise BaseError(f"The metadata of {self._name} are damaged.", "Download it again.")
            for _ in range(count):
                self.skip(self.number("<Q"))
            return None
        if kind not in _SCALARS:
            raise BaseError(f"The metadata of {self._name} are damaged.", "Download it again.")
        form = _SCALARS[kind]
        if count > MAX_AXES or form in ("<f", "<d"):
            self.skip(count * struct.calcsize(form))
            return None
        return [self.number(form) for _ in range(count)]


def read_gguf_header(path: Path) -> Header:
    """The header of a GGUF file; ``metadata["format"]`` is ``gguf``.

    Raises:
        BaseError: not a GGUF file, of an unknown version, damaged, or cut short.
    """
    return read_gguf(path)[0]


def read_gguf(path: Path) -> tuple[Header, dict[str, Stored]]:
    """The header, and where each tensor lies; those of unknown formats, whose size nobody knows, lie nowhere.

    Raises:
        BaseError: not a GGUF file, of an unknown version, damaged, or cut short.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        reader = _Reader(stream, path.name, size)
        if reader.take(4) != b"GGUF":
            raise BaseError(f"{path.name} is not a GGUF file.", "Download it again.")
        version = reader.number("<I")
        if version not in (2, 3):
            raise BaseError(f"{path.name} is GGUF of version {version}, which is not known.", "Download another form.")
        tensors, entries = reader.number("<Q"), reader.number("<Q")
        if tensors > MAX_TENSORS or entries > MAX_ENTRIES:
            raise BaseError(
                f"The header of {path.name} claims {tensors:,} tensors and {entries:,} settings.", "Download it again."
            )
        metadata: dict[str, str] = {}
        original: dict[str, tuple[int, ...]] = {}
        for _ in range(entries):
            key = reader.text(MAX_KEY_LENGTH)
            value = reader.value(reader.number("<I"))
            if key.startswith(_ORIGINAL_SHAPE) and isinstance(value, list):
                original[key.removeprefix(_ORIGINAL_SHAPE)] = tuple(value)
            elif isinstance(value, str):
                metadata[key] = value
        told = _tensors(reader, path.name, tensors)
        alignment = _alignment(metadata.get("general.alignment", str(_ALIGNMENT)), path.name)
        start = -(-stream.tell() // alignment) * alignment
    places = {key: _place(key, *entry, start, size, path.name) for key, entry in told.items()}
    known = {key: place for key, place in places.items() if place is not None}
    _refuse_overlaps(known, path.name)
    shapes = {key: shape for key, (shape, _, _) in told.items()}
    dtypes = {key: kind for key, (_, kind, _) in told.items()}
    shapes |= _known(original, shapes, path.name)
    return Header(path, "single_file", shapes, dtypes, metadata | {"format": "gguf"}), known


def _alignment(text: str, name: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 0 < number <= 65_536 or number & (number - 1):
        raise BaseError(f"The data of {name} shall begin at multiples of {text[:20]} bytes.", "Download it again.")
    return number


def _tensors(reader: _Reader, name: str, count: int) -> dict[str, tuple[tuple[int, ...], str, int]]:
    """Shape, format and offset of every tensor."""
    told: dict[str, tuple[tuple[int, ...], str, int]] = {}
    for _ in range(count):
        key = reader.text(MAX_KEY_LENGTH)
        axes = reader.number("<I")
        if axes > MAX_AXES or key in told:
            raise BaseError(f"The tensor '{key[:60]}' in {name} is damaged, or there twice.", "Download it again.")
        shape = tuple(reversed([reader.number("<Q") for _ in range(axes)]))
        if not _possible(shape):
            raise BaseError(f"The tensor '{key[:60]}' in {name} has a shape that none can have.", "Download it again.")
        kind = reader.number("<I")
        told[key] = shape, _FORMATS.get(kind, f"type {kind}"), reader.number("<Q")
    return told


def _possible(shape: tuple[int, ...]) -> bool:
    return all(0 < side < 2**48 for side in shape)


def _place(key: str, shape: tuple[int, ...], kind: str, offset: int, start: int, size: int, name: str) -> Stored | None:
    """Where a tensor lies, held against the size of the file; None where its format is not known."""
    numbers, width = BLOCKS.get(kind, (1, 0))
    row = shape[-1] if shape else 1
    if row % numbers:
        raise BaseError(
            f"The tensor '{key[:60]}' in {name} has rows of {row:,} numbers, which {kind} cannot pack.",
            "Download it again.",
        )
    count = math.prod(shape) // numbers * width
    if start + offset + count > size:
        missing = start + offset + count - size
        raise BaseError(
            f"{name} is cut short: '{key[:60]}' ends {missing:,} bytes behind its end.", "Download it again."
        )
    return Stored(kind, start + offset, count) if width else None


def _refuse_overlaps(places: dict[str, Stored], name: str) -> None:
    """No two tensors share bytes: a small file could claim any amount of memory."""
    end = 0
    for key, place in sorted(places.items(), key=lambda entry: (entry[1].begin, entry[1].size)):
        if place.begin < end:
            raise BaseError(f"The tensor '{key[:60]}' in {name} lies over another one.", "Download it again.")
        end = max(end, place.begin + place.size)


def _known(
    original: dict[str, tuple[int, ...]], shapes: dict[str, tuple[int, ...]], name: str
) -> dict[str, tuple[int, ...]]:
    """Shapes before they were bent to four axes, of tensors that are there."""
    bent = {key: shape for key, shape in original.items() if key in shapes}
    for key, shape in bent.items():
        if not _possible(shape) or math.prod(shape) != math.prod(shapes[key]):
            raise BaseError(f"{name} says of '{key[:60]}' a shape that it cannot have.", "Download it again.")
    return bent
