"""Makes ``adapters/dialects/layers.json`` from the real classes: ``python -m tests.adapters.layer_table``.

The table says for every model of the corpus how its layers are called and shaped, in both layouts, with the numbers
in names left open, and for every family how the two layouts translate. Needs diffusers; what it makes does not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.bases.corpus import MODELS, Model, build, in_original_names
from tests.bases.originals import EXTRA, Shapes

TABLE = Path(__file__).parents[2] / "src" / "lorasmith" / "adapters" / "dialects" / "layers.json"
_DIGITS = re.compile(r"\d+")
# Original and diffusers' order of the two halves differ here; diffusers' converters swap them.
_SWAPS = {"sd3", "flux", "flux2", "flux3", "auraflow"}


def layers_of(shapes: Shapes) -> Shapes:
    """Names and shapes of what a LoRA can stand beside: weights of two axes and more."""
    return {
        key.removesuffix(".weight"): shape
        for key, shape in shapes.items()
        if key.endswith(".weight") and len(shape) >= 2
    }


def rows(layers: Shapes) -> list[list[Any]]:
    """One row per name with its numbers left open: name, least and largest of every number, shapes."""
    found: dict[str, tuple[list[list[int]], list[list[int]]]] = {}
    for name, shape in layers.items():
        numbers = [int(n) for n in _DIGITS.findall(name)]
        bounds, shapes = found.setdefault(_DIGITS.sub("#", name), ([[n, n] for n in numbers], []))
        for bound, number in zip(bounds, numbers, strict=True):
            bound[:] = [min(bound[0], number), max(bound[1], number)]
        if list(shape) not in shapes:
            shapes.append(list(shape))
    return [[name, bounds, sorted(shapes)] for name, (bounds, shapes) in sorted(found.items())]


def translation(model: Model, shapes: Shapes) -> list[list[Any]]:
    """``[diffusers' name, original name, part, rows of all parts, swapped]`` with the open numbers as ``{0}``."""
    layers = layers_of(shapes)
    parts: dict[str, list[str]] = {}
    for name, shape in layers.items():
        (original,) = set(in_original_names(model, {f"{name}.weight": shape})) - set(EXTRA.get(model.rules, {}))
        parts.setdefault(original.removesuffix(".weight").removeprefix("net."), []).append(name)
    made: dict[str, list[Any]] = {}
    for original, names in parts.items():
        names.sort(key=_order)
        sizes = [layers[name][0] for name in names]
        for part, name in enumerate(names):
            opened, number = _opened(name, original)
            swap = int(model.family in _SWAPS and name.endswith(("norm_out.linear", "norm1_context.linear")))
            made.setdefault(opened, [opened, number, part, sizes if len(names) > 1 else [], swap])
    return sorted(made.values())


def _order(name: str) -> int:
    """q, k, v, then the rest: the order of rows in every fused matrix."""
    for place, word in enumerate(("to_q", "to_k", "to_v", "add_q", "add_k", "add_v", "gate_layer", "proj")):
        if word in name.rpartition("attn")[2] or name.endswith(word):
            return place
    return 99


def _opened(name: str, original: str) -> tuple[str, str]:
    """Both names with the numbers of blocks open; numbers that stand in one name only belong to it."""
    open_numbers: list[str] = []

    def take(match: re.Match[str]) -> str:
        open_numbers.append(match[1])
        return f".{{{len(open_numbers) - 1}}}."

    opened = re.sub(
        r"(?<=blocks)\.(\d+)\.|(?<=layers)\.(\d+)\.|(?<=refiner)\.(\d+)\.", lambda m: take_any(m, take), name
    )
    result = original
    for index, number in enumerate(open_numbers):
        result = re.sub(
            rf"(?<=blocks|layers)\.(block)?{number}\.|(?<=refiner)\.{number}\.",
            lambda m, index=index: f".{m[1] or ''}{{{index}}}.",
            result,
            count=1,
        )
    return opened, result


def take_any(match: re.Match[str], take: Any) -> str:
    number = next(group for group in match.groups() if group is not None)
    return take(re.match(r"(\d+)", number))


def _bridge() -> Shapes:
    """Layers of what stands between Anima's text encoder and its body."""
    import torch
    from diffusers import AnimaTextConditioner

    with torch.device("meta"):
        made = AnimaTextConditioner()
    return layers_of({key: tuple(tensor.shape) for key, tensor in made.state_dict().items()})


def make() -> Mapping[str, Any]:
    models: list[Any] = []
    names: dict[str, list[Any]] = {}
    for model in MODELS:
        shapes = build(model)
        entry: dict[str, Any] = {"family": model.family, "variant": model.variant, "diffusers": rows(layers_of(shapes))}
        if model.rules:
            original = layers_of({k.removeprefix("net."): v for k, v in in_original_names(model, shapes).items()})
            entry["original"] = rows(original)
        models.append(entry)
        if (model.family, model.variant) == ("cosmos", "2_2b_t"):  # whose body is Anima's, which adds a bridge
            bridged = {**original, **{f"llm_adapter.{name}": shape for name, shape in _bridge().items()}}
            models.append({**entry, "names": model.rules, "family": "anima", "variant": "1", "original": rows(bridged)})
        if model.rules and model.rules != "unet":
            known = {row[0]: row for row in names.get(model.rules, [])}
            names[model.rules] = sorted({**{row[0]: row for row in translation(model, shapes)}, **known}.values())
        entry["names"] = model.rules
    return {"models": models, "names": names}


def text(table: Mapping[str, Any]) -> str:
    """One row a line."""
    lines = ['{"models": [']
    for index, model in enumerate(table["models"]):
        head = {key: value for key, value in model.items() if isinstance(value, str)}
        lines.append(json.dumps(head)[:-1] + ",")
        for layout in ("diffusers", "original"):
            body = ",\n".join(json.dumps(row, separators=(",", ":")) for row in model.get(layout, []))
            lines.append(f'"{layout}": [{body}]' + ("," if layout == "diffusers" else "}"))
        lines[-1] += "," if index < len(table["models"]) - 1 else ""
    lines.append('], "names": {')
    for index, (rules, found) in enumerate(table["names"].items()):
        body = ",\n".join(json.dumps(row, separators=(",", ":")) for row in found)
        lines.append(f'"{rules}": [{body}]' + ("," if index < len(table["names"]) - 1 else ""))
    return "\n".join([*lines, "}}"]) + "\n"


if __name__ == "__main__":
    TABLE.write_text(text(make()), encoding="utf-8")
