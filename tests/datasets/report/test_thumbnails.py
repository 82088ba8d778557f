"""Thumbnails are made once, fit into one page, and their cache may be lost at any time."""

from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorasmith.datasets.report.thumbnails import SIDES, ThumbnailStore, thumbnail
from lorasmith.errors import EnvironmentProblem


class Blobs:
    """Pictures by SHA-256, and how often each was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []

    def put(self, image: Image.Image) -> str:
        stream = io.BytesIO()
        image.save(stream, "PNG")
        sha = hashlib.sha256(stream.getvalue()).hexdigest()
        (self.folder / sha).write_bytes(stream.getvalue())
        return sha

    def path(self, sha: str) -> Path:
        self.asked.append(sha)
        return self.folder / sha


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    folder = tmp_path / "blobs"
    folder.mkdir()
    return Blobs(folder)


def plain(number: int, size: tuple[int, int] = (60, 40)) -> Image.Image:
    return Image.new("RGB", size, (number, 99, 200 - number))


def noise(number: int, side: int = 300) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (side, side, 3)).astype(np.uint8))


def test_a_thumbnail_keeps_the_shape_and_the_colour(blobs: Blobs) -> None:
    sha = blobs.put(plain(10, (400, 200)))
    made = thumbnail(blobs.path(sha), 100)
    assert made is not None
    assert (made.width, made.height) == (100, 50)
    with Image.open(io.BytesIO(base64.b64decode(made.data))) as image:
        assert image.format == "WEBP"
        assert np.abs(np.asarray(image.convert("RGB"), dtype=int) - (10, 99, 190)).max() <= 6


def test_a_small_picture_is_not_enlarged(blobs: Blobs) -> None:
    made = thumbnail(blobs.path(blobs.put(plain(1, (30, 20)))), 100)
    assert made is not None
    assert (made.width, made.height) == (30, 20)


def test_the_second_time_no_picture_is_opened(tmp_path: Path, blobs: Blobs) -> None:
    shas = [blobs.put(plain(n)) for n in range(150)]
    told: list[tuple[int, int]] = []
    first = ThumbnailStore(tmp_path).of(shas, blobs.path, 32, progress=lambda *said: told.append(said))
    assert told == [(64, 150), (128, 150), (150, 150)]
    assert set(first) == set(shas)
    blobs.asked.clear()
    assert ThumbnailStore(tmp_path).of([*shas, shas[0]], blobs.path, 32) == first
    assert blobs.asked == []
    assert ThumbnailStore(tmp_path).of(shas[:1], blobs.path, 16)[shas[0]].width == 16


def test_missing_and_damaged_pictures_have_none_and_are_tried_again(tmp_path: Path, blobs: Blobs) -> None:
    good, torn = blobs.put(plain(1)), blobs.put(noise(1, 64))
    whole = (blobs.folder / torn).read_bytes()
    (blobs.folder / torn).write_bytes(whole[:2000])
    store = ThumbnailStore(tmp_path)
    assert set(store.of([good, torn, "f" * 64], blobs.path, 32)) == {good}
    (blobs.folder / torn).write_bytes(whole)
    assert set(store.of([good, torn], blobs.path, 32)) == {good, torn}


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
def test_a_lost_or_broken_cache_is_made_anew(tmp_path: Path, blobs: Blobs, content: bytes) -> None:
    sha = blobs.put(plain(1))
    store = ThumbnailStore(tmp_path)
    before = store.of([sha], blobs.path, 32)
    for path in tmp_path.glob("thumbnails.db*"):
        path.unlink()
    store.path.write_bytes(content)
    assert store.of([sha], blobs.path, 32) == before


def test_a_home_that_cannot_hold_them_is_an_error(tmp_path: Path, blobs: Blobs) -> None:
    (tmp_path / "thumbnails.db").mkdir()
    with pytest.raises(EnvironmentProblem, match="cannot be used"):
        ThumbnailStore(tmp_path).of([blobs.put(plain(1))], blobs.path, 32)


def test_an_end_in_the_middle_keeps_what_was_made(tmp_path: Path, blobs: Blobs) -> None:
    shas = [blobs.put(plain(n)) for n in range(100)]

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    store = ThumbnailStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        store.of(shas, blobs.path, 32, progress=stop)
    blobs.asked.clear()
    store.of(shas, blobs.path, 32)
    assert blobs.asked == shas[64:]


def test_the_side_falls_with_what_pictures_weigh(tmp_path: Path, blobs: Blobs) -> None:
    store = ThumbnailStore(tmp_path)
    light = [blobs.put(plain(n, (300, 300))) for n in range(4)]
    heavy = [blobs.put(noise(n)) for n in range(4)]
    assert store.fitting_side(light, blobs.path) == SIDES[0]
    side = store.fitting_side(heavy, blobs.path)
    assert SIDES[-1] < side < SIDES[0]
    assert store.fitting_side([], blobs.path) == SIDES[0]


def test_a_side_that_all_of_many_fit_with(tmp_path: Path, blobs: Blobs) -> None:
    heavy = [blobs.put(noise(n)) for n in range(3)]
    others = [f"{n:064x}" for n in range(9_997)]
    side = ThumbnailStore(tmp_path).fitting_side([*heavy, *others], blobs.path)
    made = ThumbnailStore(tmp_path).of(heavy, blobs.path, side)
    each = sum(len(one.data) for one in made.values()) / len(made)
    assert each * 10_000 < 20_000_000 or side == SIDES[-1]
