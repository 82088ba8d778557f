"""Bake: LoRAs added to a base for good, written as a new base file in the layout and number format of the old one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lorasmith.adapters.arrays import Array, Cancelled, Planned, Progress, TensorFile, write
from lorasmith.adapters.dialects.canonical import swapped_halves
from lorasmith.adapters.opened import LayerName, OpenAdapter, open_adapter
from lorasmith.adapters.output import metadata_after, refuse_target
from lorasmith.adapters.tools.blocks import chosen
from lorasmith.adapters.tools.merging import Ingredient
from lorasmith.adapters.weights import BaseWeights, Located, open_weights
from lorasmith.errors import AdapterError

_BAKED = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class Baked:
    """What baking did, or with a dry run would do."""

    out: Path
    family: str
    tensors: int
    changed: int
    """Tensors of the base that are others now."""
    layers: int
    left_out: tuple[str, ...] = ()
    """Layers of the LoRAs for which the file has no weight, such as text encoders that lie elsewhere; norms, biases and
    embeddings."""
    size: int = 0
    sha256: str = ""


@dataclass
class _Work:
    adapters: list[OpenAdapter]
    ingredients: Sequence[Ingredient]
    weights: BaseWeights
    found: dict[LayerName, Located] = field(default_factory=dict)


def bake(
    base: Path,
    ingredients: Sequence[Ingredient],
    out: Path,
    *,
    family: str = "",
    allow_missing: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Baked:
    """Write a base with LoRAs added to its weights.

    Tensors that no LoRA touches are copied bit for bit; one tensor is in memory at a time. DoRA, OFT and GLoRA take the
    base's own weights, which is what they were trained for.

    Raises:
        AdapterError: no base file, another family, layers that the base lacks (unless ``allow_missing``).
        Stopped: on request; nothing is written.
    """
    if base.is_dir():
        raise AdapterError(
            f"{base} is a folder; a LoRA is baked into one file.",
            "Name its denoiser file, for example unet/*.safetensors.",
        )
    if not ingredients:
        raise AdapterError("There is nothing to bake in.", "Name a LoRA file.")
    refuse_target(out, overwrite=overwrite)
    weights = open_weights(base, family=family)
    adapters = [open_adapter(one.path, family="") for one in ingredients]
    for adapter in adapters:
        if adapter.kind.candidates and weights.family not in adapter.kind.candidates:
            raise AdapterError(
                f"{adapter.title} is a LoRA of {' or '.join(adapter.kind.candidates)}, "
                f"{base.name} is of {weights.family}.",
                "Name the base it was trained for.",
            )
        adapter.family = weights.family
    unheld = [name for adapter in adapters for name in adapter.left_out(allowed=True)]
    if unheld and not allow_missing:
        raise AdapterError(
            f"Norms, biases and embeddings are not baked in, and the LoRAs have {len(unheld)}, {unheld[0]} first.",
            "Say --allow-missing to leave them out.",
        )
    work = _Work(adapters, ingredients, weights)
    touched, missing = _touched(work)
    if missing and not allow_missing:
        raise AdapterError(
            f"{base.name} has no weight for {len(missing)} layers, {missing[0]} first.",
            "Name the whole checkpoint, or say --allow-missing to leave them out.",
        )
    (file,) = weights.files
    tensors = {key: _planned(work, file, key, touched.get(key, [])) for key in file.shapes}
    arguments = {"ingredients": [{"file": one.path.name, "weight": one.weight} for one in ingredients]}
    metadata = metadata_after(file.metadata, "bake", arguments)
    sha = ""
    if not dry_run:
        sha = write(out, tensors, metadata, progress=progress, cancelled=cancelled)
    size = sum(planned.size for planned in tensors.values())
    return Baked(out, weights.family, len(tensors), len(touched), len(work.found), (*missing, *unheld), size, sha)


def _touched(work: _Work) -> tuple[dict[str, list[LayerName]], list[str]]:
    """Layers by the tensor they change, and those without one."""
    touched: dict[str, list[LayerName]] = {}
    missing: list[str] = []
    for name in dict.fromkeys(name for adapter in work.adapters for name in adapter.layers):
        place = work.weights.places.get(name)
        if place is None:
            missing.append(f"{name[0]}.{name[1]}")
            continue
        work.found[name] = place
        touched.setdefault(place.key, []).append(name)
    return touched, missing


def _planned(work: _Work, file: TensorFile, key: str, layers: list[LayerName]) -> Planned:
    if not layers:
        return Planned(file.shapes[key], file.dtypes[key], lambda: file.raw(key))
    if file.dtypes[key] not in _BAKED:
        raise AdapterError(f"{key} is stored as {file.dtypes[key]}.", "Name the base in fp16, bf16 or fp32.")
    return Planned(file.shapes[key], file.dtypes[key], lambda: _changed(work, file, key, layers))


def _changed(work: _Work, file: TensorFile, key: str, layers: list[LayerName]) -> Array:
    whole = file.read(key).astype(np.float32)
    for name in layers:
        place = work.found[name]
        rows = whole[place.first : place.last]
        update = np.zeros((rows.shape[0], rows[0].size), dtype=np.float32)
        for adapter, one in zip(work.adapters, work.ingredients, strict=True):
            layer = adapter.layers.get(name)
            weight = chosen(*name, one.by_block, one.weight)
            if layer is None or not weight:
                continue
            made = adapter.layer_factors(layer, work.weights)
            if (made.up.shape[0], made.down.shape[1]) != update.shape:
                raise AdapterError(
                    f"{adapter.title} changes {name[1]} as {made.layer}, the base has {tuple(rows.shape)}.",
                    "It was made for another base.",
                )
            update += np.float32(weight) * made.product()
        update = swapped_halves(update) if place.swapped else update
        rows += update.reshape(rows.shape)
    return whole
