"""Describe a file: what it is, what it says of itself, and, when asked to look deep, what its matrices are like."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lorasmith.adapters.algebra import effective_rank, spectrum
from lorasmith.adapters.arrays import Cancelled, Progress
from lorasmith.adapters.dialects.formats import best_format
from lorasmith.adapters.dialects.gathering import Module
from lorasmith.adapters.dialects.recognition import AdapterKind
from lorasmith.adapters.dialects.stems import DENOISER, MEANINGS
from lorasmith.adapters.opened import PICKLES, OpenAdapter, Weights, open_adapter, unpickled
from lorasmith.adapters.tools.blocks import block_of
from lorasmith.adapters.tools.leaks import Leak, leaks_of
from lorasmith.adapters.updates import needs_base
from lorasmith.errors import AdapterError, Stopped
from lorasmith.files import json_in

_LARGEST_FP16 = 65504.0
_DEAD = 1e-12
_RECIPE = (
    "ss_network_module", "ss_network_dim", "ss_network_alpha", "ss_network_args", "ss_learning_rate", "ss_unet_lr",
    "ss_text_encoder_lr", "ss_optimizer", "ss_lr_scheduler", "ss_lr_warmup_steps", "ss_steps", "ss_max_train_steps",
    "ss_epoch", "ss_num_epochs", "ss_num_train_images", "ss_num_reg_images", "ss_batch_size_per_device",
    "ss_gradient_accumulation_steps", "ss_resolution", "ss_mixed_precision", "ss_seed", "ss_clip_skip",
    "ss_noise_offset", "ss_min_snr_gamma", "ss_caption_dropout_rate", "ss_keep_tokens", "ss_training_comment",
)  # fmt: skip


@dataclass(frozen=True)
class Hashes:
    """How other places call the file."""

    sha256: str
    autov2: str
    """The ten digits by which Civitai finds it."""
    data: str
    """SHA-256 of the tensors alone: ``sshs_model_hash``, and what A1111 writes into pictures; empty of a pickle."""
    legacy: str
    """The eight digits of old web interfaces."""
    stated: str
    """What the file says its data hash is; another one than ``data`` when the weights were changed since."""


@dataclass(frozen=True)
class Block:
    """One block of the base, as the file changes it."""

    name: str
    modules: int
    ranks: tuple[int, ...]
    norm: float
    """‖ΔW‖ over the block."""
    relative: float | None
    """‖ΔW‖ / ‖W‖, where the base is here."""
    effective_rank: float
    """Mean over its modules."""


@dataclass(frozen=True)
class Depth:
    """What the matrices are like."""

    blocks: tuple[Block, ...]
    dead: tuple[str, ...]
    """Modules that change nothing."""
    not_finite: tuple[str, ...]
    too_large_for_fp16: tuple[str, ...]
    effective_rank: float
    used: float
    """Effective rank as a share of the rank, mean over modules."""
    needs_base: tuple[str, ...]
    """Modules whose change cannot be told without the base."""
    advice: str


@dataclass(frozen=True)
class Description:
    """Everything that is known of a file."""

    file: str
    size: int
    kind: AdapterKind
    dialect_meaning: str
    best_dialect: str
    """In which dialect most programs would read it; empty when the family is open."""
    dtype: str
    keys: int
    modules: int
    alphas: Mapping[float, int]
    base: str
    trigger_words: tuple[str, ...]
    likely_triggers: tuple[str, ...]
    """Tags that every picture of the training carried."""
    tags: tuple[tuple[str, int], ...]
    """Most frequent first."""
    recipe: Mapping[str, str]
    modelspec: Mapping[str, str]
    record: Mapping[str, str]
    """Our own: ``lorasmith.*``."""
    license: str
    leaks: tuple[Leak, ...]
    metadata: Mapping[str, str]
    hashes: Hashes | None = None
    depth: Depth | None = None
    oversized: tuple[str, ...] = ()
    """Modules whose rank is larger than their layer can have: all beyond its shorter side is wasted."""

    @property
    def trigger_word(self) -> str:
        """The first of its trigger words; empty when it names none."""
        return self.trigger_words[0] if self.trigger_words else ""

    @property
    def looks_like(self) -> str:
        """What base it was made for, in words; empty when nothing tells."""
        told = " ".join(word for word in (self.kind.family, self.kind.variant) if word)
        return told or " or ".join(self.kind.candidates)


def describe(
    path: Path,
    *,
    deep: bool = False,
    base: Weights | None = None,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Description:
    """What a file is. ``deep`` reads all of it: hashes, norms, spectra, damage; else the header and the alphas.

    Raises:
        AdapterError: missing, damaged, hostile, or no adapter.
    """
    if path.suffix.lower() in PICKLES:
        with unpickled(path) as made:
            within = describe(made, deep=deep, base=base, progress=progress, cancelled=cancelled)
        told = _pickle_hashes(path) if deep else None  # of the file that people have, and not of what was made of it
        return replace(within, file=path.name, size=path.stat().st_size, hashes=told)
    adapter = open_adapter(path)
    metadata = adapter.file.metadata
    tags = tag_frequency(metadata)
    found = {
        adapter.file.dtypes[key]
        for module in adapter.modules.values()
        for key in module.pieces.values()
        if not key.endswith(".alpha")
    }
    return Description(
        file=path.name,
        size=path.stat().st_size,
        kind=adapter.kind,
        dialect_meaning=MEANINGS[adapter.kind.dialect],
        best_dialect=best_format(adapter.kind.family) if adapter.kind.family else "",
        dtype={"F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8 (e4m3)", "F8_E5M2": "fp8 (e5m2)"}.get(
            min(found), min(found)
        )
        if len(found) == 1
        else "mixed",
        keys=len(adapter.file.shapes),
        modules=len(adapter.modules),
        alphas=_alphas(adapter),
        base=metadata.get("lorasmith.base")
        or metadata.get("ss_sd_model_name")
        or metadata.get("ss_base_model_version", ""),
        trigger_words=_triggers(metadata),
        likely_triggers=_in_every_picture(tags, metadata),
        tags=tags,
        recipe={name.removeprefix("ss_"): metadata[name] for name in _RECIPE if metadata.get(name, "None") != "None"},
        modelspec=_group(metadata, "modelspec."),
        record=_group(metadata, "lorasmith."),
        license=metadata.get("modelspec.license", ""),
        leaks=leaks_of(metadata),
        metadata=metadata,
        hashes=hashes(path, adapter) if deep else None,
        depth=_depth(adapter, base, progress, cancelled) if deep else None,
        oversized=tuple(module.stem.text for module in adapter.modules.values() if _oversized(module)),
    )


def _group(metadata: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {name.removeprefix(prefix): value for name, value in metadata.items() if name.startswith(prefix)}


def _triggers(metadata: Mapping[str, str]) -> tuple[str, ...]:
    words = (metadata.get(name, "") for name in ("lorasmith.trigger_word", "modelspec.trigger_phrase"))
    return tuple(dict.fromkeys(word for word in words if word))


def tag_frequency(metadata: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    """Tags with how many pictures carried them, from kohya's table; nothing when it is not one."""
    table = json_in(metadata.get("ss_tag_frequency", ""))
    counts: dict[str, int] = {}
    for folder in table.values() if isinstance(table, dict) else ():
        for tag, count in folder.items() if isinstance(folder, dict) else ():
            if type(count) is int and count > 0:
                counts[tag.strip()] = counts.get(tag.strip(), 0) + count
    return tuple(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def _in_every_picture(tags: tuple[tuple[str, int], ...], metadata: Mapping[str, str]) -> tuple[str, ...]:
    folders = json_in(metadata.get("ss_dataset_dirs", ""))
    told = folders.values() if isinstance(folders, dict) else ()
    counts = [folder.get("img_count") if isinstance(folder, dict) else None for folder in told]
    pictures = sum(count for count in counts if type(count) is int)
    if not all(type(count) is int for count in counts):
        return ()
    return tuple(tag for tag, count in tags[:20] if pictures and count >= pictures)[:5]


def _alphas(adapter: OpenAdapter) -> dict[float, int]:
    counts: dict[float, int] = {}
    for module in adapter.modules.values():
        key = module.pieces.get("alpha")
        value = adapter.file.scalar(key) if key is not None else None
        if value is not None:
            counts[round(value, 6)] = counts.get(round(value, 6), 0) + 1
    return dict(sorted(counts.items()))


def hashes(path: Path, adapter: OpenAdapter) -> Hashes:
    """All hashes by which other programs and places know a file."""
    with path.open("rb") as stream:
        whole = hashlib.file_digest(stream, "sha256").hexdigest()
        stream.seek(adapter.file.data_start)
        data = hashlib.file_digest(stream, "sha256").hexdigest()
        stream.seek(0x100000)
        legacy = hashlib.sha256(stream.read(0x10000)).hexdigest()[:8]
    return Hashes(whole, whole[:10].upper(), data, legacy, adapter.file.metadata.get("sshs_model_hash", ""))


def _pickle_hashes(path: Path) -> Hashes:
    """Those of a file that has no tensors in one piece, and so no hash of its weights alone."""
    with path.open("rb") as stream:
        whole = hashlib.file_digest(stream, "sha256").hexdigest()
        stream.seek(0x100000)
        legacy = hashlib.sha256(stream.read(0x10000)).hexdigest()[:8]
    return Hashes(whole, whole[:10].upper(), "", legacy, "")


def _depth(adapter: OpenAdapter, base: Weights | None, progress: Progress | None, cancelled: Cancelled | None) -> Depth:
    rows: dict[str, list[tuple[int, float, float, float]]] = {}
    dead, broken, large, open_ = [], [], [], []
    shares: list[float] = []
    first = {layer.module.stem.text: key for key, layer in reversed(adapter.layers.items())}
    modules = adapter.matrices
    broken += [m.stem.text for m in adapter.others if _state(adapter, m.pieces) == "broken"]
    for done, module in enumerate(modules):
        if cancelled is not None and cancelled():
            raise Stopped("Stopped.")
        state = _state(adapter, module.pieces)
        if state == "large":
            large.append(module.stem.text)
        if state == "broken":
            broken.append(module.stem.text)
            continue
        if needs_base(module) and base is None:
            open_.append(module.stem.text)
            continue
        layer = adapter.layers[first[module.stem.text]]
        weight = adapter.whole_weight(layer, base) if base is not None and _held(adapter, module, base) else None
        values = spectrum(adapter.factors(module, weight if needs_base(module) else None)).values
        norm = float(np.sqrt((values.astype(np.float64) ** 2).sum()))
        if norm <= _DEAD:
            dead.append(module.stem.text)
        rank = module.rank or int(values.size)
        effective = effective_rank(values)
        shares.append(effective / rank if rank else 0.0)
        size = float(np.linalg.norm(weight)) if weight is not None else 0.0
        rows.setdefault(block_of(*first[module.stem.text]), []).append((rank, norm, effective, size))
        if progress is not None:
            progress(done + 1, len(modules))
    blocks = tuple(_block(name, found) for name, found in rows.items())
    every = [row[2] for found in rows.values() for row in found]
    used = float(np.mean(shares)) if shares else 0.0
    effective = float(np.mean(every)) if every else 0.0
    return Depth(
        blocks,
        tuple(dead),
        tuple(broken),
        tuple(large),
        effective,
        used,
        tuple(open_),
        _advice(used, effective, adapter),
    )


def _oversized(module: Module) -> bool:
    layer, rank = module.layer, module.rank
    if module.kind != "lora" or layer is None or len(layer) < 2 or rank is None:
        return False
    return rank > min(layer[0], math.prod(layer[1:]))


def _state(adapter: OpenAdapter, pieces: Mapping[str, str]) -> str:
    """``broken`` with a NaN or an infinity, ``large`` with a number fp16 cannot hold, else empty."""
    worst = ""
    for piece, key in pieces.items():
        array = adapter.file.read(key)
        if not np.isfinite(array).all():
            return "broken"
        if piece != "alpha" and array.size and float(np.abs(array).max()) > _LARGEST_FP16:
            worst = "large"
    return worst


def _held(adapter: OpenAdapter, module: Any, base: Weights) -> bool:
    return all(base(*key) is not None for key, layer in adapter.layers.items() if layer.module is module)


def _block(name: str, rows: list[tuple[int, float, float, float]]) -> Block:
    norm = math.sqrt(sum(row[1] ** 2 for row in rows))
    size = math.sqrt(sum(row[3] ** 2 for row in rows))
    ranks = tuple(sorted({row[0] for row in rows}))
    return Block(name, len(rows), ranks, norm, norm / size if size else None, sum(row[2] for row in rows) / len(rows))


def _advice(used: float, effective: float, adapter: OpenAdapter) -> str:
    """What the spectrum says about the rank of the next run."""
    largest = max(adapter.kind.ranks, default=0)
    if not effective or largest <= 4:
        return ""
    if used < 0.35:
        near = max(1, 2 ** math.ceil(math.log2(effective * 1.5)))
        return f"Its updates use about {effective:.0f} of {largest} directions; rank {near} would hold most of it."
    return ""


def picture(description: Description) -> str:
    """The norms of all blocks as one SVG, which is ``Markup``.

    Raises:
        AdapterError: the description was made without looking deep.
    """
    from lorasmith.datasets.charts import bar_chart

    if description.depth is None:
        raise AdapterError("A picture needs the norms of all blocks.", "Look deep: `lorasmith lora inspect --deep`.")
    blocks = sorted(description.depth.blocks, key=lambda block: _order(block.name))
    relative = all(block.relative is not None for block in blocks) and bool(blocks)
    bars = [(block.name, block.relative if relative and block.relative is not None else block.norm) for block in blocks]
    title = "How much each block is changed" + (" (of its own weights)" if relative else "")
    return bar_chart(title, bars, unit="‖ΔW‖ / ‖W‖" if relative else "‖ΔW‖")


def _order(name: str) -> tuple[str, int]:
    head, _, number = name.rpartition(".")
    return (head, int(number)) if number.isdecimal() else (name, -1)


__all__ = ["DENOISER", "Block", "Depth", "Description", "Hashes", "describe", "hashes", "picture", "tag_frequency"]
