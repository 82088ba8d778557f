"""What adapter files are said to be: every family, in both layouts, in all dialects and kinds; no wrong answer."""

# ruff: noqa: E501, PLR0911  tables: one file a line

from __future__ import annotations

import cProfile
import itertools
import json
from collections.abc import Iterator, Mapping

import pytest

from lorasmith.adapters.dialects.names import FLAT_PART
from lorasmith.adapters.dialects.recognition import AdapterKind, recognise_adapter
from lorasmith.adapters.dialects.table import Shape, to_diffusers, to_original
from tests.adapters.layer_table import TABLE, layers_of, make, text
from tests.bases.corpus import MODELS, Model, build, cases, in_original_names, negatives

Shapes = dict[str, Shape]

STEMS = {
    "kohya": ("lora_unet_{flat}", "lora_unet_{flat}"),
    "peft": ("unet.{name}", "transformer.{name}"),
    "comfyui": ("diffusion_model.{name}", "diffusion_model.{name}"),
    "onetrainer": ("lora_transformer_{flat}", "lora_transformer_{flat}"),
    "simpletuner": ("lycoris_{flat}", "lycoris_{flat}"),
    "fal": ("base_model.model.{name}", "base_model.model.{name}"),
    "bare": ("{name}", "{name}"),
}


def pieces(kind: str, stem: str, shape: Shape) -> Shapes:
    """The keys one layer has in a kind."""
    rows, columns, *kernel = shape
    ones = [1] * len(kernel)
    if kind == "lora":
        return {
            f"{stem}.lora_down.weight": (8, columns, *kernel),
            f"{stem}.lora_up.weight": (rows, 8, *ones),
            f"{stem}.alpha": (),
        }
    if kind == "peft":
        return {f"{stem}.lora_A.weight": (8, columns, *kernel), f"{stem}.lora_B.weight": (rows, 8, *ones)}
    if kind == "named":
        return {
            f"{stem}.lora_A.default.weight": (8, columns, *kernel),
            f"{stem}.lora_B.default.weight": (rows, 8, *ones),
        }
    if kind == "dora":
        return pieces("lora", stem, shape) | {f"{stem}.dora_scale": (rows, 1)}
    flat = columns
    for side in kernel:
        flat *= side
    if kind == "loha":
        return {f"{stem}.hada_w{n}_{s}": (rows, 8) if s == "a" else (8, flat) for n in (1, 2) for s in "ab"} | {
            f"{stem}.alpha": ()
        }
    if kind == "lokr":
        return {
            f"{stem}.lokr_w1": (1, 1),
            f"{stem}.lokr_w2_a": (rows, 8),
            f"{stem}.lokr_w2_b": (8, flat),
            f"{stem}.alpha": (),
        }
    if kind == "full":
        return {f"{stem}.diff": shape}
    if kind == "glora":
        return {
            f"{stem}.a1.weight": (columns, 8),
            f"{stem}.a2.weight": (8, columns),
            f"{stem}.b1.weight": (rows, 8),
            f"{stem}.b2.weight": (8, columns),
        }
    blocks = 4 if rows % 4 == 0 else 1
    if kind == "boft":
        return {f"{stem}.oft_blocks": (3, blocks, rows // blocks, rows // blocks), f"{stem}.alpha": ()}
    if kind == "ia3":
        return {f"{stem}.weight": (1, rows), f"{stem}.on_input": ()}
    return {f"{stem}.oft_blocks": (blocks, rows // blocks, rows // blocks), f"{stem}.alpha": ()}


KINDS = ("lora", "peft", "named", "dora", "loha", "lokr", "full", "glora", "oft", "boft", "ia3")
SAID = {"peft": "lora", "named": "lora", "boft": "oft"}
FLAT = ("kohya", "simpletuner")
"""Dialects that IA3 is written in: it has an ending of its own behind flat names alone."""


def files(*, whole: bool = False, only: str = "") -> Iterator[tuple[str, Model, str, str, Shapes]]:
    """Every model, layout and choice of layers, in dialects and kinds: a third of the pairs and the last layers, or
    ``whole``: every pair, with the attention layers of all blocks, and with all layers.

    Args:
        whole: all of it, at full size.
        only: models whose family is called so.
    """
    for model in MODELS:
        if only not in ("", model.family):
            continue
        shapes = build(model)
        layouts = {"diffusers": shapes} | ({"original": in_original_names(model, shapes)} if model.rules else {})
        for layout, named in layouts.items():
            layers = {
                name.removeprefix("net."): shape for name, shape in layers_of(named).items() if len(shape) in (2, 4)
            }
            attention = {name: shape for name, shape in layers.items() if "attn" in name or "attention" in name}
            chosen = {"all": layers, "attention": attention} if whole else {"all": layers}
            for choice, picked in (chosen | {"some": dict(list(attention.items())[-12:])}).items():
                for dialect, kind in _pairs(choice, len(model.name), whole=whole):
                    beginning = STEMS[dialect][model.model_class != "UNet2DConditionModel"]
                    header: Shapes = {}
                    for name, shape in picked.items():
                        header |= pieces(kind, beginning.format(flat=name.replace(".", "_"), name=name), shape)
                    if header:
                        yield f"{model.name}, {layout}, {choice}, {dialect}, {kind}", model, layout, kind, header


def _pairs(choice: str, at: int, *, whole: bool) -> list[tuple[str, str]]:
    pairs = [pair for pair in itertools.product(STEMS, KINDS) if pair[1] != "ia3" or pair[0] in FLAT]
    if whole:
        return pairs
    return [("kohya", "lora"), ("comfyui", "lora")] if choice == "all" else pairs[at % 3 :: 3]


def mistake(
    model: Model, kind: str, header: Shapes, metadata: Mapping[str, str] | None = None
) -> tuple[str, AdapterKind]:
    """What was said wrongly of a file, empty where all is right or left open; and what was said."""
    found = recognise_adapter(header, metadata or {})
    convolved = found.kind == "locon" and kind in ("lora", "peft", "named")
    if not found.is_adapter:
        return "said to be no adapter", found
    if (found.family or model.family) != model.family or model.family not in found.candidates:
        return f"said to be of {found.family or found.candidates}: {found.evidence}", found
    if found.kind != SAID.get(kind, kind) and not convolved:
        return f"said to be {found.kind}", found
    return "", found


def test_no_file_of_any_family_is_taken_for_another() -> None:
    wrong, told, open_ = [], 0, 0
    for name, model, _, kind, header in files():
        said, found = mistake(model, kind, header)
        wrong += [f"{name}: {said}"] if said else []
        told, open_ = told + bool(found.family), open_ + (not found.family)
    assert not wrong, "\n".join(wrong[:20])
    assert told > open_  # attention alone of a few blocks: FLUX.1, Chroma and their kin cannot be told apart


def test_metadata_decide_only_between_families_that_fit() -> None:
    header: Shapes = {}
    for number in range(19):
        header |= pieces("peft", f"transformer.transformer_blocks.{number}.attn.to_q", (3072, 3072))
    assert set(recognise_adapter(header, {}).candidates) >= {"flux", "chroma"}
    assert recognise_adapter(header, {}).family == ""
    assert recognise_adapter(header, {"modelspec.architecture": "chroma/lora"}).family == "chroma"
    assert recognise_adapter(header, {"modelspec.architecture": "flux-1-dev/lora"}).family == "flux"
    lying = recognise_adapter(header, {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"})
    assert lying.family == "" and "sdxl" not in lying.candidates
    assert (
        recognise_adapter(header, {"ss_sd_model_name": "chroma.safetensors"}).family == ""
    )  # a file name proves nothing


@pytest.mark.parametrize("kind", ["oft", "boft", "ia3"])
@pytest.mark.parametrize(
    ("stems", "rows", "family"),
    [
        (["mid_block_attentions_0_transformer_blocks_0_attn1_to_q"], 1280, "sd"),  # SDXL has ten there
        ([f"mid_block_attentions_0_transformer_blocks_{n}_attn1_to_q" for n in range(10)], 1280, "sdxl"),
        ([f"down_blocks_1_attentions_{n}_transformer_blocks_0_attn1_to_q" for n in range(2)], 640, "sd"),
        ([f"down_blocks_1_attentions_0_transformer_blocks_{n}_attn1_to_q" for n in range(2)], 640, "sdxl"),
        (["down_blocks_0_attentions_0_proj_in"], 320, "sd"),  # a block that SDXL has no attention in
        (["down_blocks_2_attentions_0_proj_in", "up_blocks_0_attentions_2_proj_in"], 1280, "sdxl"),
        (["mid_block_resnets_0_time_emb_proj"], 1280, ""),  # both have it
        (["mid_block_resnets_0_time_emb_proj", "lora_te2"], 1280, "sdxl"),
        (["mid_block_resnets_0_time_emb_proj", "lora_te"], 1280, "sd"),
    ],
)  # fmt: skip
def test_updates_without_a_shape_are_told_by_all_else_that_a_file_has(
    kind: str, stems: list[str], rows: int, family: str
) -> None:
    header: Shapes = {}
    for stem in stems:
        text = stem.startswith("lora_te")
        named = f"{stem}_text_model_encoder_layers_0_mlp_fc1" if text else f"lora_unet_{stem}"
        header |= pieces(kind, named, (3072 if text else rows, 768))
    found = recognise_adapter(header, {})
    assert found.family == family and (family or set(found.candidates) == {"sd", "sdxl"}), found.evidence
    assert family or "alike" in found.evidence[-1]
    said = recognise_adapter(header, {"ss_base_model_version": "sdxl_base_v1-0"})
    assert said.family in ("sdxl", family), "what the file says decides only where nothing in it does"


def test_the_rows_of_an_update_tell_which_layer_it_is_for() -> None:
    """320 rows on the way up has Stable Diffusion alone; peft's OFT says inputs."""
    stem = "lora_unet_up_blocks_1_attentions_0_proj_in"
    assert recognise_adapter(pieces("oft", stem, (320, 320)), {}).family == "sd"
    assert recognise_adapter(pieces("oft", stem, (640, 640)), {}).family == ""
    peft: Shapes = {"unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.oft_R.weight": (64, 496)}
    found = recognise_adapter(peft, {})
    assert found.family == "sdxl" and found.kind == "oft", found.evidence  # 64 blocks of 32 inputs
    assert recognise_adapter({next(iter(peft)): (24, 496)}, {}).family == "sd"


def test_anima_is_told_from_cosmos_by_its_bridge_or_by_the_metadata() -> None:
    """Their bodies have the same names and sizes: what neither says stays open, and both are named."""
    header: Shapes = {}
    for number in range(28):
        header |= pieces("peft", f"diffusion_model.blocks.{number}.self_attn.q_proj", (2048, 2048))
    found = recognise_adapter(header, {})
    assert (found.family, set(found.candidates)) == ("", {"anima", "cosmos"})
    for word, family in (("anima/lora", "anima"), ("cosmos-predict2", "cosmos")):
        assert recognise_adapter(header, {"modelspec.architecture": word}).family == family
    assert recognise_adapter(header, {"ss_base_model_version": "anima"}).family == "anima"
    bridge = pieces("peft", "diffusion_model.llm_adapter.blocks.0.cross_attn.q_proj", (1024, 1024))
    told = recognise_adapter(header | bridge, {})
    assert (told.family, told.confidence) == ("anima", 1.0) and told.candidates == ("anima",)
    larger: Shapes = {}
    for number in range(36):
        larger |= pieces("peft", f"diffusion_model.blocks.{number}.self_attn.q_proj", (5120, 5120))
    assert recognise_adapter(larger, {"modelspec.architecture": "anima/lora"}).family == "cosmos", "14B is no Anima"


def test_bases_and_everything_else_are_no_adapters() -> None:
    wrong = [
        case.name
        for case in cases()
        if case.header.layout == "single_file" and recognise_adapter(case.header.shapes, {}).is_adapter
    ]
    wrong += [
        name for name, kind, header in negatives() if kind != "lora" and recognise_adapter(header.shapes, {}).is_adapter
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("keys", "dialect"),
    [
        ({"double_blocks.0.processor.qkv_lora1.down.weight": (16, 3072), "double_blocks.0.processor.qkv_lora1.up.weight": (9216, 16)}, "xlabs"),
        ({"single_blocks.7.processor.qkv_lora.down.weight": (16, 3072), "single_blocks.7.processor.qkv_lora.up.weight": (9216, 16)}, "xlabs"),
        ({"double_blocks.0.img_attn.qkv.lora_A.weight": (16, 3072), "double_blocks.0.img_attn.qkv.lora_B.weight": (9216, 16), "double_blocks.0.img_attn.norm.key_norm.scale": (128,)}, "bfl_control"),
        ({"base_model.model.double_blocks.0.img_attn.qkv.lora_A.weight": (16, 3072), "base_model.model.double_blocks.0.img_attn.qkv.lora_B.weight": (9216, 16)}, "fal_kontext"),
        ({"transformer.double_blocks.0.img_attn.qkv.1.lora_down.weight": (16, 3072), "transformer.double_blocks.0.img_attn.qkv.1.lora_up.weight": (3072, 16)}, "omi"),
        ({"transformer.double_blocks.0.img_attn_qkv.lora_A.weight": (16, 3072), "transformer.double_blocks.0.img_attn_qkv.lora_B.weight": (9216, 16)}, "diffusion_pipe"),
        ({"unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight": (4, 1280), "unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.up.weight": (1280, 4)}, "diffusers_old"),
        ({"lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (4, 768), "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": (3072, 4)}, "kohya"),
    ],
)  # fmt: skip
def test_the_rarer_dialects_are_told(keys: Shapes, dialect: str) -> None:
    found = recognise_adapter(keys, {})
    assert found.is_adapter and found.dialect == dialect, found


def test_norms_ia3_and_embeddings_inside_are_counted() -> None:
    header = pieces("lora", "lora_unet_mid_block_attentions_0_proj_in", (1280, 1280))
    header |= {
        "lora_unet_mid_block_attentions_0_norm.w_norm": (1280,),
        "lora_unet_mid_block_attentions_0_norm.b_norm": (1280,),
    }
    header |= {"bundle_emb.ohwx.string_to_param.*": (4, 768)}
    found = recognise_adapter(header, {})
    assert dict(found.kinds) == {"lora": 1, "norm": 1} and found.embeddings == ("ohwx",)
    ia3: Shapes = {"lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k.weight": (1280, 1)}
    ia3 |= {"lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k.on_input": ()}
    assert recognise_adapter(ia3, {}).kind == "ia3"


def test_half_a_module_and_ranks_that_differ_are_named() -> None:
    stem = "lora_unet_mid_block_attentions_0_proj_in"
    half = pieces("lora", stem, (1280, 1280)) | {"lora_unet_mid_block_attentions_0_proj_out.lora_up.weight": (1280, 8)}
    assert recognise_adapter(half, {}).incomplete == ("lora_unet_mid_block_attentions_0_proj_out",)
    turned = {f"{stem}.lora_down.weight": (8, 1280), f"{stem}.lora_up.weight": (8, 1280)}
    assert recognise_adapter(turned, {}).incomplete == (stem,)


def test_dialects_in_one_file_are_told_apart() -> None:
    header = pieces("lora", "lora_unet_mid_block_attentions_0_proj_in", (1280, 1280))
    header |= pieces("lora", "lora_unet_mid_block_attentions_0_proj_out", (1280, 1280))
    header |= pieces("peft", "diffusion_model.middle_block.1.proj_in", (1280, 1280))
    assert set(recognise_adapter(header, {}).foreign) == {
        "diffusion_model.middle_block.1.proj_in.lora_A.weight",
        "diffusion_model.middle_block.1.proj_in.lora_B.weight",
    }


def test_what_it_takes_to_tell_a_header_grows_with_its_keys_and_no_faster() -> None:
    """Counted in calls, not in time: four times the keys may take five times the calls."""

    def calls(count: int) -> int:
        header: Shapes = {}
        for number in range(count):
            header |= pieces("lora", f"lora_unet_transformer_blocks_{number % 60}_attn_to_q_{number}", (64, 64))
        recognise_adapter(header, {})
        profile = cProfile.Profile()
        profile.runcall(recognise_adapter, header, {})
        return sum(entry.callcount for entry in profile.getstats())

    assert calls(2000) < 5 * calls(500)


def test_the_table_is_that_of_the_real_classes() -> None:
    assert TABLE.read_text(encoding="utf-8") == text(make()), "run `python -m tests.adapters.layer_table`"


@pytest.mark.parametrize("model", [m for m in MODELS if m.rules not in ("", "unet")], ids=lambda m: m.name)
def test_names_translate_there_and_back(model: Model) -> None:
    for name in layers_of(build(model)):
        place = to_original(model.rules, name)
        assert place is not None, name
        back = to_diffusers(model.rules, place.name)
        assert back[[one.part for one in back].index(place.part)].name == name
        assert to_diffusers(model.rules, place.name.replace(".", "_")) == back


def test_parts_of_every_fused_layer_are_known_as_parts() -> None:
    """What is written in OMI's dialect, each part of a fused layer for itself, is read again."""
    fused = {row[1] for rows in json.loads(TABLE.read_text("utf-8"))["names"].values() for row in rows if row[3]}
    assert len(fused) > 8
    assert not [name for name in fused if not FLAT_PART.search(f"{name}.0")]
    assert not FLAT_PART.search("transformer_blocks.0.attn.to_out.0") and not FLAT_PART.search("ff.net.0")
