"""A packed base as the tools of LoRA files take bases: its numbers in bf16, whatever packs them on the disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lorasmith.adapters.arrays import Array, TensorFile, encoded, mark_of
from lorasmith.bases.tensors import WeightsFile
from lorasmith.errors import AdapterError, BaseError

_AS = "BF16"
_KEPT = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class UnpackedFile(TensorFile):
    """Tensors of a packed file; those that were packed say that they are bf16, and are written so."""

    source: WeightsFile = field(kw_only=True)

    @classmethod
    def of(cls, path: Path) -> UnpackedFile:
        """Read and check the header.

        Raises:
            AdapterError: damaged, or packed in a way that is not known here.
        """
        seen = mark_of(path.stat())
        try:
            source = WeightsFile.open(path)
        except BaseError as cause:
            raise AdapterError(cause.message, cause.hint) from cause
        forms = {key: source.formats[key] if source.is_plain(key) else _AS for key in source.shapes}
        told = {key: text for key, text in source.metadata.items() if not key.startswith(("_quantization", "general."))}
        told = {key: text for key, text in told.items() if key != "format" and not key.startswith("comfy.gguf")}
        return cls(path, source.shapes, forms, told, {}, 0, seen, source=source)

    def read(self, key: str) -> Array:
        return self._rows(key, 0, None).reshape(self.shapes[key])

    def rows(self, key: str, first: int, last: int) -> Array:
        return self._rows(key, first, last)

    def raw(self, key: str) -> bytes:
        if self.dtypes[key] in _KEPT:
            return encoded(self.read(key), self.dtypes[key])
        return self.read(key).tobytes()

    def _rows(self, key: str, first: int, last: int | None) -> Array:
        self.refuse_changed(self.path.stat())
        try:
            return self.source.rows(key, first, last)
        except BaseError as cause:
            raise AdapterError(cause.message, cause.hint) from cause
