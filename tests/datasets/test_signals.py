"""Each signal speaks up for pictures that have the fault, and for no others."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from lorasmith.datasets.signals import Signals, jpeg_quality_of, measure
from lorasmith.datasets.signals.borders import find_borders
from lorasmith.datasets.signals.traces import jpeg_quality
from lorasmith.errors import DatasetError
from tests.datasets.dataset_pictures import encode, raw_png

REMARKS = (
    "is_blurred", "is_soft", "is_too_dark", "is_too_bright", "is_low_contrast", "has_borders", "is_low_quality_jpeg",
    "is_blocky", "is_upscaled", "is_gray",
)  # fmt: skip


@cache
def photograph(seed: int = 0, width: int = 640, height: int = 480) -> Image.Image:
    """Colour and texture at every scale, as a photograph has."""
    rng = np.random.default_rng(seed)
    total = np.full((height, width, 3), 120.0)
    cells = 3
    while cells < width:
        coarse = rng.normal(0, 14, (max(2, cells * height // width), cells, 3)).astype(np.float32)
        layers = [Image.fromarray(coarse[..., c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(3)]
        total += np.stack([np.asarray(layer) for layer in layers], -1)
        cells = 2 * cells + 1
    total += rng.normal(0, 2, (height, width, 1))
    image = Image.fromarray(np.clip(total, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    pen.polygon([(200, 100), (420, 180), (260, 380)], fill=(210, 60, 40))
    pen.ellipse((400, 250, 520, 370), fill=(30, 50, 90))
    return image


def drawing() -> Image.Image:
    """A few lines on white: hardly any edges, and those sharp."""
    image = Image.new("RGB", (600, 600), (255, 255, 255))
    pen = ImageDraw.Draw(image)
    pen.line((100, 120, 480, 500), fill=(40, 40, 120), width=3)
    pen.ellipse((350, 80, 450, 180), fill=(220, 120, 40))
    return image


def bokeh() -> Image.Image:
    """In focus in the middle only."""
    sharp = photograph()
    soft = sharp.filter(ImageFilter.GaussianBlur(8))
    box = (220, 140, 360, 280)
    soft.paste(sharp.crop(box), box)
    return soft


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    return Image.open(io.BytesIO(encode(image, "JPEG", quality=quality))).convert("RGB")


def enlarged(image: Image.Image, factor: int) -> Image.Image:
    small = image.resize((image.width // factor, image.height // factor), Image.Resampling.LANCZOS)
    return small.resize(image.size, Image.Resampling.BICUBIC)


def framed(image: Image.Image, box: tuple[int, int, int, int], color: tuple[int, int, int]) -> Image.Image:
    canvas = Image.new("RGB", image.size, color)
    canvas.paste(image.crop(box), box)
    return canvas


def measured(image: Image.Image, folder: Path, kind: str = "PNG", **options: object) -> Signals:
    path = folder / "one picture"
    path.write_bytes(encode(image, kind, **options))
    return measure(path)


def remarks(signals: Signals) -> set[str]:
    return {name for name in REMARKS if getattr(signals, name)}


@pytest.mark.parametrize("make", [photograph, drawing, bokeh, lambda: as_jpeg(photograph(), 92)])
def test_nothing_is_said_of_a_sound_picture(make: Callable[[], Image.Image], tmp_path: Path) -> None:
    assert remarks(measured(make(), tmp_path)) == set()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: photograph().filter(ImageFilter.GaussianBlur(3)), "is_blurred"),
        (lambda: photograph().filter(ImageFilter.GaussianBlur(1.6)), "is_soft"),
        (lambda: photograph().point(lambda v: v // 9), "is_too_dark"),
        (lambda: photograph().point(lambda v: min(255, v * 3)), "is_too_bright"),
        (lambda: photograph().point(lambda v: 120 + v // 10), "is_low_contrast"),
        (lambda: Image.new("RGB", (400, 400), (90, 120, 60)), "is_low_contrast"),
        (lambda: as_jpeg(photograph(), 30), "is_blocky"),
        (lambda: as_jpeg(photograph(), 30).crop((3, 5, 600, 450)), "is_blocky"),
        (lambda: enlarged(photograph(width=900, height=700), 2), "is_upscaled"),
        (lambda: enlarged(photograph(width=900, height=700), 3), "is_upscaled"),
        (lambda: as_jpeg(enlarged(photograph(width=900, height=700), 3), 90), "is_upscaled"),
        (lambda: as_jpeg(enlarged(photograph(width=900, height=700), 3), 80), "is_upscaled"),
        (lambda: photograph().convert("L"), "is_gray"),
        (lambda: as_jpeg(photograph().convert("L").convert("RGB"), 60), "is_gray"),
        (lambda: framed(photograph(), (0, 40, 640, 440), (0, 0, 0)), "has_borders"),
    ],
)
def test_a_fault_is_named(make: Callable[[], Image.Image], expected: str, tmp_path: Path) -> None:
    assert expected in remarks(measured(make(), tmp_path))


def test_colour_in_one_small_place_is_colour(tmp_path: Path) -> None:
    image = photograph().convert("L").convert("RGB")
    image.paste((200, 40, 40), (300, 200, 330, 230))
    assert not measured(image, tmp_path).is_gray


def test_a_night_is_dark_and_ink_on_black_is_not(tmp_path: Path) -> None:
    ink = Image.new("RGB", (400, 400), (0, 0, 0))
    ImageDraw.Draw(ink).ellipse((150, 150, 220, 220), fill=(240, 240, 230))
    assert not measured(ink, tmp_path).is_too_dark
    assert measured(photograph().point(lambda v: v // 12), tmp_path).is_too_dark


def test_sharpness_hardly_depends_on_size(tmp_path: Path) -> None:
    large = photograph(width=1600, height=1200)
    at = [measured(large.resize((w, w * 3 // 4), Image.Resampling.LANCZOS), tmp_path).sharpness for w in (1600, 800)]
    assert 0.7 < at[0] / at[1] < 1.4


# Borders


@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (200, 30, 90)])
@pytest.mark.parametrize(
    "box", [(0, 40, 640, 440), (0, 0, 640, 400), (60, 0, 580, 480), (30, 30, 610, 400), (90, 0, 640, 480)]
)
@pytest.mark.parametrize("quality", [None, 80])
def test_bars_are_measured_to_the_pixel(
    box: tuple[int, int, int, int], color: tuple[int, int, int], quality: int | None
) -> None:
    image = framed(photograph(), box, color)
    if quality is not None:
        image = as_jpeg(image, quality)
    found = find_borders(np.asarray(image))
    expected = (box[0], box[1], 640 - box[2], 480 - box[3])
    slack = 0 if quality is None else 3  # the last lines of a bar may belong to a block that holds the picture's edge
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= slack


def test_a_large_letterbox_is_measured_in_its_own_pixels(tmp_path: Path) -> None:
    image = framed(photograph(width=1000, height=750).resize((2000, 1500)), (0, 211, 2000, 1290), (0, 0, 0))
    signals = measured(image, tmp_path)
    assert signals.borders == (0, 211, 0, 210)
    assert signals.border_share == pytest.approx(421 / 1500)


@pytest.mark.parametrize(
    "make",
    [
        photograph,
        drawing,
        lambda: Image.new("RGB", (300, 200), (0, 0, 0)),
        lambda: Image.linear_gradient("L").convert("RGB"),
        lambda: framed(Image.new("RGB", (300, 300), (90, 60, 30)), (0, 0, 300, 180), (160, 200, 230)),  # wall and floor
        lambda: framed(
            Image.new("RGB", (300, 300), (90, 60, 30)), (60, 60, 240, 240), (200, 200, 190)
        ),  # a plain square
    ],
)
def test_a_plain_ground_is_no_border(make: Callable[[], Image.Image]) -> None:
    assert find_borders(np.asarray(make())) == (0, 0, 0, 0)


# JPEG quality


@pytest.mark.parametrize("quality", range(2, 101))
def test_the_quality_of_libjpegs_tables_is_exact(quality: int) -> None:
    image = Image.open(io.BytesIO(encode(Image.new("RGB", (16, 16)), "JPEG", quality=quality)))
    assert jpeg_quality(image.quantization) == quality


def test_the_quality_of_a_gray_jpeg_and_of_no_jpeg(tmp_path: Path) -> None:
    gray = Image.open(io.BytesIO(encode(Image.new("L", (16, 16)), "JPEG", quality=63)))
    assert jpeg_quality(gray.quantization) == 63
    assert jpeg_quality({}) is None
    assert measured(drawing(), tmp_path).jpeg_quality is None
    assert measured(photograph(), tmp_path, "JPEG", quality=60).is_low_quality_jpeg
    assert not measured(photograph(), tmp_path, "JPEG", quality=76).is_low_quality_jpeg


def test_foreign_tables_get_the_nearest_quality() -> None:
    image = Image.open(io.BytesIO(encode(Image.new("RGB", (16, 16)), "JPEG", quality=80)))
    tables = {number: [max(1, round(v * 1.03)) for v in table] for number, table in image.quantization.items()}
    assert abs((jpeg_quality(tables) or 0) - 80) <= 2


def test_the_quality_is_read_from_a_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "cut off.jpg"
    path.write_bytes(encode(photograph(), "JPEG", quality=71)[:1500])
    assert jpeg_quality_of(path) == 71
    with pytest.raises(DatasetError):
        jpeg_quality_of(tmp_path / "none.jpg")


# Any picture


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (2, 2), (5, 700), (30_000, 20), (17, 30_000)])
@pytest.mark.parametrize("level", [0, 255])
def test_any_size_is_measured(size: tuple[int, int], level: int, tmp_path: Path) -> None:
    signals = measured(Image.new("RGB", size, (level, level, level)), tmp_path)
    assert (signals.width, signals.height) == size
    assert signals.borders == (0, 0, 0, 0) and not signals.can_be_compared
    assert all(np.isfinite(value) for value in (signals.sharpness, signals.blockiness, signals.upscale_evidence))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"])
def test_any_mode_is_measured(mode: str, tmp_path: Path) -> None:
    image = photograph()
    converted = image.convert(mode) if mode != "LAB" else Image.merge("LAB", image.split())
    kind = "PNG" if mode in ("1", "L", "LA", "P", "RGB", "RGBA") else "TIFF"
    signals = measured(converted, tmp_path, kind)
    assert 40 < signals.brightness < 220 and signals.sharpness > 100


def test_transparent_parts_show_white_and_not_what_lies_beneath(tmp_path: Path) -> None:
    image = Image.new("RGBA", (100, 100), (255, 0, 255, 0))
    assert measured(image, tmp_path).brightness == 255


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    row = b"\0" + (32896).to_bytes(2, "big") * 50
    path = tmp_path / "16.png"
    path.write_bytes(raw_png(50, 50, 0, 16, row * 50))
    assert measure(path).brightness == pytest.approx(128)


def test_a_jpeg_too_large_to_hold_is_decoded_at_a_fraction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = framed(photograph(width=1024, height=768).resize((4096, 3072)), (0, 512, 4096, 2560), (0, 0, 0))
    whole = measured(image, tmp_path, "JPEG", quality=90)
    monkeypatch.setattr("lorasmith.datasets.signals.measuring._WHOLE_PIXELS", 1_000_000)
    part = measured(image, tmp_path, "JPEG", quality=90)
    assert (part.width, part.height, part.pixel_hash, part.jpeg_quality) == (4096, 3072, "", 90)
    assert (part.phash ^ whole.phash).bit_count() <= 2
    assert max(abs(a - b) for a, b in zip(part.borders, whole.borders, strict=True)) <= 8


def test_the_same_picture_in_another_container_has_the_same_pixels(tmp_path: Path) -> None:
    image = photograph(width=64, height=48)
    expected = hashlib.sha256(b"64x48;" + image.tobytes()).hexdigest()
    assert {measured(image, tmp_path, kind).pixel_hash for kind in ("PNG", "BMP", "TIFF")} == {expected}
    assert measured(image.resize((48, 64)), tmp_path).pixel_hash != expected


def test_measuring_twice_is_measuring_once(tmp_path: Path) -> None:
    assert measured(photograph(), tmp_path) == measured(photograph(), tmp_path)


@pytest.mark.parametrize("content", [b"", b"<html>", encode(Image.new("RGB", (99, 99)), "JPEG")[:-40]])
def test_what_cannot_be_read_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bild ü.jpg"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="bild ü"):
        measure(path)
    with pytest.raises(DatasetError, match="missing"):
        measure(tmp_path / "none")
