"""Pixels arrive upright, in sRGB, with 8 bits and without alpha; damaged pictures do not arrive at all."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, ImageOps

from lorasmith.datasets.images import Prepared, parse_background, prepare
from lorasmith.datasets.source import RefusedError
from lorasmith.errors import ConfigError, EnvironmentProblem
from tests.datasets.dataset_pictures import (
    P3_GAMMA,
    P3_TO_XYZ,
    encode,
    gradient,
    jpeg,
    p3_profile,
    png,
    raw_png,
    with_orientation,
)

WHITE = (255, 255, 255)
# XYZ (D50) to linear sRGB, from the sRGB profile's own primaries.
XYZ_TO_SRGB = np.linalg.inv(
    np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
)


def prepared(tmp_path: Path, content: bytes, background: tuple[int, int, int] = WHITE, limit: int = 10**6) -> Prepared:
    path = tmp_path / "picture"
    path.write_bytes(content)
    return prepare(path, background=background, pixel_limit=limit)


def pixels(result: Prepared) -> np.ndarray:
    assert result.image is not None
    assert result.image.mode == "RGB"
    return np.asarray(result.image).astype(int)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientation_is_baked(tmp_path: Path, orientation: int) -> None:
    content = with_orientation(gradient(), orientation)
    result = prepared(tmp_path, content)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert (result.width, result.height) == expected.size
    assert np.array_equal(pixels(result), np.asarray(expected))
    assert result.transforms == (f"orientation:{orientation}",)


def test_upright_picture_keeps_its_bytes(tmp_path: Path) -> None:
    assert prepared(tmp_path, with_orientation(gradient(), 1)).image is None
    assert prepared(tmp_path, jpeg()).image is None
    assert prepared(tmp_path, png()).image is None


def test_display_p3_becomes_srgb(tmp_path: Path) -> None:
    colors = np.array([[[200, 100, 50], [90, 160, 120], [128, 128, 128], [60, 70, 180]]], np.uint8)
    result = prepared(tmp_path, encode(Image.fromarray(colors), icc_profile=p3_profile()))
    linear = (colors / 255.0) ** P3_GAMMA @ P3_TO_XYZ.T @ XYZ_TO_SRGB.T
    expected = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear.clip(0) ** (1 / 2.4) - 0.055) * 255
    assert np.abs(pixels(result) - expected).max() <= 2
    assert np.abs(colors.astype(int) - expected).max() > 8  # ignoring the profile would have been seen
    assert result.transforms == ("icc:Display P3",)


def test_srgb_profile_changes_nothing(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    result = prepared(tmp_path, jpeg(icc_profile=profile))
    assert result.image is None
    assert result.transforms == ()


def test_unusable_profile_is_said(tmp_path: Path) -> None:
    result = prepared(tmp_path, encode(gradient(), icc_profile=b"no profile at all"))
    assert result.transforms == ("icc_unreadable",)
    assert "profile" in " ".join(result.sentences)


def test_sixteen_bit_gray_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    for content in (encode(Image.fromarray(values)), encode(Image.fromarray(values), "TIFF")):
        result = prepared(tmp_path, content)
        assert abs(pixels(result).mean() - 127.5) < 0.5
        assert np.abs(pixels(result)[..., 0] - values / 257).max() <= 0.5
        assert "depth:16" in result.transforms


def test_sixteen_bit_color_png(tmp_path: Path) -> None:
    row = b"\0" + struct.pack(">3H", 65535, 32896, 257) * 4
    result = prepared(tmp_path, raw_png(4, 2, 2, 16, row * 2))
    path = tmp_path / "picture"
    shown = np.asarray(Image.open(path).convert("RGB")) if result.image is None else pixels(result)
    assert np.abs(shown.astype(int) - [255, 128, 1]).max() <= 1


def test_transparent_parts_show_the_background_and_never_the_hidden_color(tmp_path: Path) -> None:
    image = Image.new("RGBA", (8, 8), (255, 0, 255, 0))
    image.paste((10, 20, 30, 255), (0, 0, 4, 8))
    white, green = prepared(tmp_path, encode(image)), prepared(tmp_path, encode(image), (0, 128, 0))
    assert pixels(white)[0, 0].tolist() == [10, 20, 30]
    assert pixels(white)[0, 7].tolist() == [255, 255, 255]
    assert pixels(green)[0, 7].tolist() == [0, 128, 0]
    half = prepared(tmp_path, encode(Image.new("RGBA", (2, 2), (0, 0, 0, 51))))
    assert np.abs(pixels(half) - 204).max() <= 1


@pytest.mark.parametrize("mode", ["LA", "P", "RGB"])
def test_other_kinds_of_transparency(tmp_path: Path, mode: str) -> None:
    if mode == "LA":
        content = encode(Image.new("LA", (4, 4), (0, 0)))
    elif mode == "P":
        palette = Image.new("P", (4, 4), 1)
        palette.putpalette([0, 0, 0, 255, 0, 255])
        content = encode(palette, transparency=1)
    else:
        content = encode(Image.new("RGB", (4, 4), (255, 0, 255)), transparency=(255, 0, 255))
    result = prepared(tmp_path, content)
    assert pixels(result).min() == 255
    assert result.transforms[-1] == "alpha:#ffffff"


def test_alpha_with_a_color_profile_keeps_both_right(tmp_path: Path) -> None:
    image = Image.new("RGBA", (2, 1), (200, 100, 50, 255))
    image.putpixel((1, 0), (200, 100, 50, 0))
    result = prepared(tmp_path, encode(image, icc_profile=p3_profile()))
    opaque = prepared(tmp_path, encode(Image.new("RGB", (2, 1), (200, 100, 50)), icc_profile=p3_profile()))
    assert pixels(result)[0, 0].tolist() == pixels(opaque)[0, 0].tolist()
    assert pixels(result)[0, 1].tolist() == [255, 255, 255]


def test_cmyk_is_converted(tmp_path: Path) -> None:
    image = Image.new("RGB", (16, 16), (200, 30, 60)).convert("CMYK")
    result = prepared(tmp_path, encode(image, "JPEG", quality=100))
    assert np.abs(pixels(result) - [200, 30, 60]).max() <= 4
    assert result.transforms == ("mode:CMYK",)


def test_gray_keeps_its_bytes(tmp_path: Path) -> None:
    assert prepared(tmp_path, encode(gradient().convert("L"), "JPEG")).image is None


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_only_the_first_frame_is_used(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue", "lime")]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    result = prepared(tmp_path, content)
    assert pixels(result)[4, 4].tolist() == [255, 0, 0]
    assert result.transforms == ("first_frame:3",)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF"])
def test_every_promised_format_is_read(tmp_path: Path, kind: str) -> None:
    result = prepared(tmp_path, encode(gradient(), kind))
    assert (result.format, result.width, result.height) == (kind, 40, 24)


def test_decimal_and_unscaled_numbers(tmp_path: Path) -> None:
    half = encode(Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF")
    assert pixels(prepared(tmp_path, half)).mean() == 128
    for values in (
        np.full((4, 4), 7.0, np.float32),
        np.full((4, 4), np.nan, np.float32),
        np.full((4, 4), -3, np.int32),
    ):
        with pytest.raises(RefusedError) as refusal:
            prepared(tmp_path, encode(Image.fromarray(values), "TIFF"))
        assert refusal.value.rule == "unsupported_pixels"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_truncated_pictures_are_damaged(tmp_path: Path, kind: str, share: float) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    content = encode(Image.fromarray(noise), kind)
    with pytest.raises(RefusedError) as refusal:
        prepared(tmp_path, content[: int(len(content) * share)])
    assert refusal.value.rule == "damaged"


def test_accepting_truncated_pictures_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(EnvironmentProblem):
        prepared(tmp_path, png())


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "empty_file"),
        (b"<!DOCTYPE html><html></html>", "not_an_image"),
        (b'{"error": "login required"}', "not_an_image"),
        (b"random bytes that are nothing", "damaged"),
    ],
)
def test_what_is_no_picture(tmp_path: Path, content: bytes, rule: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        prepared(tmp_path, content)
    assert refusal.value.rule == rule


def test_pixel_limit_is_checked_before_decoding(tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as refusal:
        prepared(tmp_path, png(), limit=100)
    assert refusal.value.rule == "too_many_pixels"


def test_same_pixels_have_the_same_hash_in_any_container(tmp_path: Path) -> None:
    image = gradient()
    hashes = {prepared(tmp_path, encode(image, kind)).pixels for kind in ("PNG", "BMP", "TIFF")}
    assert len(hashes) == 1
    assert prepared(tmp_path, png(seed=1)).pixels not in hashes


def test_background_colors() -> None:
    assert parse_background("white") == (255, 255, 255)
    assert parse_background("#102030") == (16, 32, 48)
    with pytest.raises(ConfigError):
        parse_background("whitish")
