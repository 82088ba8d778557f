"""Reads the header of a GGUF file: names, shapes and formats of its tensors, and its plain metadata; never the data.

The format (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): ``GGUF``, version, number of tensors, number
of metadata entries; then those entries, then the tensors. Lengths are little-endian. Axes are told innermost first and
turned around here, so that shapes read as in other files. Everything is capped, and nothing is allocated on the word
of the file.
"""

from __future__ import annotations

import struct
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
_FORMATS = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4",
}  # fmt: skip


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
    with path.open("rb") as stream:
        reader = _Reader(stream, path.name, path.stat().st_size)
        if reader.take(4) != b"GGUF":
            raise BaseError(f"{path.name} is not a GGUF file.", "Download it again.")
        version = reader.number("<I")
        if version not in (2, 3):
            raise BaseError(f"{path.name} is GGUF of version {version}, which is not known.", "Download another form.")
        tensors, entries = reader.number("<Q"), reader.number("<Q")
        if tensors > MAX_TENSORS or entries > MAX_ENTRIES:
            raise BaseError(f"The header of {path.name} claims {tensors:,} tensors.", "Download it again.")
        metadata: dict[str, str] = {}
        original: dict[str, tuple[int, ...]] = {}
        for _ in range(entries):
            key = reader.text(MAX_KEY_LENGTH)
            value = reader.value(reader.number("<I"))
            if key.startswith(_ORIGINAL_SHAPE) and isinstance(value, list):
                original[key.removeprefix(_ORIGINAL_SHAPE)] = tuple(value)
            elif isinstance(value, str):
                metadata[key] = value
        shapes, dtypes = _tensors(reader, path.name, tensors)
    return Header(path, "single_file", {**shapes, **_known(original, shapes)}, dtypes, metadata | {"format": "gguf"})


def _tensors(reader: _Reader, name: str, count: int) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, str] = {}
    for _ in range(count):
        key = reader.text(MAX_KEY_LENGTH)
        axes = reader.number("<I")
        if axes > MAX_AXES or key in shapes:
            raise BaseError(f"The tensor '{key[:60]}' in {name} is damaged, or there twice.", "Download it again.")
        shapes[key] = tuple(reversed([reader.number("<Q") for _ in range(axes)]))
        dtypes[key] = _FORMATS.get(reader.number("<I"), "unknown")
        reader.skip(8)  # where its data begin
    return shapes, dtypes


def _known(original: dict[str, tuple[int, ...]], shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Shapes before they were bent to four axes, of tensors that are there."""
    return {key: shape for key, shape in original.items() if key in shapes}
