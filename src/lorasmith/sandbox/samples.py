"""ZIP archives as people really make them: good pictures among everything that goes wrong."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from lorasmith.sandbox import world

_COPIED: Final = 4  # these two plain pictures have shapes like those of no other one, in either set
_MIRRORED: Final = 8
_ENLARGED: Final = 1.5
_OUT_OF_FOCUS: Final = 2.5  # pixels
_ORIENTATION: Final = 0x0112  # EXIF tag; 6 means: turn a quarter clockwise to view
_ZIP_TIME: Final = (2026, 1, 1, 0, 0, 0)  # fixed, so that the same seed gives the same archive


@dataclass(frozen=True)
class Member:
    """One file of an archive, what must become of it on import, and what the checks must say of it."""

    path: str
    content: bytes
    fate: str  # "taken", "converted" or "left_out"
    rule: str
    why: str
    finding: str = ""
    """Id of the check that must name it; whoever curates the set leaves it out then."""


def write_mascot_zip(path: Path, *, count: int = 20, seed: int = 7) -> list[Member]:
    """``count`` good pictures of the mascot and twelve troublesome files; returns all with their due fate."""

    def picture(index: int) -> Image.Image:
        rng = np.random.default_rng((seed, 1, index))
        return world.draw_mascot(world.mascot_scene(rng), rng)

    return _write(path, world.MASCOT, picture, count)


def write_style_zip(path: Path, *, count: int = 40, seed: int = 8) -> list[Member]:
    """``count`` good pictures in the style and twelve troublesome files; returns all with their due fate."""

    def picture(index: int) -> Image.Image:
        rng = np.random.default_rng((seed, 2, index))
        return world.draw_styled(world.styled_scene(rng), rng)

    return _write(path, world.STYLE, picture, count)


def _write(path: Path, subject: str, picture: Callable[[int], Image.Image], count: int) -> list[Member]:
    """Plain pictures first, then the special ones, then what cannot be used, then what had better not be."""
    folder = f"{subject} photos"
    special = 5
    members = [
        Member(f"{folder}/{subject} {i + 1:02}.png", _encoded(picture(i), "PNG"), "taken", "image", "a plain PNG")
        for i in range(count - special)
    ]
    first, *_ = members
    rotated, phone, mixed, foreign, sticker = (picture(count - special + i) for i in range(special))
    jpeg = {"quality": 95, "subsampling": 0}
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    sideways = rotated.transpose(Image.Transpose.ROTATE_90)
    members += [
        Member(
            f"{folder}/phone upright.jpg",
            _encoded(sideways, "JPEG", exif=exif, **jpeg),
            "converted",
            "image",
            "a JPEG whose EXIF says that it lies on its side",
        ),
        Member(f"{folder}/IMG_0007.Jpg", _encoded(phone, "JPEG", **jpeg), "taken", "image", "a suffix in mixed case"),
        Member(
            f"{folder}/{subject} été.jpeg", _encoded(mixed, "JPEG", **jpeg), "taken", "image", "an accent in the name"
        ),
        Member(f"{folder}/猫の写真.png", _encoded(foreign, "PNG"), "taken", "image", "a Japanese name"),
        Member(f"{folder}/sticker.png", _with_alpha(sticker), "converted", "image", "an alpha channel"),
        Member(f"{folder}/{subject} 01_copy.png", first.content, "left_out", "duplicate", "the same bytes twice"),
        Member(
            f"{folder}/broken.jpg", _encoded(phone, "JPEG", **jpeg)[:1500], "left_out", "damaged", "a JPEG that was cut"
        ),
        Member(f"{folder}/notes.txt", b"remember to take more pictures\n", "left_out", "orphan_caption", "a text file"),
        Member(f"{folder}/Thumbs.db", b"\xd0\xcf\x11\xe0" + bytes(60), "left_out", "system_file", "left by Windows"),
        *_better_left_out(folder, subject, picture, count),
    ]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in members:
            info = zipfile.ZipInfo(member.path, _ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, member.content)
    return members


def _better_left_out(
    folder: str, subject: str, picture: Callable[[int], Image.Image], count: int
) -> tuple[Member, ...]:
    """Pictures that any import takes, and that only looking at the pixels tells from good ones."""
    larger = round(world.SIZE * _ENLARGED)
    screenshot = picture(_COPIED).resize((larger, larger), Image.Resampling.BICUBIC)
    mirrored = ImageOps.mirror(picture(_MIRRORED)).resize((larger, larger), Image.Resampling.BICUBIC)
    blurred = picture(count).filter(ImageFilter.GaussianBlur(_OUT_OF_FOCUS))
    jpeg = {"quality": 85, "subsampling": 0}
    return (
        Member(
            f"{folder}/Screenshot 0001.jpg",
            _encoded(screenshot, "JPEG", **jpeg),
            "taken",
            "image",
            f"{subject} {_COPIED + 1:02}.png, enlarged and saved again",
            finding="D3",
        ),
        Member(
            f"{folder}/selfie.jpg",
            _encoded(mirrored, "JPEG", **jpeg),
            "taken",
            "image",
            f"{subject} {_MIRRORED + 1:02}.png in a mirror",
            finding="D5",
        ),
        Member(
            f"{folder}/IMG_0042.png", _encoded(blurred, "PNG"), "taken", "image", "a picture out of focus", finding="P8"
        ),
    )


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _with_alpha(image: Image.Image) -> bytes:
    """The picture with transparent corners, as stickers and screenshots have them."""
    alpha = np.full((world.SIZE, world.SIZE), 255, np.uint8)
    for rows in (slice(0, 2), slice(-2, None)):
        for columns in (slice(0, 2), slice(-2, None)):
            alpha[rows, columns] = 0
    rgba = image.convert("RGBA")
    rgba.putalpha(Image.fromarray(alpha))
    return _encoded(rgba, "PNG")
