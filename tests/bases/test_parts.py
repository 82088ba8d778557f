"""Text encoders and VAEs are told by header at their published sizes, in every layout, and never one for another."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from lorasmith.bases import recognise
from lorasmith.bases.detection import registered_families
from lorasmith.bases.header import Header
from lorasmith.bases.opening import CONFIGS
from lorasmith.bases.parts import EXPERT, FILES, TITLES, part_of, parts_inside
from lorasmith.bases.vocabularies import VOCABULARIES

Shapes = dict[str, tuple[int, ...]]
# Billions of parameters as published, of the encoder alone where the release has a decoder too.
_BILLIONS = {
    "clip_l": 0.1231, "clip_h": 0.3404, "clip_g": 0.6947, "t5_xxl": 4.762, "umt5_xxl": 5.681, "qwen3_0.6b": 0.596,
    "qwen3_4b": 4.022, "qwen3_8b": 8.191, "gemma2_2b": 2.614, "qwen2.5_vl_7b": 8.292,
    "qwen3_vl_4b": 4.438, "qwen3_vl_8b": 8.767, "llama3_8b": 7.505, "clip_vision_h": 0.6308,
}  # fmt: skip
_CLASSES = {
    "clip_l": "CLIPTextModelWithProjection", "clip_h": "CLIPTextModel", "clip_g": "CLIPTextModelWithProjection",
    "t5_xxl": "T5EncoderModel", "umt5_xxl": "UMT5EncoderModel", "qwen3_0.6b": "Qwen3Model", "qwen3_4b": "Qwen3Model",
    "qwen3_8b": "Qwen3ForCausalLM", "gemma2_2b": "Gemma2Model", "qwen2.5_vl_7b": "Qwen2_5_VLForConditionalGeneration",
    "qwen3_vl_4b": "Qwen3VLModel", "qwen3_vl_8b": "Qwen3VLForConditionalGeneration", "llama3_8b": "LlamaModel",
    "clip_vision_h": "CLIPVisionModel",
}  # fmt: skip


@cache
def encoder(kind: str) -> tuple[Any, Shapes]:
    """The class at its published size without memory, and its tensors in the names of the published file."""
    import transformers

    told = json.loads((CONFIGS / "parts" / f"{kind}.json").read_text())
    config = transformers.AutoConfig.for_model(told.pop("model_type"), **told)
    with torch.device("meta"):
        made = getattr(transformers, _CLASSES[kind])(config)
    shapes: Shapes = {}
    for key, tensor in made.state_dict().items():
        name = key
        if kind == "clip_vision_h":
            name = f"vision_model.{key.removeprefix('vision_model.')}"
        elif kind.startswith("qwen3_vl"):
            name = key.removeprefix("model.").replace("language_model.", "model.")
        elif kind.startswith("clip") and not key.startswith(("text_model.", "text_projection")):
            name = f"text_model.{key}"
        elif kind == "qwen2.5_vl_7b":
            name = key.replace("model.language_model.", "model.").replace("model.visual.", "visual.")
        elif kind.startswith(("qwen", "gemma", "llama")) and not key.startswith(("model.", "lm_head")):
            name = f"model.{key}"
        shapes[name] = tuple(tensor.shape)
    return made, shapes


def header(shapes: Shapes, prefix: str = "") -> Header:
    named = {prefix + key: shape for key, shape in shapes.items()}
    return Header(Path("file.safetensors"), "single_file", named, dict.fromkeys(named, "BF16"))


@pytest.mark.parametrize("kind", _CLASSES)
def test_an_encoder_of_the_published_size_is_told_with_the_reason(kind: str) -> None:
    made, shapes = encoder(kind)
    count = sum(math.prod(parameter.shape) for parameter in made.parameters())
    assert math.isclose(count / 1e9, _BILLIONS[kind], rel_tol=0.01)
    found = recognise(header(shapes))
    role = "image_encoder" if kind == "clip_vision_h" else "text_encoder"
    assert (found.kind, found.variant) == (role, kind)
    assert TITLES[kind] in found.title and any("long (axis" in reason for reason in found.evidence)
    if role == "text_encoder":
        whole = parts_inside(header(shapes, "text_encoders.any.transformer."))
        assert [part.kind.name for part in whole.values()] == [kind]


def _vaes() -> Iterator[tuple[str, str]]:
    yield from (("vae_flux", "vae_16"), ("vae_sd3", "vae_16"), ("vae_sd", "vae_4"), ("vae_sdxl", "vae_4"))
    yield from (("vae_flux2", "vae_flux2"), ("vae_qwen", "vae_wan"), ("vae_wan2.1", "vae_wan"))
    yield from ((kind, kind) for kind in _VAES_BY_THEMSELVES)


# Millions of parameters: Wan 2.2's as published; the others as their classes make them of these sizes.
_VAES_BY_THEMSELVES = {
    "vae_wan2.2": 704.7, "vae_ltx_0.9.0": 419.2, "vae_ltx_0.9.1": 935.0, "vae_ltx_0.9.5": 1246.9,
    "vae_hunyuan": 246.5,
}  # fmt: skip


@pytest.mark.parametrize(("config", "kind"), _vaes())
def test_a_vae_of_the_published_config_is_told_and_what_stays_open_is_said(config: str, kind: str) -> None:
    import diffusers

    told = json.loads((CONFIGS / "parts" / f"{config}.json").read_text())
    with torch.device("meta"):
        made = getattr(diffusers, told["_class_name"]).from_config(told)
    found = recognise(header({key: tuple(t.shape) for key, t in made.state_dict().items()}))
    assert (found.kind, found.variant) == ("vae", kind)
    alone = kind in ("vae_flux2", *_VAES_BY_THEMSELVES)
    assert any("only its owner knows" in reason for reason in found.evidence) != alone
    if kind in _VAES_BY_THEMSELVES:
        millions = sum(parameter.numel() for parameter in made.parameters()) / 1e6
        assert math.isclose(millions, _VAES_BY_THEMSELVES[kind], rel_tol=0.005), millions


def test_every_family_that_can_be_put_together_names_parts_that_are_known() -> None:
    able = set()
    for name, family in registered_families().items():
        variants = ("", "1", "2", "klein_4b", "klein_9b", "sd1", "sd2", "3_medium", "t2v_14b", "i2v_14b_2.2", "2b")
        for variant in variants:
            made_of = {**family.made_of(variant), **family.made_with(variant, ["vae_ltx_0.9.0"])}
            for component, part in made_of.items():
                if part.kind == EXPERT:
                    assert component in family.experts
                    continue
                settings = part.kind.startswith(("schedule_", "pictures_"))
                assert part.kind in TITLES or part.kind in VOCABULARIES or settings, (name, component)
                if part.kind not in VOCABULARIES:
                    assert (CONFIGS / "parts" / f"{part.config or part.kind}.json").is_file(), (name, component)
            able |= {name} if made_of else set()
    assert {"sd", "sdxl", "sd3", "flux", "chroma", "z_image", "qwen_image", "lumina2", "flux2", "wan"} <= able
    assert {"wan_i2v", "wan_ti2v", "ltx", "hunyuan_video", "krea2"} <= able


def test_the_classes_a_family_names_are_those_of_its_pipeline() -> None:
    import diffusers
    import transformers

    for name, variant in (
        ("flux", "dev"),
        ("sd3", "3_medium"),
        ("sdxl", "base"),
        ("wan", "t2v"),
        ("flux2", "klein_4b"),
        ("wan_i2v", "i2v_14b_2.1"),
        ("wan_i2v", "i2v_14b_2.2"),
        ("wan_ti2v", "ti2v_5b"),
        ("ltx", "2b"),
        ("hunyuan_video", "1"),
        ("krea2", "2"),
    ):
        family = registered_families()[name]
        pipeline = {"flux2": "Flux2KleinPipeline"}.get(name) or next(iter(sorted(family.pipelines)))
        stated = getattr(diffusers, pipeline)._get_signature_types()
        for component, part in family.made_of(variant).items():
            if part.kind == EXPERT:
                continue
            meant = [entry.__name__ for entry in stated.get(component, ())]
            known = getattr(diffusers, part.class_name, None) or getattr(transformers, part.class_name)
            assert any(hasattr(known, "from_pretrained") for _ in (1,))
            loose = {"AutoTokenizer", "PreTrainedModel", "KarrasDiffusionSchedulers", "FlowMatchEulerDiscreteScheduler"}
            names = {base.__name__ for base in known.__mro__} | {known.__name__.removesuffix("Fast")}
            assert names & set(meant) or loose & set(meant), (name, component, meant)


def test_other_files_are_not_taken_for_parts() -> None:
    _, shapes = encoder("t5_xxl")
    shallow = {key: shape for key, shape in shapes.items() if ".block.23." not in key}
    assert part_of(header(shallow)) is None
    _, small = encoder("qwen3_0.6b")
    deeper = {**small, "model.layers.28.self_attn.q_proj.weight": (2048, 1024)}
    assert part_of(header(deeper)) is None
    assert FILES["t5_xxl"].endswith(".safetensors")


def test_a_scan_remembers_parts_that_are_known_by_name(tmp_path: Path) -> None:
    from lorasmith.shelf import Shelf
    from tests.bases.test_opening import write_header

    folder = tmp_path / "ComfyUI" / "models" / "text_encoders"
    folder.mkdir(parents=True)
    write_header(folder / "any name.safetensors", encoder("clip_l")[1])
    write_header(folder / "other.safetensors", {"text_model.encoder.layers.0.mlp.fc1.weight": (3, 3)})
    shelf = Shelf(tmp_path / "home")
    found = shelf.scan([tmp_path / "ComfyUI"], add=True)
    assert len(found.sightings) == 2 and [one.variant for one in found.added] == ["clip_l"]
    assert not shelf.scan([tmp_path / "ComfyUI"], add=True).added


_TWINS = {
    "flux_kontext/kontext": ("flux/dev_or_kontext", "FluxKontextPipeline"),
    "qwen_image_edit/edit": ("qwen_image/1", "QwenImageEditPipeline"),
    "qwen_image_edit_plus/edit_plus": ("qwen_image/1", "QwenImageEditPlusPipeline"),
}


@pytest.mark.parametrize("name", _TWINS)
def test_families_that_edit_have_the_denoiser_of_those_that_do_not(name: str) -> None:
    twin, pipeline = _TWINS[name]
    for file in (CONFIGS / twin).rglob("*.json"):
        told = json.loads((CONFIGS / name / file.relative_to(CONFIGS / twin)).read_text())
        if file.name == "model_index.json":
            assert told.pop("_class_name") == pipeline
        assert told.items() <= json.loads(file.read_text()).items()


def test_a_file_that_its_owner_calls_kontext_is_put_together_as_such(tmp_path: Path) -> None:
    """All at the published sizes, as headers over holes."""
    from lorasmith.bases import open_base
    from lorasmith.shelf import Shelf
    from tests.bases.corpus import MODELS, build, in_original_names
    from tests.bases.test_opening import write_header

    model = next(one for one in MODELS if one.name == "flux kontext")
    write_header(tmp_path / "kontext.safetensors", in_original_names(model, build(model)))
    for kind in ("clip_l", "t5_xxl"):
        write_header(tmp_path / f"{kind}.safetensors", encoder(kind)[1])
    vae = {"decoder.mid.block_1.norm1.weight": (512,), "decoder.conv_in.weight": (512, 16, 3, 3)}
    write_header(tmp_path / "ae.safetensors", vae)
    for count in (32_100, 200):
        folder = tmp_path / f"words {count}"
        folder.mkdir()
        words = {"model": {"vocab": [[str(number), 0.0] for number in range(count)]}}
        (folder / "tokenizer.json").write_text(json.dumps(words))
        (folder / "tokenizer_config.json").write_text("{}")
    shelf = Shelf(tmp_path / "home")
    shelf.add(str(tmp_path / "kontext.safetensors"))
    shelf.answer("kontext", "flux1_dev", "kontext")
    files = [tmp_path / name for name in ("clip_l.safetensors", "t5_xxl.safetensors", "ae.safetensors")]
    short = {need.component: need.source for need in shelf.parts("kontext", [*files, tmp_path / "words 200"]).needs}
    assert short["tokenizer_2"] == "missing", "200 words are none of an encoder that knows 32,128"
    shelf.assemble("kontext", [*files, tmp_path / "words 32100"])
    base = open_base("kontext", home=shelf.home)
    assert base.detection.family == "flux_kontext"
    index = base.header.configs["model_index"]
    assert index["_class_name"] == "FluxKontextPipeline" and index["text_encoder_2"][1] == "T5EncoderModel"
    assert base.header.configs["scheduler"]["use_dynamic_shifting"] is True
    assert base.header.configs["vae"]["scaling_factor"] == 0.3611


_VAE_SHAPES: dict[str, Shapes] = {
    "wan": {"decoder.middle.0.residual.0.gamma": (384, 1, 1, 1), "decoder.conv1.weight": (384, 16, 3, 3, 3)},
    "wan2.2": {
        "decoder.middle.0.residual.0.gamma": (1024, 1, 1, 1), "decoder.conv1.weight": (1024, 48, 3, 3, 3),
        "decoder.upsamples.0.upsamples.0.residual.2.weight": (1024, 1024, 3, 3, 3),
    },
    "hunyuan": {
        "decoder.mid.block_1.conv1.conv.weight": (512, 512, 3, 3, 3), "post_quant_conv.weight": (16, 16, 1, 1, 1),
        "decoder.conv_in.conv.weight": (512, 16, 3, 3, 3),
    },
    "ltx": {
        "decoder.up_blocks.0.res_blocks.0.conv1.conv.weight": (1024, 1024, 3, 3, 3),
        "encoder.conv_out.conv.weight": (129, 2048, 3, 3, 3), "encoder.down_blocks.1.conv.conv.bias": (64,),
        "decoder.last_time_embedder.timestep_embedder.linear_1.weight": (2048, 256),
    },
}  # fmt: skip
_WHOLE = {
    "wan 2.2 5b": ("umt5_xxl", ("wan2.2",), ("wan",)),
    "wan 2.1 i2v": ("umt5_xxl", ("wan", "clip_vision_h"), ("wan2.2",)),
    "hunyuan video": ("llama3_8b", ("clip_l", "hunyuan"), ("wan",)),
    "krea 2": ("qwen3_vl_4b", ("wan",), ("qwen3_vl_8b",)),
    "ltx 2b": ("t5_xxl", ("ltx",), ("hunyuan",)),
}


@pytest.mark.parametrize("name", _WHOLE)
def test_files_of_the_published_sizes_are_all_that_a_base_needs(name: str, tmp_path: Path) -> None:
    """Headers over holes: nothing but words is missing, and the part of another family is refused by its name."""
    from lorasmith.errors import BaseError
    from lorasmith.shelf import Shelf
    from tests.bases.corpus import MODELS, build, in_original_names
    from tests.bases.test_opening import write_header

    model = next(one for one in MODELS if one.name == name)
    first, others, strangers = _WHOLE[name]

    def file(kind: str) -> Path:
        shapes = _VAE_SHAPES[kind] if kind in _VAE_SHAPES else encoder(kind)[1]
        return write_header(tmp_path / f"{kind} 部品.safetensors", shapes, whole=False)

    denoiser = write_header(tmp_path / "mine.safetensors", in_original_names(model, build(model)), whole=False)
    shelf = Shelf(tmp_path / "home")
    parts = [file(kind) for kind in (first, *others)]
    made = shelf.parts(str(denoiser), parts)
    assert {need.component for need in made.missing} <= {"tokenizer"}
    assert all(VOCABULARIES[need.kind].repository in need.note for need in made.missing)
    (tmp_path / "leer 空").mkdir()
    missed = shelf.parts(str(denoiser), [*parts, tmp_path / "leer 空"]).missing
    assert all(need.note.startswith("not in leer 空; ") for need in missed)
    with pytest.raises(BaseError, match=" too, and no part of one"):
        shelf.parts(str(denoiser), [denoiser])
    with pytest.raises(BaseError, match="does not have") as refusal:
        shelf.parts(str(denoiser), [*parts, file(strangers[0])])
    assert refusal.value.hint.startswith("It needs ")


@pytest.fixture(scope="module")
def wan_14b() -> Shapes:
    from tests.bases.corpus import MODELS, build, in_original_names

    model = next(one for one in MODELS if (one.family, one.variant) == ("wan", "t2v_14b"))
    return in_original_names(model, build(model))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("wan2.1_t2v_14B",), "optional"),
        (("mine",), "optional"),
        (("wan2.2_t2v_high_noise_14B",), "missing"),
        (("mine", "yours"), "given"),
        (("wan2.2_high_noise", "wan2.2_low_noise"), "given"),
        (("wan2.2_low_noise",), "Name the high-noise expert first"),
        (("wan2.1_t2v_14B", "yours"), "which has no second denoiser"),
        (("wan2.2_high_noise", "wan2.1_t2v_14B"), "which has no second denoiser"),
        (("mine", "yours", "theirs"), "are both Wan"),
    ],
)
def test_of_wan_14b_one_file_or_two_make_a_base(
    names: tuple[str, ...], said: str, wan_14b: Shapes, tmp_path: Path
) -> None:
    from lorasmith.errors import BaseError
    from lorasmith.shelf import Shelf
    from tests.bases.test_opening import write_header

    first, *others = [write_header(tmp_path / f"{name}.safetensors", wan_14b, whole=False) for name in names]
    shelf = Shelf(tmp_path / "home")
    if said in ("optional", "missing", "given"):
        needs = {need.component: need.source for need in shelf.parts(str(first), others).needs}
        assert needs["transformer_2"] == said
        return
    with pytest.raises(BaseError) as refusal:
        shelf.parts(str(first), others)
    assert said in f"{refusal.value.message} {refusal.value.hint}"


def test_the_vae_in_a_file_of_ltx_says_which_release_it_is_and_another_is_refused(tmp_path: Path) -> None:
    from lorasmith.bases.detection import registered_families
    from lorasmith.errors import BaseError
    from lorasmith.shelf import Shelf
    from tests.bases.corpus import MODELS, build, in_original_names
    from tests.bases.test_opening import write_header

    model = next(one for one in MODELS if one.name == "ltx 2b")
    later = _VAE_SHAPES["ltx"]
    mark = "encoder.down_blocks.1.conv.conv.bias"
    older = {key: shape for key, shape in later.items() if key != mark}
    older["encoder.conv_out.conv.weight"] = (129, 512, 3, 3, 3)
    bare = in_original_names(model, build(model))
    family = registered_families()["ltx"]
    for inside, beside, kind, pipeline in (
        (older, later, "vae_ltx_0.9.1", "LTXPipeline"),
        (later, older, "vae_ltx_0.9.5", "LTXConditionPipeline"),
    ):
        whole = {**bare, **{f"vae.{key}": shape for key, shape in inside.items()}}
        denoiser = write_header(tmp_path / f"{kind}.safetensors", whole, whole=False)
        other = write_header(tmp_path / f"beside {kind}.safetensors", beside, whole=False)
        shelf = Shelf(tmp_path / "home")
        needs = {need.component: need for need in shelf.parts(str(denoiser)).needs}
        assert (needs["vae"].kind, needs["vae"].source) == (kind, "inside")
        assert family.states("2b", [kind])["_class_name"] == pipeline
        with pytest.raises(BaseError, match="does not have"):
            shelf.parts(str(denoiser), [other])
