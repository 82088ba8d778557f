"""Every kind of update as factors of ΔW: LoRA, LoCon, LoHa, LoKr, whole differences; with the base DoRA, OFT, GLoRA.

The formulas are those of LyCORIS (arXiv:2309.14859) as ComfyUI's weight adapters apply them. Where a kind has an exact
thin form it is used; otherwise ΔW is formed and is a product with the identity. What turns a weight is in ``turning``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lorasmith.adapters.algebra import Factors, dense
from lorasmith.adapters.arrays import Array
from lorasmith.adapters.dialects.gathering import Module, old_glora
from lorasmith.adapters.turning import turned
from lorasmith.errors import AdapterError

Read = Callable[[str], Array]
"""One piece of the module in fp32, by its name."""

NEEDS_BASE = ("oft", "glora")
"""Kinds whose ΔW depends on the base's weight; so does anything that is weight-decomposed."""


def needs_base(module: Module) -> bool:
    """Whether ΔW cannot be told without the base's weight."""
    return module.kind in NEEDS_BASE or module.weighted


def factors_of(
    module: Module, read: Read, weight: Array | None = None, settings: Mapping[str, Any] | None = None
) -> Factors:
    """The update of one module.

    Args:
        module: as the header shows it; complete.
        read: gives its pieces.
        weight: the base's weight of this layer, for kinds that need it.
        settings: peft's ``adapter_config.json`` where there is one, for its OFT.

    Raises:
        AdapterError: pieces that do not fit, values that are not finite, a base that is needed or does not fit, a kind
            that has no ΔW (IA3, norms).
    """
    if needs_base(module) and weight is None:
        raise AdapterError(
            f"{module.stem.text} is {_title(module)}, whose change depends on the base's own weights.",
            "Name the base it was trained on with --base.",
        )
    if not module.complete:
        raise AdapterError(f"{module.stem.text} lacks pieces, or they do not fit.", "Get the file again.")

    def checked(piece: str) -> Array:
        array = read(piece)
        if not np.isfinite(array).all():
            raise AdapterError(
                f"{module.stem.text} ({piece}) holds NaN or infinite values.", "The file is broken; use an earlier one."
            )
        return array

    maker = _MAKERS.get(module.kind)
    if module.kind == "oft" and weight is not None:
        return turned(module, checked, weight, settings)
    if maker is None:
        raise AdapterError(f"{module.stem.text} is {_title(module)}, which is no sum with the base's weight.", "")
    try:
        made = maker(module, checked, weight)
    except ValueError as cause:  # numpy's, of shapes that cannot be multiplied
        raise AdapterError(
            f"The matrices of {module.stem.text} do not fit each other.", "Get the file again."
        ) from cause
    if module.weighted and weight is not None:
        by_peft = "lora_magnitude_vector" in module.pieces["dora_scale"]
        made = _decomposed(made, checked("dora_scale"), weight, by_peft=by_peft)
    return made


def _title(module: Module) -> str:
    names = {"oft": "OFT", "glora": "GLoRA", "ia3": "IA3", "norm": "a norm", "set": "a value that is set"}
    return "weight-decomposed (DoRA)" if module.weighted else names.get(module.kind, module.kind)


def scale_of(module: Module, read: Read) -> float:
    """alpha / rank; 1 without alpha or without rank, as every program reads it."""
    if "alpha" not in module.pieces or not module.rank:
        return 1.0
    alpha = read("alpha").reshape(-1)
    if alpha.size != 1:
        raise AdapterError(f"The alpha of {module.stem.text} is {alpha.size} numbers.", "The file is damaged.")
    return float(alpha[0]) / module.rank


def _lora(module: Module, read: Read, weight: Array | None) -> Factors:
    layer = module.layer
    up, down = read("up"), read("down")
    if layer is None or math.prod(up.shape[2:]) != 1:
        raise AdapterError(f"{module.stem.text} has an up matrix of shape {up.shape}, which is none.", "Get it again.")
    up = up.reshape(up.shape[0], -1)
    if "mid" in module.pieces:  # Tucker: the kernel stands between the two
        mid = read("mid")
        down = np.tensordot(mid, down.reshape(down.shape[0], -1), axes=([1], [0])).transpose(0, 3, 1, 2)
    flat = np.ascontiguousarray(down.reshape(down.shape[0], -1), dtype=np.float32)
    scale = scale_of(module, read)
    scaled = up if scale == 1 else up * np.float32(scale)
    return Factors(scaled.astype(np.float32, copy=False), flat, layer)


def _loha(module: Module, read: Read, weight: Array | None) -> Factors:
    layer = _known_layer(module)
    scale = np.float32(scale_of(module, read))
    wide1, thin1, wide2, thin2 = (read(name) for name in ("w1_a", "w1_b", "w2_a", "w2_b"))
    if "t1" in module.pieces:
        one, two = _tucker(read("t1"), wide1, thin1), _tucker(read("t2"), wide2, thin2)
        return dense(one * two * scale, layer)
    rank = wide1.shape[1] * wide2.shape[1]
    if rank >= min(wide1.shape[0], thin1.shape[1]):
        return dense((wide1 @ thin1) * (wide2 @ thin2) * scale, layer)
    up = (wide1[:, :, None] * wide2[:, None, :]).reshape(wide1.shape[0], rank) * scale
    down = (thin1[:, None, :] * thin2[None, :, :]).reshape(rank, thin1.shape[1])
    return Factors(up, down, layer)


def _lokr(module: Module, read: Read, weight: Array | None) -> Factors:
    layer = _known_layer(module)
    has = module.pieces
    one = read("w1") if "w1" in has else read("w1_a") @ read("w1_b")
    ranked = "w1" not in has or "w2" not in has
    scale = np.float32(scale_of(module, read) if ranked else 1.0)
    if "t2" in has:
        return dense(_kronecker(one, _tucker(read("t2"), read("w2_a"), read("w2_b"))) * scale, layer)
    if "w2" in has:
        return dense(_kronecker(one, read("w2")) * scale, layer)
    wide, thin = read("w2_a"), read("w2_b")
    columns = one.shape[1]
    if columns * wide.shape[1] >= min(one.shape[0] * wide.shape[0], columns * thin.shape[1]):
        return dense(
            _kronecker(one, (wide @ thin.reshape(thin.shape[0], -1)).reshape(-1, *thin.shape[1:])) * scale, layer
        )
    # kron(W1, A B) = kron(W1, A) kron(I, B)
    return Factors(np.kron(one, wide) * scale, np.kron(np.eye(columns, dtype=np.float32), thin), layer)


def _kronecker(one: Array, two: Array) -> Array:
    return np.kron(one.reshape(*one.shape, *([1] * (two.ndim - one.ndim))), two)


def _tucker(kernel: Array, wide: Array, thin: Array) -> Array:
    """(i, j, kh, kw), (i, out), (j, in) to (out, in, kh, kw)."""
    made: Array = np.einsum("ijkl,jr,ip->prkl", kernel, thin, wide, optimize=True)
    return made


def _full(module: Module, read: Read, weight: Array | None) -> Factors:
    if "diff" not in module.pieces:
        raise AdapterError(f"{module.stem.text} changes a bias only, which is no matrix.", "")
    return dense(read("diff"), _known_layer(module))


def _glora(module: Module, read: Read, weight: Array | None) -> Factors:
    """ΔW = W A + B (arXiv:2306.07967), in either order of the two matrices of A and B; of a convolution, A mixes its
    input channels and leaves the kernel."""
    layer, base = _known_layer(module), _fitting(module, weight)
    a1, a2, b1, b2 = (flat.reshape(flat.shape[0], -1) for flat in map(read, ("a1", "a2", "b1", "b2")))
    first, second, wide, thin = (a2, a1, b2, b1) if old_glora(module.shapes) else (a1, a2, b1, b2)
    if base.shape != (wide.shape[0], thin.shape[1]):
        raise AdapterError(f"The base has {base.shape} where the file has {layer}.", "It is another base's.")
    scale = np.float32(scale_of(module, read))
    if base.shape[1] == first.shape[0]:
        up = np.concatenate([base @ first, wide], axis=1) * scale
        return Factors(up.astype(np.float32), np.concatenate([second, thin], axis=0), layer)
    cube = base.reshape(base.shape[0], first.shape[0], -1)
    mixed = np.einsum("oik,ij->ojk", cube, first @ second, optimize=True).reshape(base.shape)
    return dense((mixed + wide @ thin) * scale, layer)


def _decomposed(made: Factors, magnitude: Array, weight: Array, *, by_peft: bool) -> Factors:
    """DoRA's ΔW: m · (W + ΔV) / ‖W + ΔV‖ - W; the shape of m says whether the norm goes over inputs or outputs.

    (1, in, ...) belongs to the columns, also beside a square layer. peft's are of the rows, whatever their shape.
    """
    base = weight.reshape(weight.shape[0], -1).astype(np.float32)
    if base.shape != (made.up.shape[0], made.down.shape[1]):
        raise AdapterError(f"The base has {base.shape} where the file has {made.layer}.", "It is another base's.")
    turned = base + made.product()
    columns = magnitude.ndim > 1 and magnitude.shape[0] == 1 and magnitude.size == weight.shape[1] and not by_peft
    rows = magnitude.size == base.shape[0] and not columns
    if not rows and magnitude.size != weight.shape[1]:
        raise AdapterError(f"A magnitude has {magnitude.size} values for a layer of {weight.shape}.", "Get it again.")
    if rows:
        factor = magnitude.reshape(-1, 1) / (np.linalg.norm(turned, axis=1, keepdims=True) + 1e-12)
    else:
        cube = turned.reshape(base.shape[0], weight.shape[1], -1)
        lengths = np.sqrt((cube**2).sum(axis=(0, 2))) + 1e-12
        factor = np.repeat(magnitude.reshape(-1) / lengths, cube.shape[2])[None, :]
    return dense(turned * factor - base, made.layer)


def _known_layer(module: Module) -> tuple[int, ...]:
    layer = module.layer
    if layer is None or len(layer) < 2:
        raise AdapterError(f"{module.stem.text} does not fit together.", "Get the file again.")
    return layer


def _fitting(module: Module, weight: Array | None) -> Array:
    if weight is None:
        raise AdapterError(f"{module.stem.text} needs the base.", "Name it with --base.")
    return weight.reshape(weight.shape[0], -1).astype(np.float32)


_MAKERS: Mapping[str, Callable[[Module, Read, Array | None], Factors]] = {
    "lora": _lora, "loha": _loha, "lokr": _lokr, "full": _full, "glora": _glora,
}  # fmt: skip
