"""Pictures and videos by the SHA-256 of their bytes: nothing else leads to a file.

They are shown to whoever sees a dataset that holds them; for everybody else they are not there. A picture is sent as
what its first bytes say it is, one of the formats that are imported, never as HTML or SVG.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

from lorasmith.datasets.magic import PEEK, moving_format, picture_format
from lorasmith.studio import Studio
from lorasmith.web.owning import OwnedStudio

router = APIRouter(include_in_schema=False)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MEDIA: Final = {
    "PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif", "BMP": "image/bmp",
    "TIFF": "image/tiff", "AVIF": "image/avif",
}  # fmt: skip
_VIDEOS: Final = {"MP4": "video/mp4", "MKV": "video/x-matroska"}
_DOCTYPE: Final = 64  # bytes of a Matroska file in which its kind is said
_HOUR: Final = {"cache-control": "private, max-age=3600", "content-security-policy": "sandbox"}
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


@router.get("/clips/{sha256}")
def video(request: Request, sha256: str) -> Response:
    """A video as it is stored; browsers ask for parts of it (``Range``)."""
    path = _studio(request, sha256).curate.picture(sha256)
    with path.open("rb") as stream:
        beginning = stream.read(_DOCTYPE)
    kind = moving_format(beginning[:PEEK])
    if kind is None:
        raise HTTPException(404)
    webm = kind == "MKV" and b"webm" in beginning
    return FileResponse(path, media_type="video/webm" if webm else _VIDEOS[kind], headers=_FOR_EVER)


@router.get("/datasets/{name}/clip", response_class=FileResponse)
def shown_clip(request: Request, name: str, number: int, item: str) -> FileResponse:
    """A clip for browsers that cannot play its file, as it is trained: WebM, small, without sound."""
    studio: OwnedStudio = request.app.state.studio
    path = studio.curate.shown_clip(studio.dataset(f"{name}@{number}"), item)
    return FileResponse(path, media_type="video/webm", headers=_HOUR)


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
