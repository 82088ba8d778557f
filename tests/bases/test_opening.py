"""Bases are told apart from headers alone, and whatever cannot be used is refused in a sentence."""

from __future__ import annotations

import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorasmith.bases import detect, family_of, open_base, read_header, recognition
from lorasmith.bases.header import Header
from lorasmith.errors import BaseError
from lorasmith.sandbox.single_file import write_single_file
from tests.tiny import build_tiny_base

PROBE = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return build_tiny_base(tmp_path_factory.mktemp("bases 基"))


def write_header(
    path: Path, shapes: dict[str, tuple[int, ...]], metadata: dict[str, str] | None = None, *, whole: bool = True
) -> Path:
    """A safetensors file whose data is a hole in the file: gigabytes on paper, nothing on disk.

    With a UNet it is a whole base: something of a VAE and of a text encoder is in it too.
    """
    if whole and any("input_blocks." in name for name in shapes):
        first = {"model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3)}
        shapes = first | shapes | {"first_stage_model.x": (1,), "cond_stage_model.x": (1,)}
    table: dict[str, Any] = {"__metadata__": metadata or {}}
    end = 0
    for name, shape in shapes.items():
        size = 2
        for side in shape:
            size *= side
        table[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(table).encode()
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        stream.truncate(8 + len(text) + end)
    return path


def test_a_folder_is_opened_with_its_evidence(folder: Path) -> None:
    base = open_base(str(folder))
    assert (base.layout, base.name, base.detection.family) == ("folder", "base", "sd")
    assert any("cross_attention_dim is 128" in reason for reason in base.detection.evidence)
    assert base.header.shapes["unet/conv_in.weight"] == (32, 4, 3, 3)
    assert base.header.dtypes["vae/quant_conv.weight"] == "F32"
    assert set(base.header.configs) == {"model_index", "unet", "vae", "text_encoder", "tokenizer", "scheduler"}


def test_a_name_in_the_home_is_found(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "bases" / "mine")
    assert open_base("mine", home=tmp_path).path == (tmp_path / "bases" / "mine").resolve()


def test_sharded_and_fp16_parts_are_read(folder: Path, tmp_path: Path) -> None:
    sharded = shutil.copytree(folder, tmp_path / "sharded")
    whole = sharded / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = list(load_file(whole).items())
    whole.unlink()
    names = [f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    halves = (dict(tensors[::2]), dict(tensors[1::2]))
    for name, half in zip(names, halves, strict=True):
        save_file(half, sharded / "unet" / name)
    weight_map = {key: name for name, half in zip(names, halves, strict=True) for key in half}
    index = sharded / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert read_header(sharded).shapes == read_header(folder).shapes
    (sharded / "unet" / names[1]).unlink()
    with pytest.raises(BaseError, match=f"unet lacks 1 of its files, {names[1]} first"):
        read_header(sharded)

    variant = shutil.copytree(folder, tmp_path / "variant")
    for part, stem in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ):
        file = variant / part / f"{stem}.safetensors"
        file.rename(file.with_name(f"{stem}.fp16.safetensors"))
    base = open_base(str(variant))
    model = family_of(base).load(base, parts=("denoiser", "vae", "text_encoders"), dtype=torch.float32, device="cpu")
    assert model.denoiser is not None and model.vae is not None and model.text_encoders


def test_a_single_file_is_the_same_base(folder: Path, tmp_path: Path) -> None:
    """Through ``open_base`` and the family, and through diffusers alone: the same weights, the same picture."""
    from diffusers import StableDiffusionPipeline

    file = write_single_file(folder, tmp_path / "one.file é.safetensors")
    base, original = open_base(str(file)), open_base(str(folder))
    assert (base.layout, base.name, base.config_folder) == ("single_file", "one.file é", file.with_suffix(""))
    assert base.header.configs["scheduler"]["prediction_type"] == "v_prediction"
    family = family_of(base)
    one = family.pipeline(base, dtype=torch.float32, device="cpu")
    two = family.pipeline(original, dtype=torch.float32, device="cpu")
    plain = StableDiffusionPipeline.from_single_file(str(file), config=str(folder), local_files_only=True)
    for part in ("unet", "vae", "text_encoder"):
        wanted = getattr(two, part).state_dict()
        for pipeline in (one, plain):
            weights = getattr(pipeline, part).state_dict()
            assert weights.keys() == wanted.keys()
            assert all(torch.equal(weights[name], wanted[name]) for name in wanted)
    pictures = [
        pipe("a red star", num_inference_steps=2, output_type="pt", generator=torch.Generator().manual_seed(3)).images
        for pipe in (one, two)
    ]
    assert torch.allclose(*pictures, atol=1e-4)  # equal weights at other addresses: sums in another order
    model = family.load(base, parts=("denoiser", "text_encoders", "vae"), dtype=torch.float32, device="cpu")
    assert model.objective == "v_prediction"


def test_a_single_file_needs_configs_that_fit(folder: Path, tmp_path: Path) -> None:
    file = write_single_file(folder, tmp_path / "alone.safetensors", with_configs=False)
    with pytest.raises(BaseError, match="no shipped configs fit its shapes") as caught:
        open_base(str(file))
    assert str(tmp_path / "alone") in caught.value.hint
    wrong = tmp_path / "alone"
    write_single_file(folder, tmp_path / "alone.safetensors")
    config = json.loads((wrong / "unet" / "config.json").read_text())
    (wrong / "unet" / "config.json").write_text(json.dumps(config | {"cross_attention_dim": 768}))
    with pytest.raises(BaseError, match="describes another kind of base than the file"):
        open_base(str(file))


@pytest.mark.parametrize(
    ("name", "width", "metadata", "variant", "configs"),
    [
        ("v1-5-pruned-emaonly", 768, {}, "sd1", "sd1"),
        ("v2-1_768-ema-pruned", 1024, {}, "sd2", "sd2"),
        ("v2-1_512-ema-pruned", 1024, {}, "sd2", "sd2_base"),
        ("mine", 1024, {"modelspec.architecture": "stable-diffusion-v2-768-v"}, "sd2", "sd2"),
        ("mine", 1024, {"modelspec.prediction_type": "epsilon"}, "sd2", "sd2_base"),
    ],
)
def test_well_known_single_files_find_shipped_configs(
    tmp_path: Path, name: str, width: int, metadata: dict[str, str], variant: str, configs: str
) -> None:
    shapes = {PROBE: (320, width), "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3)}
    base = open_base(str(write_header(tmp_path / f"{name}.safetensors", shapes, metadata)))
    assert (base.detection.variant, base.detection.certain) == (variant, True)
    assert base.config_folder is not None and base.config_folder.name == configs
    assert any(str(width) in reason for reason in base.detection.evidence)


def test_noise_or_velocity_is_asked_never_guessed(tmp_path: Path) -> None:
    file = write_header(tmp_path / "mystery.safetensors", {PROBE: (320, 1024)})
    with pytest.raises(BaseError, match="its keys do not say whether it predicts noise or velocity"):
        open_base(str(file))


def test_a_tokenizer_beside_the_file_is_used(folder: Path, tmp_path: Path) -> None:
    """The configs are shipped, the vocabulary is not: its two files lie beside the single file."""
    from lorasmith.families.parts import clip_tokenizer

    file = write_header(tmp_path / "v2-1_768.safetensors", {PROBE: (320, 1024)})
    base = open_base(str(file))
    from lorasmith.sandbox.architecture import write_tokenizer

    write_tokenizer(tmp_path / "v2-1_768" / "tokenizer")
    tokenizer = clip_tokenizer(base)
    assert tokenizer.model_max_length == 77  # from the configs of 2.1, not from beside
    assert tokenizer.pad_token == "!"
    assert len(tokenizer(["star"], padding="max_length").input_ids[0]) == 77


def test_without_any_tokenizer_the_shipped_words_are_taken(tmp_path: Path) -> None:
    from lorasmith.families import parts

    base = open_base(str(write_header(tmp_path / "v1-5.safetensors", {PROBE: (320, 768)})))
    tokenizer = parts.clip_tokenizer(base)
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer.model_max_length == 77


def test_words_of_another_number_are_asked_for(tmp_path: Path) -> None:
    from lorasmith.families import parts

    table = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
    base = open_base(str(write_header(tmp_path / "v1-5.safetensors", {PROBE: (320, 768), table: (900, 768)})))
    with pytest.raises(BaseError, match="knows 900 words, CLIP's has 49,408") as caught:
        parts.clip_tokenizer(base)
    assert "vocab.json and merges.txt" in caught.value.hint and str(tmp_path / "v1-5") in caught.value.hint


def test_a_file_without_configs_loads_with_the_shipped_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way of a 1.x file: shipped configs (here of a thinner model), the tokenizer's two files beside it."""
    from lorasmith.bases import opening
    from lorasmith.sandbox.architecture import build_pipeline, write_tokenizer

    write_tokenizer(tmp_path / "words")
    pipeline = build_pipeline(
        tmp_path / "words",
        unet={"block_out_channels": (32, 48, 64), "cross_attention_dim": 768},
        vae={"block_out_channels": (8, 16, 16, 16)},
        text_encoder={"hidden_size": 768, "projection_dim": 768, "num_hidden_layers": 1},
        scheduler={"prediction_type": "epsilon"},
    )
    pipeline.save_pretrained(tmp_path / "configs" / "sd1")
    file = write_single_file(tmp_path / "configs" / "sd1", tmp_path / "thin.safetensors", with_configs=False)
    shutil.rmtree(tmp_path / "configs" / "sd1" / "tokenizer")
    for weights in (tmp_path / "configs").rglob("*.safetensors"):
        weights.unlink()
    write_tokenizer(tmp_path / "thin" / "tokenizer")
    monkeypatch.setattr(opening, "CONFIGS", tmp_path / "configs")
    base = open_base(str(file))
    assert base.config_folder == tmp_path / "configs" / "sd1"
    model = family_of(base).load(base, parts=("denoiser", "text_encoders"), dtype=torch.float32, device="cpu")
    assert model.objective == "epsilon"
    assert torch.equal(model.denoiser.conv_in.weight, pipeline.unet.conv_in.weight)
    words = model.tokenizers["tokenizer"](["red star"]).input_ids
    assert words == pipeline.tokenizer(["red star"]).input_ids


@pytest.mark.parametrize("shape", [(320,), (), (320, 768, 1, 1)])
def test_a_probe_of_strange_shape_is_no_evidence(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(BaseError, match="is of no known family"):
        open_base(str(write_header(tmp_path / "odd.safetensors", {PROBE: shape}, whole=False)))


@pytest.mark.parametrize("text", [b"[" * 50_000, b'{"a": []}', b'{"a": {"dtype": 1}}', b"[1]", b"\xff\xfe"])
def test_any_header_is_read_or_refused(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "odd.safetensors"
    file.write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(BaseError, match="is damaged"):
        read_header(file)


@pytest.mark.parametrize("width", [None, [768, 1024], "768"])
def test_a_config_that_tells_no_width_is_no_evidence(folder: Path, tmp_path: Path, width: Any) -> None:
    odd = shutil.copytree(folder, tmp_path / "odd")
    config = json.loads((odd / "unet" / "config.json").read_text()) | {"cross_attention_dim": width}
    (odd / "unet" / "config.json").write_text(json.dumps(config))
    with pytest.raises(BaseError, match="what can be trained today"):
        open_base(str(odd))


_XL_ADDS = {PROBE.replace("1.1", "4.1"): (640, 2048), "model.diffusion_model.label_emb.0.0.weight": (1280, 2816)}
FOREIGN: dict[str, dict[str, tuple[int, ...]]] = {
    "FLUX.3 klein": {"early_stream_modulations.image.linear.weight": (8, 8)},
    "Sana": {
        "t_block.1.weight": (8, 8),
        "blocks.0.mlp.depth_conv.conv.weight": (8, 1, 3, 3),
    },
    "a LoRA, not a base": {"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": (4, 8)},
    "a ControlNet, not a base": {"control_model.time_embed.0.weight": (8, 8)},
    "a VAE, not a base": {"encoder.conv_in.weight": (8, 3, 3, 3), "decoder.conv_in.weight": (8, 4, 3, 3)},
}


@pytest.mark.parametrize("title", list(FOREIGN))
def test_a_base_of_another_family_is_named(tmp_path: Path, title: str) -> None:
    file = write_header(tmp_path / "foreign.safetensors", FOREIGN[title])
    with pytest.raises(BaseError) as caught:
        open_base(str(file))
    sentence = f"foreign.safetensors is {title}; what can be trained today is "
    assert caught.value.message.startswith(sentence)
    assert "Stable Diffusion 1.x and 2.x" in caught.value.message
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        (_XL_ADDS | {"model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3)}, "SDXL, but it holds only"),
        (
            {"head.modulation": (1, 2, 1536), "patch_embedding.weight": (1536, 16, 1, 2, 2)},
            "Wan 2.1 T2V 1.3B, but it holds only 2 tensors: it is not whole",
        ),
    ],
)
def test_a_part_of_a_trainable_base_is_refused(
    tmp_path: Path, tensors: dict[str, tuple[int, ...]], reason: str
) -> None:
    file = write_header(tmp_path / "part.safetensors", tensors)
    with pytest.raises(BaseError, match=reason):
        open_base(str(file))


def test_an_unknown_file_and_an_unknown_pipeline_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseError, match=r"it has keys such as 'something\.else'"):
        open_base(str(write_header(tmp_path / "odd.safetensors", {"something.else": (2,)})))
    other = shutil.copytree(folder, tmp_path / "other")
    index = json.loads((other / "model_index.json").read_text()) | {"_class_name": "StableDiffusionXLPipeline"}
    (other / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(
        BaseError, match=r"other is a folder that says SDXL and holds Stable Diffusion in the layout of 1\.x; what can"
    ):
        open_base(str(other))


def test_an_inpainting_base_is_refused(tmp_path: Path) -> None:
    shapes = {PROBE: (320, 768), "model.diffusion_model.input_blocks.0.0.weight": (320, 9, 3, 3)}
    with pytest.raises(BaseError, match="inpainting or edit model"):
        open_base(str(write_header(tmp_path / "inpaint.safetensors", shapes)))


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "model.bin"])
def test_a_pickle_is_never_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(BaseError, match="is a pickle"):
        open_base(str(tmp_path / name))


def test_a_folder_of_pickles_is_refused(folder: Path, tmp_path: Path) -> None:
    pickled = shutil.copytree(folder, tmp_path / "pickled")
    weights = pickled / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(BaseError, match="'unet' holds its weights as a pickle"):
        open_base(str(pickled))


def test_what_is_missing_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BaseError, match="There is no base at"):
        open_base(str(tmp_path / "nothing.safetensors"))
    with pytest.raises(BaseError, match="it is not here yet") as caught:
        open_base("stabilityai/stable-diffusion-2-1")
    assert "lorasmith bases add stabilityai/stable-diffusion-2-1" in caught.value.hint
    (tmp_path / "empty").mkdir()
    with pytest.raises(BaseError, match=r"has no model_index\.json"):
        open_base(str(tmp_path / "empty"))
    shutil.copyfile(folder / "unet" / "diffusion_pytorch_model.safetensors", tmp_path / "empty" / "x.safetensors")
    with pytest.raises(BaseError) as caught:
        open_base(str(tmp_path / "empty"))
    assert "x.safetensors" in caught.value.hint
    partial = shutil.copytree(folder, tmp_path / "partial")
    shutil.rmtree(partial / "vae")
    with pytest.raises(BaseError, match="names 'vae', but that folder is missing"):
        open_base(str(partial))
    mute = shutil.copytree(folder, tmp_path / "mute")
    (mute / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(BaseError, match="'tokenizer' of mute has no vocabulary"):
        open_base(str(mute))


@pytest.mark.parametrize("damage", ["header", "short", "length", "json"])
def test_damage_is_said(folder: Path, tmp_path: Path, damage: str) -> None:
    broken = shutil.copytree(folder, tmp_path / "broken")
    weights = broken / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    if damage == "header":
        content[20] = 0xFF
    elif damage == "short":
        del content[-10:]
    elif damage == "length":
        content[6] = 0x7F
    weights.write_bytes(content)
    if damage == "json":
        (broken / "unet" / "config.json").write_text("{")
    with pytest.raises(BaseError) as caught:
        open_base(str(broken))
    words = {"header": "is damaged", "short": "10 bytes are missing", "length": "cut short", "json": "it is not JSON"}
    assert words[damage] in caught.value.message and caught.value.hint


def test_a_part_outside_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    sly = shutil.copytree(folder, tmp_path / "sly")
    index = json.loads((sly / "model_index.json").read_text())
    index["../../etc"] = ["diffusers", "UNet2DConditionModel"]
    (sly / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(BaseError, match="which is no folder name"):
        open_base(str(sly))


def test_two_claims_are_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lorasmith.bases import detection

    families = detection.registered_families()
    monkeypatch.setattr(detection, "registered_families", lambda: {**families, "copy": families["sd"]})
    with pytest.raises(BaseError, match="is claimed by two families"):
        detect(read_header(folder))


def test_min_snr_is_off_by_default_where_it_would_silence_pure_noise(folder: Path, tmp_path: Path) -> None:
    """Its weight at a terminal SNR of zero is zero for velocity, and such a base decides its grounds there."""
    ends_in_noise = open_base(str(folder))
    assert ends_in_noise.header.configs["scheduler"]["rescale_betas_zero_snr"] is True
    assert family_of(ends_in_noise).defaults_for(ends_in_noise)["objective"]["min_snr_gamma"] is None
    usual = shutil.copytree(folder, tmp_path / "usual")
    settings = usual / "scheduler" / "scheduler_config.json"
    settings.write_text(
        settings.read_text().replace('"rescale_betas_zero_snr": true', '"rescale_betas_zero_snr": false')
    )
    base = open_base(str(usual))
    assert family_of(base).defaults_for(base)["objective"]["min_snr_gamma"] == 5.0


def test_what_a_header_says_is_worked_out_once_and_anew_for_another_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = read_header(folder)
    first = recognition.recognise(header)
    assert recognition.recognise(header) is first
    bare = replace(header, shapes={"nothing.known": (1,)}, configs={})
    assert recognition.recognise(bare) != first, "a header that was made of it is looked at for itself"
    asked: list[object] = []
    really = recognition._recognised

    def counted(one: Header) -> recognition.Recognition:
        asked.append(one)
        return really(one)

    monkeypatch.setattr(recognition, "_recognised", counted)
    detect(read_header(folder))
    assert len(asked) == 1, "however many families are asked"
