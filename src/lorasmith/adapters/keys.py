"""The grammar of keys in LoRA files: which dialect a key is written in, and which layer and piece it names.

kohya       lora_unet_down_blocks_0_..._to_q.lora_down.weight     SD 1.x, 2.x and SDXL everywhere
peft        unet.down_blocks.0....to_q.lora_A.weight              what diffusers writes
diffusers   unet....processor.to_q_lora.down.weight               what diffusers wrote before peft
comfyui     diffusion_model.input_blocks.1.1....lora_A.weight     original names with dots
lycoris     ....hada_w1_a, ....lokr_w1 ...                        not low-rank pairs; not read here
onetrainer  lora_transformer_...                                  names of the other families
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

Dialect = Literal["kohya", "peft", "diffusers", "comfyui", "onetrainer", "transformer", "lycoris", "unknown"]
Piece = Literal["down", "up", "alpha", "dora_scale", "mid"]

KEY = re.compile(r"[A-Za-z0-9_.\-]{1,400}")

# The longest ending that fits decides, so order matters.
_ENDINGS: tuple[tuple[str, Piece], ...] = (
    (".lora_linear_layer.down.weight", "down"),
    (".lora_linear_layer.up.weight", "up"),
    (".lora_A.default.weight", "down"),
    (".lora_B.default.weight", "up"),
    (".lora_down.weight", "down"),
    (".lora_up.weight", "up"),
    (".lora_mid.weight", "mid"),
    (".lora_A.weight", "down"),
    (".lora_B.weight", "up"),
    (".lora.down.weight", "down"),
    (".lora.up.weight", "up"),
    ("_lora.down.weight", "down"),
    ("_lora.up.weight", "up"),
    (".lora_magnitude_vector", "dora_scale"),
    (".dora_scale", "dora_scale"),
    (".alpha", "alpha"),
)
_BEGINNINGS: tuple[tuple[tuple[str, ...], Dialect], ...] = (
    (("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_"), "kohya"),
    (("lora_transformer_",), "onetrainer"),
    (("transformer.", "base_model.model."), "transformer"),
    (("diffusion_model.", "text_encoders."), "comfyui"),
    (("unet.", "text_encoder.", "text_encoder_2."), "peft"),
)
_LYCORIS = re.compile(r"\.(hada_[wt]\d|lokr_[wt]\d|oft_|boft_|diff(_b)?$|w_norm$|b_norm$|[ab][12]\.weight$)")


def split_key(key: str) -> tuple[str, Piece] | None:
    """``(stem, piece)`` of a key; None when it is no piece of a low-rank pair."""
    for ending, piece in _ENDINGS:
        if key.endswith(ending) and len(key) > len(ending):
            return key.removesuffix(ending), piece
    return None


def dialect_of(keys: Iterable[str]) -> tuple[Dialect, list[str]]:
    """The dialect most keys are written in, and the keys that are written otherwise.

    One dialect may speak of several parts: kohya's ``lora_unet_`` and ``lora_te_`` are one.
    """
    by_dialect: dict[Dialect, list[str]] = {}
    for key in keys:
        by_dialect.setdefault(_dialect_of_key(key), []).append(key)
    if not by_dialect:
        return "unknown", []
    main = max(by_dialect, key=lambda dialect: len(by_dialect[dialect]))
    return main, [key for dialect, found in by_dialect.items() if dialect != main for key in found]


def _dialect_of_key(key: str) -> Dialect:
    if _LYCORIS.search(key):
        return "lycoris"
    if split_key(key) is None:
        return "unknown"
    for beginnings, dialect in _BEGINNINGS:
        if key.startswith(beginnings):
            if dialect == "peft" and any(sign in key for sign in ("_lora.", ".lora.", ".lora_linear_layer.")):
                return "diffusers"
            return dialect
    return "unknown"
