"""Scale: the same LoRA stronger or weaker, so that strength 1 is what it was at another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lorasmith.adapters.arrays import WRITABLE, Array, Cancelled, Planned, Progress
from lorasmith.adapters.dialects.gathering import Module
from lorasmith.adapters.opened import OpenAdapter, open_adapter
from lorasmith.adapters.output import Output, dtype_of, metadata_after, refuse_target
from lorasmith.adapters.tools.blocks import chosen, refuse_beyond_measure, refuse_idle
from lorasmith.errors import AdapterError

_STRONG = {"lora": "up", "loha": "w1_a", "lokr": "w1", "full": "diff"}
"""The piece that carries a factor in kinds without alpha."""


@dataclass(frozen=True)
class Scaled:
    """What a scaling did."""

    out: Path
    modules: int
    through_alpha: int
    """Modules whose alpha was changed and no matrix."""
    size: int
    sha256: str = ""


def scale(
    path: Path,
    out: Path,
    factor: float,
    *,
    by_block: Mapping[str, float] | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Scaled:
    """Multiply every update by a number; ``by_block`` gives another one for layers whose name fits a pattern.

    Where a module has an alpha, that alone changes and all matrices stay as they are, bit for bit.

    Raises:
        AdapterError: no LoRA, a factor that is none, a kind that is no sum with the base.
    """
    refuse_beyond_measure((factor, *(by_block or {}).values()), "factor")
    if factor == 0 and not by_block:
        raise AdapterError(f"A LoRA times {factor:g} does nothing.", "Give another number, for example 0.8.")
    refuse_target(out, overwrite=overwrite)
    adapter = open_adapter(path)
    refuse_idle(by_block or {}, list(adapter.layers))
    output = Output(dtype_of(adapter.file))
    names = {layer.module.stem.text: key for key, layer in adapter.layers.items()}
    through = 0
    for module in adapter.modules.values():
        times = chosen(*names[module.stem.text], by_block or {}, factor) if module.stem.text in names else factor
        through += _module(adapter, output, module, times)
    for key in adapter.unheld.keys() - output.tensors.keys():
        output.copied(adapter.file, key)
    metadata = metadata_after(
        adapter.file.metadata, "scale", {"factor": factor, "by_block": dict(by_block or {})}, ss_network_alpha="Dynamic"
    )
    sha = "" if dry_run else output.save(out, metadata, overwrite=overwrite, progress=progress, cancelled=cancelled)
    return Scaled(out, len(names), through, output.size, sha)


def _module(adapter: OpenAdapter, output: Output, module: Module, times: float) -> bool:
    if times != 1 and (module.weighted or module.kind in ("oft", "ia3", "glora")):
        raise AdapterError(
            f"{module.stem.text} is {'DoRA' if module.weighted else module.kind.upper()}, which cannot be scaled.",
            "Convert it to a plain LoRA first, with its base.",
        )
    piece = _STRONG.get(module.kind, "")
    if "alpha" in module.pieces and module.rank:
        piece = "alpha"
    elif module.kind == "lokr" and "w1" not in module.pieces:
        piece = "w1_a"
    for name, key in module.pieces.items():
        beside = name in ("diff_b", "w_norm", "b_norm") or (name == "up_bias" and piece != "alpha")
        scaled = times != 1 and (name == piece or beside)
        if not scaled:
            output.copied(adapter.file, key)
            continue
        stored = "F32" if name == "alpha" else WRITABLE[output.dtype]
        output.tensors[key] = Planned(adapter.file.shapes[key], stored, _times(adapter, key, times))
    return piece == "alpha" and times != 1


def _times(adapter: OpenAdapter, key: str, factor: float):  # type: ignore[no-untyped-def]
    def make() -> Array:
        array: Array = adapter.file.read(key).astype(np.float32) * np.float32(factor)
        return array

    return make
