"""Bake: LoRAs added to a base for good, written as a new base in the layout and number format of the old one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lorasmith.adapters.arrays import (
    Array,
    Cancelled,
    Planned,
    Progress,
    TensorFile,
    refuse_without_room,
    unwritable,
    write,
)
from lorasmith.adapters.dialects.canonical import swapped_halves
from lorasmith.adapters.opened import LayerName, OpenAdapter, open_adapter
from lorasmith.adapters.output import metadata_after, refuse_target
from lorasmith.adapters.tools.blocks import chosen, refuse_beyond_measure, refuse_idle
from lorasmith.adapters.tools.merging import Ingredient
from lorasmith.adapters.weights import BaseWeights, Located, open_weights
from lorasmith.errors import AdapterError, Stopped
from lorasmith.files import clear_leftovers, read_json

_BAKED = ("F32", "F16", "BF16")
_WEIGHTS = (".safetensors", ".bin", ".ckpt", ".pt", ".msgpack", ".onnx", ".h5")


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
class Work:
    """A base, what goes into it, and where."""

    adapters: list[OpenAdapter]
    ingredients: Sequence[Ingredient]
    weights: BaseWeights
    found: dict[LayerName, Located] = field(default_factory=dict)
    touched: dict[tuple[Path, str], list[LayerName]] = field(default_factory=dict)
    """Layers by the tensor they change: its file and key."""
    missing: list[str] = field(default_factory=list)


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
    """Write a base with LoRAs added to its weights: of a file a file, of a folder in diffusers layout a folder.

    Tensors that no LoRA touches are copied bit for bit; one tensor is in memory at a time. DoRA, OFT and GLoRA take the
    base's own weights, which is what they were trained for. A folder's other parts come along as they are. Of a packed
    base the new one is in bf16.

    Raises:
        AdapterError: no base, another family, layers that the base lacks (unless ``allow_missing``).
        Stopped: on request; nothing is written.
    """
    if base.is_dir():
        refuse_place(out, base)
    else:
        refuse_target(out, overwrite=overwrite)
    work = prepared(base, ingredients, family, allow_missing=allow_missing)
    plans = {file.path: {key: _planned(work, file, key) for key in file.shapes} for file in work.weights.files}
    sha, size = "", sum(planned.size for plan in plans.values() for planned in plan.values())
    if base.is_dir():
        aside = companions(base, [file.path for file in work.weights.files])
        size += sum(path.stat().st_size for path in aside)
        if not dry_run:
            _write_folder(work, out, plans, aside, size, progress, cancelled)
    elif not dry_run:
        (file,) = work.weights.files
        sha = write(out, plans[file.path], _said(work, file), progress=progress, cancelled=cancelled)
    return Baked(
        out, work.weights.family, sum(map(len, plans.values())), len(work.touched), len(work.found),
        tuple(work.missing), size, sha,
    )  # fmt: skip


def refuse_place(out: Path, base: Path) -> None:
    """Refuse a place that cannot take the folder.

    Raises:
        AdapterError: it exists already, or is called as a file is.
    """
    if out.suffix.lower() == ".safetensors":
        raise AdapterError(
            f"{base.name} is a folder, and so is what is made of it.", f"Name a folder: {out.with_suffix('').name}."
        )
    if out.exists():
        raise AdapterError(f"{out} exists already.", "Choose another name.")


def prepared(base: Path, ingredients: Sequence[Ingredient], family: str, *, allow_missing: bool) -> Work:
    """Base and LoRAs, opened, and which layer changes which tensor; headers alone are read.

    Raises:
        AdapterError: they do not fit each other.
    """
    if not ingredients:
        raise AdapterError("There is nothing to bake in.", "Name a LoRA file.")
    for one in ingredients:
        refuse_beyond_measure((one.weight, *one.by_block.values()))
    if not any(one.weight or any(one.by_block.values()) for one in ingredients):
        raise AdapterError("All weights are zero; the result would be the same base.", "Give one another weight.")
    weights = open_weights(base, family=family)
    adapters = [open_adapter(one.path, family="") for one in ingredients]
    for adapter in adapters:
        if adapter.kind.candidates and weights.family not in adapter.kind.candidates:
            raise AdapterError(
                f"{adapter.title} is a LoRA of {' or '.join(adapter.kind.candidates)}, "
                f"{weights.title} is of {weights.family}.",
                "Name the base it was trained for.",
            )
        adapter.family = weights.family
    unheld = [name for adapter in adapters for name in adapter.left_out(allowed=True)]
    if unheld and not allow_missing:
        raise AdapterError(
            f"Norms, biases and embeddings are not baked in, and the LoRAs have {len(unheld)}, {unheld[0]} first.",
            "Say --allow-missing to leave them out.",
        )
    work = Work(adapters, ingredients, weights)
    names = list(dict.fromkeys(name for adapter in adapters for name in adapter.layers))
    for one in ingredients:
        refuse_idle(one.by_block, names)
    for name in names:
        place = weights.places.get(name)
        if place is None:
            work.missing.append(f"{name[0]}.{name[1]}")
            continue
        work.found[name] = place
        work.touched.setdefault((place.file.path, place.key), []).append(name)
    if not work.touched:
        raise AdapterError(f"No layer of the LoRAs is in {weights.title}.", "Name the base they were trained for.")
    if work.missing and not allow_missing:
        raise AdapterError(
            f"{weights.title} has no weight for {len(work.missing)} layers, {work.missing[0]} first.",
            "Name the whole checkpoint, or say --allow-missing to leave them out.",
        )
    work.missing += unheld
    return work


def companions(base: Path, weights: Sequence[Path]) -> list[Path]:
    """What of a folder comes along as it is: the parts that its ``model_index.json`` names, without other forms of the
    weights that are written anew."""
    index = base / "model_index.json"
    if not index.is_file():
        raise AdapterError(f"{base.name} has no model_index.json.", "Name a folder in diffusers layout, or one file.")
    named = read_json(index)
    if not named:
        raise AdapterError(f"{index} cannot be read.", "Get that file again.")
    rewritten = {path.parent.name for path in weights}
    found = [index]
    for part in sorted(name for name, value in named.items() if isinstance(value, list)):
        for path in sorted((base / part).rglob("*")) if Path(part).name == part else ():
            stale = part in rewritten and (path.suffix.lower() in _WEIGHTS or _of_others(path, weights))
            if path.is_file() and not stale and not path.name.startswith("."):
                found.append(path)
    return found


def _of_others(path: Path, weights: Sequence[Path]) -> bool:
    """Whether a file lists pieces of another form of the weights."""
    if not path.name.endswith(".index.json"):
        return False
    pieces = read_json(path).get("weight_map")
    named = {str(one) for one in pieces.values()} if isinstance(pieces, dict) else set()
    return not named <= {one.name for one in weights if one.parent == path.parent}


def _write_folder(
    work: Work,
    out: Path,
    plans: Mapping[Path, Mapping[str, Planned]],
    aside: Sequence[Path],
    size: int,
    progress: Progress | None,
    cancelled: Cancelled | None,
) -> None:
    """The folder appears under its name when all of it is on the disk."""
    base = work.weights.path
    total, before = sum(map(len, plans.values())) + len(aside), 0
    refuse_without_room(out.parent, size, out.name)
    clear_leftovers(out)
    partial = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    shutil.rmtree(partial, ignore_errors=True)

    def show(done: int, of: int) -> None:
        if progress is not None:
            progress(before + done, total)

    try:
        for path in aside:
            if cancelled is not None and cancelled():
                raise Stopped(f"Stopped; {out.name} was not written.")
            target = partial / path.relative_to(base)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            before += 1
        for file in work.weights.files:
            target = partial / file.path.relative_to(base)
            target.parent.mkdir(parents=True, exist_ok=True)
            write(target, plans[file.path], _said(work, file), progress=show, cancelled=cancelled)
            before += len(plans[file.path])
        partial.replace(out)
    except OSError as cause:
        raise unwritable(out, size, cause) from cause
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _said(work: Work, file: TensorFile) -> dict[str, str]:
    arguments = {"ingredients": [{"file": one.path.name, "weight": one.weight} for one in work.ingredients]}
    return metadata_after(file.metadata, "bake", arguments)


def _planned(work: Work, file: TensorFile, key: str) -> Planned:
    layers = work.touched.get((file.path, key), [])
    if not layers:
        return Planned(file.shapes[key], file.dtypes[key], lambda: file.raw(key))
    if file.dtypes[key] not in _BAKED:
        raise AdapterError(f"{key} is stored as {file.dtypes[key]}.", "Name the base in fp16, bf16 or fp32.")
    return Planned(file.shapes[key], file.dtypes[key], lambda: _changed(work, file, key, layers))


def _changed(work: Work, file: TensorFile, key: str, layers: list[LayerName]) -> Array:
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
