"""What every family must prove, on a tiny base of its real classes, against diffusers' own pipeline of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from lorasmith.adapters.certificate import certify
from lorasmith.adapters.file import read_adapter, write_adapter
from lorasmith.bases import open_base
from lorasmith.bases.detection import detect, registered_families
from lorasmith.bases.reading import read_header
from lorasmith.bases.recognition import ANSWER
from lorasmith.config import resolve
from lorasmith.datasets.clips.program import find_ffmpeg
from lorasmith.errors import BaseError, ConfigError, LorasmithError
from lorasmith.families import lacking
from lorasmith.families.beginnings import FIRST
from lorasmith.generation.picture import read_picture
from lorasmith.generation.request import GenerateRequest
from lorasmith.generation.run import paint
from lorasmith.jobfolder import Control
from lorasmith.recipe import refuse_idle
from lorasmith.trainers.native import plugin as native
from lorasmith.training.loop import train
from lorasmith.training.lora import targeted
from tests.families.one_file import build_wide_sdxl, write_sdxl_file
from tests.families.steps import (
    Heard,
    assert_alike,
    beginning,
    encoded,
    ends_alike_when_cut,
    load,
    noise_of,
    picture_of,
    run_of,
    with_small_references,
)
from tests.families.tiny import RECORDS, make
from tests.families.variants import EVERY
from tests.training.runs import Said

Tiny = Callable[[str], Path]
every_family = pytest.mark.parametrize("name", list(RECORDS))
every_variant = pytest.mark.parametrize("name", list(EVERY))
PROMPT = "zib, a large red star"
ENDLESS = " ".join(f"zib {number} red stars" for number in range(90))
"""More than any text encoder reads, of tokens as long as a letter."""
WIDE = (96, 64)
LONGER = "zib, a small blue circle, left of a large green ring on a grey background, stacked by a star"
GUIDANCE = 2.5


def test_every_family_has_a_record() -> None:
    assert set(RECORDS) == set(registered_families())


@every_variant
@pytest.mark.parametrize("prompt", [PROMPT, ENDLESS], ids=["short", "over the limit"])
def test_a_step_is_what_the_pipeline_asks_its_denoiser(
    tiny: Tiny, name: str, prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a picture that is wider than high, so that no side can stand for the other."""
    record = EVERY[name]
    whole = name in RECORDS and prompt == PROMPT
    side = None if whole or name == "flux_kontext" else with_small_references(monkeypatch)
    base, family, model = load(tiny(name))
    pipe = family.pipeline(base, dtype=torch.float32, device="cpu")
    assert type(pipe).__name__ == record.pipeline
    theirs = Heard.on(getattr(pipe, family.denoiser_part))
    flow = model.objective == "flow"
    times: dict[str, Any] = {"sigmas": [0.6]} if flow and record.sigmas else {"num_inference_steps": 1}
    size = {"width": WIDE[0], "height": WIDE[1], "generator": torch.Generator().manual_seed(3)}
    picture, clip = beginning(record, WIDE)
    begin = {"image": picture} if record.begins else {}
    pictures = [picture_of(n, 96, 64) for n in range(record.references)] if family.reference_pictures[1] else []
    begin |= family.reference_arguments(pictures, *WIDE) if pictures else {}
    painted = pipe(prompt=[prompt], output_type="pt", **size, **times, **record.call, **begin)[0]
    assert len(theirs.calls) == record.passes
    assert model.objective == pipe.scheduler.config.get("prediction_type", "flow")

    told = record.call.get("guidance_scale", family.training_guidance)
    pairs, area = ([pictures], side) if pictures else ((), 64)
    begun = clip if record.begins else None
    conditioning = encoded(family, model, [prompt], WIDE, told, record.length, begun, pairs, area)
    noisy = record.starts(noise_of(record, family, model, 3, WIDE), conditioning.tensors.get(FIRST))
    ours = Heard.on(model.denoiser)
    scheduler: Any = pipe.scheduler
    with torch.no_grad():
        if flow:
            level = scheduler.sigmas[0].view(1)
            velocity = family.denoise(model, noisy, level, conditioning)
            clean = noisy - level * velocity
            if family.keeps_beginning(model):
                clean[:, :, :1] = conditioning.tensors[FIRST]
        else:
            scheduler.set_timesteps(1)
            step = scheduler.timesteps[0]
            noisy = noisy * scheduler.init_noise_sigma
            time = (step.float().view(1) + 0.5) / scheduler.config.num_train_timesteps
            predicted = family.denoise(model, scheduler.scale_model_input(noisy, step), time, conditioning)
            clean = scheduler.step(predicted, step, noisy).prev_sample
        pixels = family.decode_latents(model, clean)
        pixels = pixels[:, :, record.unseen :] if family.frame_step else pixels
    calls = record.plain(theirs.calls[-1]), ours.calls[0]
    asked, given = ({name: value for name, value in call.items() if name not in record.aside} for call in calls)
    assert_alike(given, asked, name)
    painted = painted.movedim(-4, -3) if family.frame_step else painted  # of clips (B, F, 3, H, W)
    painted = painted.reshape(-1, *painted.shape[-len(pixels.shape[1:]) :])[:, :3]
    torch.testing.assert_close((pixels / 2 + 0.5).clamp(0, 1), painted.float(), atol=2e-3, rtol=1e-3)


@every_variant
def test_encoding_undoes_what_decoding_does_to_latents(tiny: Tiny, name: str) -> None:
    """Decoding is held to the pipeline's by the test above; with this one encoding is, too."""
    _, family, model = load(tiny(name))
    long = (EVERY[name].length,) if family.frame_step else ()
    pixels = torch.rand(1, 3, *long, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        latents = family.encode_images(model, pixels)
        assert latents.shape == (1, *family.latent_shape(model, 96, 64, EVERY[name].length))
        whole = torch.cat([pixels, torch.ones(1, 1, 64, 96)], dim=1) if EVERY[name].opaque else pixels
        clip = whole[:, :, None] if EVERY[name].frames and not long else whole
        again = model.vae.decode(model.vae.encode(clip).latent_dist.mode()).sample.reshape(whole.shape)[:, :3]
        torch.testing.assert_close(family.decode_latents(model, latents), again, atol=1e-3, rtol=1e-3)


@every_variant
def test_a_row_is_the_same_among_others(tiny: Tiny, name: str) -> None:
    """Prompts of unlike length in one batch: what fills up the shorter one changes nothing."""
    _, family, model = load(tiny(name))
    noisy = noise_of(EVERY[name], family, model, 5)
    noisy = noisy.expand(2, *noisy.shape[1:])
    time = torch.tensor([0.3, 0.8])
    together = encoded(family, model, [PROMPT, LONGER], 64, GUIDANCE, EVERY[name].length)
    with torch.no_grad():
        rows = family.denoise(model, noisy, time, together)
        for number, prompt in enumerate((PROMPT, LONGER)):
            alone = encoded(family, model, [prompt], 64, GUIDANCE, EVERY[name].length)
            row = family.denoise(model, noisy[:1], time[number : number + 1], alone)
            torch.testing.assert_close(rows[number : number + 1], row, atol=2e-4, rtol=1e-3)
        assert not torch.allclose(rows[0], rows[1], atol=1e-4)


@every_family
def test_training_export_certificate_and_a_picture(tiny: Tiny, name: str, tmp_path: Path) -> None:
    wide = RECORDS[name].wide
    weights = make(replace(RECORDS[name], build=wide), tmp_path) if wide else tiny(name)
    steps = {
        "data.resolution": RECORDS[name].resolution,
        "max_train_steps": 4,
        "sample.prompts": ["zib, a star"],
        "sample.every_steps": 0,
        "sample.steps": 2,
    }
    run, said = run_of(tmp_path, weights, **steps, **{"optimizer.learning_rate": 1e-2}), Said()
    sizes = {(placed.width, placed.height) for placed in map(run.batches.placed, run.batches.names())}
    assert len(sizes) == 3, "square, wide and tall"
    assert train(run, said, Control) == "succeeded"
    assert (tmp_path / "out" / "samples" / "000004-0.png").is_file()
    modules, _ = run.lora.export()
    path = tmp_path / "adapter.safetensors"
    write_adapter(path, modules, family=run.family, dtype="fp32", metadata={})
    stored = read_adapter(path)
    assert stored.modules.keys() == {run.family.key_names(m.part, m.module) for m in modules} and not stored.leftover
    has_alpha = {module.alpha is not None for module in stored.modules.values()}
    assert has_alpha == {run.family.file_form == "kohya"}
    certificate = certify(path, run.model.base, trained=modules)
    assert certificate.passed, certificate.findings
    long = max(1 + run.family.frame_step, run.family.least_frames)
    moving: dict[str, Any] = {"frames": long} if run.family.frame_step else {}
    if run.family.begins_with_picture:
        beginning(RECORDS[name])[0].save(tmp_path / "first.png")
        moving["first_frame"] = str(tmp_path / "first.png")
    request = GenerateRequest(
        base=str(weights), prompts=("zib, a star <lora:adapter:1>", "zib, a star"), steps=2, width=64, height=64,
        guidance_scale=3.0, seed=1, precision="fp32", device="cpu", threads=1, **moving,
        references=references_for(tmp_path, name),
    )  # fmt: skip
    (tmp_path / "adapters").mkdir()
    path.rename(tmp_path / "adapters" / "adapter.safetensors")
    made = paint(request, run.model.base, run.family, home=tmp_path, out=tmp_path, emit=said, control=Control)
    first, second = ((tmp_path / image["path"]).read_bytes() for image in made["images"])
    assert first != second
    for image in made["images"] if moving else ():
        with Image.open(tmp_path / image["clip"]) as clip:
            assert (clip.n_frames, clip.size) == (long, (64, 64))  # type: ignore[attr-defined]
        assert read_picture(tmp_path / image["clip"]) == read_picture(tmp_path / image["path"])
        assert find_ffmpeg() is None or (tmp_path / image["video"]).stat().st_size > 500


def references_for(folder: Path, name: str) -> tuple[str, ...]:
    """Paths of as many pictures as a test of the family edits."""
    count = RECORDS[name].references if registered_families()[name].reference_pictures[1] else 0
    paths = [folder / f"reference {number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        picture_of(number, 96, 64).save(path)
    return tuple(map(str, paths))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"negative_prompt": "blurry"}, "cannot take a negative prompt"),
        ({"scheduler": "ddim"}, "learns by flow matching"),
        ({"guidance_rescale": 0.5}, "no guidance_rescale"),
        ({"references": ("a.png",)}, "does not edit pictures"),
    ],
)
def test_what_a_base_cannot_paint_with_is_refused(
    tiny: Tiny, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    base, family, _ = load(tiny("flux"))
    request = GenerateRequest(
        base=str(base.path), prompts=("a star",), steps=1, width=64, height=64, device="cpu", threads=1, **change
    )
    with pytest.raises(ConfigError, match=said):
        paint(request, base, family, home=tmp_path, out=tmp_path, emit=Said(), control=Control)


def test_a_base_of_the_family_that_cannot_be_trained_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny("flux"), tmp_path / "control")
    index = tmp_path / "control" / "model_index.json"
    index.write_text(index.read_text().replace("FluxPipeline", "FluxControlPipeline"))
    with pytest.raises(BaseError, match="control picture"):
        open_base(str(tmp_path / "control"))


@pytest.mark.parametrize(
    ("count", "damaged", "said"),
    [(0, False, "edits pictures, and none is given"), (2, False, "takes one picture"), (1, True, "cannot be read")],
)
def test_what_a_base_that_edits_is_given(tiny: Tiny, tmp_path: Path, count: int, damaged: bool, said: str) -> None:
    base, family, _ = load(tiny("flux_kontext"))
    path = tmp_path / "a.png"
    path.write_bytes(b"no picture") if damaged else picture_of(0).save(path)
    request = GenerateRequest(
        base=str(base.path), prompts=("a star",), steps=1, width=64, height=64, device="cpu", threads=1,
        references=(str(path),) * count,
    )  # fmt: skip
    with pytest.raises(LorasmithError, match=said):
        paint(request, base, family, home=tmp_path, out=tmp_path, emit=Said(), control=Control)
    assert not (tmp_path / "images").exists()


def test_which_family_a_file_is_when_its_tensors_do_not_tell(tiny: Tiny, tmp_path: Path) -> None:
    """One file for dev and for Kontext: the folder beside it says it, or its owner."""
    single = tmp_path / "mine.safetensors"
    shutil.copytree(tiny("flux_kontext"), tmp_path / "mine")
    next((tmp_path / "mine" / "transformer").glob("*.safetensors")).rename(single)
    base = open_base(str(single))
    assert (base.detection.family, base.detection.variant) == ("flux_kontext", "kontext")
    header = read_header(single)
    assert detect(header).family == "flux"
    for answer, family in (("kontext", "flux_kontext"), ("dev", "flux"), ("nonsense", "flux")):
        told = replace(header, metadata={**header.metadata, f"{ANSWER}flux1_dev": answer})
        assert detect(told).family == family
        assert detect(told).certain == (answer != "nonsense")


@every_family
def test_stopping_and_resuming_is_bit_exact(tiny: Tiny, name: str, tmp_path: Path) -> None:
    short = {"data.resolution": RECORDS[name].resolution, "max_train_steps": 4, "train_batch_size": 1}
    whole = run_of(tmp_path, tiny(name), "whole", **short)
    train(whole, Said(), Control)
    ends_alike_when_cut(whole, tmp_path, tiny(name), **short)


@pytest.mark.parametrize("name", ["flux", "sd3", "krea2"])
def test_a_single_file_is_the_same_base_as_its_folder(tiny: Tiny, name: str, tmp_path: Path) -> None:
    """A denoiser in one file, everything else in the folder of its name beside it."""
    folder, single = tiny(name), tmp_path / f"{name}.safetensors"
    part = registered_families()[name].denoiser_part
    shutil.copytree(folder, tmp_path / name)
    next((tmp_path / name / part).glob("*.safetensors")).rename(single)
    _, family, whole = load(folder)
    base, _, model = load(single)
    assert base.layout == "single_file"
    noisy, time = noise_of(RECORDS[name], family, model, 5), torch.tensor([0.5])
    with torch.no_grad():
        one, other = (
            family.denoise(m, noisy, time, encoded(family, m, [PROMPT], 64, GUIDANCE)) for m in (whole, model)
        )
    torch.testing.assert_close(one, other)
    (tmp_path / name / "text_encoder" / "model.safetensors").unlink()
    with pytest.raises(BaseError, match="text_encoder"):
        family.load(base, parts=("text_encoders",), dtype=torch.float32, device="cpu")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("flux", {"data.resolution": 96}),
        ("qwen_image_21", {}),
        ("flux", {"data.buckets": False, "data.resolution": 72}),
    ],
)
def test_sides_that_a_family_cannot_divide_are_refused_before_anything(
    tiny: Tiny, tmp_path: Path, name: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="works on sides that are multiples of") as caught:
        run_of(tmp_path, tiny(name), **changes)
    assert "data.resolution" in caught.value.hint


@every_family
def test_half_precision_predicts_nearly_the_same(tiny: Tiny, name: str) -> None:
    _, family, model = load(tiny(name))
    _, _, half = load(tiny(name), torch.bfloat16)
    noisy = noise_of(RECORDS[name], family, model, 5)
    conditioning = encoded(family, model, [PROMPT], 64, GUIDANCE, RECORDS[name].length)
    time = torch.tensor([0.5])
    with torch.no_grad():
        exact = family.denoise(model, noisy, time, conditioning)
        with torch.autocast("cpu", torch.bfloat16):
            rough = family.denoise(half, noisy, time, conditioning)
    assert rough.dtype == torch.float32
    assert (rough - exact).norm() < 0.1 * exact.norm()


@every_family
def test_what_a_family_lacks_is_refused(name: str) -> None:
    family = registered_families()[name]
    values: dict[str, Any] = {
        "objective.min_snr_gamma": 5.0, "objective.noise_offset": 0.1, "adapter.text_encoder": True,
        "objective.guidance": 2.0, "objective.timestep_density": "uniform", "objective.timestep_shift": 2.0,
        "objective.loss_weighting": "cosmap",
    }  # fmt: skip
    missing = lacking(family)
    for key, value in values.items():
        own = {"base": "b", "dataset": "d", key.partition(".")[0]: {key.partition(".")[2]: value}}
        config = resolve({}, own)
        if key in missing:
            with pytest.raises(ConfigError, match=key):
                refuse_idle(native, family, own, config)
        else:
            refuse_idle(native, family, own, config)
    assert missing, "no family has everything"


def test_both_text_encoders_of_sdxl_learn_and_arrive(tiny: Tiny, tmp_path: Path) -> None:
    changes = {"adapter.text_encoder": True, "max_train_steps": 2, "train_batch_size": 1}
    run = run_of(tmp_path, tiny("sdxl"), **changes, **{"optimizer.learning_rate": 1e-2})
    train(run, Said(), Control)
    modules, _ = run.lora.export()
    assert {module.part for module in modules} == {"unet", "text_encoder", "text_encoder_2"}
    write_adapter(tmp_path / "a.safetensors", modules, family=run.family, dtype="fp32", metadata={})
    certificate = certify(tmp_path / "a.safetensors", run.model.base, trained=modules)
    assert certificate.passed, certificate.findings
    assert certificate.programs["ComfyUI"].modules == certificate.programs["A1111"].modules == len(modules)


def test_sdxl_is_told_how_a_picture_was_cropped(tiny: Tiny, tmp_path: Path) -> None:
    run = run_of(tmp_path, tiny("sdxl"), **{"data.buckets": False})
    wide = next(name for name in run.batches.names() if run.batches.framing(name).original == (96, 64))
    framing = run.batches.framing(wide)
    assert (framing.corner, framing.size) == ((16, 0), (64, 64))
    told = run.batches.conditioning([""], [framing]).tensors["time_ids"]
    assert told.tolist() == [[64, 96, 0, 16, 64, 64]]


def _full(name: str, variant: str) -> Any:
    import diffusers

    class_name, config = RECORDS[name].full[variant]
    with torch.device("meta"):
        return getattr(diffusers, class_name)(**config)


@pytest.mark.parametrize(
    ("name", "variant"), [(name, variant) for name, record in RECORDS.items() for variant in record.full]
)
def test_the_full_size(name: str, variant: str) -> None:
    """Without memory: as large as published, every target there, every key a name of its own."""
    family, denoiser = registered_families()[name], _full(name, variant)
    count = sum(parameter.numel() for parameter in denoiser.parameters())
    part, layers = family.denoiser_part, {name for name, _ in denoiser.named_modules()}
    assert count == pytest.approx(family.billions[variant] * 1e9, rel=0.01)
    for preset, targets in family.target_presets.items():
        there = [target for target in targets if target not in RECORDS[name].absent.get(variant, ())]
        assert all(targeted(denoiser, (target,), family.excluded_targets) for target in there), preset
        found = targeted(denoiser, targets, family.excluded_targets)
        stems = {(family.key_names(part, layer), layer if family.fused(part, layer) else "") for layer in found}
        assert len(stems) == len(found)
        assert all(layer in family.fused(part, layer) or not family.fused(part, layer) for layer in found)
        assert {other for layer in found for other in family.companions(part, layer)} <= layers
    default = family.target_presets[str(family.defaults["adapter"]["targets"])]
    assert len(targeted(denoiser, default, family.excluded_targets)) == RECORDS[name].modules[variant]


@every_family
def test_teacher_recovery_in_short(tiny: Tiny, name: str) -> None:
    from tests.families.teacher import recover

    found = recover(tiny(name), steps=40, inputs=48, batch=4, held_out=16)
    assert found.excess_loss < 0.7, found  # bench/families.py has the bars, and the steps they take
    assert found.cosine > 0.6, found


def test_sdxl_from_one_whole_file(tmp_path: Path) -> None:
    """The layout of the original release: names of its own for the UNet, OpenCLIP's for the second encoder."""
    folder = make(replace(RECORDS["sdxl"], build=build_wide_sdxl), tmp_path)
    single = write_sdxl_file(folder, tmp_path / "one.safetensors")
    base, family, model = load(single)
    assert (base.layout, base.detection.variant) == ("single_file", "base")
    _, _, whole = load(folder)
    noisy, time = noise_of(RECORDS["sdxl"], family, model, 5), torch.tensor([0.5])
    with torch.no_grad():
        one, other = (
            family.denoise(m, noisy, time, encoded(family, m, [PROMPT], 64, GUIDANCE)) for m in (whole, model)
        )
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(family.decode_latents(whole, noisy), family.decode_latents(model, noisy))
    alone = family.load(base, parts=("denoiser",), dtype=torch.float32, device="cpu")
    assert alone.denoiser is not None and alone.vae is None and not alone.text_encoders
