"""One picture: its crop in the shape of a bucket, and its mask painted by hand. Each save is one version."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Form, Request, UploadFile
from PIL import Image
from starlette.responses import HTMLResponse, Response

from lorasmith.datasets.buckets import nearest_shape, table_of
from lorasmith.errors import ConfigError, DatasetError
from lorasmith.web.pages.framing import Lensed, framed, item_of, lens_choices, moved, seen_version, studio_of

router = APIRouter(prefix="/datasets/{name}", include_in_schema=False)
_SHAPES: Final = 8  # bucket shapes that are offered, those next to the picture's own
_MOST_BYTES: Final = 128_000_000  # of a painted mask


@router.get("/picture")
def editor(request: Request, name: str, item: str, through: Lensed) -> HTMLResponse:
    """A picture with its crop and its mask."""
    studio = studio_of(request)
    version = studio.dataset(name)
    one = item_of(version, item)
    lens = through.lens(studio)
    table = table_of(lens.resolution, lens.bucket_multiple)
    own = nearest_shape(one.width, one.height, table)
    aspect = math.log(one.width / one.height)
    shapes = sorted(table, key=lambda shape: (shape != own, abs(math.log(shape[0] / shape[1]) - aspect)))[:_SHAPES]
    names = [other.name for other in version.items]
    place = names.index(item)
    context: dict[str, Any] = {"item": one, "shapes": shapes, "own": own, "lens": lens, "through": through}
    context |= {"before": names[place - 1] if place else None, "choices": lens_choices(request)}
    context |= {"after": names[place + 1] if place + 1 < len(names) else None}
    return framed(request, "datasets/picture.html", version, "pictures", f"{item} of {version.dataset}", **context)


@router.post("/picture/crop")
def crop(
    request: Request,
    name: str,
    item: Annotated[str, Form()],
    left: Annotated[int, Form()],
    top: Annotated[int, Form()],
    right: Annotated[int, Form()],
    bottom: Annotated[int, Form()],
    through: Lensed,
    number: Annotated[str, Form()] = "",
) -> Response:
    """Keep a box, in pixels; a mask is cropped with its picture."""
    version = seen_version(request, name, number)
    one = item_of(version, item)
    if not (0 <= left < right <= one.width and 0 <= top < bottom <= one.height):
        asked = f"{left}, {top} to {right}, {bottom}"
        raise ConfigError(f"The box {asked} is not inside {one.width} x {one.height} pixels.", "Draw it anew.")
    # The tool cuts shares down to whole pixels: a thousandth more keeps one from being lost to rounding.
    start = [(edge + 0.001) / side if edge else 0.0 for edge, side in ((left, one.width), (top, one.height))]
    box = [*start, right / one.width, bottom / one.height]
    made = studio_of(request).curate.use_tool(version, "crop", {"box": box}, names=[item])
    return moved(request, made.version, _here(item, through.query))


@router.post("/picture/mask")
def save_mask(
    request: Request,
    name: str,
    item: Annotated[str, Form()],
    mask: UploadFile,
    through: Lensed,
    number: Annotated[str, Form()] = "",
) -> Response:
    """A mask that was painted: a PNG of the picture's size, white where it is trained."""
    version = seen_version(request, name, number)
    made = studio_of(request).curate.set_mask(version, item, _painted(mask))
    return moved(request, made, _here(item, through.query))


@router.post("/picture/mask/{verb}")
def derive_mask(
    request: Request,
    name: str,
    verb: str,
    item: Annotated[str, Form()],
    through: Lensed,
    number: Annotated[str, Form()] = "",
) -> Response:
    """A mask from the transparency of the original, or none any more."""
    version = seen_version(request, name, number)
    studio = studio_of(request)
    if verb == "remove":
        return moved(request, studio.curate.set_mask(version, item, None), _here(item, through.query))
    if verb != "from-alpha":
        raise ConfigError(f"There is no way '{verb}' to a mask.", "Paint it, or take it from transparency.")
    done = studio.curate.use_tool(version, "mask_from_alpha", {}, names=[item])
    if item in done.refused:
        raise DatasetError(f"{item} {done.refused[item]}.", "Paint the mask instead.")
    return moved(request, done.version, _here(item, through.query))


def _painted(sent: UploadFile) -> Image.Image:
    """The pixels of a mask that a browser sent.

    Raises:
        DatasetError: they are not a PNG that can be read.
    """
    if (sent.size or 0) > _MOST_BYTES:
        raise DatasetError("The mask is too large.", "Send a PNG of the picture's size.")
    try:
        with Image.open(sent.file, formats=["PNG"]) as image:
            return image.convert("L")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as cause:
        raise DatasetError(
            "The mask is no PNG that can be read.", "Paint it in the editor and save it there."
        ) from cause


def _here(item: str, query: str) -> str:
    return f"/picture?item={quote(item, safe='')}" + (f"&{query}" if query else "")
