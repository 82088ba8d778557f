"""What the layers of every known model are called: ``layers.json``, made from the real classes, as look-ups.

Names are compared with dots as underscores and every number open, so that ``lora_unet_blocks_3_attn_q`` and
``diffusion_model.blocks.3.attn.q`` meet; the numbers and the shapes are compared afterwards.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal

Layout = Literal["diffusers", "original"]
Shape = tuple[int, ...]

_DIGITS = re.compile(r"\d+")
_RUNS = re.compile(r"(\d+)")
_OPEN = re.compile(r"\{\d\}|\d+")


@dataclass(frozen=True, slots=True)
class Row:
    """Layers of one name with its numbers left open: ``blocks.#.attn.to_q``."""

    name: str
    bounds: tuple[tuple[int, int], ...]
    """The least and the largest of every number."""
    shapes: frozenset[Shape]


@dataclass(frozen=True, slots=True)
class Model:
    """One model of the table."""

    family: str
    variant: str
    names: str
    """By which rules its two layouts translate; ``unet`` for those of Stable Diffusion, empty when none are known."""
    rows: Mapping[Layout, Mapping[str, Row]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where one layer lies in the other layout."""

    name: str
    """With its numbers filled in."""
    part: int = 0
    """Which of the rows, where several layers are one matrix there."""
    sizes: tuple[int, ...] = ()
    """Rows of every part in the published model; empty where layer and layer correspond."""
    swapped: bool = False
    """Whether the two halves of its rows change places."""


@dataclass(frozen=True)
class Table:
    """All of it."""

    models: tuple[Model, ...]
    index: Mapping[str, tuple[tuple[int, Layout], ...]]
    """Which models know an open name, in which layout."""
    translations: Mapping[str, _Translation]


@dataclass(frozen=True)
class _Translation:
    to_original: Mapping[str, tuple[_Pair, ...]]
    to_diffusers: Mapping[str, tuple[_Pair, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Pair:
    diffusers: str
    original: str
    part: int
    sizes: tuple[int, ...]
    swapped: bool


def opened(name: str) -> str:
    """A name as it is compared: ``blocks_#_attn_to_q``."""
    return _DIGITS.sub("#", name.replace(".", "_"))


def numbers(name: str) -> tuple[int, ...]:
    """The numbers of a name, in order."""
    return tuple(map(int, _DIGITS.findall(name)))


def taken_apart(name: str) -> tuple[str, tuple[int, ...]]:
    """Both at once: a name as it is compared, and its numbers."""
    pieces = _RUNS.split(name)
    return "#".join(pieces[::2]).replace(".", "_"), tuple(map(int, pieces[1::2]))


def filled(row_name: str, values: Sequence[int]) -> str:
    """A row's name with its numbers."""
    pieces = row_name.split("#")
    return "".join(piece + (str(values[i]) if i < len(values) else "") for i, piece in enumerate(pieces))


@functools.cache
def table() -> Table:
    """The table, read once a process."""
    raw = json.loads(resources.files(__package__).joinpath("layers.json").read_bytes())
    models = tuple(_model(entry) for entry in raw["models"])
    index: dict[str, list[tuple[int, Layout]]] = {}
    for number, model in enumerate(models):
        for layout, rows in model.rows.items():
            for name in rows:
                index.setdefault(name, []).append((number, layout))
    translations = {rules: _translation(rows) for rules, rows in raw["names"].items()}
    return Table(models, {name: tuple(found) for name, found in index.items()}, translations)


def _model(entry: Mapping[str, Any]) -> Model:
    rows: dict[Layout, dict[str, Row]] = {}
    for layout in ("diffusers", "original"):
        if found := entry.get(layout):
            rows[layout] = {
                name.replace(".", "_"): Row(name, tuple(map(tuple, bounds)), frozenset(map(tuple, shapes)))
                for name, bounds, shapes in found
            }
    return Model(entry["family"], entry["variant"], entry["names"], rows)


def _translation(rows: Iterable[Sequence[Any]]) -> _Translation:
    forward: dict[str, list[_Pair]] = {}
    backward: dict[str, list[_Pair]] = {}
    for diffusers, original, part, sizes, swapped in rows:
        pair = _Pair(diffusers, original, part, tuple(sizes), bool(swapped))
        forward.setdefault(_key(diffusers), []).append(pair)
        backward.setdefault(_key(original), []).append(pair)
    return _Translation(_frozen(forward), _frozen(backward))


def _frozen(found: Mapping[str, list[_Pair]]) -> dict[str, tuple[_Pair, ...]]:
    return {name: tuple(sorted(pairs, key=lambda pair: pair.part)) for name, pairs in found.items()}


def _key(template: str) -> str:
    return _OPEN.sub("#", template).replace(".", "_")


def _matched(template: str, values: Sequence[int]) -> dict[int, int] | None:
    """The open numbers of a template when the others are as it says."""
    taken: dict[int, int] = {}
    slots = _OPEN.findall(template)
    if len(slots) != len(values):
        return None
    for slot, value in zip(slots, values, strict=True):
        if slot[0] == "{":
            taken[int(slot[1:-1])] = value
        elif int(slot) != value:
            return None
    return taken


def _put(template: str, taken: Mapping[int, int]) -> str:
    for index, value in taken.items():
        template = template.replace(f"{{{index}}}", str(value))
    return template


def to_original(rules: str, module: str) -> Place | None:
    """Where a layer of diffusers' name lies in the original layout; None when the rules do not know it."""
    translation = table().translations.get(rules)
    if translation is None:
        return None
    values = numbers(module)
    for pair in translation.to_original.get(opened(module), ()):
        taken = _matched(pair.diffusers, values)
        if taken is not None:
            return Place(_put(pair.original, taken), pair.part, pair.sizes, pair.swapped)
    return None


def to_diffusers(rules: str, name: str) -> tuple[Place, ...]:
    """The layers of diffusers that one original layer is, in the order of its rows; dots may be underscores."""
    translation = table().translations.get(rules)
    if translation is None:
        return ()
    values = numbers(name)
    found: list[Place] = []
    for pair in translation.to_diffusers.get(opened(name), ()):
        taken = _matched(pair.original, values)
        if taken is not None:
            found.append(Place(_put(pair.diffusers, taken), pair.part, pair.sizes, pair.swapped))
    return tuple(found)


@functools.cache
def original_unet(family: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Of the UNet of Stable Diffusion or SDXL: diffusers' names to original ones, and the flat original names back."""
    from lorasmith.bases.original_layout import original_unet_module, unet_blocks

    cross, plain = "CrossAttnDownBlock2D", "DownBlock2D"
    down = (plain, cross, cross) if family == "sdxl" else (cross, cross, cross, plain)
    up = tuple(kind.replace("Down", "Up") for kind in reversed(down))
    blocks = unet_blocks({"down_block_types": down, "up_block_types": up})
    forward: dict[str, str] = {}
    for model in table().models:
        if model.family != family or model.names != "unet" or "refiner" in model.variant:
            continue
        for row in model.rows["diffusers"].values():
            for name in _every(row):
                original = _EXTRA_UNET.get(name) or original_unet_module(name, blocks)
                if original is not None:
                    forward[name] = original
    return forward, {original.replace(".", "_"): name for name, original in forward.items()}


@functools.cache
def original_unet_norms(family: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The same of the norms of these UNets."""
    from lorasmith.bases.original_layout import original_unet_module, unet_blocks

    cross, plain = "CrossAttnDownBlock2D", "DownBlock2D"
    down = (plain, cross, cross) if family == "sdxl" else (cross, cross, cross, plain)
    blocks = unet_blocks({"down_block_types": down, "up_block_types": tuple(
        kind.replace("Down", "Up") for kind in reversed(down)
    )})  # fmt: skip
    norms = {"conv_norm_out"}
    for module in original_unet(family)[0]:
        head, _, number = module.partition(".transformer_blocks.")
        if number:
            norms |= {f"{head}.norm"} | {f"{head}.transformer_blocks.{number.partition('.')[0]}.norm{n}" for n in "123"}
        elif ".resnets." in module:
            norms |= {f"{module.rpartition('.')[0]}.norm{n}" for n in "12"}
    places = {name: original_unet_module(name, blocks) for name in norms}
    forward = {name: original for name, original in places.items() if original is not None}
    return forward, {original.replace(".", "_"): name for name, original in forward.items()}


def layouts_agree(rules: str) -> bool:
    """Whether the released names of a model are diffusers' too."""
    translation = table().translations.get(rules)
    return translation is not None and all(
        pair.diffusers == pair.original and not pair.sizes
        for pairs in translation.to_original.values() for pair in pairs
    )  # fmt: skip


_EXTRA_UNET = {
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "class_embedding.linear_1": "label_emb.0.0",
    "class_embedding.linear_2": "label_emb.0.2",
}


def _every(row: Row) -> Iterable[str]:
    """All names a row stands for."""
    names = [row.name]
    for least, largest in row.bounds:
        names = [name.replace("#", str(n), 1) for name in names for n in range(least, largest + 1)]
    return names
