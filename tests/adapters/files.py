"""Small adapter files for tests: of any family, dialect and kind, with random numbers, written without our writers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

Arrays = dict[str, np.ndarray]

FLUX = {
    "transformer_blocks.0.attn.to_q": (48, 48),
    "transformer_blocks.0.attn.to_k": (48, 48),
    "transformer_blocks.0.attn.to_v": (48, 48),
    "transformer_blocks.0.ff.net.0.proj": (192, 48),
    "single_transformer_blocks.1.attn.to_q": (48, 48),
    "single_transformer_blocks.1.attn.to_v": (48, 48),
    "single_transformer_blocks.1.proj_mlp": (192, 48),
    "single_transformer_blocks.1.proj_out": (48, 240),
    "norm_out.linear": (96, 48),
}
SDXL = {
    "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q": (64, 64),
    "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k": (64, 96),
    "mid_block.attentions.0.transformer_blocks.3.ff.net.0.proj": (128, 64),
    "up_blocks.0.attentions.1.proj_in": (64, 64),
    "up_blocks.0.resnets.1.conv1": (32, 48, 3, 3),
}
PREFIX = {"flux": "transformer.", "sdxl": "unet."}
LAYERS = {"flux": FLUX, "sdxl": SDXL}


def noise(shape: tuple[int, ...], seed: int, scale: float = 0.1) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def low_rank(
    layers: Mapping[str, tuple[int, ...]], rank: int, *, seed: int = 1
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """``(up, down)`` of every layer."""
    made = {}
    for number, (name, (rows, columns, *kernel)) in enumerate(layers.items()):
        up = noise((rows, rank, *(1 for _ in kernel)), seed + 10 * number)
        made[name] = (up, noise((rank, columns, *kernel), seed + 10 * number + 1))
    return made


def save_lora(
    path: Path,
    family: str = "sdxl",
    *,
    rank: int = 4,
    alpha: float | None = 3.0,
    seed: int = 1,
    metadata: Mapping[str, str] | None = None,
    dtype: str = "float32",
    layers: Mapping[str, tuple[int, ...]] | None = None,
) -> dict[str, np.ndarray]:
    """A LoRA; kohya names with alpha, peft names without. Returns ΔW of every layer, (out, in · kernel)."""
    tensors: Arrays = {}
    deltas: dict[str, np.ndarray] = {}
    for name, (up, down) in low_rank(layers or LAYERS[family], rank, seed=seed).items():
        up_stored, down_stored = up.astype(dtype), down.astype(dtype)
        kohya = family == "sdxl"
        stem = f"lora_unet_{name.replace('.', '_')}" if kohya else PREFIX[family] + name
        ends = ("lora_down", "lora_up") if kohya else ("lora_A", "lora_B")
        tensors[f"{stem}.{ends[0]}.weight"], tensors[f"{stem}.{ends[1]}.weight"] = down_stored, up_stored
        scale = 1.0
        if kohya and alpha is not None:
            tensors[f"{stem}.alpha"] = np.array(alpha, dtype="float32")
            scale = alpha / rank
        flat_up, flat_down = up_stored.reshape(up.shape[0], -1), down_stored.reshape(rank, -1)
        deltas[name] = scale * flat_up.astype("float32") @ flat_down.astype("float32")
    save_file(tensors, path, metadata={"format": "pt", "lorasmith.family": family, **(metadata or {})})
    return deltas


def deltas_of(path: Path, family: str) -> dict[str, np.ndarray]:
    """ΔW of every layer of a file, as our reader tells it."""
    from lorasmith.adapters.opened import open_adapter

    adapter = open_adapter(path, family=family)
    return {name: adapter.layer_factors(layer).product() for (_, name), layer in adapter.layers.items()}


def furthest(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
    """Largest difference over the largest entry, over all layers, which have to be the same."""
    assert one.keys() == other.keys()
    return max(float(np.abs(one[k] - other[k]).max() / (np.abs(one[k]).max() or 1.0)) for k in one)
