"""Posts of a booru: what one is, which of them are wanted, and how its tags become a caption.

Gelbooru and Danbooru answer in different shapes; what they mean is the same, and from here on it is treated alike.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal
from urllib.parse import urljoin, urlsplit

from pydantic import Field, StringConstraints

from lorasmith.config import Section
from lorasmith.credentials import redact
from lorasmith.datasets.captions.kaomoji import is_kaomoji
from lorasmith.datasets.manifest import Fate
from lorasmith.datasets.source import IMAGE_SUFFIXES
from lorasmith.errors import FetchError, InputError
from lorasmith.fetching import shown
from lorasmith.fetching.limits import Cancel, stop_if
from lorasmith.sources import Haul, Offered, left_out

Rating = Literal["general", "sensitive", "questionable", "explicit"]
RATINGS: Final[tuple[Rating, ...]] = ("general", "sensitive", "questionable", "explicit")
Endpoint = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?$")]
"""Scheme and host of a site, for those with the same program and for servers of one's own."""
Kind = Literal["character", "copyright", "artist", "general", "meta"]

_MOVING: Final = frozenset((".mp4", ".webm", ".m4v", ".mov", ".mkv", ".avi", ".swf", ".zip", ".ogv"))
LICENSE: Final = "not stated; the rights are the artist's"
_MD5: Final = re.compile(r"[0-9a-f]{32}")
_LONGEST_TAG: Final = 170  # characters; the sites' own limit
_LONGEST_TEXT: Final = 2_000
_LOOKED_AT: Final = 20  # posts looked at for each that is wanted, at the most
_LOOKED_AT_LEAST: Final = 2_000


class PostOptions(Section):
    """Which posts, in which size, and what of their tags."""

    limit: Annotated[int, Field(ge=1, le=100_000)] = 50
    """How many pictures, 1 to 100000. Start with 50 to 100 and look at them before you ask for more."""
    ratings: tuple[Rating, ...] = RATINGS
    """Only posts that are rated so: general, sensitive, questionable, explicit."""
    least_score: Annotated[int, Field(ge=-1000, le=1_000_000)] | None = None
    """Only posts that people gave at least this score."""
    size: Literal["original", "sample"] = "original"
    """The original file, held to the MD5 that the site names; or the smaller sample that its pages show (often a
    JPEG of 850 pixels, too small for most training)."""
    categories: tuple[Kind, ...] = ("character", "copyright", "artist", "general")
    """Which kinds of tags enter the caption, in this order: character, copyright, artist, general, meta."""
    replace_underscores: bool = True
    """Write spaces for underscores, except in kaomoji."""


@dataclass(frozen=True)
class Post:
    """One post as its site describes it."""

    number: int
    page: str
    url: str = ""
    """Of the original; empty when the site does not give it out."""
    sample: str = ""
    md5: str = ""
    size: int | None = None
    """Bytes of the original."""
    tags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By kind; under ``""`` those of which the kind is not known."""
    rating: str = ""
    score: int | None = None
    author: str = ""
    source: str = ""
    gone: str = ""
    """Why the site does not show it (deleted, banned); empty when it does."""


@dataclass(frozen=True)
class Wish:
    """Which posts are wanted, whatever the site's search could be asked."""

    ratings: frozenset[str] = frozenset(RATINGS)
    least_score: int | None = None

    def refuses(self, post: Post) -> bool:
        """Whether a post is not what was asked for."""
        if post.rating in RATINGS and post.rating not in self.ratings:
            return True
        return self.least_score is not None and post.score is not None and post.score < self.least_score


@dataclass(frozen=True)
class Gathered:
    """What a search brought."""

    posts: tuple[Post, ...]
    left_out: tuple[Fate, ...]
    said: tuple[str, ...]


def gather(pages: Iterable[Sequence[Post]], wish: Wish, options: PostOptions, cancel: Cancel | None) -> Gathered:
    """Take posts from pages until there are enough. Ends too when a page brings nothing that is new.

    Posts that cannot be used are listed and do not count; those that were not wished for are passed over.
    """
    taken: list[Post] = []
    useless: list[Fate] = []
    said: list[str] = []
    seen: set[int] = set()
    most_looked = max(_LOOKED_AT_LEAST, _LOOKED_AT * options.limit)
    for page in pages:
        stop_if(cancel)
        fresh = [post for post in page if post.number not in seen]
        seen.update(post.number for post in fresh)
        for post in fresh:
            if wish.refuses(post):
                continue
            why = why_left_out(post, options)
            if why is None:
                taken.append(post)
            else:
                useless.append(why)
            if len(taken) >= options.limit:
                return Gathered(tuple(taken), tuple(useless), tuple(said))
        if not fresh:
            if page:
                said.append("The site repeats itself from here on, so the search ends.")
            break
        if len(seen) >= most_looked:
            said.append(f"The search ends after {len(seen)} posts, of which {len(taken)} can be used.")
            break
    return Gathered(tuple(taken), tuple(useless), tuple(said))


def why_left_out(post: Post, options: PostOptions) -> Fate | None:
    """Why a post cannot be brought; None when it can."""
    url = _address(post, options)
    name = f"post {post.number}"
    if post.gone:
        return left_out(name, f"is not shown any more: it is {post.gone}.", "withheld")
    if not url:
        return left_out(name, "has no file for you; some are kept for accounts of a higher level.", "withheld")
    suffix = _suffix(url)
    if suffix in _MOVING or _suffix(post.url) in _MOVING:
        return left_out(name, f"is a film or an animation ({_suffix(post.url) or suffix}).")
    if suffix not in IMAGE_SUFFIXES:
        return left_out(name, f"is no picture: its file ends in {suffix[:20] or 'nothing'}.")
    return None


def offered(post: Post, site: str, options: PostOptions) -> Offered:
    """The post as a file to bring. Its name is made of the site and the number, never of what strangers wrote."""
    url = _address(post, options)
    original = url == post.url
    md5 = post.md5.lower() if _MD5.fullmatch(post.md5.lower()) else ""
    facts: dict[str, Any] = {
        "address": shown(url),
        "page": post.page,
        "post": post.number,
        "author": post.author,
        "rating": post.rating,
        "score": post.score,
        "origin": post.source[:_LONGEST_TEXT],
        "artist": ", ".join(post.tags.get("artist", ()))[:_LONGEST_TEXT],
        "md5": md5 if original else "",
    }
    return Offered(
        path=f"{site}_{post.number}{_suffix(url)}",
        url=url,
        size=post.size if original else None,
        caption=caption(post.tags, options),
        origin={key: value for key, value in facts.items() if value not in ("", None)},
    )


def caption(tags: Mapping[str, Sequence[str]], options: PostOptions) -> str:
    """The tags as a caption: the kinds in order, each tag once. Tags of unknown kind count as general."""
    groups = {**tags, "general": [*tags.get("general", ()), *tags.get("", ())]}
    silent = {tag for kind, group in tags.items() if kind not in options.categories and kind for tag in group}
    named = [tag for kind in options.categories for tag in groups.get(kind, ()) if tag not in silent]
    spoken = (_spoken(tag, options.replace_underscores) for tag in named)
    return ", ".join(dict.fromkeys(tag for tag in spoken if tag))


def checked(haul: Haul) -> Haul:
    """The haul without originals that are not the file the site describes; they are deleted and listed.

    Raises:
        FetchError: nothing is left.
    """
    folder = haul.places[0]
    wrong: dict[str, Fate] = {}
    for path, origin in haul.origins.items():
        there, md5 = folder / path, origin.get("md5")
        if not md5 or not there.is_file():
            continue
        with there.open("rb") as stream:
            found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if found != md5:
            for beside in (there, there.with_suffix(".txt"), there.with_name(f"{there.name}.json")):
                beside.unlink(missing_ok=True)
            detail = f"is not the file that the site describes: its MD5 is {found}, and should be {md5}."
            wrong[path] = left_out(path, detail, "not_fetched")
    if wrong and len(wrong) == len(haul.origins):
        first = next(iter(wrong.values()))
        raise FetchError(f"No file is what the site says it is: {first.path} {first.detail}", "Try again later.")
    origins = {path: origin for path, origin in haul.origins.items() if path not in wrong}
    return replace(haul, missed=(*haul.missed, *wrong.values()), origins=origins)


def words(value: object) -> list[str]:
    """The tags of a text with blanks between them; what could not be one is dropped, and a secret is taken out."""
    if not isinstance(value, str):
        return []
    return [tag for tag in redact(value).split() if len(tag) <= _LONGEST_TAG and tag.isprintable()]


def number(value: object) -> int | None:
    """A whole number, also one that an API writes as a text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    plain = value.strip() if isinstance(value, str) else ""
    return int(plain) if re.fullmatch(r"-?[0-9]{1,18}", plain) else None


def text(value: object) -> str:
    """A text of an answer on one line, of a sane length and without secrets; empty for anything else."""
    if not isinstance(value, str):
        return ""
    line = " ".join("".join(c if c.isprintable() else " " for c in value).split())
    return redact(line[: 2 * _LONGEST_TEXT])[:_LONGEST_TEXT]


def require_some(gathered: Gathered, what: str, hint: str) -> None:
    """Raise when there is nothing to bring.

    Raises:
        InputError: saying why.
    """
    if gathered.posts:
        return
    if gathered.left_out:
        first = gathered.left_out[0]
        raise InputError(
            f"None of the {len(gathered.left_out)} posts found for {what} can be used; {first.path} {first.detail}",
            hint,
        )
    raise InputError(f"Nothing was found for {what}.", hint)


def absolute(page: str, address: object) -> str:
    """An address of an answer, which may lack its scheme; empty when there is none."""
    try:
        return urljoin(page, address.strip()) if isinstance(address, str) and address.strip() else ""
    except ValueError:
        return ""


def _address(post: Post, options: PostOptions) -> str:
    return post.sample if options.size == "sample" and post.sample else post.url


def _suffix(url: str) -> str:
    try:
        return PurePosixPath(urlsplit(url).path).suffix.lower()
    except ValueError:
        return ""


def _spoken(tag: str, with_spaces: bool) -> str:
    """A tag as it stands in a caption; empty when it would fall apart there."""
    if is_kaomoji(tag):
        return tag
    return (tag.replace("_", " ").strip() if with_spaces else tag) if "," not in tag else ""
