"""What a LoRA file is, from its header and its alphas alone: no torch, no base, milliseconds."""

from __future__ import annotations

import json
import struct
from collections import Counter
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from lorasmith.adapters.file import AdapterHeader, read_adapter_header
from lorasmith.adapters.keys import split_key
from lorasmith.errors import AdapterError

_DIALECTS: Final = {
    "kohya": "kohya names (lora_unet_...): diffusers, ComfyUI, A1111 and Forge read them",
    "peft": "peft names (unet....lora_A): diffusers reads them; ComfyUI skips attention layers, A1111 all",
    "diffusers": "the names diffusers wrote before peft (processor.to_q_lora)",
    "comfyui": "ComfyUI's generic names (diffusion_model....)",
    "onetrainer": "OneTrainer's names for transformers (lora_transformer_...)",
    "transformer": "diffusers' names for transformers (transformer....lora_A)",
    "lycoris": "LyCORIS (LoHa, LoKr, ...): not a plain LoRA",
    "unknown": "no known kind of names",
}
# Evidence only: the width of the text a layer of cross-attention looks at.
_CONTEXT_WIDTHS: Final = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "SDXL"}


class AdapterReport(BaseModel):
    """The answer of ``inspect``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    size: int
    """Bytes."""
    dialect: str
    dialect_meaning: str
    looks_like: str
    """What base it seems made for; empty when nothing tells."""
    evidence: tuple[str, ...]
    dtype: str
    keys: int
    modules: int
    parts: dict[str, int]
    """Modules by part of the base."""
    targets: dict[str, int]
    """Modules by kind of layer (``to_q``, ``proj_in`` ...)."""
    ranks: dict[int, int]
    """Modules by rank."""
    alphas: dict[float, int]
    """Modules by alpha; a file without any scales by 1."""
    dora: bool
    trigger_word: str
    base: str
    license: str
    metadata: dict[str, str]


def inspect_adapter(path: Path) -> AdapterReport:
    """Read the header of a LoRA file.

    Raises:
        AdapterError: missing, damaged, a pickle, or not an adapter.
    """
    header = read_adapter_header(path)
    stems: dict[str, int] = {}  # stem -> rank
    for key, shape in header.shapes.items():
        split = split_key(key)
        if split is not None and split[1] == "down" and shape:
            stems[split[0]] = shape[0]
    if not stems and header.dialect == "unknown":
        first = next(iter(header.shapes), "nothing at all")
        raise AdapterError(
            f"{path.name} is not an adapter: none of its {len(header.shapes)} keys is one of a LoRA ('{first}').",
            "A base is named with --base where one is asked for; here a LoRA file is.",
        )
    looks_like, evidence = _guess(header)
    metadata = header.metadata
    return AdapterReport(
        file=path.name,
        size=path.stat().st_size,
        dialect=header.dialect,
        dialect_meaning=_DIALECTS[header.dialect],
        looks_like=looks_like,
        evidence=evidence,
        dtype=header.dtype,
        keys=len(header.shapes),
        modules=len(stems),
        parts=dict(Counter(_part(stem) for stem in stems)),
        targets=dict(Counter(_target(stem) for stem in stems).most_common()),
        ranks=dict(sorted(Counter(stems.values()).items())),
        alphas=dict(sorted(Counter(_alphas(path)).items())),
        dora=any(key.endswith((".dora_scale", ".lora_magnitude_vector")) for key in header.shapes),
        trigger_word=metadata.get("lorasmith.trigger_word") or metadata.get("modelspec.trigger_phrase", ""),
        base=metadata.get("lorasmith.base") or metadata.get("ss_sd_model_name", ""),
        license=metadata.get("modelspec.license", ""),
        metadata=metadata,
    )


def _guess(header: AdapterHeader) -> tuple[str, tuple[str, ...]]:
    """What base the file seems made for, and every sign of it."""
    evidence: list[str] = []
    for name in ("modelspec.architecture", "ss_base_model_version"):
        if header.metadata.get(name):
            evidence.append(f"{name} is '{header.metadata[name]}'")
    looks_like = ""
    for key, shape in header.shapes.items():
        split = split_key(key)
        if (
            split is None
            or split[1] != "down"
            or not split[0].endswith(("attn2_to_k", "attn2.to_k", "attn2.processor.to_k"))
        ):
            continue
        looks_like = _CONTEXT_WIDTHS.get(shape[1], "Stable Diffusion of another width")
        evidence.append(f"its cross-attention looks at text {shape[1]} wide ({split[0]})")
        break
    if any(key.startswith("lora_te2_") for key in header.shapes):
        looks_like = "SDXL"
        evidence.append("it holds modules for a second text encoder (lora_te2_)")
    if header.foreign:
        evidence.append(f"{len(header.foreign)} keys are written in another dialect, {header.foreign[0]} first")
    return looks_like, tuple(evidence)


def _part(stem: str) -> str:
    if stem.startswith(("lora_te", "text_encoder")):
        second = stem.startswith(("lora_te2_", "text_encoder_2."))
        return "text_encoder_2" if second else "text_encoder"
    if stem.startswith(("lora_unet_", "unet.", "diffusion_model.")):
        return "unet"
    return "transformer" if "transformer" in stem[:16] else "other"


def _target(stem: str) -> str:
    """The kind of layer, from the end of its stem."""
    flat = stem.replace(".", "_")
    for kind in (
        *("to_q", "to_k", "to_v", "to_out_0", "to_out", "ff_net_0_proj", "ff_net_2", "proj_in", "proj_out"),
        *("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2", "time_emb_proj", "conv_shortcut"),
        *("conv1", "conv2", "conv"),
    ):
        if flat.endswith(f"_{kind}"):
            return kind
    return "other"


def _alphas(path: Path) -> list[float]:
    """The value of every ``.alpha``, read from its few bytes."""
    values: list[float] = []
    with path.open("rb") as stream:
        length = struct.unpack("<Q", stream.read(8))[0]
        table: dict[str, Any] = json.loads(stream.read(length))
        for key, entry in table.items():
            if not key.endswith(".alpha"):
                continue
            start, end = entry["data_offsets"]
            stream.seek(8 + length + start)
            value = _scalar(stream.read(end - start), entry["dtype"])
            if value is not None:
                values.append(round(value, 6))
    return values


def _scalar(raw: bytes, dtype: str) -> float | None:
    """One number in a safetensors format; None for a format or length that holds none."""
    if dtype == "BF16" and len(raw) == 2:  # the upper half of an fp32
        return float(struct.unpack("<f", b"\0\0" + raw)[0])
    layout = {"F32": "<f", "F16": "<e", "F64": "<d", "I64": "<q", "I32": "<i"}.get(dtype)
    if layout is None or len(raw) != struct.calcsize(layout):
        return None
    return float(struct.unpack(layout, raw)[0])
