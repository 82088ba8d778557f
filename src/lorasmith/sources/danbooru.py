"""Danbooru: posts by tags, through its API (``/posts.json``); an account is only needed for what it hides from guests.

It goes on below a post's number (``page=b123``), which has no end, where pages end at 1,000. A guest and a free account
may name two tags at a time, so what lorasmith itself can see on a post, its rating and its score, is asked for in the
search only while there is room, and looked at here in any case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from lorasmith.config import Section
from lorasmith.errors import FetchError, InputError
from lorasmith.fetching import Notice, shown
from lorasmith.sources import Errand, Haul, Listing, Source
from lorasmith.sources.posts import (
    LICENSE,
    RATINGS,
    Endpoint,
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

SITE: Final = "https://danbooru.donmai.us"
PAGE: Final = 200  # posts a request
LAST_PAGE: Final = 1_000
FREE_TAGS: Final = 2  # a search, for guests and free accounts
SYNTAX: Final = (
    "Write tags with spaces between them and _ inside: shirakami_fubuki solo. -tag leaves out, tag* completes, "
    "~a ~b or (a or b) is either; rating:general, score:>=10, width:>=1024, order:score narrow it."
)
TERMS: Final = Notice(
    "danbooru-terms",
    "Pictures of Danbooru",
    "They belong to the artists who made them; uploading them there gave nobody the right to use them otherwise. Read "
    "the site's terms of service and the rules of your country before you train on them or publish what comes of it, "
    "look at what arrives before you use it, and ask for no more than you need: lorasmith keeps to a slow pace. Posts "
    "that an artist had taken down are left out. Some of it is for adults only.",
)
_KEY: Final = (
    "Make a key there (My Account, API Key), then run `lorasmith secrets set danbooru` and give LOGIN:API_KEY."
)
_LETTERS: Final[Mapping[str, str]] = {rating[0]: rating for rating in RATINGS}
_KINDS: Final = ("artist", "character", "copyright", "general", "meta")


class Danbooru(Source):
    """Posts of Danbooru by tags, newest first, and of sites with the same program (``--endpoint``).

    Nobody needs an account, but guests and free accounts may name two tags at a time: give rating and score as options,
    which do not count. Words of guides that are no tags there are translated and said: ``high_quality`` and
    ``masterpiece`` into a score, ``-nsfw`` into a rating. Tags become captions by their kinds, with spaces for
    underscores but in kaomoji. Films, posts that are deleted, banned or for higher accounts, and files whose MD5 is
    wrong are left out, and listed. In a checkout, ``python -m tests.sources`` runs one on this machine and says how to
    ask it.
    """

    name = "danbooru"
    title = "Danbooru"
    examples = ("shirakami_fubuki solo", "https://danbooru.donmai.us/posts?tags=shirakami_fubuki+solo")
    services = ("danbooru",)
    pace: ClassVar[Mapping[str, float]] = {"danbooru.donmai.us": 1.0}

    class Options(PostOptions):
        """Which posts, in which size, and what of their tags."""

        endpoint: Endpoint = SITE
        """The site, without a path; others with the same program, and a server of your own, answer too."""

    def accepts(self, location: str) -> bool:
        """A link to a page of it."""
        link = split_link(location)
        return link is not None and link.hostname in ("danbooru.donmai.us", "safebooru.donmai.us")

    def notices(self, location: str, options: Section) -> tuple[Notice, ...]:
        """Its terms."""
        del location, options
        return (TERMS,)

    def look(self, location: str, options: Section, errand: Errand) -> Listing:
        """The posts that a search finds, newest first."""
        assert isinstance(options, self.Options)
        search = parse_search(location, options, title=self.title, syntax=SYNTAX)
        errand.consents.require(TERMS)
        asking = _Asking(search.site or options.endpoint, errand)
        query = " ".join((*search.tags, *_conditions(search)))
        gathered = gather(asking.pages(search, query, options.limit), search.wish, options, errand.cancel)
        if not gathered.posts and not gathered.left_out:
            raise InputError(f"Nothing was found on {self.title} for: {query}.", f"{asking.unknown(search)}{SYNTAX}")
        require_some(gathered, query, SYNTAX)
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
        self.site, self._errand = site, errand
        self._place = urlsplit(site).netloc
        self.said: list[str] = []

    def pages(self, search: Search, query: str, wanted: int) -> Iterator[Sequence[Post]]:
        """Posts, up to 200 at a time, below the lowest number so far; by page where the order is another one."""
        size = min(PAGE, max(20, wanted))
        page: int | str | None = None
        count = 1
        while True:
            raw = self._ask("posts", {"tags": query or None, "limit": size, "page": page}, search)
            posts = [post for entry in _listed(raw) if (post := self._post(entry)) is not None]
            yield posts
            if not posts:
                return
            count += 1
            page = count if search.sorted else f"b{min(post.number for post in posts)}"
            if search.sorted and count > LAST_PAGE:
                self.said.append(f"{self._place} gives no more than {LAST_PAGE} pages of a search that is sorted.")
                return

    def unknown(self, search: Search) -> str:
        """Which plain tags of a search do not exist there, as a sentence; empty when all do, or it cannot be told."""
        plain = search.plain
        if not plain:
            return ""
        try:
            raw = self._ask("tags", {"search[name_comma]": ",".join(plain), "limit": len(plain)}, search)
        except FetchError:  # the search was answered already; this is only for a better sentence
            return ""
        known = {text(entry.get("name")).lower() for entry in _listed(raw)}
        missing = [tag for tag in plain if tag not in known]
        return f"There is no tag {' and no tag '.join(missing[:5])}. " if missing else ""

    def _ask(self, what: str, params: Mapping[str, Any], search: Search) -> Any:
        try:
            raw = self._errand.fetcher.json(f"{self.site}/{what}.json", params, cancel=self._errand.cancel)
        except FetchError as failure:
            raise self._explained(failure, search) from failure
        if isinstance(raw, dict) and raw.get("success") is False:
            said = text(raw.get("message")) or text(raw.get("reason")) or "no reason given"
            raise FetchError(f"{self._place} does not answer the search: “{said[:200]}”.", SYNTAX)
        return raw

    def _explained(self, failure: FetchError, search: Search) -> FetchError:
        status = failure.status
        if status == 422:
            return FetchError(
                failure.message,
                f"Guests and free accounts may name {FREE_TAGS} tags there, and you named {len(search.tags)}: take the "
                "two rarest. Rating and score do not count when they are given as options (ratings, least_score). "
                f"{SYNTAX}",
                status,
            )
        if status in (401, 403):
            held = self._errand.credentials.get("danbooru") is not None
            why = "Your login or key is refused. " if held else "It may want an account, or refuse this network. "
            return FetchError(failure.message, f"{why}{_KEY}", status)
        if status == 410:
            return FetchError(failure.message, "Sort by nothing to go on without an end.", status)
        if status in (500, 502, 503):
            return FetchError(failure.message, "The site is overloaded or being worked on; try again later.", status)
        return failure

    def _post(self, entry: Mapping[str, Any]) -> Post | None:
        own = number(entry.get("id"))
        if own is None or own < 1:
            return None
        page = f"{self.site}/posts/{own}"
        rating = text(entry.get("rating")).lower()
        tags = {kind: words(entry.get(f"tag_string_{kind}")) for kind in _KINDS}
        gone = [word for word in ("deleted", "banned") if entry.get(f"is_{word}") is True]
        return Post(
            number=own,
            page=page,
            url=absolute(page, entry.get("file_url")),
            sample=absolute(page, entry.get("large_file_url")),
            md5=text(entry.get("md5")).lower(),
            size=number(entry.get("file_size")),
            tags=tags if any(tags.values()) else {"": words(entry.get("tag_string"))},
            rating=_LETTERS.get(rating, rating),
            score=number(entry.get("score")),
            source=text(entry.get("source")),
            gone=gone[-1] if gone else "",
        )


def _conditions(search: Search) -> list[str]:
    """What the wish is in the site's own words, as far as two tags in all leave room for it."""
    wish = search.wish
    found = []
    if wish.ratings != frozenset(RATINGS):
        found.append("rating:" + ",".join(rating[0] for rating in RATINGS if rating in wish.ratings))
    if wish.least_score is not None:
        found.append(f"score:>={wish.least_score}")
    return found[: max(0, FREE_TAGS - len(search.tags))]


def _listed(raw: Any) -> list[Mapping[str, Any]]:
    several = raw if isinstance(raw, list) else [raw]
    return [entry for entry in several if isinstance(entry, dict)]


plugin = Danbooru()
