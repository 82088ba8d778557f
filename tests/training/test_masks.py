"""Masks inside a run: what they are at latent size, what they do to the loss, and those that cannot be used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lorasmith.bases import open_base
from lorasmith.config import resolve
from lorasmith.datasets.buckets import Placed, crop_box, place_in
from lorasmith.datasets.eyes import EyeSettings
from lorasmith.datasets.eyes.drawing import render
from lorasmith.datasets.eyes.seeing import look
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.datasets.masked_area import averaged
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import ConfigError, DatasetError
from lorasmith.events import Phase
from lorasmith.families.sd import StableDiffusion
from lorasmith.families.sd import plugin as sd
from lorasmith.jobfolder import Control
from lorasmith.recipe import prepare
from lorasmith.trainers.native import _config
from lorasmith.training.assembly import assemble
from lorasmith.training.loop import Run, restore, train
from lorasmith.training.masks import latent_mask
from lorasmith.training.objective import Objective
from lorasmith.training.plan import plan
from lorasmith.training.precompute import pixels_of, precompute
from lorasmith.training.sampler import Exposure
from lorasmith.training.setting import Setting
from tests.training.home import make_dataset, quick_config
from tests.training.runs import Said, make_cache

PLAIN: dict[str, Any] = {"adapter.dropout": 0.0, "sample.prompts": [], "ema_decay": None}


def painted(size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    """Black, white inside the box."""
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


def with_masks(home: Path, masks: dict[int, Image.Image]) -> DatasetVersion:
    """The usual pictures, some of them masked."""
    version, store = make_dataset(home), DatasetStore(home)
    items = list(version.items)
    for number, mask in masks.items():
        items[number] = replace(items[number], mask=store.put_image(mask, "L"))
    return version.model_copy(update={"items": tuple(items)})


def halved(home: Path) -> DatasetVersion:
    """The first picture trains its left half, the third its upper left corner, the last (held out) its lower half."""
    boxes = {0: (0, 0, 32, 64), 2: (0, 0, 48, 16), 5: (0, 48, 64, 96)}
    sizes = {0: (64, 64), 2: (96, 64), 5: (64, 96)}
    version = with_masks(home, {number: painted(sizes[number], box) for number, box in boxes.items()})
    items = list(version.items)
    items[5] = replace(items[5], role="validation")
    return version.model_copy(update={"items": tuple(items)})


def setting_of(home: Path, tiny_base: Path, version: DatasetVersion, **changes: Any) -> Setting:
    config = quick_config(tiny_base, **(PLAIN | {"data.validation_fraction": 0.0} | changes))
    base = open_base(str(tiny_base))
    planned = plan(config, version, sd, base)
    return Setting(config, planned, version, DatasetStore(home), sd, base, torch.device("cpu"))


def run_of(home: Path, tiny_base: Path, version: DatasetVersion, out: str = "out", **changes: Any) -> Run:
    setting = setting_of(home, tiny_base, version, **changes)
    cache = make_cache(home, setting)
    assert precompute(cache, setting, emit=Said(), control=Control)
    (home / out).mkdir(exist_ok=True)
    return assemble(setting, cache, home / out)


def exposures(*names: str, flip: bool = False) -> list[Exposure]:
    return [Exposure(n, name, 0, flip, 0, 0.5, n) for n, name in enumerate(names)]


# --- at latent size


def test_a_mask_is_averaged_over_each_latent_position() -> None:
    mask = painted((16, 16), (0, 0, 12, 8))
    expected = np.array([[1.0, 0.5], [0.0, 0.0]], np.float32)
    assert np.array_equal(averaged(mask, (0, 0, 16, 16), 2, 2), expected)
    assert np.array_equal(
        averaged(Image.new("L", (5, 7), 255), (0.3, 0.7, 4.9, 6.1), 3, 4), np.ones((4, 3), np.float32)
    )


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    columns=st.integers(1, 12),
    rows=st.integers(1, 12),
    margin=st.floats(0, 0.45),
    seed=st.integers(0, 2**32),
)
def test_an_average_keeps_the_area_and_the_mirror(
    width: int, height: int, columns: int, rows: int, margin: float, seed: int
) -> None:
    values = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    mask, mirrored = Image.fromarray(values), Image.fromarray(values[:, ::-1].copy())
    box = (width * margin, height * margin, width * (1 - margin), height * (1 - margin))
    cells = averaged(mask, box, columns, rows)
    assert cells.shape == (rows, columns) and cells.min() >= 0 and cells.max() <= 1
    assert np.allclose(averaged(mirrored, box, columns, rows), cells[:, ::-1], atol=1e-6)
    whole = averaged(mask, (0, 0, width, height), columns, rows)
    assert whole.mean() == pytest.approx(values.mean() / 255, abs=1e-6)


@pytest.mark.parametrize(
    ("width", "height", "shape"), [(300, 200, (128, 128)), (90, 400, (64, 128)), (64, 64, (96, 64))]
)
@pytest.mark.parametrize("flip", [False, True])
def test_a_mask_lies_where_its_picture_lies(
    tmp_path: Path, width: int, height: int, shape: tuple[int, int], flip: bool
) -> None:
    """The picture is its own mask: what comes out of both ways through crop, bucket and mirror must be the same."""
    values = np.random.default_rng(3).integers(0, 256, (5, 4), dtype=np.uint8)
    drawn = Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC)
    store = DatasetStore(tmp_path)
    digest = store.put_image(drawn, "L")
    item = Item(name="a.png", image=digest, original=digest, width=width, height=height, mask=digest)
    placed = place_in(item, shape)
    mask = latent_mask(store, item, placed, sd)
    mask = mask[:, ::-1] if flip else mask
    pixels = (pixels_of(store.open_image(item), placed, flip)[0, 0].numpy() + 1) / 2
    pooled = pixels.reshape(shape[1] // 8, 8, shape[0] // 8, 8).mean(axis=(1, 3))
    assert mask.shape == pooled.shape
    assert np.abs(mask - pooled).max() < 0.01
    assert np.abs(mask[:, ::-1] - pooled).max() > 0.1  # so that a wrong mirror would be seen


def test_flips_turn_the_mask_with_the_picture(tiny_base: Path, tmp_path: Path) -> None:
    run = run_of(tmp_path, tiny_base, halved(tmp_path))
    left, right = (run.batches.load(exposures("猫 0.png", flip=flip)).mask for flip in (False, True))
    assert left is not None and right is not None and left.shape == (1, 1, 8, 8)
    assert left[..., :4].eq(1).all() and left[..., 4:].eq(0).all()
    assert torch.equal(right, left.flip(-1))


# --- in the loss


def objective() -> Objective:
    return Objective(torch.linspace(0.99, 0.01, 10), "epsilon", min_snr_gamma=5.0)


def test_a_white_mask_is_no_mask_and_a_gray_one_is_no_smaller() -> None:
    prediction, latents, noise = torch.randn(3, 2, 4, 6, 6, generator=torch.Generator().manual_seed(0)).unbind()
    steps = torch.tensor([2, 7])
    plain = objective().loss(prediction, latents, noise, steps)
    for value in (1.0, 0.3):
        masked = objective().loss(prediction, latents, noise, steps, torch.full((2, 1, 6, 6), value))
        torch.testing.assert_close(masked, plain)


def test_a_small_mask_makes_no_small_loss() -> None:
    noise, latents = torch.zeros(2, 4, 8, 8), torch.zeros(2, 4, 8, 8)
    mask = torch.zeros(2, 1, 8, 8)
    mask[0, 0, 0, 0] = mask[1, 0, :4] = 1
    loss = objective().loss(torch.ones(2, 4, 8, 8), latents, noise, torch.tensor([3, 3]), mask)
    assert loss[0] == loss[1] == objective().weight(torch.tensor([3]))[0]


def test_min_snr_still_counts_and_the_weighted_mean_is_as_written() -> None:
    generator = torch.Generator().manual_seed(1)
    prediction, latents, noise = torch.randn(3, 1, 4, 2, 2, generator=generator).unbind()
    weight = torch.tensor([[1.0, 0.25], [0.0, 0.5]])
    steps = torch.tensor([0])
    error = (prediction - noise).square().mean(dim=1)[0]
    expected = (weight * error).sum() / 1.75 * objective().weight(steps)
    assert objective().weight(steps)[0] < 1
    torch.testing.assert_close(objective().loss(prediction, latents, noise, steps, weight[None, None]), expected)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_what_a_mask_keeps_out_has_no_gradient_at_all(tiny_base: Path, tmp_path: Path, prediction_type: str) -> None:
    run = run_of(tmp_path, tiny_base, halved(tmp_path), **{"adapter.targets": "attention"})
    run.objective = replace(run.objective, prediction=prediction_type)
    batch = run.batches.load(exposures("猫 0.png", "猫 0.png"))
    assert batch.mask is not None
    noisy = run.objective.add_noise(batch.latents, batch.noise, batch.timestep)
    outside = (batch.mask == 0).expand_as(batch.latents)
    found = []
    for disturbed in (False, True):
        # The target outside the mask becomes another one; what goes into the denoiser stays.
        latents = torch.where(outside, 9.0, batch.latents) if disturbed else batch.latents
        noise = torch.where(outside, -5.0, batch.noise) if disturbed else batch.noise
        prediction = run.family.denoise(run.model, noisy, run.objective.time(batch.timestep), batch.conditioning)
        prediction.retain_grad()
        loss = run.objective.loss(prediction, latents, noise, batch.timestep, batch.mask)
        torch.autograd.backward(loss.mean())
        assert prediction.grad is not None
        assert prediction.grad[outside].eq(0).all() and prediction.grad[~outside].ne(0).all()
        found.append(
            [parameter.grad.clone() for parameter in run.lora.parameters.values() if parameter.grad is not None]
        )
        run.optimizer.zero_grad(set_to_none=True)
    assert found[0] and any(grad.abs().max() > 0 for grad in found[0])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_an_unmasked_weight_lets_the_rest_count(tiny_base: Path, tmp_path: Path) -> None:
    run = run_of(tmp_path, tiny_base, halved(tmp_path), **{"objective.unmasked_weight": 0.25})
    mask = run.batches.load(exposures("猫 0.png")).mask
    assert mask is not None and mask[..., :4].eq(1).all() and mask[..., 4:].eq(0.25).all()


def test_a_picture_without_a_mask_counts_everywhere_beside_one_that_has_it(tiny_base: Path, tmp_path: Path) -> None:
    run = run_of(tmp_path, tiny_base, halved(tmp_path))
    mixed = run.batches.load(exposures("猫 0.png", "猫 1.png")).mask
    assert mixed is not None and mixed[1].eq(1).all() and mixed[0].mean() == 0.5
    assert run.batches.load(exposures("猫 1.png", "猫 3.png")).mask is None


# --- in a run


def test_masks_change_what_is_learned_and_without_the_loss_they_do_not(tiny_base: Path, tmp_path: Path) -> None:
    states = {}
    for name, version, changes in (
        ("bare", make_dataset(tmp_path), {}),
        ("off", with_masks(tmp_path, {0: painted((64, 64), (0, 0, 9, 64))}), {"objective.masked_loss": False}),
        ("on", with_masks(tmp_path, {0: painted((64, 64), (0, 0, 9, 64))}), {}),
        ("whole", with_masks(tmp_path, {0: painted((64, 64), (0, 0, 9, 64))}), {"objective.unmasked_weight": 1.0}),
    ):
        run = run_of(tmp_path, tiny_base, version, name, **changes)
        assert train(run, Said(), Control) == "succeeded"
        states[name] = run.lora.state()
    assert all(torch.equal(tensor, states["off"][name]) for name, tensor in states["bare"].items())
    assert any(not torch.equal(tensor, states["on"][name]) for name, tensor in states["bare"].items())
    for name, tensor in states["bare"].items():
        torch.testing.assert_close(states["whole"][name], tensor, rtol=1e-3, atol=1e-5)


def test_regularisation_pictures_keep_their_weight_and_are_whole(tiny_base: Path, tmp_path: Path) -> None:
    version = halved(tmp_path)
    items = list(version.items)
    items[1] = replace(items[1], role="regularisation")
    version = version.model_copy(update={"items": tuple(items)})
    run = run_of(tmp_path, tiny_base, version, **{"data.prior_loss_weight": 0.25})
    batch = run.batches.load(exposures("猫 0.png", "猫 1.png"))
    assert batch.mask is not None and batch.mask[1].eq(1).all()
    assert batch.weigh(torch.ones(2)).tolist() == [1.0, 0.25]


def test_the_held_out_loss_is_masked_too(tiny_base: Path, tmp_path: Path) -> None:
    losses = []
    for out, changes in (("a", {}), ("b", {"objective.masked_loss": False})):
        run, said = run_of(tmp_path, tiny_base, halved(tmp_path), out, **changes), Said()
        assert run.validation is not None and run.validation.names == ("猫 5.png",)
        train(run, said, Control)
        losses.append(said.values("validation_loss")[0])
    assert losses[0] != losses[1]
    run = run_of(tmp_path, tiny_base, halved(tmp_path), "c")
    batch = run.batches.load([Exposure(0, "猫 5.png", 0, False, 0, 0.5, 0)])
    assert batch.mask is not None and batch.mask[0, 0, :5].eq(0).all() and batch.mask[0, 0, 5:].eq(1).all()


@pytest.mark.parametrize("stop", [2, 4])
def test_a_resume_with_masks_is_bit_exact(tiny_base: Path, tmp_path: Path, stop: int) -> None:
    version = halved(tmp_path)
    whole = run_of(tmp_path, tiny_base, version)
    assert train(whole, Said(), Control) == "succeeded"
    halted = run_of(tmp_path, tiny_base, version, "halted")
    wish = lambda: Control(wanted="pause") if halted.step == stop else Control()  # noqa: E731
    assert train(halted, Said(), wish) == "paused"
    resumed = run_of(tmp_path, tiny_base, version, "halted")
    saved = resumed.checkpoints.newest(Said())
    assert saved is not None
    restore(resumed, saved)
    assert train(resumed, Said(), Control) == "succeeded"
    expected = whole.lora.state()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.lora.state().items())


# --- in the cache and the plan


def test_another_mask_is_another_entry_and_the_latents_stay(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = setting_of(tmp_path, tiny_base, halved(tmp_path))
    assert precompute(make_cache(tmp_path, first), first, emit=Said(), control=Control)

    def load(*arguments: object, **options: object) -> None:
        raise AssertionError("nothing needs to be loaded")

    monkeypatch.setattr(StableDiffusion, "load", load)
    other = with_masks(tmp_path, {0: painted((64, 64), (32, 0, 64, 64))})
    second = setting_of(tmp_path, tiny_base, other)
    cache = make_cache(tmp_path, second)
    assert precompute(cache, second, emit=Said(), control=Control)
    placed = next(p for b in second.plan.buckets for p in b.placed if p.item == "猫 0.png")
    found = [cache.get(cache.mask_key(s.version.items[0], placed))["mask"] for s in (first, second)]
    assert torch.equal(found[0], 1 - found[1])
    wider = Placed(placed.item, 96, 64, placed.scale, 0)
    assert cache.mask_key(other.items[0], wider) != cache.mask_key(other.items[0], placed)


def test_a_stop_ends_the_pass_between_masks(tiny_base: Path, tmp_path: Path) -> None:
    setting = setting_of(tmp_path, tiny_base, halved(tmp_path))
    asked = iter([Control(), Control(wanted="stop")])
    assert not precompute(make_cache(tmp_path, setting), setting, emit=Said(), control=lambda: next(asked))
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 1


def test_the_plan_counts_what_masks_take(tiny_base: Path, tmp_path: Path) -> None:
    off = setting_of(tmp_path, tiny_base, halved(tmp_path), **{"objective.masked_loss": False})
    masked = setting_of(tmp_path, tiny_base, halved(tmp_path))
    areas = {p.item: p.width * p.height // 64 for b in masked.plan.buckets for p in b.placed}
    areas |= {p.item: p.width * p.height // 64 for p in masked.plan.validation}
    entries = sum(4 * areas[name] + 4096 for name in ("猫 0.png", "猫 2.png", "猫 5.png"))
    assert masked.plan.disk.cache - off.plan.disk.cache == entries
    cache = make_cache(tmp_path, masked)
    assert precompute(cache, masked, emit=Said(), control=Control)
    written = sum(file.stat().st_size for file in (tmp_path / "cache").rglob("*.safetensors"))
    assert written <= masked.plan.disk.cache


# --- refused


def test_a_mask_that_is_cropped_away_is_refused_before_there_is_a_job(tiny_base: Path, tmp_path: Path) -> None:
    store, wide = DatasetStore(tmp_path), (400, 64)
    digest = store.put_image(Image.new("RGB", wide, "red"))
    mask = store.put_image(painted(wide, (0, 0, 60, 64)), "L")
    item = Item(name="wide.png", image=digest, original=digest, width=400, height=64, caption="a", mask=mask)
    version = make_dataset(tmp_path)
    version = version.model_copy(update={"items": (*version.items, item)})
    values = {"base": str(tiny_base), "data.resolution": 64}
    with pytest.raises(DatasetError, match=r"'wide\.png' lets nothing through .* \(36% of the picture is cut away\)"):
        prepare(version, values, home=tmp_path)
    assert prepare(version, values | {"objective.masked_loss": False}, home=tmp_path).notices
    with pytest.raises(DatasetError, match="lets nothing through"):  # nor does any weight bring it back
        prepare(version, values | {"objective.unmasked_weight": 0.5}, home=tmp_path)
    box = crop_box(400, 64, place_in(item, (128, 32)))
    assert box[0] > 60
    setting, said = setting_of(tmp_path, tiny_base, version), Said()
    with pytest.raises(DatasetError, match="lets nothing through"):  # the worker looks again, first of all
        precompute(make_cache(tmp_path, setting), setting, emit=said, control=Control)
    assert [type(event) for event in said.events] == [Phase]


def test_masks_that_cannot_be_used_are_named(tiny_base: Path, tmp_path: Path) -> None:
    values = {"base": str(tiny_base), "data.resolution": 64}
    speck = with_masks(tmp_path, {0: Image.new("L", (64, 64)), 1: painted((64, 64), (0, 0, 0, 0))})
    with pytest.raises(DatasetError, match=r"'猫 0.png' lets nothing through.* 1 more cannot be used either"):
        prepare(speck, values, home=tmp_path)
    wrong = with_masks(tmp_path, {0: Image.new("L", (32, 64), 255)})
    with pytest.raises(DatasetError, match="64 x 64 pixels and its mask 32 x 64"):
        prepare(wrong, values, home=tmp_path)
    store = DatasetStore(tmp_path)
    good = with_masks(tmp_path, {0: painted((64, 64), (0, 0, 5, 5))})
    prepare(good, values, home=tmp_path)
    path = store.blob_path(good.items[0].mask or "")
    path.chmod(0o600)
    path.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"stored mask of '猫 0\.png' is damaged"):
        prepare(good, values, home=tmp_path)
    path.unlink()
    with pytest.raises(DatasetError, match=r"mask of '猫 0\.png' is missing"):
        prepare(good, values, home=tmp_path)
    with pytest.raises(DatasetError, match="has no mask"):
        store.open_mask(make_dataset(tmp_path).items[0])


def test_next_to_nothing_is_refused_and_little_is_told(tiny_base: Path, tmp_path: Path) -> None:
    values = {"base": str(tiny_base), "data.resolution": 64}
    faint = with_masks(tmp_path, {0: Image.fromarray(np.eye(64, dtype=np.uint8))})
    with pytest.raises(DatasetError, match="lets next to nothing through"):
        prepare(faint, values, home=tmp_path)
    small = with_masks(tmp_path, {0: painted((64, 64), (3, 3, 7, 7))})
    notices = [notice.message for notice in prepare(small, values, home=tmp_path).notices]
    assert any("Less than 1% of 1 pictures is let through" in message for message in notices)


def test_settings_at_odds_are_refused() -> None:
    needed = {"base": "sandbox", "dataset": "a"}
    assert resolve(needed, {"masked_loss": False}).objective.masked_loss is False
    with pytest.raises(ConfigError, match=r"unmasked_weight is set but objective\.masked_loss is false"):
        resolve(needed, {"objective.unmasked_weight": 0.1, "objective.masked_loss": False})
    for wrong in (-0.1, 1.1, float("nan"), "much"):
        with pytest.raises(ConfigError, match=r"objective\.unmasked_weight"):
            resolve(needed, {"objective.unmasked_weight": wrong})


def test_a_job_that_was_queued_before_masks_counted_trains_as_it_was_meant(tiny_base: Path) -> None:
    frozen = quick_config(tiny_base).model_dump(mode="json")
    assert _config(frozen).objective.masked_loss is True
    for key in ("masked_loss", "unmasked_weight"):
        del frozen["objective"][key]
    assert _config(frozen).objective.masked_loss is False
    assert _config(frozen).objective.min_snr_gamma == 5.0


# --- through our trainer's eye


def test_our_eye_shows_what_the_mask_leaves(tmp_path: Path) -> None:
    store, version = DatasetStore(tmp_path), halved(tmp_path)
    first, second = look(version, store, "lorasmith", resolution=64)[:2]
    assert [(note.id, note.severity) for note in first.differences if note.id.startswith("mask")] == [("mask", "info")]
    assert "lets 50%" in next(note.sentence for note in first.differences if note.id == "mask")
    assert first.outcome == "read" and first.mask is not None and second.mask is None
    whole = np.asarray(render(replace(first, mask=None))).astype(float)
    dark = np.asarray(render(first)).astype(float)
    assert np.array_equal(dark[:, :32], whole[:, :32])
    assert np.abs(dark[:, 32:] - whole[:, 32:] * 0.25).max() <= 1
    assert first.to_dict()["mask"] == str(first.mask)
    others = [
        look(version, store, "sd_scripts", resolution=64)[0],
        look(version, store, "lorasmith", resolution=64, originals=True)[0],
        look(version, store, "lorasmith", resolution=64, settings=EyeSettings(masked=False))[0],
    ]
    assert all(one.mask is None for one in others)


def test_our_eye_sees_masks_that_stop_a_run(tmp_path: Path) -> None:
    version = with_masks(tmp_path, {0: Image.new("L", (64, 64)), 1: Image.new("L", (32, 32), 255)})
    empty, wrong = look(version, DatasetStore(tmp_path), "lorasmith", resolution=64)[:2]
    assert (empty.outcome, empty.differences[0].id) == ("stops", "mask_empty")
    assert (wrong.outcome, wrong.differences[0].id) == ("stops", "mask_damaged")
    assert wrong.mask is None
