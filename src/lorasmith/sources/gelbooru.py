"""Gelbooru: posts by tags, through its API (``page=dapi``), which wants a key since June 2025.

It gives 100 posts at a time and nothing beyond the 20,000th page by page, so that from the second request on the
search itself says where to go on: ``id:<N``. Tags come without their kinds; those are asked for in a second place.
Sites with the same program (Safebooru and others) are asked with ``site``; they answer as a bare list.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from lorasmith.config import Section
from lorasmith.errors import FetchError, InputError
from lorasmith.fetching import Notice, shown
from lorasmith.fetching.sniffing import said_by
from lorasmith.sources import Errand, Haul, Listing, Source
from lorasmith.sources.posts import (
    LICENSE,
    RATINGS,
    Endpoint,
    Gathered,
    Post,
    PostOptions,
    absolute,
    checked,
    gather,
    number,
    offered,
    require_some,
    text,
    words,
)
from lorasmith.sources.searching import Search, parse_search, split_link

SITE: Final = "https://gelbooru.com"
PAGE: Final = 100  # posts a request; more are never given
DEEPEST: Final = 20_000  # posts by page number
SYNTAX: Final = (
    "Write tags with spaces between them and _ inside: shirakami_fubuki solo. -tag leaves out, tag* completes, "
    "( a ~ b ) is either; rating:general, score:>=10, width:>=1024, sort:score narrow it."
)
TERMS: Final = Notice(
    "gelbooru-terms",
    "Pictures of Gelbooru",
    "They belong to the artists who made them; uploading them there gave nobody the right to use them otherwise. Read "
    "the site's terms of service and the rules of your country before you train on them or publish what comes of it, "
    "look at what arrives before you use it, and ask for no more than you need: lorasmith keeps to the pace that the "
    "site asks for. Some of it is for adults only.",
)
_KEY: Final = (
    "Log in there, open My Account and Options, copy the line under API Access Credentials, "
    "and run `lorasmith secrets set gelbooru`."
)
_KINDS: Final[Mapping[int, str]] = {0: "general", 1: "artist", 3: "copyright", 4: "character", 5: "meta", 6: "meta"}
_OLD_RATINGS: Final[Mapping[str, str]] = {
    "safe": "general",
    "s": "sensitive",
    "q": "questionable",
    "e": "explicit",
    "g": "general",
}
_REASON: Final = re.compile(r"""\breason\s*=\s*(?:"([^"]*)"|'([^']*)')""")


class Gelbooru(Source):
    """Posts of Gelbooru by tags, newest first, and of sites with the same program (``--endpoint``).

    It has answered nobody without a key since June 2025; yours stands in its account options. Words of guides that are
    no tags there are translated and said: ``high_quality`` and ``masterpiece`` into a score, ``-nsfw`` into a rating.
    Tags become captions: characters, series, artists, then the rest, with spaces for underscores but in kaomoji. Films,
    deleted posts and files whose MD5 is wrong are left out, and listed. In a checkout, ``python -m tests.sources`` runs
    one on this machine and says how to ask it, so that all of this can be tried without the internet.
    """

    name = "gelbooru"
    title = "Gelbooru"
    examples = (
        "shirakami_fubuki solo rating:general",
        "https://gelbooru.com/index.php?page=post&s=list&tags=shirakami_fubuki+solo",
    )
    services = ("gelbooru",)
    pace: ClassVar[Mapping[str, float]] = {"gelbooru.com": 1.0}

    class Options(PostOptions):
        """Which posts, in which size, and what of their tags."""

        endpoint: Endpoint = SITE
        """The site, without a path; others with the same program, and a server of your own, answer too."""
        tag_kinds: bool = True
        """Ask which tags are characters, series and artists, so that they come first: one more request for every 100
        different tags."""

    def accepts(self, location: str) -> bool:
        """A link to a page of it."""
        link = split_link(location)
        return link is not None and (link.hostname or "").removeprefix("www.") == "gelbooru.com"

    def notices(self, location: str, options: Section) -> tuple[Notice, ...]:
        """Its terms."""
        del location, options
        return (TERMS,)

    def look(self, location: str, options: Section, errand: Errand) -> Listing:
        """The posts that a search finds, newest first."""
        assert isinstance(options, self.Options)
        search = parse_search(location, options, title=self.title, syntax=SYNTAX)
        site = search.site or options.endpoint
        errand.consents.require(TERMS)
        asking = _Asking(site, errand)
        query = " ".join((*search.tags, *_conditions(search)))
        gathered = gather(asking.pages(search, query, options.limit), search.wish, options, errand.cancel)
        if not gathered.posts and not gathered.left_out:
            raise InputError(f"Nothing was found on {self.title} for: {query}.", f"{asking.unknown(search)}{SYNTAX}")
        require_some(gathered, query, SYNTAX)
        if options.tag_kinds:
            gathered = asking.with_kinds(gathered)
        return Listing(
            source=self.name,
            location=shown(location) if search.site else location,
            name=search.name or self.name,
            files=tuple(offered(post, self.name, options) for post in gathered.posts),
            origin={"license": LICENSE},
            left_out=gathered.left_out,
            said=(*search.said, *gathered.said, *asking.said),
        )

    def bring(self, listing: Listing, options: Section, errand: Errand) -> Haul:
        """The files, each original held to its MD5."""
        return checked(super().bring(listing, options, errand))


class _Asking:
    """One conversation with the API."""

    def __init__(self, site: str, errand: Errand) -> None:
        self._site, self._errand = site, errand
        self._place = urlsplit(site).netloc
        self.said: list[str] = []

    def pages(self, search: Search, query: str, wanted: int) -> Iterator[Sequence[Post]]:
        """Posts, a hundred at a time. By number wherever the order is the site's own: such pages do not shift."""
        page, below, size = 0, "", min(PAGE, max(20, wanted))
        while True:
            raw = self._ask("post", {"tags": f"{query} {below}".strip(), "pid": page or None, "limit": size})
            posts = [post for entry in _entries(raw, "post") if (post := self._post(entry)) is not None]
            yield posts
            if not posts:
                return
            if not search.sorted:
                below = f"id:<{min(post.number for post in posts)}"
                continue
            page += 1
            if page * size >= DEEPEST:
                self.said.append(f"{self._place} gives no more than {DEEPEST} posts of a search that is sorted.")
                return

    def with_kinds(self, gathered: Gathered) -> Gathered:
        """The posts with their tags by kind."""
        tags = dict.fromkeys(tag for post in gathered.posts for tag in post.tags.get("", ()))
        kinds: dict[str, str] = {}
        every = list(tags)
        for start in range(0, len(every), PAGE):
            try:
                kinds.update(self._kinds(every[start : start + PAGE]))
            except FetchError as failure:
                self.said.append(f"Which tags are characters and artists is not known: {failure.message}")
                return gathered
        return replace(gathered, posts=tuple(replace(post, tags=_grouped(post, kinds)) for post in gathered.posts))

    def unknown(self, search: Search) -> str:
        """Which plain tags of a search do not exist there, as a sentence; empty when all do, or it cannot be told."""
        plain = search.plain
        if not plain:
            return ""
        try:
            known = self._kinds(plain)
        except FetchError:  # the search was answered already; this is only for a better sentence
            return ""
        missing = [tag for tag in plain if tag not in known]
        return f"There is no tag {' and no tag '.join(missing[:5])}. " if missing else ""

    def _kinds(self, tags: Iterable[str]) -> dict[str, str]:
        raw = self._ask("tag", {"names": " ".join(tags), "limit": PAGE})
        found = {}
        for entry in _entries(raw, "tag"):
            kind = number(entry.get("type"))
            if isinstance(entry.get("name"), str) and kind is not None:
                found[html.unescape(entry["name"]).lower()] = _KINDS.get(kind, "general")
        return found

    def _ask(self, what: str, params: Mapping[str, Any]) -> Any:
        url = f"{self._site}/index.php"
        asked = {"page": "dapi", "s": what, "q": "index", "json": 1, **params}
        try:
            body = self._errand.fetcher.text(url, asked, cancel=self._errand.cancel)
        except FetchError as failure:
            raise self._explained(failure) from failure
        if not body.strip():
            return {}
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as cause:
            raise self._no_json(body) from cause

    def _explained(self, failure: FetchError) -> FetchError:
        if failure.status not in (401, 403):
            return failure
        if self._errand.credentials.get("gelbooru") is not None:
            return FetchError(
                f"{self._place} refuses the request ({failure.status}), although a key for Gelbooru is set.",
                f"Make a new key. {_KEY}",
                failure.status,
            )
        return FetchError(
            f"{self._place} answers nobody without a key (since June 2025); it answered {failure.status}.",
            _KEY,
            failure.status,
        )

    def _no_json(self, body: str) -> FetchError:
        reason = _REASON.search(body[:20_000])
        said = text(html.unescape(reason[1] or reason[2] or "")) if reason else said_by(body[:64_000].encode())
        if not said:
            said = text(re.sub(r"<[^>]*>", " ", body[:500]))[:200]
        hint = _KEY if re.search(r"auth|api.?key|credential", said, re.IGNORECASE) else f"Try again later. {SYNTAX}"
        return FetchError(f"{self._place} does not answer the search: “{said}”.", hint)

    def _post(self, entry: Mapping[str, Any]) -> Post | None:
        own = number(entry.get("id"))
        if own is None or own < 1:
            return None
        page = f"{self._site}/index.php?page=post&s=view&id={own}"
        rating = text(entry.get("rating")).lower()
        status = text(entry.get("status")).lower()
        return Post(
            number=own,
            page=page,
            url=absolute(page, entry.get("file_url")),
            sample=absolute(page, entry.get("sample_url")),
            md5=text(entry.get("md5") or entry.get("hash")).lower(),
            tags={"": words(html.unescape(entry["tags"]) if isinstance(entry.get("tags"), str) else "")},
            rating=rating if rating in RATINGS else _OLD_RATINGS.get(rating, rating),
            score=number(entry.get("score")),
            author=text(entry.get("owner")),
            source=html.unescape(text(entry.get("source"))),
            gone=status if status in ("deleted", "banned") else "",
        )


def _conditions(search: Search) -> list[str]:
    """What the wish is in the site's own words."""
    wish = search.wish
    found = []
    if len(wish.ratings) == 1:
        found.append(f"rating:{next(iter(wish.ratings))}")
    elif wish.ratings != frozenset(RATINGS):
        found += [f"-rating:{rating}" for rating in RATINGS if rating not in wish.ratings]
    if wish.least_score is not None:
        found.append(f"score:>={wish.least_score}")
    return found


def _entries(raw: Any, key: str) -> list[Mapping[str, Any]]:
    """The list in an answer: under its key, alone as an object where there is one only, or bare."""
    found = raw.get(key, []) if isinstance(raw, dict) else raw
    several = found if isinstance(found, list) else [found]
    return [entry for entry in several if isinstance(entry, dict)]


def _grouped(post: Post, kinds: Mapping[str, str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for tag in post.tags.get("", ()):
        groups.setdefault(kinds.get(tag.lower(), ""), []).append(tag)
    return groups


plugin = Gelbooru()
