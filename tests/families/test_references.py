"""Families that edit: what of a pair reaches the denoiser, and what is refused before there is a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lorasmith.bases.detection import registered_families
from lorasmith.datasets.manifest import DatasetVersion, Operation
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import ConfigError, DatasetError
from lorasmith.families import Conditioning
from lorasmith.families.predicting import picture_tokens
from lorasmith.families.predicting import with_references as foretold
from lorasmith.families.references import area_size, in_groups, named
from lorasmith.recipe import prepare
from lorasmith.training.footprint import footprint
from lorasmith.training.memory import changed, lighter
from lorasmith.training.references import NOTHING, Shown, of_previews, refuse_unpaired
from tests.families.steps import picture_of, run_of, with_references
from tests.training.home import make_dataset

Tiny = Callable[[str], Path]


def paired(home: Path, name: str = "flux_kontext") -> DatasetVersion:
    return with_references(home, make_dataset(home), registered_families()[name])


def test_references_of_unlike_size_are_denoised_apart() -> None:
    """What fills up the smaller ones, and rows without one, is seen by nobody; rows come back in their order."""
    sizes = [(2, 4), (3, 3), (2, 4), None]
    rows = [[] if size is None else [torch.full((5, *size), float(n + 1))] for n, size in enumerate(sizes)]
    conditioning = Conditioning({"told": torch.arange(4.0), **named(rows)})
    calls: list[tuple[int, list[tuple[int, ...]]]] = []

    def predict(noisy: Any, time: Any, others: dict[str, Any], references: list[Any]) -> Any:
        calls.append((len(noisy), [tuple(r.shape) for r in references]))
        assert set(others) == {"told"} and torch.equal(others["told"], time)
        seen = references[0].flatten(1).mean(1) if references else torch.zeros(len(noisy))
        return noisy + seen.view(-1, 1, 1, 1)

    noisy = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 5, 1, 1)
    found = in_groups(noisy, torch.arange(4.0), conditioning, predict)
    assert found[:, 0, 0, 0].tolist() == [1.0, 3.0, 5.0, 3.0]
    assert sorted(calls) == [(1, []), (1, [(1, 5, 3, 3)]), (2, [(2, 5, 2, 4)])]
    alike = Conditioning({"told": torch.arange(2.0), **named([rows[0], rows[2]])})
    calls.clear()
    in_groups(noisy[:2], torch.arange(2.0), alike, predict)
    assert calls == [(2, [(2, 5, 2, 4)])] and "reference_0_size" not in alike.tensors


@pytest.mark.parametrize("name", ["flux_kontext", "qwen_image_edit", "qwen_image_edit_plus"])
def test_sizes_are_those_of_the_pipeline(name: str) -> None:
    from diffusers.pipelines.flux.pipeline_flux_kontext import PREFERRED_KONTEXT_RESOLUTIONS
    from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import calculate_dimensions

    family = registered_families()[name]
    for width, height in ((64, 64), (1920, 1080), (300, 1200), (1023, 1025), (37, 4001), (5000, 17)):
        if name == "flux_kontext":
            shape = width / height
            _, *want = min((abs(shape - w / h), w, h) for w, h in PREFERRED_KONTEXT_RESOLUTIONS)
            assert list(family.reference_size(width, height)) == want
        elif max(width, height) < 100 * min(width, height):
            assert family.reference_size(width, height) == calculate_dimensions(1024 * 1024, width / height)
        small = family.reference_size(width, height, 64)
        assert min(small) >= 16 and all(side % 16 == 0 for side in small)
    assert area_size(100, 50, 384, 32) == (544, 256)


def test_flips_take_references_along_and_dropout_leaves_them(tiny: Tiny, tmp_path: Path) -> None:
    run = run_of(tmp_path, tiny("flux_kontext"), **{"data.flip": True, "data.caption_dropout": 0.5})
    name = run.batches.names()[0]
    first, mirrored = run.batches.shown(name), run.batches.shown(name, flip=True)
    assert first.references == mirrored.references and (first.flip, mirrored.flip) == (False, True)

    def reference(shown: Shown, prompt: str) -> torch.Tensor:
        return run.batches.conditioning([prompt], shown=[shown]).tensors["reference_0"]

    prompt = run.batches.prompt(name, 0)
    assert not torch.equal(reference(first, prompt), reference(mirrored, prompt))
    assert torch.equal(reference(first, prompt), reference(first, "")), "a dropped caption leaves the reference"
    exposures = run.sampler.next_batch()
    batch = run.batches.load(exposures)
    assert len(batch.conditioning.tensors["reference_0"]) == len(batch.latents)
    assert "reference_0" not in run.batches.conditioning([""]).tensors


def test_what_the_text_encoder_sees_is_in_the_key(tiny: Tiny, tmp_path: Path) -> None:
    """Every prompt of the run is there for its own references, mirrored or not, and the empty one too."""
    run = run_of(tmp_path, tiny("qwen_image_edit"), **{"data.flip": True})
    one, other = run.batches.names()[:2]
    for shown in (run.batches.shown(one), run.batches.shown(one, flip=True)):
        for prompt in ("", run.batches.prompt(one, 0)):
            run.batches.conditioning([prompt], shown=[shown])
    states = [
        run.batches.conditioning([""], shown=[run.batches.shown(name)]).tensors["encoder_hidden_states"]
        for name in (one, other)
    ]
    assert states[0].shape != states[1].shape or not torch.allclose(states[0], states[1])


def test_previews_show_held_out_pairs(tiny: Tiny, tmp_path: Path) -> None:
    prompts = ["a", "b", "c"]
    run = run_of(tmp_path, tiny("flux_kontext"), **{"data.validation_fraction": 0.3, "sample.prompts": prompts})
    assert run.validation is not None
    held_out = [run.batches.shown(name) for name in run.validation.names]
    assert list(run.preview.shown) == [held_out[n % len(held_out)] for n in range(3)]
    version = paired(tmp_path / "other")
    bare = version.model_copy(update={"items": tuple(replace(i, references=()) for i in version.items)})
    plan: Any = type("Plan", (), {"validation": (), "buckets": ()})
    assert of_previews(plan, bare, registered_families()["flux_kontext"], 2) == [NOTHING, NOTHING]


def test_a_dataset_without_pairs_is_refused_and_one_with_them_noticed(tiny: Tiny, tmp_path: Path) -> None:
    version = make_dataset(tmp_path)
    kontext = {"base": str(tiny("flux_kontext"))}
    with pytest.raises(DatasetError, match=r"edits pictures, and '猫 0.png' and 5 more of pets@1 have no reference"):
        prepare(version, kontext, home=tmp_path)
    pairs = paired(tmp_path)
    recipe = prepare(pairs, {**kontext, "data.reference_resolution": 64}, home=tmp_path)
    assert not any("references" in notice.message for notice in recipe.notices)
    plain = prepare(pairs, {"base": str(tiny("flux"))}, home=tmp_path)
    assert any("6 of 6 pictures have references, which FLUX.1 does not use" in n.message for n in plain.notices)
    with pytest.raises(ConfigError, match="takes no reference pictures"):
        prepare(pairs, {"base": str(tiny("flux")), "data.reference_resolution": 64}, home=tmp_path)


def test_schnell_is_not_told_how_strongly_to_keep_to_the_prompt(tiny: Tiny, tmp_path: Path) -> None:
    version = make_dataset(tmp_path)
    prepare(version, {"base": str(tiny("flux")), "objective.guidance": 2.0}, home=tmp_path)
    shutil.copytree(tiny("flux"), tmp_path / "schnell")
    config = tmp_path / "schnell" / "transformer" / "config.json"
    config.write_text(config.read_text().replace('"guidance_embeds": true', '"guidance_embeds": false'))
    weights = next((tmp_path / "schnell" / "transformer").glob("*.safetensors"))
    kept = {name: tensor for name, tensor in load_file(weights).items() if "guidance" not in name}
    save_file(kept, weights)
    with pytest.raises(ConfigError, match="no guidance built in"):
        prepare(version, {"base": str(tmp_path / "schnell"), "objective.guidance": 2.0}, home=tmp_path)
    prepare(version, {"base": str(tmp_path / "schnell")}, home=tmp_path)


def test_too_many_references_are_refused(tmp_path: Path) -> None:
    version, store = paired(tmp_path), DatasetStore(tmp_path)
    two = (version.items[0].references[0], store.put_image(picture_of(3)))
    items = [replace(version.items[0], references=two), *version.items[1:]]
    more = store.commit(version, items, Operation(name="test"))
    with pytest.raises(DatasetError, match=r"takes one reference picture, and '猫 0.png' has 2"):
        refuse_unpaired(more, registered_families()["flux_kontext"])
    refuse_unpaired(more, registered_families()["qwen_image_edit_plus"])


EDITING = ("flux_kontext", "qwen_image_edit", "qwen_image_edit_plus")


@pytest.mark.parametrize("name", EDITING)
def test_predicted_memory_grows_with_references_and_their_size(name: str) -> None:
    """Every case takes more than the same base without references, and more tokens never take less."""
    families = registered_families()
    plain = families["flux" if name == "flux_kontext" else "qwen_image"].predicted_memory["1024 px"]
    cases = list(families[name].predicted_memory.values())
    assert len(cases) >= 2
    for smaller, larger in zip([plain, *cases], cases, strict=False):
        assert larger[0] > smaller[0] and larger[1] > smaller[1] and larger[1] < larger[0]


def test_the_line_goes_through_what_is_known_without_references() -> None:
    """FLUX.1 at 512 pixels, foretold from 1024: both figures were computed from its shapes."""
    known = registered_families()["flux"].predicted_memory
    tokens = picture_tokens(1024) + 512
    back = foretold(
        known["1024 px"], billions=11.90, tokens=tokens, further={"512": picture_tokens(512) - picture_tokens(1024)}
    )
    assert back["512"] == pytest.approx(known["512 px"], abs=0.3)


@pytest.mark.parametrize("name", ["flux_kontext", "qwen_image_edit_plus"])
def test_a_step_is_computed_with_its_references(name: str, tiny: Tiny, tmp_path: Path) -> None:
    run = run_of(tmp_path, tiny(name), **{"data.reference_resolution": 64})
    needs = [footprint(run, changed(run.config, {"data.reference_resolution": side})).step for side in (64, 128, 256)]
    assert needs[0] < needs[1] < needs[2]
    assert footprint(run, run.config).step == pytest.approx(needs[0], rel=0.01)
    words = [word for word, _ in lighter(changed(run.config, {"data.reference_resolution": 256}), run.family)]
    assert "data.reference_resolution: 128" in words
    assert not [word for word, _ in lighter(run.config, registered_families()["flux"]) if "reference" in word]
