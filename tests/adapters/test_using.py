"""Text for other programs: workflows with the nodes ComfyUI has, and code that diffusers runs as it stands."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from lorasmith.adapters.file import EXPERT
from lorasmith.adapters.tools.snippet import Loaded, snippet
from lorasmith.adapters.tools.using import Chosen, use
from lorasmith.adapters.tools.workflow import is_whole, workflow
from lorasmith.bases.detection import registered_families
from tests.adapters.files import noise, save_lora
from tests.tiny import build_tiny_base

# Inputs that ComfyUI's nodes demand, and those they may have, read in its nodes.py and comfy_extras (April 2026).
_NODES: dict[str, tuple[set[str], set[str]]] = {
    "CheckpointLoaderSimple": ({"ckpt_name"}, set()),
    "UNETLoader": ({"unet_name", "weight_dtype"}, set()),
    "CLIPLoader": ({"clip_name", "type"}, {"device"}),
    "DualCLIPLoader": ({"clip_name1", "clip_name2", "type"}, {"device"}),
    "TripleCLIPLoader": ({"clip_name1", "clip_name2", "clip_name3"}, set()),
    "VAELoader": ({"vae_name"}, set()),
    "LoraLoader": ({"model", "clip", "lora_name", "strength_model", "strength_clip"}, set()),
    "LoraLoaderModelOnly": ({"model", "lora_name", "strength_model"}, set()),
    "CLIPTextEncode": ({"text", "clip"}, set()),
    "TextEncodeQwenImageEdit": ({"clip", "prompt"}, {"vae", "image"}),
    "TextEncodeQwenImageEditPlus": ({"clip", "prompt"}, {"vae", "image1", "image2", "image3"}),
    "LoadImage": ({"image"}, set()),
    "FluxKontextImageScale": ({"image"}, set()),
    "ReferenceLatent": ({"conditioning"}, {"latent"}),
    "VAEEncode": ({"pixels", "vae"}, set()),
    "VAEDecode": ({"samples", "vae"}, set()),
    "EmptyLatentImage": ({"width", "height", "batch_size"}, set()),
    "EmptySD3LatentImage": ({"width", "height", "batch_size"}, set()),
    "EmptyFlux2LatentImage": ({"width", "height", "batch_size"}, set()),
    "EmptyHunyuanLatentVideo": ({"width", "height", "length", "batch_size"}, set()),
    "EmptyHunyuanVideo15Latent": ({"width", "height", "length", "batch_size"}, set()),
    "EmptyLTXVLatentVideo": ({"width", "height", "length", "batch_size"}, set()),
    "Wan22ImageToVideoLatent": ({"vae", "width", "height", "length", "batch_size"}, {"start_image"}),
    "WanImageToVideo": (
        {"positive", "negative", "vae", "width", "height", "length", "batch_size"},
        {"clip_vision_output", "start_image"},
    ),
    "CLIPVisionLoader": ({"clip_name"}, set()),
    "CLIPVisionEncode": ({"clip_vision", "image", "crop"}, set()),
    "TextEncodeHunyuanVideo_ImageToVideo": ({"clip", "clip_vision_output", "prompt", "image_interleave"}, set()),
    "HunyuanImageToVideo": (
        {"positive", "vae", "width", "height", "length", "batch_size", "guidance_type"}, {"start_image"}
    ),
    "FluxGuidance": ({"conditioning", "guidance"}, set()),
    "KSampler": (
        {"model", "seed", "steps", "cfg", "sampler_name", "scheduler", "denoise"}
        | {"positive", "negative", "latent_image"},
        set(),
    ),
    "SaveImage": ({"images", "filename_prefix"}, set()),
}  # fmt: skip
_OUTPUTS = {"CheckpointLoaderSimple": 3, "LoraLoader": 2, "WanImageToVideo": 3, "HunyuanImageToVideo": 2}
_CLIP_TYPES = {"stable_diffusion", "ltxv", "lumina2", "wan", "chroma", "qwen_image", "flux2", "krea2"}
_DUAL_TYPES = {"flux", "hunyuan_video", "hunyuan_video_15"}


@pytest.mark.parametrize("family", sorted(registered_families()))
def test_a_workflow_has_nodes_that_comfyui_has_with_all_they_need(family: str) -> None:
    nodes = workflow([(Path("one.safetensors"), 0.8), (Path("two.safetensors"), 0.5)], family, "", "a dog")
    loaders = [node["inputs"] for node in nodes.values() if node["class_type"].startswith("LoraLoader")]
    assert [(one["lora_name"], one["strength_model"]) for one in loaders] == [
        ("one.safetensors", 0.8),
        ("two.safetensors", 0.5),
    ]
    for node in nodes.values():
        demanded, allowed = _NODES[node["class_type"]]
        assert demanded <= node["inputs"].keys() <= demanded | allowed, node
        for wire in (value for value in node["inputs"].values() if isinstance(value, list)):
            assert wire[1] < _OUTPUTS.get(nodes[wire[0]]["class_type"], 1)
        if node["class_type"] == "CLIPLoader":
            assert node["inputs"]["type"] in _CLIP_TYPES
        if node["class_type"] == "DualCLIPLoader":
            assert node["inputs"]["type"] in _DUAL_TYPES
    known = registered_families()[family]
    shown = bool(known.reference_pictures[0]) or known.begins_with_picture
    assert any(node["class_type"] == "LoadImage" for node in nodes.values()) == (shown and is_whole(family))
    assert any(node["class_type"] == "SaveImage" for node in nodes.values()) == is_whole(family)


@pytest.mark.parametrize("family", sorted(registered_families()))
def test_code_names_a_pipeline_that_diffusers_has_and_takes_what_it_gives(family: str) -> None:
    import diffusers

    code = snippet([Loaded(Path("/x/a b.c.safetensors"), 0.8)], family, "", "it's a dog", beside=False)
    compile(code, family, "exec")
    known = registered_families()[family]
    (name,) = [line.split()[-1] for line in code.splitlines() if line.startswith("from diffusers import ")]
    assert hasattr(diffusers, name)
    assert (".frames[0]" in code) == bool(known.frame_step) and ("export_to_video" in code) == bool(known.frame_step)
    assert ("load_image(" in code) == (bool(known.reference_pictures[0]) or known.begins_with_picture)


def test_two_denoisers_are_told_their_own_files() -> None:
    loras = [Loaded(Path("/x/a_high.safetensors"), 1.0), Loaded(Path("/x/a_low.safetensors"), 0.5, second=True)]
    code = snippet(loras, "wan", "", "a dog", beside=True)
    assert "adapter_name='a_low', load_into_transformer_2=True)" in code
    assert "pipe.transformer_2.set_adapters(['a_low'], [0.5])" in code and "pipe.set_adapters" not in code


def test_a_file_that_says_what_it_was_trained_as_is_used_so(tmp_path: Path) -> None:
    path = tmp_path / "it.safetensors"
    layers = {"transformer_blocks.0.attn.add_q_proj": (3072, 3072)}
    save_lora(path, "flux", layers=layers, metadata={"lorasmith.family": "flux_kontext"})
    found = use([Chosen(path)], family="flux_kontext")
    assert "FluxKontextPipeline" in found.diffusers and any("picture.png" in text for text in found.warnings)
    assert "FluxKontextPipeline" in use([Chosen(path)], family="flux").diffusers
    low = tmp_path / "low.safetensors"
    save_lora(low, "flux", layers={"blocks.0.attn1.to_q": (1536, 1536)}, metadata={EXPERT: "low_noise"})
    assert "load_into_transformer_2=True" in use([Chosen(low)], family="wan").diffusers


def test_where_comfyui_is_not_known_well_enough_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "it.safetensors"
    stem = "diffusion_model.transformer_blocks.0.audio_attn1.to_q"
    save_file({f"{stem}.lora_A.weight": noise((4, 2048), 1), f"{stem}.lora_B.weight": noise((2048, 4), 2)}, path)
    found = use([Chosen(path)], family="ltx2")
    assert [node["class_type"] for node in found.comfyui.values()] == ["UNETLoader", "LoraLoaderModelOnly"]
    assert any("not known here" in text for text in found.warnings)


def test_the_code_paints_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = build_tiny_base(tmp_path / "base")
    stem = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    from diffusers import UNet2DConditionModel

    config = base / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"sample_size": 8}))  # painted in seconds
    unet: Any = UNet2DConditionModel.from_pretrained(base / "unet")
    side = unet.mid_block.attentions[0].transformer_blocks[0].attn1.to_q.weight.shape[0]
    pieces = {f"{stem}.lora_down.weight": noise((2, side), 1), f"{stem}.lora_up.weight": noise((side, 2), 2)}
    path = tmp_path / "my lora.v2.safetensors"
    save_file(pieces | {f"{stem}.alpha": np.array(2, np.float32)}, path)
    found = use([Chosen(path, 0.8)], family="sd", base=os.fspath(base), prompt="a dog")
    monkeypatch.chdir(tmp_path)
    exec(compile(found.diffusers, "snippet", "exec"), {})
    assert (tmp_path / "picture-painted.png").is_file()


def test_what_each_program_would_not_load_is_said(tmp_path: Path) -> None:
    peft, loha = tmp_path / "peft.safetensors", tmp_path / "loha.safetensors"
    stem = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    down, up = noise((4, 640), 1), noise((640, 4), 2)
    told = {"lorasmith.family": "sdxl"}
    save_file({f"unet.{stem}.lora_A.weight": down, f"unet.{stem}.lora_B.weight": up}, peft, metadata=told)
    flat = f"lora_unet_{stem.replace('.', '_')}"
    halves = {f"{flat}.hada_w{n}_{side}": up if side == "a" else down for n in (1, 2) for side in "ab"}
    save_file(halves, loha, metadata=told)
    assert any("comfyui and A1111 would not read: convert it to kohya" in one for one in use([Chosen(peft)]).warnings)
    assert any("holds LoHa, which diffusers does not load" in one for one in use([Chosen(loha)]).warnings)
