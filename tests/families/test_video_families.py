"""What video families prove beyond the contract: the widths of published models, the pipelines of later releases."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lorasmith.adapters.file import write_adapter
from lorasmith.adapters.module import LoraModule
from lorasmith.bases import open_base
from lorasmith.bases.detection import registered_families
from lorasmith.datasets.manifest import Operation
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import BaseError, ConfigError, LorasmithError
from lorasmith.families import Framing
from lorasmith.generation.request import GenerateRequest
from lorasmith.generation.run import paint
from lorasmith.jobfolder import Control
from lorasmith.recipe import prepare
from lorasmith.training.lora import targeted
from lorasmith.training.plan import plan
from tests.bases.originals import EXTRA, original
from tests.families import test_families as contract
from tests.families.moving import with_clips
from tests.families.steps import Heard, assert_alike, encoded, load, noise_of
from tests.families.tiny import LTX23, LTX25, RECORDS, build_ltx, build_ltx2, make
from tests.training.home import make_dataset, quick_config
from tests.training.runs import Said

PROMPT = "zib, a large red star"


def _published_block() -> torch.nn.Module:
    """One block of each kind of HunyuanVideo in its published widths, without the memory for its weights."""
    from diffusers import HunyuanVideoTransformer3DModel

    with torch.device("meta"):
        model = HunyuanVideoTransformer3DModel(num_layers=1, num_single_layers=1, num_refiner_layers=1)
    return model.to_empty(device="cpu").requires_grad_(False)


@pytest.mark.parametrize("preset", ["attention", "all_linear"])
def test_diffusers_reads_what_is_fused_at_the_published_width(tmp_path: Path, preset: str) -> None:
    """By its own reader as it is, every layer with its own update; what was not trained arrives as nothing."""
    from diffusers.loaders.lora_pipeline import HunyuanVideoLoraLoaderMixin

    family, model = registered_families()["hunyuan_video"], _published_block()
    layers = targeted(model, family.target_presets[preset], family.excluded_targets)
    generator = torch.Generator().manual_seed(0)
    trained = [_drawn(name, model.get_submodule(name).weight, generator) for name in layers]
    wanted = {other for name in layers for other in family.companions("transformer", name)} - set(layers)
    silent = [_silent(name, model.get_submodule(name).weight) for name in sorted(wanted)]
    assert {module.module for module in silent} == (
        {"single_transformer_blocks.0.proj_mlp"} if preset == "attention" else set()
    )
    path = tmp_path / "a.safetensors"
    write_adapter(path, trained + silent, family=family, dtype="fp32", metadata={})
    rest = {"components": {}, "hf_device_map": None, "text_encoder": None, "transformer": model}
    holder: Any = type("Holder", (HunyuanVideoLoraLoaderMixin,), rest)()
    holder.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name="it")
    found = {name: layer for name, layer in model.named_modules() if "it" in getattr(layer, "lora_A", {})}
    assert found.keys() == {module.module for module in trained + silent}
    for module in trained + silent:
        layer = found[module.module]
        probe = torch.randn(module.down.shape[1], 3, generator=generator)
        given = layer.scaling["it"] * layer.lora_B["it"].weight @ (layer.lora_A["it"].weight @ probe)
        torch.testing.assert_close(
            given, module.alpha / module.rank * module.up @ (module.down @ probe), atol=1e-4, rtol=1e-4
        )


def _drawn(name: str, weight: Tensor, generator: torch.Generator) -> LoraModule:
    rows, columns = weight.shape
    down, up = torch.randn(2, columns, generator=generator), torch.randn(rows, 2, generator=generator)
    return LoraModule("transformer", name, down / columns**0.5, up, alpha=1.0)


def _silent(name: str, weight: Tensor) -> LoraModule:
    rows, columns = weight.shape
    return LoraModule("transformer", name, torch.zeros(1, columns), torch.zeros(rows, 1), alpha=1.0)


def _later_ltx(folder: Path) -> Path:
    """As releases from 0.9.5 on are: another pipeline, a VAE that is told how noisy its latents are."""
    later = partial(build_ltx, pipeline="LTXConditionPipeline", timestep_conditioning=True)
    return make(replace(RECORDS["ltx"], build=later), folder)


def test_a_step_of_later_ltx_is_what_its_own_pipeline_asks(tmp_path: Path) -> None:
    base, family, model = load(_later_ltx(tmp_path))
    pipe = family.pipeline(base, dtype=torch.float32, device="cpu")
    assert type(pipe).__name__ == "LTXConditionPipeline"
    theirs, ours = Heard.on(pipe.transformer), Heard.on(model.denoiser)
    size: dict[str, Any] = {"height": 64, "width": 96, "num_frames": 17, "num_inference_steps": 1}
    told = {"guidance_scale": 1.0, "output_type": "pt", "generator": torch.Generator().manual_seed(3)}
    painted = pipe(prompt=[PROMPT], frame_rate=12, decode_timestep=0.0, **size, **told)[0]
    noisy = torch.randn(1, 16, 3, 2, 3, generator=torch.Generator().manual_seed(3))
    framed = family.frame(model, encoded(family, model, [PROMPT], 64, 1.0), [Framing.whole(96, 64, 17, 12.0)], 1.0)
    with torch.no_grad():
        velocity = family.denoise(model, noisy, torch.ones(1), framed)
        pixels = family.decode_latents(model, noisy - velocity).movedim(1, 2)
    assert_alike(ours.calls[0], theirs.calls[0], "LTXConditionPipeline")
    torch.testing.assert_close((pixels / 2 + 0.5).clamp(0, 1), painted.float(), atol=2e-3, rtol=1e-3)
    arguments = family.sampling_arguments(pipe, [""], 3.0)
    assert (arguments["decode_timestep"], arguments["decode_noise_scale"]) == (0.05, 0.025)


@pytest.mark.parametrize("later", [LTX23, LTX25], ids=["2.3", "2.5"])
def test_later_releases_of_ltx2_keep_the_contract(
    tmp_path: Path, later: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(replace(RECORDS["ltx2"], build=partial(build_ltx2, **later)), tmp_path)
    contract.test_a_step_is_what_the_pipeline_asks_its_denoiser(lambda name: folder, "ltx2", PROMPT, monkeypatch)
    contract.test_a_row_is_the_same_among_others(lambda name: folder, "ltx2")
    contract.test_training_export_certificate_and_a_picture(lambda name: folder, "ltx2", tmp_path)


@pytest.mark.parametrize(("resolution", "fits"), [(64, False), (96, False), (144, False), (128, True), (160, True)])
def test_a_resolution_that_cuts_a_position_of_the_latents_is_refused(
    tmp_path: Path, resolution: int, fits: bool
) -> None:
    family = registered_families()["ltx"]
    config = quick_config(tmp_path, **{"data.resolution": resolution})
    if fits:
        assert all(b.width % 32 == b.height % 32 == 0 for b in plan(config, make_dataset(tmp_path), family).buckets)
        return
    with pytest.raises(ConfigError, match="multiples of 32 pixels") as refusal:
        plan(config, make_dataset(tmp_path), family)
    least = int("".join(filter(str.isdigit, (refusal.value.hint or "").partition(" or ")[0])))
    plan(quick_config(tmp_path, **{"data.resolution": least}), make_dataset(tmp_path), family)


@pytest.mark.parametrize(
    ("name", "pipeline", "said"),
    [
        ("hunyuan_video", "HunyuanVideoFramepackPipeline", "goes on from frames"),
        ("ltx2", "LTX2ConditionPipeline", "is LTX-2: a LTX2ConditionPipeline is not trainable"),
    ],
)
def test_other_members_of_the_family_are_refused_with_the_reason(
    tiny: Any, tmp_path: Path, name: str, pipeline: str, said: str
) -> None:
    folder = shutil.copytree(tiny(name), tmp_path / "other")
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace(RECORDS[name].pipeline, pipeline))
    with pytest.raises(BaseError, match=said):
        open_base(str(folder))


@pytest.mark.parametrize("name", ["ltx", "ltx2"])
def test_a_file_as_it_was_released_is_the_same_base(tiny: Any, tmp_path: Path, name: str) -> None:
    """The denoiser in one file under the names of the release; the rest in the folder of its name beside it."""
    single, folder = tmp_path / "released.safetensors", shutil.copytree(tiny(name), tmp_path / "released")
    weights = next((folder / "transformer").glob("*.safetensors"))
    renamed: dict[str, Tensor] = {}
    for key, tensor in load_file(weights).items():
        (theirs,) = set(original(name, {key: tuple(tensor.shape)})) - set(EXTRA.get(name, {}))
        renamed[f"model.diffusion_model.{theirs}"] = tensor
    save_file(renamed, single)
    weights.unlink()
    _, family, whole = load(tiny(name))
    base, _, model = load(single)
    assert base.layout == "single_file" and "its names begin with 'model.diffusion_model.'" in base.detection.evidence
    noisy, time = noise_of(RECORDS[name], family, model, 5), torch.tensor([0.5])
    with torch.no_grad():
        one, other = (family.denoise(m, noisy, time, encoded(family, m, [PROMPT], 64, 1.0)) for m in (whole, model))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["ltx", "ltx2"])
def test_a_slower_clip_lies_elsewhere_in_time_and_a_picture_does_not(tiny: Any, name: str) -> None:
    """Frames are seconds to these models, so that the rate of a clip changes what they see."""
    _, family, model = load(tiny(name))
    told = encoded(family, model, [PROMPT], 64, 1.0)
    for frames, differs in ((17, True), (1, False)):
        noisy = torch.randn(1, *family.latent_shape(model, 64, 64, frames), generator=torch.Generator().manual_seed(1))
        found: list[Tensor] = []
        for rate in (8.0, 25.0):
            framed = family.frame(model, told, [Framing.whole(64, 64, frames, rate)], 1.0)
            with torch.no_grad():
                found.append(family.denoise(model, noisy, torch.tensor([0.5]), framed))
        assert torch.allclose(found[0], found[1], atol=1e-6) is not differs, frames


def test_a_prompt_of_ltx2_is_a_prompt_and_learned_registers(tiny: Any) -> None:
    """What is cached is what the video half is told, not the 49 layers of Gemma, and nothing of it is padding."""
    _, family, model = load(tiny("ltx2"))
    with torch.no_grad():
        rows = family.encode_prompts(model, [PROMPT, "zib"]).tensors
    assert rows["encoder_hidden_states"].shape == (2, 1024, 32) and bool(rows["encoder_attention_mask"].all())
    assert not torch.allclose(*rows["encoder_hidden_states"], atol=1e-3)


def test_only_what_is_seen_of_ltx2_is_trained() -> None:
    from diffusers import LTX2VideoTransformer3DModel

    with torch.device("meta"):
        model = LTX2VideoTransformer3DModel(num_layers=1)
    family = registered_families()["ltx2"]
    for preset in family.target_presets.values():
        assert not [name for name in targeted(model, preset, family.excluded_targets) if "audio" in name]


def test_guidance_can_be_rescaled_where_a_family_speaks_of_it_too(tiny: Any, tmp_path: Path) -> None:
    base, family, _ = load(tiny("ltx2"))
    request = GenerateRequest(
        base=str(base.path), prompts=("zib, a star",), steps=2, width=64, height=64, guidance_scale=3.0,
        guidance_rescale=0.5, seed=1, precision="fp32", device="cpu", threads=1,
    )  # fmt: skip
    paint(request, base, family, home=tmp_path, out=tmp_path / "one", emit=Said(), control=Control)
    plain = request.model_copy(update={"guidance_rescale": 0.0})
    paint(plain, base, family, home=tmp_path, out=tmp_path / "two", emit=Said(), control=Control)
    one, two = (next((tmp_path / name).rglob("*.png")).read_bytes() for name in ("one", "two"))
    assert one != two


def test_clips_with_sound_are_told_of_where_the_base_sounds_too(tiny: Any, tmp_path: Path) -> None:
    version = with_clips(tmp_path, make_dataset(tmp_path))
    heard = {"transforms": ["sound:aac"]}
    items = [replace(item, provenance=heard) if item.clip else item for item in version.items]
    version = DatasetStore(tmp_path).commit(version, items, Operation(name="test"))
    said = [
        [n.message for n in prepare(version, {"base": str(tiny(name))}, home=tmp_path).notices if "sound" in n.message]
        for name in ("ltx2", "ltx")
    ]
    assert len(said[0]) == 1 and not said[1]
    assert said[0][0].startswith("4 of 10 items have sound, and of LTX-2 only what is seen is trained")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"width": 72, "height": 64}, "multiples of 32 pixels, and 72 is none"),
        ({"frames": 16}, "multiple of 8 frames and 1 more"),
        ({"frames": 1, "first_frame": "a.png"}, "of one frame is its first frame"),
        ({"first_frame": "none.png"}, "cannot be read"),
    ],
)
def test_what_no_clip_can_be_is_refused_before_anything_is_loaded(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], said: str
) -> None:
    base, family, _ = load(tiny("ltx"))
    monkeypatch.setattr(type(family), "pipeline", lambda *_, **__: pytest.fail("the base was loaded"))
    told: dict[str, Any] = {"width": 64, "height": 64, "frames": 17, "device": "cpu", "threads": 1, **change}
    request = GenerateRequest(base=str(base.path), prompts=("zib",), steps=1, **told)
    with pytest.raises(LorasmithError, match=said):
        paint(request, base, family, home=tmp_path, out=tmp_path, emit=Said(), control=Control)
