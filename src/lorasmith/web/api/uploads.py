"""Files that arrive in pieces: tus 1.0 (core, creation, checksum, termination, expiration) over ``Studio.uploads``.

A client announces a file (``POST``), asks how much of it is here (``HEAD``), sends pieces from there on (``PATCH``) and
may give it up (``DELETE``). ``Upload-Metadata`` may hold ``filename``, ``relativePath`` and ``sha256``, each in base64;
of names only what every system can store is kept. An upload belongs to who began it; for others it is not there.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import Annotated, Any, Final, Literal

import anyio.from_thread
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from lorasmith.errors import ConflictError, InputError, LorasmithError, OutOfDisk, UploadRefused
from lorasmith.studio import Studio

router = APIRouter(prefix="/api/uploads", tags=["uploads"])
VERSION: Final = "1.0.0"
_LONGEST_METADATA: Final = 8192
_STATUS: Final = {"unknown": 404, "offset": 409, "checksum": 460, "too_large": 413, "announced": 422}
_PIECE: Final = "application/offset+octet-stream"


class Wanted(BaseModel):
    """A file that somebody is about to upload."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]
    path: Annotated[str, Field(max_length=2000)] = ""


class Asked(BaseModel):
    """Files that somebody is about to upload, and where they shall go."""

    files: Annotated[list[Wanted], Field(max_length=20_000)]
    into: Annotated[str, Field(max_length=200)] = ""
    """A dataset they would be added to."""


class There(BaseModel):
    """What is here of one of them."""

    state: Literal["new", "partly", "here", "in_dataset"]
    id: str = ""
    offset: int = 0


class Mine(BaseModel):
    """An upload of the one who asks."""

    id: str
    path: str
    length: int
    offset: int
    sha256: str


@router.get("", summary="Your uploads that were not imported yet")
def mine(request: Request) -> list[Mine]:
    """Those that have not expired, the oldest first."""
    own = [one for one in _studio(request).uploads.all() if one.owner == _owner(request)]
    return [Mine(id=o.id, path=o.path, length=o.length, offset=o.offset, sha256=o.sha256) for o in own]


@router.post("/known", summary="Which of these files need not be sent")
def known(request: Request, asked: Asked) -> list[There]:
    """What is here of each file, in order: a file that lies here or in the dataset need not be sent again."""
    studio = _studio(request)
    mine = {(one.sha256, one.path): one for one in studio.uploads.all() if one.owner == _owner(request) and one.sha256}
    items = studio.dataset(asked.into).items if asked.into else ()
    taken = {sha for item in items for sha in (item.original, item.image) if sha}
    return [_there(one, mine.get((one.sha256, one.path)), taken) for one in asked.files]


def _there(wanted: Wanted, upload: Any, taken: set[str]) -> There:
    if wanted.sha256 in taken:
        return There(state="in_dataset")
    if upload is None:
        return There(state="new")
    return There(state="here" if upload.offset == upload.length else "partly", id=upload.id, offset=upload.offset)


@router.options("", include_in_schema=False)
def capabilities(request: Request) -> Response:
    """What of tus is spoken here."""
    headers = {
        "tus-version": VERSION,
        "tus-extension": "creation,checksum,termination,expiration",
        "tus-checksum-algorithm": "sha256",
        "tus-max-size": str(_studio(request).uploads.limits.file_bytes),
    }
    return _answer(204, headers)


@router.post("", include_in_schema=False)
def create(request: Request) -> Response:
    """Announce a file."""
    if (refusal := _version_refused(request)) is not None:
        return refusal
    length = _number(request, "upload-length")
    if length is None:
        return _said(400, "Upload-Length is missing or no number.", "Announce how many bytes the file has.")
    try:
        metadata = _metadata(request.headers.get("upload-metadata", ""))
        path = metadata.get("relativePath", "")
        name = metadata.get("filename") or path or "file"
        uploads = _studio(request).uploads
        id = uploads.create(name, length, metadata.get("sha256"), owner=_owner(request), path=path)
    except LorasmithError as error:
        return _refused(error)
    upload = uploads.status(id)
    headers = {"location": f"/api/uploads/{id}", "upload-offset": "0", "upload-expires": _date(upload.expires)}
    return _answer(201, headers)


@router.head("/{id}", include_in_schema=False)
def offset(request: Request, id: str) -> Response:
    """How much is here."""
    if (refusal := _version_refused(request)) is not None:
        return refusal
    try:
        upload = _own(request, id)
    except LorasmithError as error:
        return _answer(_refused(error).status_code)
    headers = {
        "upload-offset": str(upload.offset),
        "upload-length": str(upload.length),
        "upload-expires": _date(upload.expires),
    }
    return _answer(200, headers)


@router.patch("/{id}", include_in_schema=False)
def append(request: Request, id: str) -> Response:
    """Take a piece; the last one is followed by a look at the whole file."""
    if (refusal := _version_refused(request)) is not None:
        return refusal
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _PIECE:
        return _said(415, f"A piece comes as {_PIECE}.", "Send it with that Content-Type.")
    begins = _number(request, "upload-offset")
    if begins is None:
        return _said(400, "Upload-Offset is missing or no number.", "Ask for the offset and go on from there.")
    uploads = _studio(request).uploads
    try:
        upload = _own(request, id)
        checksum = _checksum(request.headers.get("upload-checksum", ""))
        _refuse_long(request, upload.length - begins, uploads.limits.piece_bytes)
        end = uploads.append(id, begins, _Body(request), checksum)  # type: ignore[arg-type]
        if end == upload.length:
            uploads.finish(id)
    except LorasmithError as error:
        return _refused(error)
    except _Gone:
        return _said(400, "The connection broke.", "Ask for the offset and go on from there.")
    return _answer(204, {"upload-offset": str(end), "upload-expires": _date(uploads.status(id).expires)})


@router.delete("/{id}", include_in_schema=False)
def give_up(request: Request, id: str) -> Response:
    """Remove an upload with all that has arrived."""
    if (refusal := _version_refused(request)) is not None:
        return refusal
    try:
        _own(request, id)
        _studio(request).uploads.abandon(id)
    except LorasmithError as error:
        return _refused(error)
    return _answer(204)


class _Gone(Exception):
    """Whoever was sending has hung up."""


class _Body(io.RawIOBase):
    """The body of a request as a file that is read by a thread; nothing of it is gathered in memory."""

    def __init__(self, request: Request) -> None:
        self._chunks: AsyncIterator[bytes] = request.stream()
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        while not self._rest:
            chunk = anyio.from_thread.run(self._next)
            if chunk is None:
                return b""
            self._rest = chunk
        taken = self._rest if size < 0 else self._rest[:size]
        self._rest = self._rest[len(taken) :]
        return taken

    async def _next(self) -> bytes | None:
        from starlette.requests import ClientDisconnect

        try:
            return await anext(self._chunks)
        except StopAsyncIteration:
            return None
        except ClientDisconnect as cause:
            raise _Gone from cause


def _own(request: Request, id: str) -> Any:
    """The upload; for others than who began it there is none."""
    upload = _studio(request).uploads.status(id)
    if upload.owner != _owner(request):
        raise UploadRefused("There is no such upload, or it has expired.", "Begin it again.", "unknown")
    return upload


def _metadata(header: str) -> dict[str, str]:
    """``Upload-Metadata``: keys, each with its value in base64.

    Raises:
        InputError: it cannot be read.
    """
    if len(header) > _LONGEST_METADATA:
        raise InputError("Upload-Metadata is too long.", f"Keep it under {_LONGEST_METADATA:,} characters.")
    found = {}
    for pair in filter(None, (part.strip() for part in header.split(","))):
        key, _, value = pair.partition(" ")
        try:
            found[key] = base64.b64decode(value.strip(), validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError) as cause:
            raise InputError(f"The value of '{key[:40]}' in Upload-Metadata is no base64.", "Encode it.") from cause
    return found


def _checksum(header: str) -> str | None:
    """``Upload-Checksum`` as hexadecimal digits.

    Raises:
        InputError: another algorithm, or it cannot be read.
    """
    if not header.strip():
        return None
    algorithm, _, value = header.strip().partition(" ")
    if algorithm.lower() != "sha256":
        raise InputError(f"The checksum {algorithm[:20]} is not known here.", "Use sha256.")
    try:
        return base64.b64decode(value.strip(), validate=True).hex()
    except binascii.Error as cause:
        raise InputError("Upload-Checksum is no base64.", "Write: sha256, a space, the digest.") from cause


def _refuse_long(request: Request, left: int, most: int) -> None:
    announced = _number(request, "content-length")
    if (announced is not None and 0 <= left < announced) or (announced or 0) > most:
        raise UploadRefused("The piece is longer than what may come.", "Send what was announced.", "too_large")


def _refused(error: LorasmithError) -> Response:
    status = 422
    if isinstance(error, UploadRefused):
        status = _STATUS[error.why]
    elif isinstance(error, ConflictError):
        status = 423
    elif isinstance(error, OutOfDisk):
        status = 507
    return _said(status, error.message, error.hint)


def _version_refused(request: Request) -> Response | None:
    if request.headers.get("tus-resumable") == VERSION:
        return None
    refusal = _said(412, "This speaks tus 1.0.0.", "Send Tus-Resumable: 1.0.0.")
    refusal.headers["tus-version"] = VERSION
    return refusal


def _said(status: int, sentence: str, hint: str) -> Response:
    return JSONResponse({"error": sentence, "hint": hint}, status, headers={"tus-resumable": VERSION})


def _answer(status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(status_code=status, headers={"tus-resumable": VERSION, **(headers or {})})


def _number(request: Request, header: str) -> int | None:
    text = request.headers.get(header, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _date(moment: float) -> str:
    return formatdate(moment, usegmt=True)


def _owner(request: Request) -> str:
    return str(request.state.actor.name)


def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio
