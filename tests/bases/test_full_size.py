"""Real Stable Diffusion 1.5 and 2.1 on the meta device: every target found, every exported key known elsewhere."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from torch import nn

from lorasmith.adapters.ui_keys import a1111_map, a1111_module, comfyui_stems
from lorasmith.bases.opening import CONFIGS
from lorasmith.bases.original_layout import original_unet_module, unet_blocks
from lorasmith.families.sd import plugin as family

# Parameters of the UNet, and modules per preset: 16 attention blocks of one transformer layer each, 22 residual blocks.
COUNTS = {
    "attention": 16 * 8,
    "attention_ff": 16 * (8 + 2),
    "all_linear": 16 * (8 + 2 + 2) + 22,
    "all_linear_conv": 16 * 12 + 22 + 22 * 2 + 14 + 3 + 3,
}


@pytest.fixture(scope="module", params=["sd1", "sd2", "sd2_base"])
def model(request: pytest.FixtureRequest) -> tuple[str, Any, Any]:
    """``(configs, UNet, text encoder)`` without memory."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    folder = CONFIGS / request.param
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(json.loads((folder / "unet" / "config.json").read_text()))
        encoder = CLIPTextModel(CLIPTextConfig.from_pretrained(folder / "text_encoder"))
    return request.param, unet, encoder


def matches(module: str, targets: tuple[str, ...]) -> bool:
    return any(module == target or module.endswith(f".{target}") for target in targets)


def test_the_configs_are_those_of_the_real_models(model: tuple[str, Any, Any]) -> None:
    name, unet, encoder = model
    billions = sum(p.numel() for p in unet.parameters()) / 1e9
    assert math.isclose(billions, 0.860 if name == "sd1" else 0.866, rel_tol=0.01)
    millions = sum(p.numel() for p in encoder.parameters()) / 1e6
    assert math.isclose(millions, 123.1 if name == "sd1" else 340.4, rel_tol=0.01)
    scheduler = json.loads((CONFIGS / name / "scheduler" / "scheduler_config.json").read_text())
    assert scheduler["prediction_type"] == ("v_prediction" if name == "sd2" else "epsilon")


@pytest.mark.parametrize("preset", list(COUNTS))
def test_every_target_is_found_and_every_key_known(model: tuple[str, Any, Any], preset: str) -> None:
    _, unet, encoder = model
    layers = encoder.config.num_hidden_layers
    comfyui, a1111 = comfyui_stems(unet.config, layers), a1111_map(unet.config, layers)
    assert a1111.applies
    stems: set[str] = set()
    found = 0
    for part, component, targets in (
        ("unet", unet, family.target_presets[preset]),
        ("text_encoder", encoder, family.text_encoder_targets),
    ):
        hit: set[str] = set()
        for module, layer in component.named_modules():
            if not matches(module, targets):
                continue
            assert isinstance(layer, nn.Linear | nn.Conv2d), module
            hit.add(next(target for target in targets if matches(module, (target,))))
            stem = family.key_names(part, module)
            place = (part, module.removeprefix("text_model."))
            assert comfyui[stem] == place
            assert a1111.place(stem) == place
            stems.add(stem)
            found += 1
        assert hit == set(targets)
    assert len(stems) == found == COUNTS[preset] + 6 * layers


def test_the_original_layout_has_a_place_for_every_tensor(model: tuple[str, Any, Any]) -> None:
    """The keys of the published single file, as far as they are known by heart."""
    name, unet, _ = model
    blocks = unet_blocks(unet.config)
    originals = {key: original_unet_module(key.rpartition(".")[0], blocks) for key in unet.state_dict()}
    assert None not in originals.values()
    assert len({(original, key.rpartition(".")[2]) for key, original in originals.items()}) == len(originals)
    assert originals["up_blocks.3.resnets.2.conv_shortcut.weight"] == "output_blocks.11.0.skip_connection"
    assert originals["up_blocks.1.upsamplers.0.conv.weight"] == "output_blocks.5.2.conv"
    assert originals["up_blocks.0.upsamplers.0.conv.weight"] == "output_blocks.2.1.conv"
    assert originals["down_blocks.0.downsamplers.0.conv.weight"] == "input_blocks.3.0.op"
    key = "down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_k.weight"
    assert originals[key] == "input_blocks.2.1.transformer_blocks.0.attn2.to_k"
    assert unet.state_dict()[key].shape[1] == (768 if name == "sd1" else 1024)


def test_a1111_names_of_both_text_encoders() -> None:
    stem = "lora_te_text_model_encoder_layers_3_mlp_fc1"
    assert a1111_module(stem, open_clip=False) == "transformer_text_model_encoder_layers_3_mlp_fc1"
    assert a1111_module(stem, open_clip=True) == "model_transformer_resblocks_3_mlp_c_fc"
    assert a1111_module("something_else", open_clip=True) == "something_else"
