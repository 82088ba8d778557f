"""How keys end: the endings that are remembered are told as the whole pattern tells them."""

from __future__ import annotations

import itertools

import pytest

from lorasmith.adapters.dialects.endings import _searched, split

_PIECES = (
    ".lora_down.weight", ".lora_up.weight", ".lora_mid.weight", ".lora_down.bias", ".lora_A.weight", ".lora_B.bias",
    ".lora_A", ".lora_A.default.weight", ".lora_B.default", ".lora.up.weight", "_lora.down.weight", "_lora1.up.weight",
    ".lora_linear_layer.up.weight", ".lora_magnitude_vector.default.weight", ".hada_w1_a", ".lokr_w2", ".oft_R.weight",
    ".a1.weight", ".diff_b", ".w_norm", ".on_input", ".set_weight", ".alpha", ".dora_scale", ".weight", "_norm.scale",
)  # fmt: skip
_STEMS = (
    "",
    "x",
    "lora_unet_a_b",
    "transformer.blocks.0.attn",
    "lora_",
    ".lora_",
    "a.lora_A",
    "a.lora_B.alpha",
    "lora_A.x",
)
_KEYS = [
    stem + "".join(ends) for stem in _STEMS for count in (1, 2) for ends in itertools.product(_PIECES, repeat=count)
]


def test_what_is_remembered_is_what_is_found() -> None:
    assert [key for key in _KEYS if split(key) != _searched(key)] == []
    assert sum(split(key) is not None for key in _KEYS) > 1000


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("lora_unet_a.lora_down.weight", ("lora_unet_a", "lora", "down")),
        ("a.lora_A.default.weight", ("a", "lora", "down")),
        ("a.lora_A.alpha", ("a", "lora", "down")),
        ("a.alpha", ("a", "any", "alpha")),
        (".alpha", None),
        ("a.b.weight", None),
    ],
)
def test_stem_kind_and_piece(key: str, wanted: tuple[str, str, str] | None) -> None:
    assert split(key) == wanted
