"""Pictures by the SHA-256 of their bytes: nothing else leads to a file.

A picture is sent as what its first bytes say it is, one of the formats that are imported, never as HTML or SVG.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

from lorasmith.datasets.magic import PEEK, picture_format
from lorasmith.studio import Studio

router = APIRouter(include_in_schema=False)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MEDIA: Final = {
    "PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif", "BMP": "image/bmp",
    "TIFF": "image/tiff", "AVIF": "image/avif",
}  # fmt: skip
_FOR_EVER: Final = {"cache-control": "private, max-age=31536000, immutable", "content-security-policy": "sandbox"}


@router.get("/pictures/{sha256}")
def picture(request: Request, sha256: str) -> Response:
    """A picture as it is stored."""
    if not _SHA256.fullmatch(sha256):
        raise HTTPException(404)
    studio: Studio = request.app.state.studio
    return picture_answer(studio, sha256)


def picture_answer(studio: Studio, sha256: str) -> FileResponse:
    """The stored file, as what its bytes say it is."""
    path = studio.curate.picture(sha256)
    with path.open("rb") as stream:
        media = _MEDIA.get(picture_format(stream.read(PEEK)) or "")
    if media is None:
        raise HTTPException(404)
    return FileResponse(path, media_type=media, headers=_FOR_EVER)


@router.get("/thumbnails/{sha256}")
def thumbnail(request: Request, sha256: str, side: Literal["128", "256"] = "256") -> Response:
    """A small WebP of it."""
    if not _SHA256.fullmatch(sha256):
        raise HTTPException(404)
    studio: Studio = request.app.state.studio
    data = studio.curate.thumbnail(sha256, int(side))
    if data is None:
        raise HTTPException(404)
    return Response(data, media_type="image/webp", headers=_FOR_EVER)
