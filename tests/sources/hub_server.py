"""A hub on this machine that answers as huggingface.co does: revisions, trees in pages, Git LFS, gates, redirects.

    hub = HubServer(server, store)
    hub.add("owner/pets", {"train/1.png": content}, card={"license": "cc0-1.0"})
    gathering(home).look("owner/pets", "huggingface", endpoint=hub.endpoint)

The shapes of the answers are those of the hub's HTTP API: ``/api/datasets/ID/revision/REV?expand[]=...``,
``/api/datasets/ID/tree/REV/PATH?recursive=true`` with a ``Link`` header, ``paths-info``, ``auth-check``, and
``/datasets/ID/resolve/REV/PATH``, which sends on to a store of signed addresses for what Git LFS keeps.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.fetching.loopback import Loopback, Shelf, Visit, refuses_authorization

LARGE = 2_000
"""Bytes from which a file is kept by Git LFS here."""


@dataclass
class Repository:
    """One repository of the hub."""

    files: Mapping[str, bytes]
    card: Mapping[str, Any] = field(default_factory=dict)
    gated: str | bool = False
    private: bool = False
    kind: str = "datasets"
    revisions: tuple[str, ...] = ("main",)
    commit: str = "c0ffee" + "0" * 34


class HubServer:
    """The hub at one server, its large files at another."""

    def __init__(self, server: Loopback, store: Loopback, *, page: int = 3, token: str = "", member: str = "") -> None:
        """
        Args:
            server: where the hub answers.
            store: where large files lie; it refuses whoever brings a token along.
            page: how many entries of a tree one answer has.
            token: whoever brings it may see private repositories.
            member: whoever brings it has accepted the terms of gated ones.
        """
        self.server, self.store, self.page = server, store, page
        self.token, self.member = token, member
        self.repositories: dict[str, Repository] = {}
        self.endpoint = server.url("").rstrip("/")
        server.routes = _Everything(self._answer)  # type: ignore[assignment]
        server._server.routes = server.routes  # type: ignore[attr-defined]

    def add(self, name: str, files: Mapping[str, bytes], **facts: Any) -> Repository:
        repository = self.repositories[name] = Repository(files, **facts)
        for content in files.values():
            if len(content) >= LARGE:
                self.store.at(f"/{_oid(content)}", refuses_authorization(Shelf(content)))
        return repository

    def _answer(self, visit: Visit) -> None:
        parts = urlsplit(visit.path)
        pieces = [unquote(piece) for piece in parts.path.strip("/").split("/")]
        api = pieces[0] == "api"
        pieces = pieces[1:] if api else pieces
        kind = pieces.pop(0) if pieces and pieces[0] in ("datasets", "models") else "models"
        name, rest = "/".join(pieces[:2]), pieces[2:]
        found = self.repositories.get(name)
        bearer = visit.headers.get("Authorization", "").removeprefix("Bearer ")
        if bearer and bearer not in (self.token, self.member):
            visit.say(401, _error("Invalid credentials in Authorization header"))
        elif found is None or found.kind != kind or (found.private and not bearer):
            visit.say(404 if bearer else 401, _error("Repository not found"), {"X-Error-Code": "RepoNotFound"})
        elif api:
            self._api(visit, found, name, rest, bearer, parse_qs(parts.query))
        else:
            self._resolve(visit, found, rest, bearer)

    def _api(
        self, visit: Visit, found: Repository, name: str, rest: list[str], bearer: str, query: Mapping[str, list[str]]
    ) -> None:
        what, revision = (rest[0] if rest else "", rest[1] if len(rest) > 1 else "main")
        if what == "auth-check":
            closed = found.gated and bearer != self.member
            visit.say(403 if closed and bearer else 401 if closed else 200, b"{}" if not closed else _error("gated"))
        elif revision not in (*found.revisions, found.commit):
            visit.say(404, _error(f"Invalid rev id: {revision}"), {"X-Error-Code": "RevisionNotFound"})
        elif what == "tree":
            self._tree(visit, found, "/".join(rest[2:]), query)
        elif what == "paths-info":
            paths = json.loads(visit.seen.body)["paths"]
            visit.say(200, json.dumps([entry for path in paths if (entry := _info(found, path))]).encode())
        else:
            facts = {"id": name, "sha": found.commit, "cardData": dict(found.card), "gated": found.gated}
            visit.say(200, json.dumps({**facts, "private": found.private}).encode())

    def _tree(self, visit: Visit, found: Repository, folder: str, query: Mapping[str, list[str]]) -> None:
        assert query.get("recursive") == ["true"]
        entries = [_entry(path, content) for path, content in found.files.items() if path.startswith(folder)]
        folders = {path.rpartition("/")[0] for path in found.files if "/" in path}
        entries += [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in sorted(folders)]
        first = int(query.get("cursor", ["0"])[0])
        following = first + self.page
        headers = {}
        if following < len(entries):
            path = urlsplit(visit.path).path
            headers["Link"] = f'<{self.endpoint}{path}?recursive=true&cursor={following}>; rel="next"'
        visit.say(200, json.dumps(entries[first:following]).encode(), headers)

    def _resolve(self, visit: Visit, found: Repository, rest: list[str], bearer: str) -> None:
        content = found.files.get("/".join(rest[2:]))
        if found.gated and bearer != self.member:
            visit.say(403 if bearer else 401, _error("Access to this dataset is restricted"))
        elif rest[:1] != ["resolve"] or content is None:
            visit.say(404, _error("Entry not found"))
        elif len(content) >= LARGE:
            visit.say(302, b"", {"Location": self.store.url(f"/{_oid(content)}?X-Amz-Signature=signed0123456789")})
        else:
            Shelf(content, etag=f'"{hashlib.sha1(content).hexdigest()}"')(visit)


class _Everything(dict[str, Any]):
    """A table of routes in which every path leads to one behaviour."""

    def __init__(self, behaviour: Any) -> None:
        super().__init__()
        self._behaviour = behaviour

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key) or self._behaviour


def _oid(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _entry(path: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content)}
    entry["oid"] = hashlib.sha1(content).hexdigest()
    if len(content) >= LARGE:
        entry["lfs"] = {"oid": _oid(content), "size": len(content), "pointerSize": 134}
    return entry


def _info(found: Repository, path: str) -> dict[str, Any] | None:
    if path in found.files:
        return _entry(path, found.files[path])
    inside = any(name.startswith(f"{path}/") for name in found.files)
    return {"type": "directory", "path": path, "oid": "0" * 40, "size": 0} if inside else None


def _error(text: str) -> bytes:
    return json.dumps({"error": text}).encode()
