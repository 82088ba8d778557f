"""What lacks only its end mark is mended without loss; all other damage is left out, with how far it decodes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorasmith.datasets.damage import complete_jpeg
from lorasmith.datasets.images import open_reduced, prepare
from lorasmith.datasets.source import RefusedError
from lorasmith.datasets.store import DatasetStore
from tests.datasets.dataset_pictures import encode, gradient, p3_profile, png, with_orientation, write_folder

WHITE = (255, 255, 255)


def noisy(width: int = 160, height: int = 120, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(-20, 21, (height, width, 3))
    return Image.fromarray(
        (np.asarray(gradient(width, height, seed)).astype(int) + noise).clip(0, 255).astype(np.uint8)
    )


def jpeg(**options: object) -> bytes:
    return encode(noisy(), "JPEG", quality=90, **options)


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("tail", [b"", b"\xff", b"\0" * 40, b"\xff" + b"\0" * 9])
def test_a_missing_end_mark_is_added(options: dict[str, object], tail: bytes) -> None:
    whole = jpeg(**options)
    mended = complete_jpeg(whole[:-2] + tail)
    assert mended is not None
    assert np.array_equal(pixels(mended), pixels(whole))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("cut", [4, 6, 10, 40, 300, 3000])
def test_missing_picture_data_is_not_mended(options: dict[str, object], cut: int) -> None:
    assert complete_jpeg(jpeg(**options)[:-cut]) is None


def test_a_progressive_jpeg_without_its_last_scan_is_not_mended() -> None:
    whole = jpeg(progressive=True)
    assert complete_jpeg(whole[: whole.rindex(b"\xff\xda")]) is None
    assert complete_jpeg(whole[: whole.rindex(b"\xff\xc4")]) is None


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xd8\xff", b"\x89PNG", jpeg(), jpeg()[:200], b"\xff\xd8\xff" + b"\xff" * 50]
)
def test_what_is_not_to_be_mended(content: bytes) -> None:
    assert complete_jpeg(content) is None


def test_a_repaired_copy_is_said(tmp_path: Path) -> None:
    store = DatasetStore(tmp_path / "home")
    turned = with_orientation(noisy(), 6)[:-2]
    version = store.import_source(write_folder(tmp_path / "s", {"a.jpg": jpeg()[:-2], "t.jpg": turned}))
    for item, line in zip(version.items, version.ledger, strict=True):
        assert (line.fate, line.rule) == ("converted", "repaired")
        assert "lacked only the mark of its end" in line.detail
        assert "repaired:end_mark" in item.provenance["transforms"]
    assert np.array_equal(np.asarray(store.open_image(version.items[0])), pixels(jpeg()))
    assert (version.items[1].width, version.items[1].height) == (120, 160)
    assert store.blob_path(version.items[0].original).read_bytes() == jpeg()[:-2]


@pytest.mark.parametrize(("kind", "cut"), [("JPEG", 0.63), ("PNG", 0.4), ("BMP", 0.5)])
def test_how_far_a_damaged_picture_decodes(kind: str, cut: float) -> None:
    content = encode(noisy(256, 256), kind)
    with pytest.raises(RefusedError, match=r"it stops at \d+ %") as error:
        prepare(content[: int(len(content) * cut)], background=WHITE, pixel_limit=10**6)
    assert error.value.rule == "damaged"
    percent = int(error.value.detail.split("stops at ")[1].split(" %")[0])
    assert abs(percent - 100 * cut) <= 8


@pytest.mark.parametrize("kind", ["WEBP", "AVIF", "GIF", "TIFF"])
def test_damage_of_which_the_extent_is_unknown_is_still_damage(kind: str) -> None:
    content = encode(noisy(256, 256), kind)
    with pytest.raises(RefusedError) as error:
        prepare(content[: len(content) // 2], background=WHITE, pixel_limit=10**6)
    assert error.value.rule == "damaged"


@pytest.mark.parametrize("position", range(0, 700, 7))
def test_a_byte_changed_anywhere_near_the_start_never_crashes(position: int) -> None:
    content = bytearray(encode(gradient(seed=3), "JPEG", quality=95))
    for value in (0x00, 0xFF, 0xD9):
        content[position] = value
        try:
            whole = prepare(bytes(content), background=WHITE, pixel_limit=10**6)
        except RefusedError as refusal:
            assert refusal.detail.endswith(".")
        else:
            assert whole.width * whole.height <= 10**6


# Reduced decoding


def psnr(one: Image.Image, other: Image.Image) -> float:
    difference = np.asarray(one).astype(float) - np.asarray(other).astype(float)
    return float(10 * np.log10(255**2 / max(float((difference**2).mean()), 1e-9)))


def photo(width: int, height: int) -> Image.Image:
    """Shapes and soft noise at all scales, as a photograph has them."""
    rng = np.random.default_rng(5)
    total = np.zeros((height, width, 3))
    for side in (4, 16, 64, 256):
        layer = Image.fromarray(rng.integers(0, 256, (side, side, 3)).astype(np.uint8))
        total += np.asarray(layer.resize((width, height), Image.Resampling.BICUBIC)).astype(float) / side**0.7
    return Image.fromarray((255 * (total - total.min()) / np.ptp(total)).astype(np.uint8))


@pytest.mark.parametrize("size", [(1600, 1200), (1201, 1800), (3000, 700), (1000, 1000)])
@pytest.mark.parametrize("max_side", [256, 400])
def test_reduced_decoding_is_close_to_the_whole(tmp_path: Path, size: tuple[int, int], max_side: int) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(photo(*size), "JPEG", quality=92))
    reduced = open_reduced(path, max_side)
    scale = max_side / max(size)
    assert reduced.size == (round(size[0] * scale), round(size[1] * scale))
    assert psnr(reduced, Image.open(path).resize(reduced.size, Image.Resampling.LANCZOS)) >= 45


def test_reduced_decoding_turns_and_manages_colour(tmp_path: Path) -> None:
    picture = photo(1200, 800)
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = open_reduced(encode(picture, "JPEG", quality=95, exif=exif), 200)
    assert plain.size == (133, 200)
    assert psnr(plain.transpose(Image.Transpose.ROTATE_90), open_reduced(encode(picture), 200)) > 35
    wide = encode(picture, "JPEG", quality=95, icc_profile=p3_profile())
    whole = prepare(wide, background=WHITE, pixel_limit=10**7).image
    assert whole is not None
    assert psnr(open_reduced(wide, 200), whole.resize((200, 133), Image.Resampling.LANCZOS)) >= 38


def test_reduced_decoding_never_enlarges_and_still_finds_damage() -> None:
    assert open_reduced(png(1), 4000).size == (40, 24)
    content = encode(photo(1600, 1200), "JPEG", quality=92)
    with pytest.raises(RefusedError, match="stops at"):
        open_reduced(content[: len(content) // 2], 200)
    assert open_reduced(content[:-2], 200).size == (200, 150)
