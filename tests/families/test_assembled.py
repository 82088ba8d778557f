"""Bases put together from single files as ComfyUI keeps them: real classes, published names, packed and plain."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, quantize
from safetensors.torch import load_file, save_file
from torch import Tensor

from lorasmith.bases import open_base, parts
from lorasmith.bases import opening as opening_room
from lorasmith.bases.detection import registered_families
from lorasmith.bases.opening import CONFIGS
from lorasmith.bases.parts import PartKind
from lorasmith.errors import BaseError
from lorasmith.families.part_files import load_part
from lorasmith.jobfolder import Control
from lorasmith.sandbox.single_file import _vae_name
from lorasmith.shelf import Shelf
from lorasmith.training.cache import encoders_of
from lorasmith.training.loop import train
from tests.bases.single_files import original_tensors
from tests.families import steps
from tests.families.one_file import _open_clip
from tests.families.tiny import RECORDS, small_clip, small_language_model, small_t5, small_vae
from tests.families.words import clip_tokenizer, qwen_tokenizer, t5_tokenizer
from tests.training.runs import Said

_WORDS = 49_408
_TINY = (
    PartKind("clip_l", "text_encoder", "CLIP-L", ("text_model.encoder.layers.2.mlp.fc1.weight",),
             ("text_model.embeddings.token_embedding.weight", 1, 32), ("vision",), "clip_l.safetensors"),
    PartKind("clip_g", "text_encoder", "OpenCLIP-bigG", ("transformer.resblocks.2.mlp.c_fc.weight",),
             ("token_embedding.weight", 1, 32), (), "clip_g.safetensors"),
    PartKind("t5_xxl", "text_encoder", "T5-XXL v1.1", ("encoder.block.1.layer.1.DenseReluDense.wi_1.weight",),
             ("shared.weight", 1, 32), (), "t5xxl_fp16.safetensors"),
    PartKind("t5_xxl", "text_encoder", "T5-XXL v1.1", ("enc.blk.1.ffn_up.weight",), ("token_embd.weight", 1, 32)),
    PartKind("qwen3_4b", "text_encoder", "Qwen3 4B", ("model.layers.2.self_attn.q_norm.weight",),
             ("model.embed_tokens.weight", 1, 32), (), "qwen_3_4b.safetensors"),
    PartKind("qwen3_4b", "text_encoder", "Qwen3 4B", ("blk.2.attn_q_norm.weight",), ("token_embd.weight", 1, 32)),
    PartKind("vae_16", "vae", "the VAE of FLUX.1 or Stable Diffusion 3", ("decoder.mid.block_1.norm1.weight",),
             ("decoder.conv_in.weight", 1, 16), ("post_quant_conv.weight",), "ae.safetensors", alike=True),
)  # fmt: skip
_FLUX_VAE = {"scaling_factor": 0.3611, "shift_factor": 0.1159, "use_quant_conv": False, "use_post_quant_conv": False}


@pytest.fixture
def tiny_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts are told by the widths of the tiny ones; all else is as for the published."""
    monkeypatch.setattr(parts, "PARTS", _TINY)


def original_vae(state: dict[str, Tensor], levels: int) -> dict[str, Tensor]:
    """A VAE's tensors in the names of its release, attention as convolutions."""
    made = {_vae_name(key, levels).removeprefix("first_stage_model."): tensor for key, tensor in state.items()}
    return {key: t[:, :, None, None] if ".attn_1." in key and t.ndim == 2 else t for key, t in made.items()}


def published_clip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"text_model.{key.removeprefix('text_model.')}": tensor for key, tensor in state.items()}


def in_scaled_fp8(state: dict[str, Tensor]) -> dict[str, Tensor]:
    made: dict[str, Tensor] = {"scaled_fp8": torch.zeros(2).to(torch.float8_e4m3fn)}
    for key, tensor in state.items():
        if tensor.ndim != 2 or not key.endswith(".weight"):
            made[key] = tensor
            continue
        scale = tensor.abs().max() / 448
        made[key] = (tensor / scale).to(torch.float8_e4m3fn)
        made[key.replace(".weight", ".scale_weight")] = scale
    return made


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The pieces of a tiny FLUX.1, each in its file, and what they hold."""
    root = tmp_path_factory.mktemp("flux")
    torch.manual_seed(3)
    pipe = RECORDS["flux"].build(root / "words")
    clip = small_clip("CLIPTextModel", 32, clip_tokenizer(root / "words"), vocab_size=_WORDS, bos_token_id=_WORDS - 2,
                      eos_token_id=_WORDS - 1, pad_token_id=_WORDS - 1)  # fmt: skip
    states = {
        "transformer": pipe.transformer.state_dict(), "text_encoder": clip.state_dict(),
        "text_encoder_2": {k: t for k, t in pipe.text_encoder_2.state_dict().items() if "embed_tokens" not in k},
        "vae": pipe.vae.state_dict(),
    }  # fmt: skip
    files = {
        "transformer": states["transformer"], "text_encoder": published_clip(states["text_encoder"]),
        "text_encoder_2": in_scaled_fp8(states["text_encoder_2"]),
        "vae": original_vae(states["vae"], len(pipe.vae.config.block_out_channels)),
    }  # fmt: skip
    names = {"transformer": "flux1-dev", "text_encoder": "clip_l", "text_encoder_2": "t5xxl_fp8", "vae": "ae"}
    for part, tensors in files.items():
        save_file({key: t.clone().contiguous() for key, t in tensors.items()}, root / f"{names[part]}.safetensors")
    pipe.tokenizer_2.save_pretrained(root / "t5-words")
    configs = root / "configs"
    shipped = configs / "flux" / "dev_or_kontext"
    for part, module in (("transformer", pipe.transformer), ("scheduler", pipe.scheduler)):
        module.save_config(shipped / part)
    index = {
        "_class_name": "FluxPipeline", "transformer": ["diffusers", "FluxTransformer2DModel"],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    }  # fmt: skip
    (shipped / "model_index.json").write_text(json.dumps(index))
    (configs / "parts").mkdir()
    for name, module in (("clip_l", clip), ("t5_xxl", pipe.text_encoder_2), ("vae_flux", pipe.vae)):
        said = module.config.to_dict() if hasattr(module.config, "to_dict") else dict(module.config)
        said.setdefault("_class_name", type(module).__name__)
        (configs / "parts" / f"{name}.json").write_text(json.dumps(said, default=str))
    return {"root": root, "configs": configs, "states": states}


@pytest.fixture
def shelf(tmp_path: Path, flux: dict[str, Any], tiny_parts: None, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    monkeypatch.setattr(opening_room, "CONFIGS", flux["configs"])
    return Shelf(tmp_path / "home")


def _given(root: Path) -> list[Path]:
    return [root / name for name in ("clip_l.safetensors", "t5xxl_fp8.safetensors", "ae.safetensors", "t5-words")]


def test_a_base_of_four_files_is_its_parts(shelf: Shelf, flux: dict[str, Any]) -> None:
    root: Path = flux["root"]
    added = shelf.assemble(str(root / "flux1-dev.safetensors"), _given(root), name="mine")
    assert added.base.name == "mine" and added.base.present()
    assert set(added.base.parts) == {"text_encoder", "text_encoder_2", "vae"}
    base = open_base("mine", home=shelf.home)
    family = registered_families()["flux"]
    model = family.load(base, parts=("denoiser", "text_encoders", "vae"), dtype=torch.float32, device="cpu")
    found = {"transformer": model.denoiser, "vae": model.vae, **model.text_encoders}
    for part, state in flux["states"].items():
        mine = found[part].state_dict()
        for key, tensor in state.items():
            close = {"atol": 0.07, "rtol": 0.07} if part == "text_encoder_2" else {"atol": 0, "rtol": 0}
            torch.testing.assert_close(mine[key], tensor, **close, msg=f"{part}.{key}")
    assert model.tokenizers["tokenizer"]("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    told = family.encode_prompts(model, ["a star"]).tensors
    assert all(tensor.isfinite().all() for tensor in told.values())
    again = shelf.assemble("mine", _given(root))
    assert not again.new and again.base.name == "mine", "put together again, it keeps its name"


def test_a_run_on_it_trains_and_what_is_cached_belongs_to_its_parts(
    shelf: Shelf, flux: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("flux1-dev", "clip_l", "t5xxl_fp8", "ae"):
        shutil.copy(flux["root"] / f"{name}.safetensors", folder)
    shutil.copytree(flux["root"] / "t5-words", folder / "t5-words")
    shelf.assemble(str(folder / "flux1-dev.safetensors"), _given(folder), name="mine")
    monkeypatch.setattr(steps, "open_base", lambda reference: open_base(reference, home=shelf.home))
    run = steps.run_of(shelf.home, folder / "flux1-dev.safetensors", max_train_steps=1)
    assert train(run, Said(), Control) == "succeeded" and run.step == 1

    def identities() -> tuple[str, str]:
        shelf.assemble("mine", _given(folder))
        return encoders_of(open_base("mine", home=shelf.home))

    pictures, prompts = identities()
    assert identities() == (pictures, prompts)
    changes = {
        "flux1-dev": "proj_out.bias", "ae": "decoder.conv_in.bias", "clip_l": "text_model.final_layer_norm.bias",
    }  # fmt: skip
    for name, key in changes.items():
        state = load_file(folder / f"{name}.safetensors")
        save_file({**state, key: state[key] + 1}, folder / f"{name}.safetensors")
        now = identities()
        assert (now[0] != pictures, now[1] != prompts) == (name == "ae", name == "clip_l"), name
        pictures, prompts = now


def test_what_is_missing_is_said_whole_and_nothing_is_kept(shelf: Shelf, flux: dict[str, Any]) -> None:
    root: Path = flux["root"]
    with pytest.raises(BaseError) as refusal:
        shelf.assemble(str(root / "flux1-dev.safetensors"), [root / "ae.safetensors"])
    said = refusal.value
    assert "CLIP-L (text_encoder), T5-XXL v1.1 (text_encoder_2), T5's words (tokenizer_2)" in said.message
    assert "hf download google-t5/t5-base tokenizer.json" in said.hint and "clip_l.safetensors" in said.hint
    assert not shelf.list() and not list(shelf.home.rglob("*.parts"))


def test_what_is_here_and_can_be_no_other_is_taken_by_itself(shelf: Shelf, flux: dict[str, Any]) -> None:
    root: Path = flux["root"]
    for name in ("clip_l", "t5xxl_fp8", "ae"):
        assert shelf.add(str(root / f"{name}.safetensors")).base.kind in ("text_encoder", "vae")
    made = {need.component: need for need in shelf.parts(str(root / "flux1-dev.safetensors")).needs}
    assert (made["text_encoder"].source, made["text_encoder_2"].source) == ("here", "here")
    assert made["tokenizer"].source == "shipped"
    assert made["vae"].source == "missing" and "only you know" in made["vae"].note, "SD3's has the same tensors"
    shutil.copy(root / "clip_l.safetensors", shelf.home / "other_clip.safetensors")
    shelf.add(str(shelf.home / "other_clip.safetensors"))
    made = {need.component: need for need in shelf.parts(str(root / "flux1-dev.safetensors")).needs}
    assert made["text_encoder"].source == "missing" and "there are several here" in made["text_encoder"].note
    named = shelf.parts(str(root / "flux1-dev.safetensors"), ["ae", "clip_l"]).needs
    assert [need.source for need in named if not need.is_words] == ["given", "here", "given"], (
        "names of bases count too"
    )


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["qwen.safetensors"], "qwen.safetensors is Qwen3 4B"),
        (["flux1-dev.safetensors"], "flux1-dev.safetensors is FLUX.1"),
        (["none.safetensors"], "There is no"),
        (["clip_l.safetensors", "again.safetensors"], "are both CLIP-L"),
        (["cut.safetensors"], "cut short"),
        (["llm.gguf"], "llm.gguf is a language model, a text encoder at most"),
        ([*(f.name for f in _given(Path())), "words-of-another"], "belong to no text encoder"),
    ],
)
def test_a_wrong_part_is_refused_by_what_it_is(
    files: list[str], said: str, shelf: Shelf, flux: dict[str, Any], tmp_path: Path
) -> None:
    for name in ("flux1-dev", "clip_l", "t5xxl_fp8", "ae"):
        shutil.copy(flux["root"] / f"{name}.safetensors", tmp_path)
    shutil.copytree(flux["root"] / "t5-words", tmp_path / "t5-words")
    shutil.copy(tmp_path / "clip_l.safetensors", tmp_path / "again.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "ae.safetensors").read_bytes()[:-9])
    state = small_language_model("Qwen3Model", qwen_tokenizer(tmp_path)).state_dict()
    save_file({f"model.{key}": tensor for key, tensor in state.items()}, tmp_path / "qwen.safetensors")
    qwen_tokenizer(tmp_path).save_pretrained(tmp_path / "words-of-another")
    layers = {f"blk.{n}.attn_q.weight": torch.zeros(4, 64) for n in range(2)}
    _gguf(tmp_path / "llm.gguf", layers | {"token_embd.weight": torch.zeros(9, 64)}, GGMLQuantizationType.Q8_0)
    with pytest.raises(BaseError, match=said) as refusal:
        shelf.assemble(str(tmp_path / "flux1-dev.safetensors"), [tmp_path / name for name in files])
    assert refusal.value.hint and not shelf.list()


def test_a_part_that_changed_is_noticed_before_anything_is_loaded(
    shelf: Shelf, flux: dict[str, Any], tmp_path: Path
) -> None:
    copy = shutil.copy(flux["root"] / "ae.safetensors", tmp_path / "ae.safetensors")
    given = [copy if path.name == "ae.safetensors" else path for path in _given(flux["root"])]
    shelf.assemble(str(flux["root"] / "flux1-dev.safetensors"), given, name="mine")
    Path(copy).unlink()
    with pytest.raises(BaseError, match="'mine'"):
        open_base("mine", home=shelf.home)
    shelf.forget("mine")
    assert not list((shelf.home / "bases").glob("mine*"))


def test_a_registered_denoiser_becomes_whole_under_its_name_and_by_its_path(shelf: Shelf, flux: dict[str, Any]) -> None:
    place = str(flux["root"] / "flux1-dev.safetensors")
    shelf.add(place, name="dev")
    assert shelf.assemble("dev", _given(flux["root"])).base.name == "dev"
    for reference in ("dev", place):
        base = open_base(reference, home=shelf.home)
        assert (base.name, sorted(base.parts)) == ("dev", ["text_encoder", "text_encoder_2", "vae"])
        assert base.header.configs["model_index"]["tokenizer_2"][1] == "T5TokenizerFast"
    assert shelf.hash("dev").sha256 != shelf.hash("dev").files
    assert shelf.get("dev").size == sum(size for size, _ in shelf.get("dev").stamps.values())


# Single parts


def _gguf(path: Path, tensors: dict[str, Tensor], kind: GGMLQuantizationType) -> Path:
    writer = GGUFWriter(path, "any")
    for key, tensor in tensors.items():
        packs = tensor.ndim == 2 and tensor.shape[1] % 32 == 0
        data = quantize(tensor.numpy(), kind) if packs else tensor.numpy()
        writer.add_tensor(key, data, raw_dtype=kind if packs else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


_T5 = (("SelfAttention.q", "attn_q"), ("SelfAttention.k", "attn_k"), ("SelfAttention.v", "attn_v"),
       ("SelfAttention.o", "attn_o"), ("SelfAttention.relative_attention_bias", "attn_rel_b"),
       ("layer.0.layer_norm", "attn_norm"), ("wi_0", "ffn_gate"), ("wi_1", "ffn_up"), ("wo", "ffn_down"),
       ("layer.1.layer_norm", "ffn_norm"))  # fmt: skip
_QWEN = (("q_proj", "attn_q"), ("k_proj", "attn_k"), ("v_proj", "attn_v"), ("o_proj", "attn_output"),
         ("q_norm", "attn_q_norm"), ("k_norm", "attn_k_norm"), ("input_layernorm", "attn_norm"),
         ("post_attention_layernorm", "ffn_norm"), ("gate_proj", "ffn_gate"), ("up_proj", "ffn_up"),
         ("down_proj", "ffn_down"))  # fmt: skip


def _named(key: str, table: tuple[tuple[str, str], ...], blocks: str, start: str) -> str:
    number = key.removeprefix(blocks).partition(".")[0]
    word = next(new for old, new in table if f"{old}." in key)
    return f"{start}.{number}.{word}.{key.rpartition('.')[2]}"


@pytest.mark.parametrize("family", ["t5", "qwen3"])
def test_text_encoders_in_llama_cpps_names(family: str, tmp_path: Path, tiny_parts: None) -> None:
    torch.manual_seed(5)
    if family == "t5":
        made = small_t5("T5EncoderModel", t5_tokenizer(tmp_path))
        kind, class_name = "t5_xxl", "T5EncoderModel"
        outside = {"shared.weight": "token_embd.weight", "encoder.final_layer_norm.weight": "enc.output_norm.weight"}
        keys = [key for key in made.state_dict() if "embed_tok" not in key]
        names = {key: outside.get(key) or _named(key, _T5, "encoder.block.", "enc.blk") for key in keys}
    else:
        made = small_language_model("Qwen3Model", qwen_tokenizer(tmp_path))
        kind, class_name = "qwen3_4b", "Qwen3Model"
        outside = {"embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}
        names = {k: outside.get(k) or _named(k, _QWEN, "layers.", "blk") for k in made.state_dict()}
    state = made.state_dict()
    file = _gguf(
        tmp_path / "a.gguf", {new: state[old].float() for old, new in names.items()}, GGMLQuantizationType.Q8_0
    )
    made.config.save_pretrained(tmp_path / "config")
    found = load_part(file, kind, class_name, tmp_path / "config", torch.float32).state_dict()
    for key, tensor in state.items():
        torch.testing.assert_close(found[key], tensor, atol=0.02, rtol=0.05, msg=key)


def test_open_clips_names_and_a_projection_that_is_turned(tmp_path: Path, tiny_parts: None) -> None:
    torch.manual_seed(6)
    made = small_clip("CLIPTextModelWithProjection", 32, clip_tokenizer(tmp_path), hidden_act="gelu")
    made.config.save_pretrained(tmp_path / "config")
    save_file({k: t.contiguous() for k, t in _open_clip(made.state_dict()).items()}, tmp_path / "g.safetensors")
    config = tmp_path / "config"
    found = load_part(tmp_path / "g.safetensors", "clip_g", "CLIPTextModelWithProjection", config, torch.float32)
    for key, tensor in made.state_dict().items():
        assert torch.equal(found.state_dict()[key], tensor), key


def test_a_part_with_a_hole_or_a_stranger_in_it_is_refused(tmp_path: Path, tiny_parts: None) -> None:
    vae = small_vae(16, **_FLUX_VAE)
    vae.save_config(tmp_path / "config")
    state = {key: t.contiguous() for key, t in original_vae(vae.state_dict(), 4).items()}
    file = tmp_path / "ae.safetensors"
    load = lambda: load_part(file, "vae_16", "AutoencoderKL", tmp_path / "config", torch.float32)  # noqa: E731
    save_file(state, file)
    assert torch.equal(load().state_dict()["decoder.conv_in.weight"], vae.state_dict()["decoder.conv_in.weight"])
    save_file({key: t for key, t in state.items() if key != "encoder.conv_out.bias"}, file)
    with pytest.raises(BaseError, match=r"lacks 1 tensors of AutoencoderKL, encoder\.conv_out\.bias"):
        load()
    save_file({**state, "decoder.conv_in.bias": torch.zeros(9)}, file)
    with pytest.raises(BaseError, match="does not fit AutoencoderKL"):
        load()
    clip = small_clip("CLIPTextModel", 32, clip_tokenizer(tmp_path))
    clip.config.save_pretrained(tmp_path / "clip")
    whole = {k: t.contiguous() for k, t in published_clip(clip.state_dict()).items()}
    for change, said in (
        ({"text_model.encoder.layers.1.mlp.fc2.bias": None}, "lacks 1 tensors of CLIP-L"),
        ({"text_model.encoder.layers.1.mlp.fc2.bias": torch.zeros(3)}, "of another shape|does not fit"),
        ({"text_model.encoder.layers.9.mlp.fc2.bias": torch.zeros(32)}, "that CLIP-L does not have"),
    ):
        changed = {key: t for key, t in {**whole, **change}.items() if t is not None}
        save_file(changed, tmp_path / "clip.safetensors")
        with pytest.raises(BaseError, match=said):
            load_part(tmp_path / "clip.safetensors", "clip_l", "CLIPTextModel", tmp_path / "clip", torch.float32)


# Anima: the bridge between its text encoder and its denoiser lies in the denoiser's file


def test_anima_in_one_file_is_denoiser_and_bridge(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(tiny("anima"), tmp_path / "whole")
    files = {part: next((folder / part).glob("*.safetensors")) for part in ("transformer", "text_conditioner")}
    states = {part: load_file(file) for part, file in files.items()}
    named = original_tensors("cosmos2", states["transformer"])
    bridge = {f"llm_adapter.{key}": tensor for key, tensor in states["text_conditioner"].items()}
    single = tmp_path / "anima.safetensors"
    save_file({f"net.{key}": tensor.contiguous() for key, tensor in {**named, **bridge}.items()}, single)
    words = states["text_conditioner"]["embed.weight"].shape[0]
    has = ("blocks.0.cross_attn.q_proj.weight",)
    kind = PartKind("bridge_t5", "text_encoder", "a bridge", has, ("embed.weight", 0, words))
    monkeypatch.setattr(parts, "PARTS", (kind,))
    for part, state in states.items():  # what the folder lends must not be what the file itself has
        save_file({key: torch.zeros_like(t) for key, t in state.items()}, next((folder / part).glob("*.safetensors")))
    shipped = tmp_path / "configs" / "anima" / "1"
    shipped.mkdir(parents=True)
    shutil.copytree(folder / "transformer", shipped / "transformer", ignore=shutil.ignore_patterns("*.safetensors"))
    index = {"_class_name": "AnimaModularPipeline", "transformer": ["diffusers", "CosmosTransformer3DModel"]}
    (shipped / "model_index.json").write_text(json.dumps(index))
    monkeypatch.setattr(opening_room, "CONFIGS", tmp_path / "configs")
    home = Shelf(tmp_path / "home")
    home.add(str(folder))
    base = open_base(str(single), home=home.home)
    assert (base.detection.family, base.detection.title) == ("anima", "Anima")
    model = registered_families()["anima"].load(
        base, parts=("denoiser", "text_encoders", "vae"), dtype=torch.float32, device="cpu"
    )
    found = {"transformer": model.denoiser, "text_conditioner": model.extras["pipeline"].text_conditioner}
    for part, state in states.items():
        for key, tensor in state.items():
            torch.testing.assert_close(found[part].state_dict()[key], tensor, atol=1e-6, rtol=0, msg=f"{part}.{key}")


def test_animas_shipped_configs_are_those_of_the_published_model() -> None:
    """Cosmos-Predict2 2B Text2Image's body, and a bridge of diffusers' own defaults."""
    from diffusers import AnimaTextConditioner, CosmosTransformer3DModel

    told = json.loads((CONFIGS / "anima" / "1" / "transformer" / "config.json").read_text())
    with torch.device("meta"):
        body = CosmosTransformer3DModel.from_config(told)
        said = json.loads((CONFIGS / "parts" / "anima_bridge.json").read_text())
        bridge, plain = AnimaTextConditioner.from_config(said), AnimaTextConditioner()
    assert sum(parameter.numel() for parameter in body.parameters()) == pytest.approx(1.96e9, rel=0.01)
    assert (told["rope_scale"], told["extra_pos_embed_type"]) == ([1.0, 4.0, 4.0], None)
    assert {key: bridge.config[key] for key in plain.config if not key.startswith("_")} == {
        key: value for key, value in plain.config.items() if not key.startswith("_")
    }
