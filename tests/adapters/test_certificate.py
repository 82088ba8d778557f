"""The certificate passes what is right and names what is wrong: one mutation, one sentence."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from lorasmith.adapters.certificate import Certificate, certify
from lorasmith.adapters.file import write_adapter
from lorasmith.adapters.module import LoraModule
from lorasmith.adapters.reload import TOLERANCES, relative_difference
from lorasmith.bases import open_base
from lorasmith.errors import AdapterError
from lorasmith.families import Base, Family
from tests.adapters.conftest import MakeModules

Tensors = dict[str, Tensor]
KEY = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"


def rewrite(path: Path, change: Callable[[Tensors], Tensors], *, keep_hash: bool = False) -> None:
    """Change a file's tensors as somebody else's tool would; its old content hash goes, unless kept."""
    with safe_open(path, framework="pt") as stream:
        metadata = stream.metadata()
    tensors = change(load_file(path))
    if not keep_hash:
        metadata.pop("sshs_model_hash", None)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=metadata)


@pytest.mark.parametrize("preset", ["attention", "attention_ff", "all_linear", "all_linear_conv"])
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_what_was_trained_is_what_loads(
    base: Base, family: Family, make_modules: MakeModules, written: Path, preset: str, dtype: str
) -> None:
    modules = make_modules(preset)
    write_adapter(written, modules, family=family, dtype=dtype, metadata={})
    certificate = certify(written, base, trained=modules)
    assert certificate.passed, certificate.findings
    assert certificate.modules == certificate.modules_loaded == len(modules)
    assert certificate.keys_consumed == certificate.keys_total == 3 * len(modules)
    assert certificate.largest_relative_difference is not None
    assert certificate.largest_relative_difference <= TOLERANCES[dtype]
    assert certificate.output_change and certificate.output_change > 0
    assert certificate.text_encoder_change and certificate.text_encoder_change > 0
    assert certificate.programs["ComfyUI"].modules == len(modules)
    assert not certificate.programs["A1111"].applies  # three levels: A1111 cannot build such a UNet


def test_it_survives_json_and_speaks_plainly(
    base: Base, family: Family, make_modules: MakeModules, written: Path
) -> None:
    write_adapter(written, make_modules(), family=family, dtype="fp16", metadata={})
    certificate = certify(written, base)
    assert Certificate.model_validate_json(certificate.to_json()) == certificate
    assert json.loads(certificate.to_json())["compared_with"] == "file"
    assert "loads as it was meant to" in certificate.sentences()[0]
    certificate.require()


def drop(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key != name}


def rename(old: str, new: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key.replace(old, new): tensor for key, tensor in tensors.items()}


def put(name: str, value: Callable[[Tensor], Tensor]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, name: value(tensors[name])}


def spoil(value: float) -> Callable[[Tensor], Tensor]:
    def change(tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        tensor.view(-1)[0] = value
        return tensor

    return change


MUTATIONS: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "alpha dropped": (drop(f"{KEY}.alpha"), "1 of 68 modules have no alpha, " + KEY),
    "up dropped": (drop(f"{KEY}.lora_up.weight"), "2 keys belong to no complete pair of matrices"),
    "layer renamed": (rename(KEY, KEY.replace("mid_block", "mid_blok")), "1 of 68 modules name nothing in base"),
    "ending renamed": (rename(f"{KEY}.lora_up.weight", f"{KEY}.lora_upp.weight"), "belong to no complete pair"),
    "down transposed": (put(f"{KEY}.lora_down.weight", lambda t: t.T), "one of them is transposed"),
    "up transposed": (put(f"{KEY}.lora_up.weight", lambda t: t.T), "one of them is transposed"),
    "both swapped": (
        lambda t: {
            **t,
            f"{KEY}.lora_down.weight": t[f"{KEY}.lora_up.weight"].T,
            f"{KEY}.lora_up.weight": t[f"{KEY}.lora_down.weight"].T,
        },
        "the matrices are transposed",
    ),
    "rank cut on one side": (put(f"{KEY}.lora_down.weight", lambda t: t[:2]), "have different ranks."),
    "dialect of transformers": (
        lambda t: {
            k.replace("lora_unet_", "transformer.").replace("lora_te_", "transformer."): v for k, v in t.items()
        },
        "in the 'transformer' dialect, of other model families",
    ),
    "foreign key": (lambda t: {**t, "emb_params": torch.zeros(3)}, "belong to no complete pair"),
    "not a number": (put(f"{KEY}.lora_up.weight", spoil(math.nan)), f"{KEY} holds NaN or infinite values"),
    "infinite": (put(f"{KEY}.lora_down.weight", spoil(math.inf)), f"{KEY} holds NaN or infinite values"),
    "update is zero": (
        lambda t: {k: v * 0 if "lora_up" in k else v for k, v in t.items()},
        "does not change the output of the denoiser at all",
    ),
}


@pytest.mark.parametrize("mutation", list(MUTATIONS))
def test_a_broken_file_fails_with_its_sentence(
    base: Base, family: Family, make_modules: MakeModules, written: Path, mutation: str
) -> None:
    change, sentence = MUTATIONS[mutation]
    write_adapter(written, make_modules(), family=family, dtype="fp32", metadata={})
    rewrite(written, change)
    certificate = certify(written, base)
    assert not certificate.passed
    assert any(sentence in finding for finding in certificate.findings), certificate.findings
    json.loads(certificate.to_json(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    with pytest.raises(AdapterError) as caught:
        certificate.require()
    assert caught.value.exit_code == 5


def test_without_any_alpha_it_is_not_what_was_trained(
    base: Base, family: Family, make_modules: MakeModules, written: Path
) -> None:
    modules = make_modules()
    write_adapter(written, modules, family=family, dtype="fp32", metadata={})
    rewrite(written, lambda tensors: {key: t for key, t in tensors.items() if not key.endswith(".alpha")})
    assert certify(written, base).passed  # in itself consistent: every program scales by 1
    certificate = certify(written, base, trained=modules)
    assert not certificate.passed
    assert "68 modules do not apply the trained update" in certificate.findings[0]
    assert certificate.largest_relative_difference == pytest.approx(1 / 3, rel=1e-3)  # 1 instead of 3/4


def test_a_flipped_byte_is_seen(base: Base, family: Family, make_modules: MakeModules, written: Path) -> None:
    write_adapter(written, make_modules(), family=family, dtype="fp32", metadata={})
    content = bytearray(written.read_bytes())
    content[-5] ^= 0x01
    written.write_bytes(content)
    assert any("their hash differs" in finding for finding in certify(written, base).findings)


def test_a_file_cut_short_is_seen(base: Base, family: Family, make_modules: MakeModules, written: Path) -> None:
    write_adapter(written, make_modules(), family=family, dtype="fp32", metadata={})
    written.write_bytes(written.read_bytes()[:-100])
    certificate = certify(written, base)
    assert certificate.findings == (f"{written.name} is cut short: 100 bytes are missing.",)


def test_trained_modules_that_did_not_arrive_are_counted(
    base: Base, family: Family, make_modules: MakeModules, written: Path
) -> None:
    modules = make_modules()
    write_adapter(written, modules[:-2], family=family, dtype="fp32", metadata={})
    certificate = certify(written, base, trained=modules)
    assert any("2 of 68 trained modules did not arrive" in finding for finding in certificate.findings)
    surplus = certify(written, base, trained=modules[:-3])
    assert any("is in the file but was not trained" in finding for finding in surplus.findings)


def test_a_base_of_another_width_is_named(
    family: Family, make_modules: MakeModules, written: Path, tmp_path: Path
) -> None:
    from lorasmith.sandbox.architecture import build_pipeline, write_tokenizer

    write_adapter(written, make_modules(), family=family, dtype="fp32", metadata={})
    write_tokenizer(tmp_path / "words")
    wider = build_pipeline(
        tmp_path / "words",
        unet={"block_out_channels": (32, 48, 64), "cross_attention_dim": 64},
        vae={"block_out_channels": (8, 16, 16, 16)},
        text_encoder={"hidden_size": 64, "projection_dim": 64},
    )
    wider.save_pretrained(tmp_path / "other")
    certificate = certify(written, open_base(str(tmp_path / "other")))
    assert not certificate.passed
    assert any("another shape than the base's layers" in finding for finding in certificate.findings)
    assert any(finding.startswith("diffusers refuses the file") for finding in certificate.findings)


def test_dora_is_not_certified(base: Base, family: Family, make_modules: MakeModules, written: Path) -> None:
    modules = [dataclasses.replace(m, dora_scale=torch.ones(m.up.shape[0])) for m in make_modules()]
    write_adapter(written, modules, family=family, dtype="fp32", metadata={})
    assert load_file(written)[f"{KEY}.dora_scale"].shape == (64, 1)
    certificate = certify(written, base, trained=modules)
    assert any("diffusers drops dora_scale" in finding for finding in certificate.findings)
    assert certificate.keys_consumed == 3 * len(modules) < certificate.keys_total


def test_what_diffusers_itself_writes_is_read_and_its_gaps_elsewhere_named(
    base: Base, family: Family, make_modules: MakeModules, tmp_path: Path
) -> None:
    from diffusers import StableDiffusionPipeline

    modules = make_modules("all_linear", text_encoder=False)
    layers: Tensors = {}
    for module in modules:
        layers[f"{module.module}.lora_A.weight"] = module.down
        layers[f"{module.module}.lora_B.weight"] = module.up * (module.alpha / module.rank)
    StableDiffusionPipeline.save_lora_weights(tmp_path, unet_lora_layers=layers, weight_name="peft.safetensors")
    certificate = certify(tmp_path / "peft.safetensors", base, trained=modules)
    assert certificate.dialect == "peft"
    assert certificate.modules_loaded == len(modules)
    assert certificate.keys_consumed == certificate.keys_total
    assert certificate.largest_relative_difference is not None and certificate.largest_relative_difference < 1e-5
    attention = sum(".to_" in module.module for module in modules)
    assert certificate.programs["ComfyUI"].modules == len(modules) - attention
    assert certificate.findings == tuple(
        f for f in certificate.findings if f.startswith("ComfyUI and Forge would skip")
    )
    assert not certificate.passed


@pytest.fixture(scope="module")
def four_levels(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A base built like Stable Diffusion 1.x, which A1111 can run, only thin: four levels, two layers each."""
    from lorasmith.sandbox.architecture import build_pipeline, write_tokenizer

    folder = tmp_path_factory.mktemp("four levels")
    write_tokenizer(folder / "words")
    unet = {
        "block_out_channels": (16, 32, 48, 48),
        "layers_per_block": 2,
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        "use_linear_projection": False,
    }
    build_pipeline(folder / "words", unet=unet, vae={"block_out_channels": (8, 16, 16, 16)}).save_pretrained(
        folder / "b"
    )
    return open_base(str(folder / "b"))


def modules_for(base: Base, family: Family) -> list[LoraModule]:
    pipeline = family.pipeline(base, dtype=torch.float32, device="cpu")
    wanted = family.target_presets["all_linear_conv"]
    return [
        LoraModule("unet", name, torch.randn(2, *w.shape[1:]), torch.randn(w.shape[0], 2, *([1] * (w.ndim - 2))), 1.0)
        for name, layer in pipeline.unet.named_modules()
        if name.endswith(tuple(f".{target}" for target in wanted))
        for w in (layer.weight,)
    ]


def test_a1111_maps_every_module_of_a_base_it_can_run(four_levels: Base, family: Family, written: Path) -> None:
    modules = modules_for(four_levels, family)
    assert len(modules) == 16 * 12 + 22 * 3 + 14 + 3 + 3  # as many as in the real one
    write_adapter(written, modules, family=family, dtype="fp16", metadata={})
    certificate = certify(written, four_levels, trained=modules)
    assert certificate.passed, certificate.findings
    assert certificate.programs["A1111"].applies
    assert certificate.programs["A1111"].modules == certificate.programs["ComfyUI"].modules == len(modules)
    rewrite(
        written, lambda tensors: {key.replace("_down_blocks_3_", "_down_blocks_4_"): t for key, t in tensors.items()}
    )
    findings = certify(written, four_levels, trained=modules).findings
    assert any("ComfyUI, A1111 and Forge would skip 6 of" in finding for finding in findings), findings


def test_a_file_passes_on_a_single_file_base_too(
    base: Base, family: Family, make_modules: MakeModules, written: Path, tmp_path: Path
) -> None:
    from lorasmith.sandbox.single_file import write_single_file

    modules = make_modules()
    write_adapter(written, modules, family=family, dtype="fp32", metadata={})
    single = open_base(str(write_single_file(base.path, tmp_path / "single.safetensors")))
    one, two = certify(written, base, trained=modules), certify(written, single, trained=modules)
    assert one.passed and two.passed
    # The last digits may differ: the same weights lie at other addresses, and sums are taken in another order.
    assert one.output_change == pytest.approx(two.output_change, rel=1e-4)


def test_diffusers_refuses_its_own_metadata_beside_alphas(
    base: Base, family: Family, make_modules: MakeModules, written: Path
) -> None:
    """Why ``lora_adapter_metadata`` is not written: should diffusers change its mind, this test says so."""
    metadata = {"lora_adapter_metadata": json.dumps({"unet.r": 4, "unet.lora_alpha": 3})}
    write_adapter(written, make_modules(), family=family, dtype="fp32", metadata=metadata)
    certificate = certify(written, base)
    assert any("`network_alphas` and `metadata`" in finding for finding in certificate.findings)


def test_no_file_is_an_error_not_a_certificate(base: Base, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="There is no adapter"):
        certify(tmp_path / "none.safetensors", base)


def test_relative_difference() -> None:
    wanted = torch.tensor([[0.0, -2.0], [1.0, 0.5]])
    assert relative_difference(wanted, wanted) == 0
    assert relative_difference(wanted + 0.5, wanted) == 0.25
    assert relative_difference(torch.zeros(2), torch.zeros(2)) == 0
    assert relative_difference(torch.ones(2), torch.zeros(2)) == math.inf
    assert relative_difference(torch.ones(3), torch.ones(2)) == math.inf
