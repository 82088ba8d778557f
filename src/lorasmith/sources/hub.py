"""Repositories of the Hugging Face hub: what a link names, what lies there, and why it does not open."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn
from urllib.parse import quote, unquote, urlsplit

from lorasmith.credentials import redact
from lorasmith.errors import FetchError, InputError
from lorasmith.sources import Errand

HUB: Final = "https://huggingface.co"
HOSTS: Final = frozenset(("huggingface.co", "www.huggingface.co", "hf.co"))
Kind = Literal["datasets", "models"]

_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
_VIEWS: Final = ("tree", "blob", "resolve", "raw", "viewer", "discussions", "commits", "blame", "edit")
_MOST_FILES: Final = 300_000
_SHA256: Final = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")


@dataclass(frozen=True)
class HubPlace:
    """A repository, or a path in it."""

    repository: str
    kind: Kind = "datasets"
    revision: str = ""
    path: str = ""

    @property
    def name(self) -> str:
        """For people and for the dataset."""
        return self.repository.rpartition("/")[2]

    def page(self, endpoint: str) -> str:
        return f"{endpoint}/datasets/{self.repository}" if self.kind == "datasets" else f"{endpoint}/{self.repository}"


@dataclass(frozen=True)
class HubFile:
    """One file of a repository."""

    path: str
    size: int | None
    sha256: str | None
    """Known of what Git LFS keeps."""


@dataclass(frozen=True)
class HubFacts:
    """What the hub says of a repository."""

    commit: str
    license: str
    card: Mapping[str, Any]


def parse_place(location: str) -> HubPlace:
    """What a link or an id means: ``owner/name``, ``owner/name@revision``, ``hf://datasets/...``, a page, a file.

    Raises:
        InputError: it names no repository.
    """
    text = location.strip().strip("<>\"'")
    if text.lower().startswith("hf://"):
        return _from_parts(_parts(text[5:]), location)
    if text.lower().startswith(("https://", "http://")):
        try:
            parts = urlsplit(text)
        except ValueError as cause:
            raise InputError(f"{redact(location)} cannot be read: {cause}.", "Copy the address again.") from cause
        if (parts.hostname or "").lower() not in HOSTS:
            raise InputError(f"{redact(location)} is no address of Hugging Face.", f"One begins with {HUB}/datasets/.")
        return _from_parts(_parts(parts.path), location)
    return _from_parts(_parts(text), location)


def _parts(path: str) -> list[str]:
    return [part for part in unquote(path).strip("/").split("/") if part]


def _from_parts(parts: list[str], location: str) -> HubPlace:
    kind: Kind = "datasets"
    named = bool(parts) and parts[0] in ("datasets", "models", "spaces")
    if named and parts[0] == "spaces":
        raise InputError(
            f"{redact(location)} is a space, which is a program and no dataset.",
            "Look in its files for the dataset it uses.",
        )
    if named:
        kind = "models" if parts[0] == "models" else "datasets"
        parts = parts[1:]
    elif "://" in location and location.strip().lower().startswith("http"):
        kind = "models"  # pages of models have no word in front
    owner = 1 if len(parts) == 1 or (len(parts) > 1 and parts[1] in _VIEWS) else 2
    repository, _, revision = "/".join(parts[:owner]).partition("@")
    rest = parts[owner:]
    if not _ID.fullmatch(repository):
        raise InputError(
            f"{redact(location) or 'Nothing'} names no dataset of Hugging Face.",
            f"One looks like owner/name or {HUB}/datasets/owner/name.",
        )
    if rest and rest[0] in _VIEWS:
        view, rest = rest[0], rest[1:]
        if view in ("tree", "blob", "resolve", "raw") and rest:
            revision, rest = _revision(rest)
        else:
            rest = []  # the viewer, a discussion: the repository is meant
    if any(part == ".." for part in rest):
        raise InputError(f"{redact(location)} climbs out of its repository.", "Copy the link again.")
    return HubPlace(repository, kind, revision, "/".join(rest))


def _revision(rest: list[str]) -> tuple[str, list[str]]:
    """The revision at the beginning of a path; ``refs/pr/1`` has slashes of its own."""
    if rest[0] == "refs" and len(rest) > 2:
        return "/".join(rest[:3]), rest[3:]
    return rest[0], rest[1:]


class HubRepository:
    """Asks the hub about one repository."""

    def __init__(self, place: HubPlace, endpoint: str, errand: Errand) -> None:
        self.place, self.endpoint, self._errand = place, endpoint.rstrip("/"), errand
        self._api = f"{self.endpoint}/api/{place.kind}/{place.repository}"

    def facts(self) -> HubFacts:
        """Which commit is meant, and the licence of the card.

        Raises:
            InputError: there is no such repository or revision, or it is not open to this user.
        """
        revision = self.place.revision or "main"
        wanted = {"expand[]": ["sha", "cardData", "gated", "private", "disabled"]}
        try:
            told = self._errand.fetcher.json(
                f"{self._api}/revision/{quote(revision, safe='')}", wanted, cancel=self._errand.cancel
            )
        except FetchError as error:
            self._explain(error)
        told = told if isinstance(told, dict) else {}
        if told.get("disabled"):
            raise InputError(f"{self.place.repository} is disabled by Hugging Face.", "Look for another source.")
        if told.get("gated"):
            self._require_entry()
        card = told.get("cardData")
        card = card if isinstance(card, dict) else {}
        return HubFacts(str(told.get("sha") or revision), _license(card), card)

    def files(self, commit: str, path: str) -> tuple[list[HubFile], bool]:
        """Every file at or below a path, and whether the path is a file itself.

        Raises:
            InputError: there is no such path, or there are too many files.
        """
        if not path:
            return self._below(commit, ""), False
        address = f"{self._api}/paths-info/{quote(commit, safe='')}"
        try:
            told = self._errand.fetcher.post(address, {"paths": [path], "expand": False}, cancel=self._errand.cancel)
        except FetchError as error:
            self._explain(error)
        entry = told[0] if isinstance(told, list) and told else None
        if entry is None:
            raise InputError(
                f"There is no '{path}' in {self.place.repository}.", f"See {self.place.page(self.endpoint)}."
            )
        file = _file(entry)
        return ([file], True) if file is not None else (self._below(commit, path), False)

    def _below(self, commit: str, folder: str) -> list[HubFile]:
        """Every file below a folder, page by page."""
        below = f"/{quote(folder)}" if folder else ""
        address = f"{self._api}/tree/{quote(commit, safe='')}{below}"
        found: list[HubFile] = []
        try:
            for page in self._errand.fetcher.json_pages(address, {"recursive": "true"}, cancel=self._errand.cancel):
                found += (
                    [file for entry in page if (file := _file(entry)) is not None] if isinstance(page, list) else []
                )
                if len(found) > _MOST_FILES:
                    raise InputError(
                        f"{self.place.repository} holds more than {_MOST_FILES:,} files.",
                        "Ask for a part of it: --subfolder or --include.",
                    )
                if self._errand.watch is not None:
                    self._errand.watch(len(found), len(found), "listed")
        except FetchError as error:
            self._explain(error)
        return found

    def address(self, commit: str, path: str) -> str:
        """Where a file is."""
        return f"{self.place.page(self.endpoint)}/resolve/{quote(commit, safe='')}/{quote(path)}"

    def _require_entry(self) -> None:
        """Find out now and not at the first file whether this user has accepted the terms of a gated repository."""
        try:
            self._errand.fetcher.json(f"{self._api}/auth-check", cancel=self._errand.cancel)
        except FetchError as error:
            if error.status in (401, 403):
                page = self.place.page(self.endpoint)
                known = self._errand.credentials.get("huggingface") is not None
                hint = (
                    f"Open {page}, accept the terms there with the account of your token, and wait if it says so."
                    if known
                    else f"Open {page} and accept the terms, then run `lorasmith secrets set huggingface`."
                )
                raise InputError(
                    f"{self.place.repository} is gated: its owner wants you to agree first.", hint
                ) from error
            if error.status != 404:  # a mirror may not know this question
                raise

    def _explain(self, error: FetchError) -> NoReturn:
        """The hub's refusal in terms of repositories.

        Raises:
            InputError: no such repository or revision, or none for this user.
            FetchError: anything else, as it was.
        """
        known = self._errand.credentials.get("huggingface") is not None
        name, what = self.place.repository, "dataset" if self.place.kind == "datasets" else "model"
        revision = self.place.revision
        if error.status == 404 and revision and self._is_there():
            raise InputError(f"{name} has no revision '{revision}'.", "Name a branch, a tag or a commit.") from error
        if error.status == 404 or (error.status == 401 and not known):
            private = "" if known else " If it is private, run `lorasmith secrets set huggingface` first."
            raise InputError(
                f"There is no {what} '{name}' on Hugging Face, or it is not open to you.",
                f"Check the spelling at {self.place.page(self.endpoint)}.{private}",
            ) from error
        if error.status == 401:
            raise FetchError(
                "Hugging Face does not accept your token.",
                "Make a new one with read access, then run `lorasmith secrets set huggingface`.",
                401,
            ) from error
        raise error

    def _is_there(self) -> bool:
        """Whether the repository itself is, whatever its revisions."""
        try:
            self._errand.fetcher.json(self._api, {"expand[]": ["sha"]}, cancel=self._errand.cancel)
        except FetchError:
            return False
        return True


def _file(entry: Any) -> HubFile | None:
    if not isinstance(entry, dict) or entry.get("type") != "file" or not isinstance(entry.get("path"), str):
        return None
    stored = entry.get("lfs")
    digest = (
        _SHA256.fullmatch(str(stored.get("oid") or stored.get("sha256") or "")) if isinstance(stored, dict) else None
    )
    size = stored.get("size") if isinstance(stored, dict) and stored.get("size") is not None else entry.get("size")
    known = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    return HubFile(entry["path"], size if known else None, digest[1].lower() if digest else None)


def _license(card: Mapping[str, Any]) -> str:
    """As the card says: an id, several, or the name of a licence of one's own."""
    told = card.get("license")
    words = [str(one) for one in told] if isinstance(told, list) else [str(told)] if told else []
    if words in (["other"], []) and card.get("license_name"):
        words = [str(card["license_name"])]
    return ", ".join(words)
