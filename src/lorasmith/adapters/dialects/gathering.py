"""Keys gathered into modules: which pieces each has, what kind of update they make, its rank and the layer's shape."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from lorasmith.adapters.dialects.endings import Kind, split
from lorasmith.adapters.dialects.stems import Stem, take_apart

Shape = tuple[int, ...]

_COMPLETE: Mapping[Kind, tuple[frozenset[str], ...]] = {
    "lora": (frozenset({"down", "up"}),),
    "loha": (frozenset({"w1_a", "w1_b", "w2_a", "w2_b"}),),
    "lokr": tuple(
        frozenset({*one, *two}) for one in (("w1",), ("w1_a", "w1_b")) for two in (("w2",), ("w2_a", "w2_b"))
    ),
    "oft": (frozenset({"oft_blocks"}), frozenset({"oft_diag"}), frozenset({"oft_R"}), frozenset({"boft_R"})),
    "glora": (frozenset({"a1", "a2", "b1", "b2"}),),
    "full": (frozenset({"diff"}), frozenset({"diff_b"})),
    "norm": (frozenset({"w_norm"}), frozenset({"b_norm"})),
    "ia3": (frozenset({"weight"}), frozenset({"ia3_l"})),
    "set": (frozenset({"set_weight"}), frozenset({"reshape_weight"})),
}
UPDATES: tuple[Kind, ...] = ("lora", "loha", "lokr", "oft", "glora", "full", "norm", "ia3")
"""Kinds that make a file an adapter; a value that is set does not by itself."""


@dataclass(frozen=True, slots=True)
class Sides:
    """A part of what a layer's shape is."""

    size: int
    side: Literal["rows", "columns", "either"]

    def fits(self, shape: Shape) -> bool:
        """Whether a weight of that shape has such a side."""
        rows, columns = shape[0], math.prod(shape[1:])
        inputs = shape[1] if len(shape) > 1 else columns
        found = {"rows": (rows,), "columns": (inputs, columns), "either": (rows, inputs)}[self.side]
        return self.size in found


@dataclass(slots=True)
class Module:
    """One module as the header shows it."""

    stem: Stem
    pieces: dict[str, str] = field(default_factory=dict)
    """Key of every piece."""
    shapes: dict[str, Shape] = field(default_factory=dict)
    kind: Kind = "any"

    @property
    def complete(self) -> bool:
        """Whether all pieces are there that its kind needs, and they fit each other."""
        return any(wanted <= self.pieces.keys() for wanted in _COMPLETE.get(self.kind, ())) and self.fits

    @property
    def fits(self) -> bool:
        """Whether the matrices of a pair have one rank."""
        pairs = {"lora": (("down", "up"),), "loha": (("w1_b", "w1_a"), ("w2_b", "w2_a"))}.get(self.kind, ())
        for thin, wide in pairs:
            below, above = self.shapes.get(thin, ()), self.shapes.get(wide, ())
            if len(below) < 2 or len(above) < 2:
                return False
            if below[0] != above[1] and "mid" not in self.pieces and f"t{thin[1:2]}" not in self.pieces:
                return False
        return True

    @property
    def weighted(self) -> bool:
        """Whether it is weight-decomposed (DoRA)."""
        return "dora_scale" in self.pieces

    @property
    def rank(self) -> int | None:
        """Columns of the thin matrices; None for kinds without rank."""
        shape = self.shapes
        if self.kind == "lora" and shape.get("down"):
            return shape["down"][0]
        if self.kind == "loha" and shape.get("w1_b"):
            return shape["w1_b"][0]
        if self.kind == "lokr":
            thin = shape.get("w2_b") or shape.get("w1_b")
            return thin[0] if thin else None
        if self.kind == "glora" and len(shape.get("a1", ())) >= 2:
            return min(shape["a1"][:2])
        return None

    @property
    def sides(self) -> Sides | None:
        """What the pieces tell of the shape where they do not tell all of it."""
        return _sides(self.kind, self.shapes)

    @property
    def layer(self) -> Shape | None:
        """Shape of the layer's weight, as far as the pieces tell; None when they do not."""
        return _layer(self.kind, self.shapes)


def _layer(kind: Kind, shape: Mapping[str, Shape]) -> Shape | None:  # noqa: PLR0911  one return a kind
    if kind == "lora" and len(shape.get("up", ())) >= 2 and len(shape.get("down", ())) >= 2:
        kernel = shape["mid"][2:] if len(shape.get("mid", ())) == 4 else shape["down"][2:]
        return (shape["up"][0], shape["down"][1], *kernel)
    if kind == "loha" and len(shape.get("w1_a", ())) == 2 and len(shape.get("w1_b", ())) == 2:
        if len(shape.get("t1", ())) == 4:
            return (shape["w1_a"][1], shape["w1_b"][1], *shape["t1"][2:])
        return (shape["w1_a"][0], shape["w1_b"][1])
    if kind == "lokr":
        one = shape.get("w1") or _joined(shape.get("w1_a"), shape.get("w1_b"))
        two = shape.get("w2") or _joined(shape.get("w2_a"), shape.get("w2_b"))
        if "t2" in shape and len(shape.get("w2_a", ())) == 2 and len(shape.get("w2_b", ())) == 2:
            two = (shape["w2_a"][1], shape["w2_b"][1], *shape["t2"][2:])
        return (one[0] * two[0], one[1] * two[1], *two[2:]) if len(one) >= 2 and len(two) >= 2 else None
    if kind == "full":
        return shape.get("diff")
    if kind == "glora" and all(len(shape.get(piece, ())) >= 2 for piece in ("a1", "a2", "b1", "b2")):
        wide, thin = (shape["b2"], shape["b1"]) if old_glora(shape) else (shape["b1"], shape["b2"])
        return (wide[0], *thin[1:])
    return None


def _sides(kind: Kind, shape: Mapping[str, Shape]) -> Sides | None:
    """OFT turns blocks of rows (sd-scripts, LyCORIS) or of inputs (peft); IA3 has a number for every row, or input."""
    blocks = shape.get("oft_blocks") or shape.get("oft_diag") or ()
    if kind == "oft" and len(blocks) in (3, 4) and blocks[-1] == blocks[-2]:
        return Sides(blocks[-3] * blocks[-2], "rows")
    turns = shape.get("oft_R", ())
    if kind == "oft" and len(turns) == 2 and turns[0] > 1:  # a row has the entries above the diagonal
        side = (1 + math.isqrt(1 + 8 * turns[1])) // 2
        return Sides(turns[0] * side, "columns") if side * (side - 1) == 2 * turns[1] else None
    numbers = shape.get("weight") or shape.get("ia3_l") or ()
    return Sides(math.prod(numbers), "either") if kind == "ia3" and numbers else None


def old_glora(shape: Mapping[str, Shape]) -> bool:
    """Whether the four matrices are multiplied the old way round, as ComfyUI tells it (weight_adapter/glora.py).

    Beside a square layer both ways fit; there the long side of a2 is the layer's.
    """
    a1, a2, b1, b2 = (shape[name] for name in ("a1", "a2", "b1", "b2"))
    old = b2[1] == b1[0] == a1[0] == a2[1]
    new = b2[0] == b1[1] == a1[1] == a2[0]
    return old and (not new or a2[0] >= a2[1])


def _joined(wide: Shape | None, thin: Shape | None) -> Shape:
    return (wide[0], *thin[1:]) if wide and thin else ()


@dataclass(frozen=True, slots=True)
class Gathered:
    """All keys of a file."""

    modules: dict[str, Module]
    embeddings: dict[str, str]
    """Textual inversions that came along: name, key."""
    leftover: tuple[str, ...]
    """Keys that belong to nothing that is known."""


def gather(shapes: Mapping[str, Shape]) -> Gathered:
    """Modules by stem."""
    modules: dict[str, Module] = {}
    embeddings: dict[str, str] = {}
    leftover: list[str] = []
    for key, shape in shapes.items():
        if key.startswith("bundle_emb."):
            embeddings[key.split(".")[1]] = key
            continue
        found = split(key)
        if found is None:
            leftover.append(key)
            continue
        stem, kind, piece = found
        module = modules.get(stem)
        if module is None:
            module = modules[stem] = Module(take_apart(stem))
        if kind != "any" and (module.kind == "any" or (module.kind == "set" and kind != "set") or kind == "lora"):
            module.kind = kind
        module.pieces[piece] = key
        module.shapes[piece] = shape
    return Gathered(modules, embeddings, tuple(leftover))


def numbers_in(shapes: Iterable[Shape]) -> int:
    """How many numbers tensors of these shapes hold."""
    return sum(math.prod(shape) for shape in shapes)
