"""Something that lies at the same place of many pictures is found, with the pictures that have it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from lorasmith.datasets.overlay import LEAST, PART_THRESHOLD, THRESHOLD, common_overlay
from lorasmith.sandbox import world
from lorasmith.sandbox.patchwork import draw_patchwork

PLACE = (0.55, 0.86)


def textured(seed: int, width: int = 512, height: int = 384) -> Image.Image:
    rng = np.random.default_rng(seed)
    total = np.full((height, width), 120.0)
    cells = 3
    while cells < width:
        coarse = rng.normal(0, 9, (max(2, cells * height // width), cells)).astype(np.float32)
        total += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
        cells = 2 * cells + 1
    return Image.fromarray(np.clip(total, 0, 255).astype(np.uint8)).convert("RGB")


def marked(image: Image.Image, alpha: int = 60) -> Image.Image:
    layer = Image.new("RGBA", image.size, (255, 255, 255, 0))
    position = (PLACE[0] * image.width, PLACE[1] * image.height)
    font = ImageFont.load_default(size=image.height / 18)
    ImageDraw.Draw(layer).text(position, "(c) studio name", font=font, fill=(255, 255, 255, alpha))
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def some(count: int, share: float) -> list[Image.Image]:
    return [marked(textured(i)) if i < share * count else textured(i) for i in range(count)]


@pytest.mark.parametrize(("count", "share"), [(8, 1.0), (15, 1.0), (40, 1.0), (40, 0.5)])
def test_faint_text_is_found_where_it_is(count: int, share: float) -> None:
    found = common_overlay(some(count, share))
    assert found is not None and found.z > THRESHOLD and found.looked_at == count
    left, top, right, bottom = found.box
    assert abs(left - PLACE[0]) < 0.08 and abs(top - PLACE[1]) < 0.06 and right > 0.7 and bottom < 1
    expected = set(range(round(share * count)))
    assert len(expected ^ set(found.having)) <= 0.1 * count
    assert found.share == len(found.having) / count
    assert found.box_in(1000, 500)[0] == round(left * 1000)


@pytest.mark.parametrize("share", [0.25, 0.2])
def test_a_mark_on_a_part_of_the_pictures_is_found(share: float) -> None:
    images = some(40, share)
    images = [images[int(i)] for i in np.random.default_rng(1).permutation(40)]
    found = common_overlay(images)
    assert found is not None and found.z > PART_THRESHOLD
    left, top, right, bottom = found.box
    assert abs(left - PLACE[0]) < 0.12 and abs(top - PLACE[1]) < 0.08 and right > 0.65 and bottom < 1
    assert abs(len(found.having) - share * 40) <= 2


def horizon(seed: int) -> Image.Image:
    """Another picture above and below a line that all have at the same height."""
    rng = np.random.default_rng(seed)
    pixels = np.asarray(textured(seed)).astype(np.float32)
    pixels[: 190 + int(rng.integers(0, 3))] *= 0.5
    return Image.fromarray(pixels.astype(np.uint8))


def face(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    image = textured(seed, 384, 384)
    pen = ImageDraw.Draw(image)
    x, y = rng.normal(192, 6), rng.normal(170, 6)
    pen.ellipse((x - 90, y - 120, x + 90, y + 120), fill=tuple(int(v) for v in rng.uniform(120, 230, 3)))
    for side in (-38, 38):
        pen.ellipse((x + side - 15, y - 40, x + side + 15, y - 22), fill=(250, 250, 250))
        pen.ellipse((x + side - 6, y - 37, x + side + 6, y - 25), fill=(30, 30, 30))
    return image


@pytest.mark.parametrize("draw", [horizon, face])
def test_a_common_composition_is_no_mark(draw: Callable[[int], Image.Image]) -> None:
    assert common_overlay([draw(seed) for seed in range(40)]) is None


def test_a_few_frames_of_one_scene_are_no_mark() -> None:
    burst = np.asarray(textured(0)).astype(np.float32)
    rng = np.random.default_rng(0)
    frames = [
        Image.fromarray(np.clip(burst + rng.normal(0, 4, burst.shape), 0, 255).astype(np.uint8)) for _ in range(9)
    ]
    assert common_overlay([*frames, *(textured(i) for i in range(1, 32))]) is None


@pytest.mark.parametrize("count", [8, 15, 40])
def test_unrelated_pictures_have_nothing_in_common(count: int) -> None:
    rng = np.random.default_rng(count)
    scenes = [world.draw(world.sample_scene(rng), rng) for _ in range(count)]
    mascots = [world.draw_mascot(world.mascot_scene(rng), rng) for _ in range(count)]
    for images in ([textured(i) for i in range(count)], scenes, mascots, [draw_patchwork(rng) for _ in range(count)]):
        assert common_overlay(images) is None


def test_plain_pictures_have_nothing_in_common() -> None:
    assert common_overlay(Image.new("RGB", (50, 50), (i, i, i)) for i in range(20)) is None


def test_too_few_pictures_say_nothing() -> None:
    assert common_overlay(some(LEAST - 1, 1.0)) is None
    assert common_overlay([]) is None


def test_the_same_picture_throughout_is_no_overlay() -> None:
    assert common_overlay([textured(0)] * 20) is None


def test_a_frame_around_all_pictures_is_no_overlay() -> None:
    images = [textured(i) for i in range(20)]
    for image in images:
        ImageDraw.Draw(image).rectangle((0, 0, image.width - 1, image.height - 1), outline=(0, 0, 0), width=3)
    assert common_overlay(images) is None


def test_sizes_and_modes_may_differ() -> None:
    sizes = [(512, 384), (640, 480), (600, 400)]
    images = [marked(textured(i, *sizes[i % 3]), 110).convert(("RGB", "L", "RGBA")[i % 3]) for i in range(24)]
    assert common_overlay(images) is not None


def test_files_are_opened_one_by_one_and_no_more_than_asked_for(tmp_path: Path) -> None:
    opened = []

    def files() -> Iterator[Image.Image]:
        for i in range(100):
            path = tmp_path / f"{i}.jpg"
            marked(textured(i)).save(path, quality=92)
            with Image.open(path) as image:
                opened.append(i)
                yield image

    found = common_overlay(files(), most=20)
    assert found is not None and found.looked_at == len(opened) == 20
