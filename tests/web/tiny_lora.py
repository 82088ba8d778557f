"""A LoRA for the sandbox base, made of its layers' shapes without torch: it loads, and changes a little."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from lorasmith.bases.header import read_safetensors_header
from lorasmith.sandbox import sandbox_weights

RANK = 2


def write_lora(path: Path, *, trigger_word: str = "ohwx", seed: int = 0, **metadata: str) -> Path:
    """A LoRA of all cross-attention queries of the sandbox base's U-Net."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted((sandbox_weights() / "base" / "unet").glob("*.safetensors")):
        shapes |= read_safetensors_header(file)[0]
    numbers = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}
    for key, shape in shapes.items():
        if not key.endswith("attn2.to_q.weight"):
            continue
        stem = "lora_unet_" + key.removesuffix(".weight").replace(".", "_")
        tensors[f"{stem}.lora_down.weight"] = numbers.normal(0, 0.3, (RANK, shape[1])).astype(np.float32)
        tensors[f"{stem}.lora_up.weight"] = numbers.normal(0, 0.3, (shape[0], RANK)).astype(np.float32)
        tensors[f"{stem}.alpha"] = np.array(RANK, dtype=np.float32)
    assert tensors
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {"modelspec.trigger_phrase": trigger_word, "ss_sd_model_name": "sandbox", **metadata}
    save_file(tensors, path, {key: value for key, value in said.items() if value})
    return path
