"""Pictures by the SHA-256 of their bytes: nothing else leads to a file.

They are shown to whoever sees a dataset that holds them; for everybody else they are not there. A picture is sent as
what its first bytes say it is, one of the formats that are imported, never as HTML or SVG.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

from lorasmith.datasets.magic import PEEK, picture_format
from lorasmith.studio import Studio
from lorasmith.web.owning import OwnedStudio

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
    return picture_answer(_studio(request, sha256), sha256)


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
    data = _studio(request, sha256).curate.thumbnail(sha256, int(side))
    if data is None:
        raise HTTPException(404)
    return Response(data, media_type="image/webp", headers=_FOR_EVER)


def _studio(request: Request, sha256: str) -> Studio:
    """Where a picture lies that may be seen.

    Raises:
        HTTPException: 404; it is no picture's name, or none that whoever asks may see.
    """
    studio: OwnedStudio = request.app.state.studio
    if not _SHA256.fullmatch(sha256) or not studio.sees_picture(sha256):
        raise HTTPException(404)
    return studio
