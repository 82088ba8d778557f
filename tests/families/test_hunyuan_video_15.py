"""HunyuanVideo 1.5 beyond the contract: writing in the picture, adapters that its pipeline cannot load, its memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import HunyuanVideo15Transformer3DModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from lorasmith.adapters.certificate import certify
from lorasmith.adapters.file import write_adapter
from lorasmith.adapters.module import LoraModule
from lorasmith.adapters.opened import open_adapter
from lorasmith.adapters.tools.converting import convert
from lorasmith.adapters.tools.using import Chosen, use
from lorasmith.bases import open_base
from lorasmith.bases.detection import registered_families
from lorasmith.errors import AdapterError, BaseError
from lorasmith.families.adaptable import taken_apart
from lorasmith.generation.adapters import load_adapters
from lorasmith.generation.run import _Clock
from lorasmith.jobfolder import Control
from lorasmith.training.footprint import _Live, footprint
from lorasmith.training.lora import targeted
from tests.families.steps import Heard, assert_alike, encoded, load, noise_of, run_of
from tests.families.tiny import RECORDS, without_tokens_that_say_nothing
from tests.training.runs import Said

Tiny = Callable[[str], Path]
NAME = "hunyuan_video_15"
WRITTEN = 'zib, a shop sign that says "zib & son", at night'


def test_what_is_to_be_written_reaches_the_denoiser_as_the_pipeline_sends_it(tiny: Tiny) -> None:
    base, family, model = load(tiny(NAME))
    pipe = family.pipeline(base, dtype=torch.float32, device="cpu")
    theirs, ours = Heard.on(pipe.transformer), Heard.on(model.denoiser)
    pipe(
        prompt=[WRITTEN], width=64, height=64, num_frames=9, num_inference_steps=1, guidance_scale=1.0,
        output_type="latent", generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    told = encoded(family, model, [WRITTEN], 64, 1.0, 9)
    with torch.no_grad():
        family.denoise(model, noise_of(RECORDS[NAME], family, model, 3), torch.ones(1), told)
    assert told.tensors["glyphs"].shape[1] == len(b'Text "zib & son". ') + 1
    assert_alike(ours.calls[0], without_tokens_that_say_nothing(theirs.calls[0]), NAME)


def test_prompts_with_and_without_writing_in_one_batch(tiny: Tiny) -> None:
    _, family, model = load(tiny(NAME))
    noisy, time = noise_of(RECORDS[NAME], family, model, 5), torch.tensor([0.3, 0.8])
    prompts = ["zib, a star", WRITTEN]
    with torch.no_grad():
        rows = family.denoise(model, noisy.expand(2, *noisy.shape[1:]), time, encoded(family, model, prompts, 64, 1.0))
        for number, prompt in enumerate(prompts):
            alone = encoded(family, model, [prompt], 64, 1.0)
            row = family.denoise(model, noisy, time[number : number + 1], alone)
            torch.testing.assert_close(rows[number : number + 1], row, atol=2e-4, rtol=1e-3)
        mute = encoded(family, model, [WRITTEN.replace('"', "'")], 64, 1.0)
        assert not torch.allclose(row, family.denoise(model, noisy, time[1:], mute), atol=1e-4)


def test_steps_are_told_while_it_paints_and_guidance_is_taken(tiny: Tiny) -> None:
    base, family, _ = load(tiny(NAME))
    pipe = family.pipeline(base, dtype=torch.float32, device="cpu")
    asked, said = Heard.on(pipe.transformer), Said()
    clock = _Clock(1, 3, said, Control)
    clock.begin(1)
    told: list[int] = []

    def step(pipe: Any, number: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        told.append(number)
        return clock.step(pipe, number, timestep, tensors)

    size = {"width": 64, "height": 64, "num_frames": 5, "num_inference_steps": 3, "output_type": "latent"}
    for scale, passes in ((1.0, 1), (4.0, 2)):
        guided = family.sampling_arguments(pipe, ["blurry"], scale)
        pipe(prompt=["zib"], callback_on_step_end=step, **size, **guided)
        assert len(asked.calls) == 3 * passes and told == [0, 1, 2]
        asked.calls.clear()
        told.clear()


def test_a_file_for_comfyui_is_what_was_trained_in_diffusers(tiny: Tiny, tmp_path: Path) -> None:
    base, family, model = load(tiny(NAME))
    generator = torch.Generator().manual_seed(0)
    layers = targeted(model.denoiser, family.target_presets["all_linear"], family.excluded_targets)
    trained = [_drawn(name, model.denoiser.get_submodule(name).weight, generator) for name in layers]
    path = tmp_path / "adapters" / "it.safetensors"
    path.parent.mkdir()
    write_adapter(path, trained, family=family, dtype="fp32", metadata={})
    stems = {key.rpartition(".lora_")[0] for key in load_file(path)}
    assert "transformer.double_blocks.0.img_attn_qkv" in stems and not any("to_q" in stem for stem in stems)
    assert len(stems) == 2 * 10, "two blocks; q, k and v are one matrix, twice"
    certificate = certify(path, base, trained=trained)
    assert certificate.passed and certificate.modules_loaded == len(trained) == 2 * 14
    assert certificate.programs["ComfyUI"].modules == certificate.modules
    pipe = family.pipeline(base, dtype=torch.float32, device="cpu")
    assert load_adapters(pipe, family, ["it"], tmp_path)["it"].modules == len(trained)
    state = load_file(path)
    del state["transformer.double_blocks.1.txt_attn_proj.lora_B.weight"]
    save_file(state, path.with_name("half.safetensors"))
    assert not certify(path.with_name("half.safetensors"), base).passed
    with pytest.raises(AdapterError, match="lack their other half"):
        load_adapters(pipe, family, ["half"], tmp_path)


def _drawn(name: str, weight: Tensor, generator: torch.Generator) -> LoraModule:
    rows, columns = weight.shape
    down, up = torch.randn(2, columns, generator=generator), torch.randn(rows, 2, generator=generator)
    return LoraModule("transformer", name, down / columns**0.5, up, alpha=1.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"transformer.double_blocks.9.img_mlp.fc1.lora_A.weight": (2, 4)}, "names no layer"),
        ({"transformer.x.alpha": ()}, "no matrix of a LoRA"),
        ({"transformer.a.lora_B.weight": (4, 2)}, "has no lora_A"),
        ({"transformer.transformer_blocks.0.attn.to_q.lora_A.weight": (2, 4)}, "has no lora_B"),
        (
            {
                "transformer.double_blocks.0.img_attn_qkv.lora_A.weight": (2, 4),
                "transformer.double_blocks.0.img_attn_qkv.lora_B.weight": (9, 2),
            },
            "has 9 rows, its layers have 12",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_not_taken_apart(change: dict[str, tuple[int, ...]], said: str) -> None:
    family = registered_families()[NAME]
    layers = {f"transformer_blocks.0.attn.to_{letter}": torch.nn.Linear(4, 4) for letter in "qkv"}
    with pytest.raises(ValueError, match=said):
        taken_apart({key: torch.zeros(shape) for key, shape in change.items()}, family, layers)


def test_a_single_file_is_refused_and_what_a_folder_is_for_its_pipeline_says(tiny: Tiny, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny(NAME), tmp_path / "other")
    single = tmp_path / "one.safetensors"
    shutil.copy(next((folder / "transformer").glob("*.safetensors")), single)
    with pytest.raises(BaseError, match="in one file, which diffusers cannot open"):
        open_base(str(single))
    found = [open_base(str(tiny(name))).detection.family for name in (NAME, f"{NAME}_i2v")]
    assert found == [NAME, f"{NAME}_i2v"]


def test_the_memory_of_a_step_is_told_though_it_depends_on_masks(tiny: Tiny, tmp_path: Path) -> None:
    run = run_of(tmp_path, tiny(NAME), **{"data.buckets": False, "data.frames": 1})
    batch = run.batches.load(run.sampler.next_batch())
    live = _Live()
    with live, run.precision():
        prediction = run.family.denoise(run.model, batch.latents, batch.timestep, batch.conditioning)
        torch.autograd.backward(prediction.square().mean())
    told = footprint(run, run.config)
    assert told.step == pytest.approx(live.peak, rel=0.25)  # prompts differ in length, and it pretends the empty one


def test_what_is_said_of_diffusers_is_true_at_the_published_width(tmp_path: Path) -> None:
    """The file is converted as the text says, and diffusers' transformer then holds every layer of it."""
    family, path = registered_families()[NAME], tmp_path / "it.safetensors"
    with torch.device("meta"):
        meta = HunyuanVideo15Transformer3DModel(num_layers=1, num_refiner_layers=1)
    generator = torch.Generator().manual_seed(0)
    layers = targeted(meta, family.target_presets["attention"], family.excluded_targets)
    trained = {name: _drawn(name, meta.get_submodule(name).weight, generator) for name in layers}
    write_adapter(path, list(trained.values()), family=family, dtype="fp32", metadata={})
    assert (open_adapter(path).kind.family, open_adapter(path).kind.variant) == ("hunyuan_video", "1.5")
    code = use([Chosen(path)]).diffusers
    assert "lora convert it --dialect peft --only-for diffusers" in code and "pipe.load_lora_weights" not in code
    from_picture = use([Chosen(path)], family=f"{NAME}_i2v").diffusers
    assert (
        "load_image" not in code and "HunyuanVideo15ImageToVideoPipeline" in from_picture and "image=" in from_picture
    )
    convert(path, tmp_path / "it-peft.safetensors", dialect="peft", only_for="diffusers")
    assert "weight_name='it-peft.safetensors'" in code
    model = meta.to_empty(device="cpu").requires_grad_(False)
    model.load_lora_adapter(str(tmp_path), weight_name="it-peft.safetensors", adapter_name="it")
    found = {name: layer for name, layer in model.named_modules() if "it" in getattr(layer, "lora_A", {})}
    assert found.keys() == trained.keys()
    for name, module in trained.items():
        torch.testing.assert_close(found[name].get_delta_weight("it"), module.delta(), atol=1e-4, rtol=1e-4)
