"""An adapter file that is going to be written: planned first, made one module at a time, stamped with its hashes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lorasmith import __version__
from lorasmith.adapters.algebra import Factors
from lorasmith.adapters.arrays import WRITABLE, Array, Cancelled, Planned, Progress, TensorFile, write
from lorasmith.adapters.dialects.gathering import Module
from lorasmith.errors import AdapterError
from lorasmith.files import json_in

_STALE = ("sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256", "lora_adapter_metadata")


@dataclass
class _Once:
    """Makes the factors when the first of the two matrices is asked for, forgets them after the second."""

    make: Callable[[], Factors]
    held: Factors | None = None
    asked: int = 0

    def take(self, side: str) -> Array:
        if self.held is None:
            self.held = self.make()
        array: Array = getattr(self.held, side)
        self.asked += 1
        if self.asked % 2 == 0:
            self.held = None
        return array


@dataclass
class Output:
    """The tensors of a file to be."""

    dtype: str
    """``fp32``, ``fp16`` or ``bf16``."""
    tensors: dict[str, Planned] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.dtype not in WRITABLE:
            raise AdapterError(f"'{self.dtype}' is no number format.", f"Choose one of {', '.join(WRITABLE)}.")

    def lora(
        self,
        keys: tuple[str, str, str | None],
        rank: int,
        layer: tuple[int, ...],
        make: Callable[[], Factors],
        *,
        alpha: float | None = None,
        raw: bool = False,
    ) -> None:
        """One LoRA of ``rank`` beside a layer; ``keys`` are those of down, up and, where it is written, alpha.

        ``make`` gives factors whose product is ΔW; with an alpha they are divided by alpha / rank,
        unless they are ``raw``. Where no alpha is written, the scale is shared by both matrices as a power of two:
        in one of them alone, alpha / rank of 1 / 128 leaves fp16 no digits.
        """
        down, up, alpha_key = keys
        for key in (down, up):
            if key in self.tensors:
                raise AdapterError(f"Two modules would be written as {key}.", "Their names are one in this dialect.")
        once = _Once(make)
        kernel = tuple(layer[2:])
        shape_down, shape_up = (rank, layer[1], *kernel), (layer[0], rank, *(1 for _ in kernel))
        scale = 1.0 if raw or alpha is None or alpha_key is None else alpha / rank
        folded = abs(alpha) / rank if alpha and alpha_key is None and not raw else 1.0
        shared = np.float32(2.0 ** round(math.log2(folded) / 2))
        self.tensors[down] = Planned(
            shape_down, WRITABLE[self.dtype], lambda: (once.take("down") * shared).reshape(shape_down)
        )
        self.tensors[up] = Planned(
            shape_up, WRITABLE[self.dtype], lambda: (once.take("up") / np.float32(scale * shared)).reshape(shape_up)
        )
        if alpha_key is not None:
            value = np.float32(rank if alpha is None else alpha)
            self.tensors[alpha_key] = Planned((), "F32", lambda: np.asarray(value))

    def copied(self, file: TensorFile, key: str, name: str | None = None) -> None:
        """A tensor as it is, bit for bit."""
        self.tensors[name or key] = Planned(file.shapes[key], file.dtypes[key], lambda: file.raw(key))

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(planned.size for planned in self.tensors.values())

    def save(
        self,
        path: Path,
        metadata: Mapping[str, str],
        *,
        overwrite: bool = False,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> str:
        """Write it whole or not at all; the SHA-256.

        Raises:
            AdapterError: nothing to write, or the file exists and ``overwrite`` is not set.
        """
        refuse_target(path, overwrite=overwrite)
        if not self.tensors:
            raise AdapterError("There is nothing to write: no module is left.", "Choose other options.")
        return write(path, self.tensors, metadata, stamped=True, progress=progress, cancelled=cancelled)


def refuse_target(path: Path, *, overwrite: bool = False) -> None:
    """Refuse a place that cannot take the file.

    Raises:
        AdapterError: it exists already, is a folder, or does not end in .safetensors.
    """
    if path.suffix.lower() != ".safetensors":
        raise AdapterError(f"{path.name} does not end in .safetensors.", "Name the file so.")
    if path.is_dir():
        raise AdapterError(f"{path} is a folder.", "Name a file.")
    if path.exists() and not overwrite:
        raise AdapterError(f"{path} exists already.", "Choose another name, or --overwrite.")


def dtype_of(file: TensorFile, wanted: str = "") -> str:
    """The number format to write: the wanted one, or the file's own; fp8 and mixtures become bf16 or fp16.

    Raises:
        AdapterError: a format that cannot be written.
    """
    if wanted:
        if wanted not in WRITABLE:
            raise AdapterError(f"'{wanted}' is no number format.", f"Choose one of {', '.join(WRITABLE)}.")
        return wanted
    found = {file.dtypes[key] for key, shape in file.shapes.items() if len(shape) >= 2}
    names = {stored: name for name, stored in WRITABLE.items()}
    if len(found) == 1:
        return names.get(next(iter(found)), "bf16")
    return "fp32" if "F32" in found else "bf16"


def keys_like(module: Module, example: Module | None) -> tuple[str, str, str | None]:
    """Keys for a module that stays, or becomes, a LoRA: its own, or spelled as another's of the same file."""
    if module.kind == "lora":
        return module.pieces["down"], module.pieces["up"], module.pieces.get("alpha")
    if example is not None:
        stem = example.stem.text
        ends = tuple(example.pieces[p].removeprefix(stem) for p in ("down", "up"))
        alpha = ".alpha" if "alpha" in example.pieces else None
    else:
        ends, alpha = (".lora_down.weight", ".lora_up.weight"), ".alpha"
    own = module.stem.text
    return own + ends[0], own + ends[1], own + alpha if alpha else None


def metadata_after(
    source: Mapping[str, str], operation: str, arguments: Mapping[str, Any], **changed: str
) -> dict[str, str]:
    """The metadata of a file made from another: what is stale is gone, and what was done is added to its history."""
    kept = {name: value for name, value in source.items() if name not in _STALE}
    history = json_in(kept.get("lorasmith.operations", ""))
    step = {"operation": operation, "arguments": dict(arguments), "version": __version__}
    kept["lorasmith.operations"] = json.dumps([*history, step] if isinstance(history, list) else [step])
    return {**kept, "format": "pt", **changed}
