"""An adapter file, opened: what it is, its modules, and their updates when they are asked for. One form for all tools.

``layers`` are the canonical form: every layer of the base by diffusers' name, with the module of the file it comes
from and, where the file fuses several layers, the rows that are its own.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lorasmith.adapters.algebra import Factors
from lorasmith.adapters.arrays import Array, TensorFile
from lorasmith.adapters.dialects.canonical import Part, place_of
from lorasmith.adapters.dialects.gathering import Module, gather
from lorasmith.adapters.dialects.recognition import AdapterKind, recognise_gathered
from lorasmith.adapters.dialects.stems import DENOISER
from lorasmith.adapters.dialects.table import opened, table
from lorasmith.adapters.updates import Read, factors_of, needs_base
from lorasmith.errors import AdapterError, BaseError

MAX_METADATA_BYTES = 16_000_000
MAX_SETTINGS_BYTES = 1_000_000
PICKLES = (".pt", ".ckpt", ".bin", ".pth", ".pkl")
"""Endings of files that are programs when they are opened."""
Weights = Callable[[str, str], Array | None]
"""The base's weight of a layer: part and diffusers' name; None when it has none."""
_BIASES = ("diff_b", "up_bias", "down_bias", "w_norm", "b_norm")
"""Pieces beside the matrices of a module that are no part of its ΔW."""
LayerName = tuple[str, str]
"""Part of the base and diffusers' name of the layer."""


@dataclass(frozen=True)
class Layer:
    """One layer of the base as an adapter changes it."""

    part: str
    name: str
    """diffusers' name; the file's own where the table does not know it."""
    module: Module
    rows: Part | None = None
    """Which rows of the module's are this layer's; None: all."""


@dataclass
class OpenAdapter:
    """A file that is an adapter."""

    file: TensorFile
    kind: AdapterKind
    modules: Mapping[str, Module]
    title: str
    family: str
    """The family whose names are used: the told one, or the first of those that fit."""
    family_given: bool = False
    _last: tuple[str, Factors] | None = field(default=None, repr=False)

    def reader(self, module: Module) -> Read:
        """Gives pieces of one module in fp32."""
        return lambda piece: self.file.read(module.pieces[piece])

    def factors(self, module: Module, weight: Array | None = None) -> Factors:
        """The update of one module of the file; the last one is kept, for fused layers ask for it three times."""
        last = self._last
        if weight is None and last is not None and last[0] == module.stem.text:
            return last[1]
        try:
            made = factors_of(module, self.reader(module), weight, self.settings)
        except AdapterError as cause:  # of several files, which one
            if self.title in cause.message:
                raise
            raise AdapterError(f"{self.title}: {cause.message}", cause.hint) from cause
        self._last = (module.stem.text, made) if weight is None else None
        return made

    @cached_property
    def settings(self) -> Mapping[str, Any] | None:
        """peft's ``adapter_config.json`` beside the file; None where there is none, or no readable one."""
        beside = self.file.path.parent / "adapter_config.json"
        if not beside.is_file() or beside.stat().st_size > MAX_SETTINGS_BYTES:
            return None
        try:
            said = json.loads(beside.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            return None
        return said if isinstance(said, dict) else None

    @cached_property
    def layers(self) -> dict[LayerName, Layer]:
        """All layers by their canonical names, but for norms and other updates that are no matrices.

        Raises:
            AdapterError: two modules of the file name the same layer.
        """
        found: dict[LayerName, Layer] = {}
        for module in self.matrices:
            for name, part in place_of(module.stem, self.family, module.layer):
                key = (module.stem.part, name)
                if key in found:
                    raise AdapterError(
                        f"{self.title} names one layer twice: {found[key].module.stem.text} and {module.stem.text}.",
                        "It mixes dialects; convert it with the program that made it.",
                    )
                found[key] = Layer(*key, module, part)
        return found

    @property
    def matrices(self) -> list[Module]:
        """Modules whose update is added to a matrix."""
        kinds = ("lora", "loha", "lokr", "oft", "glora", "full")
        return [m for m in self.modules.values() if m.kind in kinds and (m.layer or m.kind == "oft")]

    @cached_property
    def unheld(self) -> dict[str, str]:
        """What a plain LoRA has no place for: norms, biases, IA3, values that are set, embeddings. By key, each with
        the name people are told it by."""
        found = {key: m.stem.text for m in self.others for key in m.pieces.values()}
        found |= {key: key for m in self.matrices for piece, key in m.pieces.items() if piece in _BIASES}
        for key in self.file.shapes:
            if key.startswith("bundle_emb."):
                found[key] = f"the embedding {key.split('.')[1]}"
        return found | {key: key for key in self.kind.leftover}

    def left_out(self, *, allowed: bool) -> tuple[str, ...]:
        """The names of what is not held, once each.

        Raises:
            AdapterError: there is some, and nobody allowed it to be left out; modules that lack pieces.
        """
        if self.kind.incomplete:
            raise AdapterError(
                f"{self.kind.incomplete[0]} of {self.title} lacks pieces, or they do not fit.", "Get the file again."
            )
        told = tuple(dict.fromkeys(self.unheld.values()))
        if told and not allowed:
            raise AdapterError(
                f"{self.title} also holds what a plain LoRA cannot (norms, biases, embeddings): {told[0]}"
                f"{f' and {len(told) - 1} more' if len(told) > 1 else ''}.",
                "Say --drop-others to leave that out.",
            )
        return told

    def refuse_strangers(self, family: str) -> None:
        """Refuse layers that no model of a family has, by name; of families that are not in the table nothing is known.

        Raises:
            AdapterError: there are some.
        """
        book = table()
        names = {name for model in book.models if model.family == family for name in model.rows["diffusers"]}
        strange = [
            layer.name
            for layer in self.layers.values()
            if names and layer.part.startswith(DENOISER) and opened(layer.name) not in names
        ]
        if strange:
            raise AdapterError(
                f"{len(strange)} of {len(self.layers)} layers of {self.title} are none of {family}: {strange[0]}.",
                "It is of another family, or mixes several: take the layers of one family alone.",
            )

    @property
    def others(self) -> list[Module]:
        """Modules that tools pass by: norms, biases, IA3, values that are set."""
        chosen = {id(module) for module in self.matrices}
        return [module for module in self.modules.values() if id(module) not in chosen]

    def layer_factors(self, layer: Layer, weights: Weights | None = None) -> Factors:
        """The update of one layer of the base.

        Raises:
            AdapterError: as ``factors_of``; a base that is needed and lacks the layer.
        """
        weight = None
        if needs_base(layer.module) and weights is not None:
            weight = self.whole_weight(layer, weights)
        made = self.factors(layer.module, weight)
        return made if layer.rows is None else layer.rows.of(made)

    def whole_weight(self, layer: Layer, weights: Weights) -> Array:
        """The base's weight as the file's module sees it: fused parts stacked."""
        parts = [weights(part, name) for (part, name), other in self.layers.items() if other.module is layer.module]
        present = [part for part in parts if part is not None]
        if len(present) != len(parts):
            raise AdapterError(f"The base has no layer {layer.name}.", "Name the base it was trained on.")
        return np.concatenate(present, axis=0) if len(present) > 1 else present[0]


def open_adapter(path: Path, *, family: str = "") -> OpenAdapter:
    """Open a safetensors file that is an adapter; a pickle is refused, see ``unpickled``.

    Args:
        path: the file.
        family: whose names it uses, where the file itself leaves that open.

    Raises:
        AdapterError: missing, damaged, hostile, or no adapter; a family that does not fit.
    """
    if path.suffix.lower() in PICKLES:
        raise AdapterError(
            f"{path.name} is a pickle, a program that runs when it is opened.",
            f"`lorasmith lora convert {path.name}` opens it where it can do nothing, and makes a .safetensors.",
        )
    file = TensorFile.open(path)
    gathered = gather(file.shapes)
    kind = recognise_gathered(gathered, file.metadata, len(file.shapes))
    if not kind.is_adapter:
        raise AdapterError(f"{path.name} is no LoRA: {kind.evidence[0]}.", "Name a LoRA file.")
    if family and kind.candidates and family not in kind.candidates:
        fits = ", ".join(kind.candidates)
        raise AdapterError(
            f"{path.name} is no LoRA of {family}; its layers are those of {fits}.", "Leave --family out."
        )
    if len(kind.foreign) * 2 > len(file.shapes):
        raise AdapterError(f"{path.name} mixes dialects, {kind.foreign[0]} for instance.", "Convert its parts apart.")
    chosen = family or kind.family or (kind.candidates[0] if kind.candidates else "")
    return OpenAdapter(file, kind, gathered.modules, path.name, chosen, bool(family))


@contextmanager
def unpickled(path: Path) -> Iterator[Path]:
    """A safetensors file of the tensors of an old pickled LoRA, made in the locked process and gone afterwards.

    Raises:
        AdapterError: it holds anything but tensors.
    """
    from lorasmith.bases.converting import convert

    with tempfile.TemporaryDirectory(prefix="lorasmith-") as folder:
        made = Path(folder) / f"{path.stem}.safetensors"
        try:
            convert(path, made)
        except BaseError as cause:
            raise AdapterError(
                cause.message.replace(" of this base", ""), cause.hint.replace("base", "LoRA")
            ) from cause
        yield made
