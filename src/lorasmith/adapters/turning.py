"""Updates that turn a weight rather than add to it: OFT and BOFT, of LyCORIS (rows are turned) and of peft (columns).

All are products of block-diagonal rotations, made of skew matrices by Cayley's transform (arXiv:2306.07280); a
butterfly (BOFT, arXiv:2311.06243) shuffles the axis between one and the next, so that all its elements meet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lorasmith.adapters.algebra import Factors, dense
from lorasmith.adapters.arrays import Array
from lorasmith.adapters.dialects.gathering import Module
from lorasmith.errors import AdapterError

Read = Callable[[str], Array]


def turned(module: Module, read: Read, weight: Array, settings: Mapping[str, Any] | None) -> Factors:
    """ΔW of a module of this kind beside the base's weight.

    Args:
        module: as the header shows it.
        read: gives its pieces.
        weight: the base's weight of the layer.
        settings: peft's ``adapter_config.json`` beside the file; its OFT cannot be told without.

    Raises:
        AdapterError: blocks that do not fit the base, a form that is not known, settings that are missing.
    """
    base = weight.reshape(weight.shape[0], -1).astype(np.float64)
    if "oft_R" in module.pieces:
        after = _peft_oft(module, read, base, settings)
    elif "boft_R" in module.pieces:
        after = _peft_boft(module, read, base)
    elif len(module.shapes.get("oft_blocks", ())) in (3, 4):
        after = _lycoris(module, read, base)
    else:
        raise AdapterError(
            f"{module.stem.text} is a form of OFT that is not known here.",
            "Let the program that trained it export a LoRA.",
        )
    return dense((after - base).astype(np.float32), tuple(weight.shape))


def _lycoris(module: Module, read: Read, base: Array) -> Array:
    """Rows turned block by block; of a butterfly, level by level.

    The skew parts may be as long as ``alpha`` times the rows, by LyCORIS, sd-scripts and A1111; ComfyUI forgets the
    rows, and the rescaling of a plain OFT, and so shows something else than was trained.
    """
    blocks = read("oft_blocks").astype(np.float64)
    levels = blocks[None] if blocks.ndim == 3 else blocks
    count, side = levels.shape[1:3]
    _refuse_misfit(module, count * side, base.shape[0], "rows")
    skew = levels - levels.swapaxes(-1, -2)
    limit = float(read("alpha").reshape(-1)[0]) * base.shape[0] if "alpha" in module.pieces else 0.0
    length = float(np.linalg.norm(skew)) + 1e-8
    if 0 < limit < length:
        skew *= limit / length
    unit = np.eye(side)
    turns = (unit + skew) @ np.linalg.inv(unit - skew)
    after = base
    if blocks.ndim == 3:
        after = np.einsum("knm,kn...->km...", turns[0], after.reshape(count, side, -1)).reshape(base.shape)
    else:
        for level, turn in enumerate(turns):
            order = _pairs(base.shape[0], 2**level * (side // 2))
            after = _by_blocks(turn, after[order])[np.argsort(order)]
    if "rescale" in module.pieces:
        after = after * read("rescale").reshape(-1, 1)
    return after


def _pairs(length: int, half: int) -> np.ndarray:
    """The order in which row i of a group's first half stands beside row i of its second; groups are 2 half long."""
    return np.arange(length).reshape(-1, 2, half).swapaxes(1, 2).reshape(-1)


def _by_blocks(turns: Array, rows: Array) -> Array:
    """Each run of rows turned by its block."""
    count, side = turns.shape[:2]
    made: Array = (turns @ rows.reshape(count, side, -1)).reshape(rows.shape)
    return made


def _peft_oft(module: Module, read: Read, base: Array, settings: Mapping[str, Any] | None) -> Array:
    """Columns turned block by block: W' = W Rᵀ. peft sums five terms of the series of (I + Q)(I - Q)⁻¹ unless it was
    told to solve, and then solves (I - Q)(I + Q)⁻¹: the file alone does not say which."""
    if settings is None or "use_cayley_neumann" not in settings:
        raise AdapterError(
            f"{module.stem.text} is OFT of peft, whose adapter_config.json says how it turns.",
            "Lay the adapter_config.json that was saved with it beside the file.",
        )
    vectors = read("oft_R").astype(np.float64)  # (blocks, side (side - 1) / 2)
    side = round((1 + (1 + 8 * vectors.shape[1]) ** 0.5) / 2)
    rows, columns = np.triu_indices(side, 1)
    if len(rows) != vectors.shape[1]:
        raise AdapterError(f"{module.stem.text} has blocks of no size.", "Get the file again.")
    skew = np.zeros((len(vectors), side, side))
    skew[:, rows, columns] = vectors
    skew -= skew.swapaxes(1, 2)
    unit = np.eye(side)
    if settings["use_cayley_neumann"]:
        turns = _series(skew, int(settings.get("num_cayley_neumann_terms", 5)))
    else:
        turns = (unit - skew) @ np.linalg.inv(unit + skew)
    if len(turns) == 1 and side != base.shape[1]:  # one block, shared by all
        turns = np.repeat(turns, max(1, base.shape[1] // side), axis=0)
    _refuse_misfit(module, len(turns) * side, base.shape[1], "columns")
    return _by_blocks(turns, base.T).T


def _series(skew: Array, terms: int) -> Array:
    """I + 2 Q + 2 Q² + ... + Qⁿ⁻¹ of n terms, the last one once; peft makes four of three."""
    last = max(terms, 4) - 1 if terms > 2 else 0
    total = np.repeat(np.eye(skew.shape[-1])[None], len(skew), axis=0)
    power = total
    for term in range(1, max(terms, last + 1)):
        power = power @ skew
        total = total + power * (1 if term == last else 2)
    return total


def _peft_boft(module: Module, read: Read, base: Array) -> Array:
    """Columns turned level by level, then rows scaled by ``boft_s``."""
    raw = read("boft_R").astype(np.float64)  # (levels, blocks, side, side)
    if raw.ndim != 4:
        raise AdapterError(f"{module.stem.text} has a butterfly of shape {raw.shape}.", "Get the file again.")
    levels, count, side, _ = raw.shape
    _refuse_misfit(module, count * side, base.shape[1], "columns")
    skew = 0.5 * (raw - raw.swapaxes(2, 3))
    unit = np.eye(side)
    turns = (unit - skew) @ np.linalg.inv(unit + skew)
    after = base.T
    for level in range(levels):
        order = _butterfly(base.shape[1], 2**level, side // 2) if levels > 1 else np.arange(base.shape[1])
        after = _by_blocks(turns[level], after[np.argsort(order)])[order]
    if "boft_s" in module.pieces:
        after = after * read("boft_s").reshape(1, -1)
    return after.T


def _butterfly(length: int, blocks: int, half: int) -> np.ndarray:
    """Half blocks of a group, the even ones before the odd ones; a group is ``blocks`` blocks long."""
    halves = np.arange(length).reshape(-1, 2 * blocks, half)
    return np.concatenate([halves[:, 0::2], halves[:, 1::2]], axis=1).reshape(-1)


def _refuse_misfit(module: Module, turns: int, has: int, what: str) -> None:
    if turns != has:
        raise AdapterError(
            f"{module.stem.text} turns {turns} {what}, the base has {has}.", "Name the base it was trained on."
        )
