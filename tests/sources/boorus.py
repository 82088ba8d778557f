"""A Gelbooru and a Danbooru on this machine, which answer as the real ones do, with their odd shapes and refusals.

    with Loopback() as server:
        site = GelbooruSite(server, [post(1, "solo 1girl"), post(2, "solo")])
        gathering(home).fetch("solo", "gelbooru", endpoint=site.root)

``python -m tests.sources`` keeps them running and says how to ask them.
"""

from __future__ import annotations

import hashlib
import json
import threading
from base64 import b64decode
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tests.fetching.loopback import Behaviour, Loopback, Shelf, Visit
from tests.sources.errands import picture

USER, KEY = "12345", "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
KINDS = {"general": 0, "artist": 1, "copyright": 3, "character": 4, "meta": 5}


@dataclass
class Entry:
    """One post of either site."""

    id: int
    tags: Mapping[str, Sequence[str]]
    rating: str = "general"
    score: int = 12
    ext: str = "png"
    md5: str = ""
    """Other than what is really served, for a wrong one."""
    file_url: str | None = None
    """Other than this server's; empty for none."""
    deleted: bool = False
    banned: bool = False

    @property
    def all_tags(self) -> list[str]:
        return [tag for tags in self.tags.values() for tag in tags]


def post(id: int, general: str = "solo", **more: Any) -> Entry:
    """A post with general tags, and by ``artist="a b"`` others; the rest goes to ``Entry``."""
    kinds = {kind: more.pop(kind).split() for kind in (*KINDS,) if kind in more}
    return Entry(id, {**kinds, "general": general.split()}, **more)


@lru_cache(maxsize=256)
def content(id: int, ext: str) -> bytes:
    """The bytes of a post's file."""
    return (
        picture(id, "JPEG" if ext == "jpg" else "PNG") if ext in ("png", "jpg") else b"\0\0\0\x18ftypmp42" + bytes(64)
    )


def fits(entry: Entry, query: str) -> bool:
    """Whether a post is what the search asks for, as far as the tests ask."""
    return all(_fits(entry, word) for word in query.split())


def _fits(entry: Entry, word: str) -> bool:
    if word.startswith("-"):
        return not _fits(entry, word[1:])
    key, colon, value = word.partition(":")
    if not colon or key not in ("id", "rating", "score", "sort", "order", "status", "md5"):
        return word in entry.all_tags
    if key == "id":
        return entry.id < int(value[1:]) if value.startswith("<") else entry.id == int(value)
    if key == "score":
        return entry.score >= int(value.removeprefix(">="))
    return entry.rating[0] in {part[:1] for part in value.split(",")} if key == "rating" else True


class _Site:
    """What both have in common: posts, newest first, and their files."""

    def __init__(self, server: Loopback, entries: Sequence[Entry]) -> None:
        self.server, self.root = server, server.url("").rstrip("/")
        self.entries = sorted(entries, key=lambda entry: -entry.id)
        self._found: dict[str, list[Entry]] = {}
        self.asked: list[dict[str, str]] = []
        """Every search that was answered."""
        self.instead: Behaviour | None = None
        """Answers in place of the site while it is set."""
        for entry in self.entries[:500]:
            if entry.file_url is None:
                server.at(self.path(entry), Shelf(content(entry.id, entry.ext)))

    @staticmethod
    def path(entry: Entry) -> str:
        return f"/images/{entry.id}.{entry.ext}"

    def file_url(self, entry: Entry) -> str:
        return self.root + self.path(entry) if entry.file_url is None else entry.file_url

    @staticmethod
    def md5(entry: Entry) -> str:
        body = content(entry.id, entry.ext) if entry.id < 1000 else str(entry.id).encode()
        return entry.md5 or hashlib.md5(body).hexdigest()

    def found(self, query: str) -> list[Entry]:
        """What a search finds, in its order; what is below a number is cut off at the end, for tests of many pages."""
        words = query.split()
        below = [int(word[4:]) for word in words if word.startswith("id:<")]
        rest = " ".join(word for word in words if not word.startswith("id:<"))
        if rest not in self._found:
            found = [entry for entry in self.entries if fits(entry, rest)]
            by_score = "sort:score" in words or "order:score" in words
            self._found[rest] = sorted(found, key=lambda entry: -entry.score) if by_score else found
        found = self._found[rest]
        return found if not below else found[bisect_left(found, 1 - min(below), key=lambda entry: -entry.id) :]


class GelbooruSite(_Site):
    """``index.php?page=dapi``."""

    def __init__(self, server: Loopback, entries: Sequence[Entry], *, key: bool = False, deepest: int = 20_000) -> None:
        super().__init__(server, entries)
        self._key, self._deepest = key, deepest
        server.at("/index.php", self._answer)

    def _answer(self, visit: Visit) -> None:
        asked = {name: values[0] for name, values in visit.seen.query.items()}
        if self.instead is not None:
            self.instead(visit)
        elif self._key and (asked.get("user_id"), asked.get("api_key")) != (USER, KEY):
            visit.say(401, b"")
        elif asked.get("s") == "tag":
            visit.say(200, self._tags(asked))
        else:
            self.asked.append(asked)
            visit.say(200, self._posts(asked))

    def _tags(self, asked: Mapping[str, str]) -> bytes:
        kinds = {tag: KINDS[kind] for entry in self.entries[:500] for kind, tags in entry.tags.items() for tag in tags}
        names = [name for name in asked["names"].split() if name in kinds][:100]
        tags = [
            {"id": n, "name": name.replace("'", "&#039;"), "count": 1, "type": kinds[name]}
            for n, name in enumerate(names)
        ]
        return json.dumps({"@attributes": {"limit": 100, "offset": 0, "count": len(tags)}, "tag": tags}).encode()

    def _posts(self, asked: Mapping[str, str]) -> bytes:
        limit, pid = min(100, int(asked.get("limit", 100))), int(asked.get("pid", 0))
        if limit * pid >= self._deepest:
            return b'<?xml version="1.0" encoding="UTF-8"?><response success="false" reason="Search error: too deep!"/>'
        found = self.found(asked["tags"])
        shown = [self._post(entry) for entry in found[pid * limit : (pid + 1) * limit]]
        answer: dict[str, Any] = {"@attributes": {"limit": limit, "offset": pid * limit, "count": len(found)}}
        if shown:
            answer["post"] = shown[0] if len(shown) == 1 else shown
        return json.dumps(answer).encode()

    def _post(self, entry: Entry) -> dict[str, Any]:
        url = self.file_url(entry)
        return {
            "id": entry.id, "created_at": "Sat Nov 01 10:00:00 -0500 2025", "score": entry.score, "width": 24,
            "height": 16, "md5": self.md5(entry), "directory": "ab/cd", "image": f"{entry.id}.{entry.ext}",
            "rating": entry.rating, "source": "https://example.org/?a=1&amp;b=2", "change": 1, "owner": "uploader",
            "creator_id": 7, "parent_id": 0, "sample": 1, "tags": " ".join(entry.all_tags).replace("'", "&#039;"),
            "title": "", "has_notes": "false", "has_comments": "false", "file_url": url, "preview_url": url,
            "sample_url": url.replace(f".{entry.ext}", ".jpg") if url else "", "sample_width": 850,
            "status": "deleted" if entry.deleted else "active", "post_locked": 0, "has_children": "false",
        }  # fmt: skip


class DanbooruSite(_Site):
    """``posts.json`` and ``tags.json``."""

    def __init__(self, server: Loopback, entries: Sequence[Entry], *, tag_limit: int = 2) -> None:
        super().__init__(server, entries)
        self._tag_limit = tag_limit
        self.logins: list[str] = []
        server.at("/posts.json", self._answer)
        server.at("/tags.json", self._tags)

    def _answer(self, visit: Visit) -> None:
        asked = {name: values[0] for name, values in visit.seen.query.items()}
        login = visit.headers.get("Authorization", "")
        if login:
            self.logins.append(b64decode(login.removeprefix("Basic ")).decode())
        if self.instead is not None:
            self.instead(visit)
            return
        tags, page = asked.get("tags", ""), asked.get("page", "1")
        if len(tags.split()) > (6 if login else self._tag_limit):
            message = f"You cannot search for more than {self._tag_limit} tags at a time."
            self._refuse(visit, 422, "PostQuery::TagLimitError", message)
            return
        if page.isdigit() and int(page) > 1000:
            self._refuse(visit, 410, "PaginationExtension::PaginationError", "You cannot go beyond page 1000.")
            return
        self.asked.append(asked)
        limit = min(200, int(asked.get("limit", 20)))
        found = self.found(tags)
        if page.startswith("b"):
            found = self.found(f"{tags} id:<{page[1:]}")[:limit]
        else:
            found = found[(int(page) - 1) * limit :][:limit]
        visit.say(200, json.dumps([self._post(entry) for entry in found]).encode())

    @staticmethod
    def _refuse(visit: Visit, status: int, error: str, message: str) -> None:
        visit.say(status, json.dumps({"success": False, "error": error, "message": message, "backtrace": []}).encode())

    def _tags(self, visit: Visit) -> None:
        names = visit.seen.query["search[name_comma]"][0].split(",")
        known = {tag for entry in self.entries for tag in entry.all_tags}
        visit.say(
            200,
            json.dumps([{"name": name, "post_count": 1, "category": 0} for name in names if name in known]).encode(),
        )

    def _post(self, entry: Entry) -> dict[str, Any]:
        url = self.file_url(entry)
        body: dict[str, Any] = {
            "id": entry.id, "created_at": "2025-11-01T10:00:00.000-05:00", "uploader_id": 9, "score": entry.score,
            "source": "https://example.org/post", "rating": entry.rating[0], "image_width": 24, "image_height": 16,
            "tag_string": " ".join(entry.all_tags), "fav_count": 3, "file_ext": entry.ext, "parent_id": None,
            "is_pending": False, "is_flagged": False, "is_deleted": entry.deleted, "is_banned": entry.banned,
            **{f"tag_string_{kind}": " ".join(entry.tags.get(kind, ())) for kind in KINDS},
        }  # fmt: skip
        if url and not entry.banned:
            body |= {"md5": self.md5(entry), "file_url": url, "large_file_url": url, "preview_file_url": url}
            body["file_size"] = len(content(entry.id, entry.ext)) if entry.id < 1000 and entry.file_url is None else 1
        return body


def forever(answer: Callable[[int], Any]) -> Behaviour:
    """Another answer for each request, without an end."""
    lock, count = threading.Lock(), [0]

    def behave(visit: Visit) -> None:
        with lock:
            count[0] += 1
            number = count[0]
        visit.say(200, json.dumps(answer(number)).encode())

    return behave
