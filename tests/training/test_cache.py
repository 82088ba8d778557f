from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from lorasmith.datasets.buckets import Placed, place
from lorasmith.datasets.manifest import Item
from lorasmith.errors import CheckpointError, DatasetError
from lorasmith.events import Progress
from lorasmith.families.sd import StableDiffusion
from lorasmith.jobfolder import Control
from lorasmith.training.cache import Cache, encoders_of
from lorasmith.training.precompute import pixels_of, precompute, prompts_of_run
from tests.training.runs import Said, make_cache, make_setting

ITEM = Item(name="a.png", image="1" * 64, original="1" * 64, width=64, height=64)


def test_a_key_changes_with_everything_that_matters(tmp_path: Path) -> None:
    cache, other_base = Cache(tmp_path, "vae", "text"), Cache(tmp_path, "other vae", "other text")
    other_item = replace(ITEM, image="2" * 64)
    renamed = replace(ITEM, name="b.png")
    square, wide = Placed("a.png", 64, 64, 1, 0), Placed("a.png", 96, 64, 1, 0)
    keys = {
        cache.latent_key(ITEM, square, False),
        cache.latent_key(ITEM, square, True),
        cache.latent_key(ITEM, wide, False),
        cache.latent_key(other_item, square, False),
        other_base.latent_key(ITEM, square, False),
        cache.prompt_key("a"),
        cache.prompt_key("b"),
        other_base.prompt_key("a"),
    }
    assert len(keys) == 8
    assert cache.latent_key(renamed, square, False) == cache.latent_key(ITEM, square, False)


def test_weights_decide_the_identity_and_their_place_does_not(tiny_base: Path, tmp_path: Path) -> None:
    setting = make_setting(tmp_path, tiny_base)
    copied = shutil.copytree(tiny_base, tmp_path / "copy of it")
    base = setting.base
    moved = type(base)(copied, base.layout, base.detection, base.header, base.name)
    assert encoders_of(moved) == encoders_of(base)
    file = copied / "vae" / "diffusion_pytorch_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    vae, text = encoders_of(moved)
    assert vae != encoders_of(base)[0]
    assert text == encoders_of(base)[1]


def test_another_family_or_pipeline_says_other_things_with_the_same_text_encoder(
    tiny_base: Path, tmp_path: Path
) -> None:
    base = make_setting(tmp_path, tiny_base).base
    family = replace(base, detection=replace(base.detection, family="other"))
    index = {**base.header.configs["model_index"], "_class_name": "OtherPipeline"}
    pipeline = replace(base, header=replace(base.header, configs={**base.header.configs, "model_index": index}))
    connected = replace(base, path=shutil.copytree(tiny_base, tmp_path / "connected"))
    (connected.path / "connectors").mkdir()
    (connected.path / "connectors" / "config.json").write_text("{}", encoding="utf-8")
    found = [encoders_of(one) for one in (base, family, pipeline, connected)]
    assert len({text for _, text in found}) == 4 and len({vae for vae, _ in found}) == 1


def test_a_damaged_entry_is_absent_until_made_anew(tmp_path: Path) -> None:
    cache = Cache(tmp_path, "vae", "text")
    key = cache.prompt_key("a")
    assert not cache.has(key)
    cache.put(key, {"x": torch.arange(6.0).view(2, 3)})
    assert torch.equal(Cache(tmp_path, "vae", "text").get(key)["x"], torch.arange(6.0).view(2, 3))
    (path,) = tmp_path.rglob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-3] ^= 64
    path.write_bytes(bytes(content))
    assert not cache.has(key)
    with pytest.raises(CheckpointError, match="missing or damaged"):
        Cache(tmp_path, "vae", "text").get(key)
    path.write_bytes(b"short")
    assert not cache.has(key)


def test_a_second_pass_finds_everything(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = make_setting(tmp_path, tiny_base)
    said = Said()
    assert precompute(make_cache(tmp_path, setting), setting, emit=said, control=Control)
    done = {e.unit: e.total for e in said.events if isinstance(e, Progress)}
    assert done["pictures"] == 2 * len(setting.version.items)  # mirrored too
    prompts = prompts_of_run(setting.plan, setting.version, setting.config)
    assert done["prompts"] == len(prompts)
    assert {"", "zib, a star"} <= set(prompts)

    def load(*arguments: object, **options: object) -> None:
        raise AssertionError("nothing needs to be loaded")

    monkeypatch.setattr(StableDiffusion, "load", load)
    assert precompute(make_cache(tmp_path, setting), setting, emit=Said(), control=Control)


def test_latents_that_are_not_finite_name_the_picture(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = make_setting(tmp_path, tiny_base)
    honest = StableDiffusion.encode_images
    calls = 0

    def poisoned(self: StableDiffusion, model: object, pixels: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return honest(self, model, pixels) / (0 if calls == 3 else 1)  # type: ignore[arg-type]

    monkeypatch.setattr(StableDiffusion, "encode_images", poisoned)
    with pytest.raises(DatasetError, match=r"The latents of '猫 \d.png' are not finite"):
        precompute(make_cache(tmp_path, setting), setting, emit=Said(), control=Control)


def test_a_stop_ends_the_pass_between_pictures(tiny_base: Path, tmp_path: Path) -> None:
    setting = make_setting(tmp_path, tiny_base)
    asked = iter([Control(), Control(), Control(wanted="stop")])
    assert not precompute(make_cache(tmp_path, setting), setting, emit=Said(), control=lambda: next(asked))
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 2


def test_pixels_are_cropped_around_the_centre_and_mirrored() -> None:
    image = Image.new("RGB", (8, 4), "black")
    image.paste((255, 255, 255), (2, 0, 4, 4))  # the left half of the centre square
    item = replace(ITEM, width=8, height=4)
    placed = place(item, [(4, 4)])
    pixels = pixels_of(image, placed, flip=False)
    assert pixels.shape == (1, 3, 4, 4)
    expected = torch.tensor([1.0, 1.0, -1.0, -1.0]).expand(1, 3, 4, 4)
    torch.testing.assert_close(pixels, expected)
    torch.testing.assert_close(pixels_of(image, placed, flip=True), -expected)
