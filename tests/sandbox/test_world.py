"""The world: what it draws is what it says, and what nobody may see in training is not seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lorasmith.datasets.store import DatasetStore
from lorasmith.sandbox import architecture, detectors, patchwork, samples, world


def test_the_same_seed_draws_the_same_pictures() -> None:
    first = [world.draw(scene, rng).tobytes() for scene, rng in world.scenes(3, 12)]
    again = [world.draw(scene, rng).tobytes() for scene, rng in world.scenes(3, 12)]
    other = [world.draw(scene, rng).tobytes() for scene, rng in world.scenes(4, 12)]
    assert first == again
    assert first != other


def test_no_training_scene_shows_a_held_out_combination() -> None:
    for scene, _ in world.scenes(5, 3000):
        for figure in scene.figures:
            if figure.shape != world.CHARACTER:
                assert not world.is_held_out(figure.shape, figure.color, scene.background), scene.prose()
    for scene, _ in world.scenes(5, 300, held_out=True):
        (figure,) = scene.figures
        assert world.is_held_out(figure.shape, figure.color, scene.background)


def test_every_pair_of_a_held_out_combination_is_trained() -> None:
    seen_pairs = set()
    for shape in world.SHAPES:
        for color in world.COLORS:
            for background in world.BACKGROUNDS:
                if not world.is_held_out(shape, color, background):
                    seen_pairs |= {(shape, color), (shape, background), (color, background)}
    held = len([1 for s in world.SHAPES for c in world.COLORS for b in world.BACKGROUNDS if world.is_held_out(s, c, b)])
    assert len(seen_pairs) == 6 * 8 + 6 * 6 + 8 * 6
    assert 0.15 < held / (6 * 8 * 6) < 0.25


def test_the_judge_agrees_with_the_painter() -> None:
    right = []
    for scene, rng in world.scenes(11, 150, held_out=True):
        found, figure = detectors.find_figure(world.draw(scene, rng)), scene.figures[0]
        right.append(
            found is not None
            and (found.shape, found.color, found.background) == (figure.shape, figure.color, scene.background)
        )
    assert np.mean(right) >= 0.97


def test_a_blank_picture_shows_nothing() -> None:
    from PIL import Image

    blank = Image.new("RGB", (128, 128), world.BACKGROUNDS["gray"])
    assert detectors.find_figure(blank) is None
    assert not detectors.shows_mascot(blank)
    assert not detectors.shows_style(blank)


def test_judges_know_mascot_and_style_and_nothing_else_for_them() -> None:
    mascots, styled, plain = [], [], []
    for index in range(60):
        rng = np.random.default_rng((21, index))
        mascots.append(world.draw_mascot(world.mascot_scene(rng), rng))
        styled.append(world.draw_styled(world.styled_scene(rng), rng))
        plain.append(world.draw(world.sample_scene(rng), rng))
    assert np.mean([detectors.shows_mascot(image) for image in mascots]) >= 0.97
    assert np.mean([detectors.shows_style(image) for image in styled]) >= 0.97
    assert not any(detectors.shows_mascot(image) for image in plain + styled)
    assert not any(detectors.shows_style(image) for image in plain + mascots)


def test_a_mirrored_mascot_is_not_the_mascot() -> None:
    from PIL import ImageOps

    rng = np.random.default_rng(5)
    picture = world.draw_mascot(world.mascot_scene(rng), rng)
    assert detectors.shows_mascot(picture)
    assert not detectors.shows_mascot(ImageOps.mirror(picture))


def test_captions_and_tags_say_the_same() -> None:
    for scene, _ in world.scenes(6, 200):
        words = scene.prose().replace(",", " ").split()
        for tag in scene.tags():
            if tag in world.COLORS or tag in world.SHAPES or tag in world.SIZES or tag in world.POSITIONS:
                assert tag in words
        assert f"{scene.background} background" in scene.tags()
        assert ("two shapes" in scene.tags()) == bool(scene.relation)


def test_patchwork_repeats_and_varies() -> None:
    first = patchwork.draw_patchwork(np.random.default_rng(1))
    assert first.size == (world.SIZE, world.SIZE)
    assert first.tobytes() == patchwork.draw_patchwork(np.random.default_rng(1)).tobytes()
    assert first.tobytes() != patchwork.draw_patchwork(np.random.default_rng(2)).tobytes()


def test_the_tokenizer_knows_the_words_of_the_world_and_spells_the_rest(tmp_path: Path) -> None:
    from transformers import CLIPTokenizer

    architecture.write_tokenizer(tmp_path)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    for scene, rng in world.scenes(8, 100):
        for caption in (scene.prose(), ", ".join(scene.tags()), world.write_caption(scene, rng)):
            assert len(tokenizer(caption).input_ids) <= architecture.MAX_TOKENS
    assert tokenizer.tokenize("a red star") == ["a</w>", "red</w>", "star</w>"]
    assert tokenizer.tokenize("zib") == ["z", "i", "b</w>"]
    assert tokenizer.unk_token_id not in tokenizer("qxj7 zib-3", add_special_tokens=False).input_ids


@pytest.mark.parametrize(("write", "pictures"), [(samples.write_mascot_zip, 23), (samples.write_style_zip, 43)])
def test_the_sample_archives_meet_their_expected_fates(
    write: Callable[[Path], list[samples.Member]], pictures: int, tmp_path: Path
) -> None:
    archive = tmp_path / "photos.zip"
    members = write(archive)
    version = DatasetStore(tmp_path / "home").import_source(archive)
    fates = {fate.path: (fate.fate, fate.rule) for fate in version.ledger}
    assert fates == {member.path: (member.fate, member.rule) for member in members}
    assert len(version.items) == pictures
