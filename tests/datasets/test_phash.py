"""The perceptual hash is imagehash's, its orientations are those of the turned picture, and no near pair is missed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lorasmith.datasets import hamming
from lorasmith.datasets.hamming import near_pairs, near_pairs_between
from lorasmith.datasets.phash import orientations, phash, phash_file
from lorasmith.sandbox.patchwork import draw_patchwork
from tests.datasets.dataset_pictures import encode, gradient

# What imagehash 4.3.2 gives for draw_patchwork of these seeds.
GOLDEN = {
    0: 0xB66CEC53C4949396,
    1: 0x99DD6E654A8C562A,
    2: 0xCBCB3C3C2CF33034,
    3: 0xB431CB8E34CF6531,
    4: 0xAE74D8CB09387176,
    5: 0xBFE00EFE00EFF100,
}
TURNS = (
    None,
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.ROTATE_180,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
)


def picture(seed: int) -> Image.Image:
    return draw_patchwork(np.random.default_rng(seed))


def brute(left: np.ndarray, right: np.ndarray, radius: int) -> list[tuple[int, int, int]]:
    apart = np.bitwise_count(left[:, None] ^ right[None, :])
    return [(int(i), int(j), int(apart[i, j])) for i, j in zip(*np.nonzero(apart <= radius), strict=True)]


def listed(pairs: hamming.Pairs) -> list[tuple[int, int, int]]:
    return [(int(i), int(j), int(d)) for i, j, d in zip(*pairs, strict=True)]


def planted(count: int, seed: int = 0) -> np.ndarray:
    """Random hashes, every tenth a copy of an earlier one with 0 to 12 bits changed."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    for i in range(10, count, 10):
        bits = rng.choice(64, int(rng.integers(0, 13)), replace=False)
        hashes[i] = hashes[int(rng.integers(i))] ^ np.uint64(sum(1 << int(bit) for bit in bits))
    return hashes


def test_it_is_the_hash_that_imagehash_gives() -> None:
    assert {seed: phash(picture(seed)) for seed in GOLDEN} == GOLDEN


def test_it_is_the_hash_of_an_installed_imagehash() -> None:
    imagehash = pytest.importorskip("imagehash")
    for seed in range(40):
        assert phash(picture(seed)) == int(str(imagehash.phash(picture(seed))), 16)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGBA", "P", "CMYK", "YCbCr", "I;16"])
def test_any_mode_has_a_hash(mode: str) -> None:
    assert 0 <= phash(Image.new(mode, (40, 30))) < 2**64


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3000, 2)])
def test_any_size_has_eight(size: tuple[int, int]) -> None:
    assert len(orientations(gradient(*size))) == 8


def test_the_orientations_are_those_of_the_turned_picture() -> None:
    apart = []
    for seed in range(40):
        image = picture(seed)
        for known, turn in zip(orientations(image), TURNS, strict=True):
            actual = phash(image if turn is None else image.transpose(turn))
            apart.append((known ^ actual).bit_count())
    assert max(apart) <= 4 and np.mean(apart) < 0.5


def test_a_symmetric_picture_is_its_own_mirror_image_whatever_the_rounding() -> None:
    half = np.random.default_rng(0).integers(0, 256, (32, 16), dtype=np.uint8)
    image = Image.fromarray(np.concatenate([half, half[:, ::-1]], axis=1))
    found = orientations(image)
    assert found[0] == found[1] and found[2] == found[3]


def test_a_plain_picture_of_any_colour_has_one_hash() -> None:
    assert {phash(Image.new("L", (50, 50), level)) for level in (1, 77, 128, 254)} == {1 << 63}


def test_a_file_is_hashed_from_a_fraction_of_its_pixels(tmp_path: Path) -> None:
    for seed in range(5):
        image = picture(seed).resize((1500, 1100), Image.Resampling.BICUBIC)
        path = tmp_path / f"照片 {seed}.jpg"
        path.write_bytes(encode(image, "JPEG", quality=90))
        assert (phash_file(path) ^ phash(image)).bit_count() <= 2


@pytest.mark.parametrize("radius", [0, 1, 3, 4, 7, 8, 11, 12, 20])
@pytest.mark.parametrize("count", [0, 1, 2, 500, 3500])
def test_all_pairs_are_found_and_no_others(count: int, radius: int) -> None:
    hashes = planted(count)
    expected = [pair for pair in brute(hashes, hashes, radius) if pair[0] < pair[1]]
    assert listed(near_pairs(hashes, radius, equal="all")) == expected


def test_crowded_hashes_are_found_too() -> None:
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**12, 3500, dtype=np.uint64) | np.uint64(0xABCD << 40)
    expected = [pair for pair in brute(hashes, hashes, 2) if pair[0] < pair[1]]
    assert listed(near_pairs(hashes, 2, equal="all")) == expected


@pytest.mark.parametrize("radius", [0, 4, 8, 13])
@pytest.mark.parametrize("sizes", [(0, 5), (40, 30), (4000, 3000)])
def test_pairs_of_two_sets(sizes: tuple[int, int], radius: int) -> None:
    hashes = planted(sum(sizes))
    left, right = hashes[: sizes[0]], hashes[sizes[0] :]
    assert listed(near_pairs_between(left, right, radius)) == brute(left, right, radius)


def test_pieces_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = planted(4000)
    whole = listed(near_pairs(hashes))
    monkeypatch.setattr(hamming, "_PIECE", 50)
    assert listed(near_pairs(hashes)) == whole


def test_equal_hashes_are_linked_to_the_first_alone() -> None:
    hashes = np.full(10_000, 12345, np.uint64)
    hashes[[7, 9000]] = 12344
    pairs = near_pairs(hashes)
    assert len(pairs[0]) == 10_000 - 2 + 1
    assert listed(near_pairs(hashes[:9])) == [
        *((0, j, 0) for j in range(1, 7)), (0, 7, 1), (0, 8, 0)
    ]  # fmt: skip


def test_too_many_pairs_are_given_up() -> None:
    with pytest.raises(hamming.CrowdedError):
        near_pairs(np.arange(200, dtype=np.uint64), 8, most=1000)
    assert len(near_pairs(np.arange(200, dtype=np.uint64), 8, most=19_900)[0]) == 19_900


def test_a_radius_outside_of_64_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="radius is 65"):
        near_pairs(planted(10), 65)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=30), st.integers(0, 64))
def test_few_hashes(values: list[int], radius: int) -> None:
    hashes = np.array(values, np.uint64)
    expected = [pair for pair in brute(hashes, hashes, radius) if pair[0] < pair[1]]
    assert listed(near_pairs(hashes, radius, equal="all")) == expected
