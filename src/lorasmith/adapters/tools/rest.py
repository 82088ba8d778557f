"""What differs between two checkpoints beside the matrices that a LoRA stands by: norms, biases, tables, parameters.

They are measured always, and written on request as whole differences in the keys that LyCORIS gave them: ``.diff_b``
beside a layer, ``.w_norm`` and ``.b_norm`` of a norm, ``.diff`` of all else. ComfyUI adds those to the weights of the
names (comfy/lora.py); diffusers has no place for them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Final, Literal

import numpy as np

from lorasmith.adapters.arrays import WRITABLE, Array, Cancelled, Planned, decoded, encoded, overflows
from lorasmith.adapters.dialects.canonical import rules_of, swapped_halves
from lorasmith.adapters.dialects.formats import Format, comfyui_text_encoder, format_named, place_in
from lorasmith.adapters.dialects.stems import DENOISER, text_module
from lorasmith.adapters.dialects.table import (
    Place,
    layouts_agree,
    original_unet,
    original_unet_norms,
    to_original,
)
from lorasmith.adapters.opened import LayerName
from lorasmith.adapters.output import Output
from lorasmith.adapters.programs import CLASSES
from lorasmith.adapters.weights import BaseWeights, Located
from lorasmith.bases.detection import registered_families
from lorasmith.errors import AdapterError, Stopped

Sort = Literal["bias", "norm", "table", "parameter", "elsewhere"]
HOLDING: Final = ("kohya", "comfyui")
"""Dialects that have keys for it."""
_CHUNK: Final = 1 << 22  # numbers read at once: 16 MB


@dataclass(frozen=True)
class Differing:
    """One tensor that is no matrix of a layer and differs."""

    name: str
    """Part and name: ``denoiser.mid_block.resnets.0.norm1.weight``."""
    sort: Sort
    """``elsewhere``: of a part that LoRAs do not change, such as the VAE."""
    relative: float
    """‖difference‖ / ‖what it was‖; infinite where that was zero."""
    kept: bool = False
    """Whether the file holds the difference."""


@dataclass(frozen=True)
class Rest:
    """All of it."""

    compared: int
    differing: tuple[Differing, ...]
    """The largest relative difference first."""
    alone: tuple[str, ...]
    """Tensors that only one of the two has, or each in another shape."""
    share: float
    """Of the norm of all that differs in the denoiser and the text encoders, how much lies here and not in matrices."""

    @property
    def counts(self) -> dict[str, int]:
        """How many differ, by sort."""
        sorts = [one.sort for one in self.differing]
        return {sort: sorts.count(sort) for sort in dict.fromkeys(sorts)}

    @property
    def largest(self) -> tuple[str, float]:
        """The one that differs most, of its own size."""
        return (self.differing[0].name, self.differing[0].relative) if self.differing else ("", 0.0)

    @property
    def kept(self) -> int:
        """How many of them the file holds."""
        return sum(one.kept for one in self.differing)


@dataclass(frozen=True)
class Measured:
    """A tensor that differs, with what is needed to write it."""

    name: LayerName
    sort: Sort
    old: Located
    new: Located
    square: float
    """‖difference‖²."""
    relative: float


@dataclass(frozen=True)
class Found:
    """What a look at both found."""

    pairs: Mapping[LayerName, Measured]
    """All that both have in one shape, by name."""
    differing: tuple[Measured, ...]
    """The largest relative difference first."""
    alone: tuple[str, ...]

    @property
    def square(self) -> float:
        """‖all differences‖² of the parts that LoRAs change."""
        return math.fsum(one.square for one in self.differing if one.sort != "elsewhere")


def is_layer(name: LayerName) -> bool:
    """Whether a matrix is one that a LoRA stands beside: programs look for layers of text encoders, not for tables."""
    return not name[0].startswith("text") or text_module(name[1]) is not None


def compare(
    before: BaseWeights, after: BaseWeights, *, clamp: float, text_encoders: bool, cancelled: Cancelled | None = None
) -> Found:
    """Measure all that is no layer's matrix; a few million numbers are in memory at a time.

    Raises:
        AdapterError: values that are not finite.
        Stopped: on request.
    """
    old, new = _all(before, text_encoders=text_encoders), _all(after, text_encoders=text_encoders)
    alone = [_told(name) for name in chain(old, new) if (name in old) != (name in new)]
    pairs: dict[LayerName, Measured] = {}
    differing: list[Measured] = []
    for name in old:
        if cancelled is not None and cancelled():
            raise Stopped("Stopped; nothing was written.")
        if name not in new:
            continue
        here, there = old[name], new[name]
        if _shape(here) != _shape(there):
            alone.append(_told(name))
            continue
        square, size = _squares(here, there, _told(name))
        relative = math.sqrt(square / size) if size else math.inf if square else 0.0
        pairs[name] = Measured(name, _sort(name, here), here, there, square, relative)
        if relative > clamp:
            differing.append(pairs[name])
    differing.sort(key=lambda one: -one.relative)
    return Found(pairs, tuple(differing), tuple(dict.fromkeys(alone)))


def format_holding(dialect: str, family: str, only_for: str) -> Format:
    """The dialect to write such differences in.

    Raises:
        AdapterError: the dialect has no keys for them, or the file is to be read by a program that does not read them.
    """
    if only_for not in ("comfyui", "any"):
        raise AdapterError(
            "diffusers reads no differences of norms and biases, and may refuse a file that holds some.",
            "Say --only-for comfyui, or leave --keep-rest out.",
        )
    best = format_named(dialect, family)
    if best.name in HOLDING:
        return best
    if dialect:
        raise AdapterError(
            f"The {dialect} dialect has no keys for differences of norms and biases.", "Choose kohya or comfyui."
        )
    return format_named("comfyui", family)


@dataclass(frozen=True)
class _Entry:
    """One tensor of the file: several of the base below each other, or one, or one whose halves change places."""

    pieces: tuple[Measured, ...]
    turned: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        shapes = [_shape(piece.old) for piece in self.pieces]
        return shapes[0] if len(shapes) == 1 else (sum(shape[0] for shape in shapes), *shapes[0][1:])

    def make(self) -> Array:
        made = [_delta(piece) for piece in self.pieces]
        whole = made[0] if len(made) == 1 else np.concatenate(made)
        return swapped_halves(whole) if self.turned else whole


def plan_rest(output: Output, found: Found, chosen: Format, weights: BaseWeights) -> tuple[set[LayerName], float]:
    """Enter what differs under the keys of a dialect.

    Returns the names of what was entered, and ‖what is lost by the width of the numbers‖², measured.

    Raises:
        AdapterError: two tensors would have one key, numbers too large for fp16.
    """
    entries: dict[str, _Entry] = {}
    for one in found.differing:
        for key, entry in _keys_for(one, found, chosen, weights).items():
            if entries.setdefault(key, entry) != entry or key in output.tensors:
                raise AdapterError(f"Two tensors would be written as {key}.", "Their names are one in this dialect.")
    lost = 0.0
    for key, entry in entries.items():
        stored = "F32" if len(entry.shape) < 2 else WRITABLE[output.dtype]  # what has one axis is small
        lost += sum(_rounding(piece, stored) for piece in entry.pieces)
        output.tensors[key] = Planned(entry.shape, stored, entry.make)
    differing = {one.name for one in found.differing}
    return {piece.name for entry in entries.values() for piece in entry.pieces} & differing, lost


def rest_of(found: Found, entered: set[LayerName], matrices: float) -> Rest:
    """What is told of it; ``matrices`` is ‖the differences of all layers‖²."""
    told = tuple(Differing(_told(one.name), one.sort, one.relative, one.name in entered) for one in found.differing)
    whole = found.square + matrices
    return Rest(len(found.pairs), told, found.alone, math.sqrt(found.square / whole) if whole else 0.0)


def _all(weights: BaseWeights, *, text_encoders: bool) -> dict[LayerName, Located]:
    tables = {(part, f"{name}.weight"): place for (part, name), place in weights.places.items()
              if not is_layer((part, name))}  # fmt: skip
    both = weights.beside | tables
    return {name: place for name, place in both.items() if text_encoders or not name[0].startswith("text")}


def _told(name: LayerName) -> str:
    return ".".join(filter(None, name))


def _shape(place: Located) -> tuple[int, ...]:
    shape = place.file.shapes[place.key]
    return (place.last - place.first, *shape[1:]) if shape else ()


def _sort(name: LayerName, place: Located) -> Sort:
    part, text = name
    if not part:
        return "elsewhere"
    if len(_shape(place)) > 1:
        return "table" if text.endswith(".weight") else "parameter"
    if text.endswith((".weight", ".scale")):
        return "norm"
    beside = place.file.shapes.get(f"{place.key.removesuffix('.bias')}.weight", ())
    if text.endswith(".bias"):
        return "norm" if len(beside) == 1 else "bias"
    return "parameter"


def _chunks(place: Located) -> Iterator[Array]:
    """Its numbers in fp32 and in diffusers' order, flat; integers are exact in fp64."""
    shape = place.file.shapes[place.key]
    if place.swapped:
        yield swapped_halves(place.file.rows(place.key, place.first, place.last).astype(np.float32, copy=False))
        return
    if not shape:
        yield place.file.read(place.key).reshape(-1).astype(np.float64)
        return
    wide = max(1, math.prod(shape[1:]))
    step = max(1, _CHUNK // wide)
    for first in range(place.first, place.last, step):
        rows = place.file.rows(place.key, first, min(place.last, first + step))
        yield rows.reshape(-1).astype(np.float64 if rows.dtype.kind in "iub" else np.float32, copy=False)


def _squares(old: Located, new: Located, name: str) -> tuple[float, float]:
    """‖new - old‖² and ‖old‖²."""
    square = size = 0.0
    for before, after in zip(_chunks(old), _chunks(new), strict=True):
        delta = after.astype(np.float64) - before
        square, size = square + float(delta @ delta), size + float(before.astype(np.float64) @ before)
    if not (math.isfinite(square) and math.isfinite(size)):
        raise AdapterError(f"{name} holds NaN or infinite values.", "One of the checkpoints is damaged.")
    return square, size


def _delta(piece: Measured) -> Array:
    parts = [after - before for before, after in zip(_chunks(piece.old), _chunks(piece.new), strict=True)]
    return np.concatenate(parts).astype(np.float32).reshape(_shape(piece.old))


def _rounding(piece: Measured, stored: str) -> float:
    lost = 0.0
    for before, after in zip(_chunks(piece.old), _chunks(piece.new), strict=True):
        delta = (after - before).astype(np.float32)
        if overflows(delta, stored):
            raise AdapterError(f"{_told(piece.name)} is too large for fp16.", "Write it as bf16 or fp32 (--dtype).")
        gap = delta.astype(np.float64) - decoded(encoded(delta, stored), stored)
        lost += float(gap @ gap)
    return lost


def _keys_for(one: Measured, found: Found, chosen: Format, weights: BaseWeights) -> dict[str, _Entry]:
    """The keys that hold a tensor, with all that each holds; none where no program looks for it."""
    part, text = one.name
    stem, _, ending = text.rpartition(".")
    if one.sort == "elsewhere" or part == "denoiser_2":
        return {}
    if one.sort == "bias":
        return _bias_keys(one, found, chosen, weights.family)
    if part != DENOISER:
        return _text_keys(one, found, chosen, weights.family)
    named = ending in ("weight", "bias", "scale")
    name = _own_name(stem if named else text, chosen, weights)
    if not name or (not named and chosen.flat):  # ComfyUI has no flat names of parameters
        return {}
    beginning = chosen.unet if rules_of(weights.family) == "unet" else chosen.transformer
    if not named:
        return {f"{beginning}{name}.diff": _Entry((one,))}
    return _pieces(beginning + (name.replace(".", "_") if chosen.flat else name), one, found)


def _text_keys(one: Measured, found: Found, chosen: Format, family: str) -> dict[str, _Entry]:
    """Of norms and tables of CLIP: ComfyUI has names of its own for them, kohya none."""
    part, text = one.name
    stem, _, ending = text.rpartition(".")
    clip = text.startswith(("encoder.layers.", "embeddings.", "final_layer_norm."))
    if chosen.name != "comfyui" or not clip or ending not in ("weight", "bias"):
        return {}
    width = one.old.file.shapes[one.old.key][-1]
    return _pieces(f"{comfyui_text_encoder(family, part, width)}text_model.{stem}", one, found)


def _pieces(stem: str, one: Measured, found: Found) -> dict[str, _Entry]:
    """A norm has both its pieces: ComfyUI looks for the second only beside the first, A1111 wants both."""
    if one.sort != "norm":
        return {f"{stem}.diff": _Entry((one,))}
    part, text = one.name
    norm = text.rpartition(".")[0]
    weight = next((word for word in ("weight", "scale") if (part, f"{norm}.{word}") in found.pairs), "")
    if not weight:
        return {}
    pieces = {f"{stem}.w_norm": _Entry((found.pairs[part, f"{norm}.{weight}"],))}
    if (part, f"{norm}.bias") in found.pairs:
        pieces[f"{stem}.b_norm"] = _Entry((found.pairs[part, f"{norm}.bias"],))
    return pieces


def _own_name(name: str, chosen: Format, weights: BaseWeights) -> str:
    """What the dialect calls a module of the denoiser; empty where that is not known."""
    family, rules = weights.family, rules_of(weights.family)
    if rules == "unet":
        if chosen.name != "comfyui":
            return name
        return original_unet(family)[0].get(name, "") or original_unet_norms(family)[0].get(name, "")
    if _renamed(family):
        return ""
    return name if weights.layout == "original" or layouts_agree(rules) else ""


def _renamed(family: str) -> tuple[tuple[str, str], ...]:
    """Where ComfyUI has other names than the release: what it calls the norms is not known here."""
    known = registered_families().get(family)
    reads = CLASSES["ComfyUI"].get(known.elsewhere.get("ComfyUI", "")) if known is not None else None
    return reads.own if reads is not None else ()


def _bias_keys(one: Measured, found: Found, chosen: Format, family: str) -> dict[str, _Entry]:
    """The bias of a layer; where the dialect fuses layers, of all of them."""
    part, layer = one.name[0], one.name[1].removesuffix(".bias")
    if part != DENOISER and not is_layer((part, layer)):
        return {}
    matrix = one.old.file.shapes.get(f"{one.old.key.removesuffix('.bias')}.weight", (0, 0))
    try:
        place = place_in(chosen, family, part, layer, matrix)
    except AdapterError:
        return {}
    if not place.sizes:
        return {f"{place.name}.diff_b": _Entry((one,), place.swapped and matrix[0] == 2 * matrix[1])}
    members: dict[int, Measured] = {}
    for (inside, text), pair in found.pairs.items():
        if inside == part and pair.sort == "bias":
            other = to_original(rules_of(family), text.removesuffix(".bias"))
            if other is not None and _stem_of(chosen, other) == place.name:
                members[other.part] = pair
    whole = tuple(members[number] for number in sorted(members))
    return {f"{place.name}.diff_b": _Entry(whole)} if len(whole) == len(place.sizes) else {}


def _stem_of(chosen: Format, place: Place) -> str:
    return chosen.transformer + (place.name.replace(".", "_") if chosen.flat else place.name)
