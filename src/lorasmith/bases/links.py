"""What a user may call a base that is not here yet: links, ids and paths, read without asking anybody.

Civitai: a page (``?modelVersionId=``), a copied download link (``/api/download/models/1?type=Model&format=...``,
``?fileId=``), an AIR (``urn:air:sdxl:checkpoint:civitai:101055@128078``), on .com, .red and .green. Hugging Face: a
repository, a folder or file in it (tree, blob, resolve), ``hf://``, or ``org/name``. Else a path, or the address of a
file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from lorasmith.errors import BaseError

CIVITAI_HOSTS = ("civitai.com", "civitai.red", "civitai.green")
HUB_HOSTS = ("huggingface.co", "hf.co")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_AIR = re.compile(r"urn:air:([^:]+):([^:]+):([^:]+):([^@:?]+)(?:@([^:?]+))?(?:[:?].*)?", re.IGNORECASE)
_FILTERS = ("type", "format", "size", "fp")
_SECRET = ("token", "access_token", "api_key", "key")


@dataclass(frozen=True)
class CivitaiLink:
    """A model, a version of it, or one file; at least one number is known."""

    model: int | None = None
    version: int | None = None
    file: int | None = None
    filters: dict[str, str] = field(default_factory=dict)
    """Which of a version's files: ``type``, ``format``, ``size``, ``fp``."""


@dataclass(frozen=True)
class HubLink:
    """A repository of models, or a path in it."""

    repository: str
    revision: str = "main"
    path: str = ""


@dataclass(frozen=True)
class WebLink:
    """An address of one file."""

    url: str


@dataclass(frozen=True)
class LocalPath:
    """A file or folder that is here."""

    path: Path


Link = CivitaiLink | HubLink | WebLink | LocalPath


def parse_link(text: str, *, paths: bool = True) -> Link:
    """What ``text`` means. Nothing is looked up, but whether a path is there.

    Args:
        text: as somebody typed it.
        paths: whether it may be a path; not from somebody who shall not learn what lies on this machine.

    Raises:
        BaseError: it is none of these; the hint shows what would be.
    """
    text = text.strip().strip("<>\"'")
    if not text:
        raise BaseError("No base was named.", "Name a link, a path, or an id such as org/name.")
    if text.lower().startswith("urn:air:"):
        return _air(text)
    if text.startswith("hf://"):
        return _hub_path(unquote(text.removeprefix("hf://")).strip("/").split("/"), text)
    if paths and (path := Path(text).expanduser()).exists():
        return LocalPath(path.absolute())
    return _address(text)


def _address(text: str) -> Link:
    """An address or ``org/name``."""
    address = urlsplit(text if "://" in text else f"https://{text}")
    host = (address.hostname or "").lower().removeprefix("www.")
    if host in CIVITAI_HOSTS:
        return _civitai(address.path, dict(parse_qsl(address.query)), text)
    if host in HUB_HOSTS:
        return _hub(unquote(address.path).strip("/").split("/"), text)
    if "://" in text:
        if address.scheme not in ("http", "https") or not host:
            raise BaseError(f"{_shown(text)} is no address that can be read.", "Give one that begins with https://.")
        return WebLink(text)
    if HUB_ID.fullmatch(text) and not _looks_like_a_path(text):
        return HubLink(text)
    raise BaseError(
        f"There is no file or folder {text}, and it is no link either.",
        "Name a Civitai page, a Hugging Face repository (org/name) or a path; "
        "`lorasmith bases catalogue` lists well-known bases.",
    )


def without_secrets(url: str) -> str:
    """An address without the keys that copied links carry."""
    address = urlsplit(url)
    kept = [pair for pair in address.query.split("&") if pair and pair.partition("=")[0].lower() not in _SECRET]
    netloc = address.netloc.rpartition("@")[2]
    return urlunsplit((address.scheme, netloc, address.path, "&".join(kept), ""))


def _looks_like_a_path(text: str) -> bool:
    weights = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".zip")
    return text.startswith((".", "~", "/")) or text.lower().endswith(weights) or bool(PureWindowsPath(text).drive)


def _shown(text: str) -> str:
    shown = without_secrets(text)
    return shown if len(shown) <= 120 else f"{shown[:117]}..."


def _air(text: str) -> Link:
    found = _AIR.fullmatch(text)
    if found is None:
        raise BaseError(f"{_shown(text)} is no AIR.", "One looks like urn:air:sdxl:checkpoint:civitai:101055@128078.")
    source, model, version = found[3].lower(), found[4], found[5]
    if source == "civitai":
        numbers = [part.partition(".")[0] if part else "" for part in (model, version)]  # "@128078.safetensors"
        if numbers[0].isdigit() and (not version or numbers[1].isdigit()):
            return CivitaiLink(int(numbers[0]), int(numbers[1]) if version else None)
        raise BaseError(f"{_shown(text)} has no numbers of a model.", "Copy the AIR from the model's page again.")
    if source == "huggingface" and HUB_ID.fullmatch(model):
        return HubLink(model, version or "main")
    raise BaseError(f"{_shown(text)} is of '{source}', which is not known here.", "Civitai and Hugging Face are.")


def _civitai(path: str, query: dict[str, str], text: str) -> CivitaiLink:
    """``/models/1/slug?modelVersionId=2``, ``/api/download/models/2``, ``/api/v1/model-versions/2``."""
    numbers = {key: _number(query.get(key), text) for key in ("modelVersionId", "fileId")}
    filters = {key: query[key] for key in _FILTERS if query.get(key)}
    found = re.fullmatch(r"/(?:api/(?:v1/)?)?(download/models|model-versions|models)/(\d+)(?:/.*)?", path)
    if found is None:
        raise BaseError(
            f"{_shown(text)} is no page of a model on Civitai.",
            "Open the model there and copy the page's address, or the link of its download button.",
        )
    number = int(found[2])
    if found[1] == "models":
        return CivitaiLink(number, numbers["modelVersionId"], numbers["fileId"], filters)
    return CivitaiLink(None, number, numbers["fileId"], filters)


def _number(value: str | None, text: str) -> int | None:
    if value is None:
        return None
    if not value.isdigit():
        raise BaseError(f"'{value[:40]}' in {_shown(text)} is no number.", "Copy the address again.")
    return int(value)


def _hub(pieces: list[str], text: str) -> HubLink:
    if pieces[:2] == ["api", "models"]:
        pieces = pieces[2:4]
    if pieces and pieces[0] in ("datasets", "spaces"):
        raise BaseError(
            f"{_shown(text)} is in the {pieces[0]} of Hugging Face, not a model.",
            "Import a dataset with `lorasmith import`; for a base, name a model.",
        )
    if pieces and pieces[0] == "models":
        pieces = pieces[1:]
    if len(pieces) < 2 or not HUB_ID.fullmatch("/".join(pieces[:2])):
        raise BaseError(f"{_shown(text)} names no repository.", "One looks like https://huggingface.co/org/name.")
    repository, rest = "/".join(pieces[:2]), pieces[2:]
    if not rest:
        return HubLink(repository)
    if rest[0] in ("tree", "blob", "resolve", "raw") and len(rest) > 1:
        revision, inside = rest[1], rest[2:]
        if revision == "refs" and len(inside) > 1:  # refs/pr/1, whose slashes a copied address does not hide
            revision, inside = "/".join(["refs", *inside[:2]]), inside[2:]
        return HubLink(repository, revision, _inside("/".join(inside), text))
    if rest[0] in ("tree", "discussions", "commits", "commit", "edit"):
        return HubLink(repository)
    raise BaseError(f"{_shown(text)} is no page of files on Hugging Face.", f"Use https://huggingface.co/{repository}.")


def _hub_path(pieces: list[str], text: str) -> HubLink:
    """``org/name[@revision][/path]`` after ``hf://``."""
    if pieces and pieces[0] in ("datasets", "spaces"):
        return _hub(pieces, text)
    if pieces and pieces[0] == "models":
        pieces = pieces[1:]
    repository, _, revision = "/".join(pieces[:2]).partition("@")
    if not HUB_ID.fullmatch(repository):
        raise BaseError(f"{_shown(text)} names no repository.", "One looks like hf://org/name/path.")
    return HubLink(repository, revision or "main", _inside("/".join(pieces[2:]), text))


def _inside(path: str, text: str) -> str:
    if any(piece in ("", ".", "..") for piece in path.split("/")) and path:
        raise BaseError(f"{_shown(text)} holds a path that leads outside.", "Copy the address again.")
    return path
