"""What a user types to find posts: tags as the sites write them, links to a search or a post, and words of guides.

Guides and prompts use words that no booru has as tags (``high_quality``, ``-nsfw``). They are translated into what the
sites do have, a score and a rating, and every translation is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import SplitResult, parse_qs, urlsplit

from lorasmith.datasets.captions.kaomoji import is_kaomoji
from lorasmith.errors import InputError
from lorasmith.sources.posts import RATINGS, PostOptions, Wish

_PRAISE: Final = frozenset(("high_quality", "best_quality", "masterpiece", "great_quality", "amazing_quality"))
_PRAISED: Final = 10  # score that stands for praise: on both sites about the upper half of what is posted
_RATED: Final[Mapping[str, frozenset[str]]] = {
    "-nsfw": frozenset(("general",)),
    "sfw": frozenset(("general",)),
    "safe": frozenset(("general",)),
    "rating:safe": frozenset(("general",)),
    "nsfw": frozenset(("questionable", "explicit")),
    "-sfw": frozenset(("sensitive", "questionable", "explicit")),
}
_LONGEST: Final = 2_000  # characters; longer addresses are refused by servers
_MOST_TAGS: Final = 60


@dataclass(frozen=True)
class Search:
    """What is looked for."""

    site: str
    """Scheme and host of the site that a link named; empty when only tags were given."""
    tags: tuple[str, ...]
    wish: Wish
    said: tuple[str, ...] = ()

    @property
    def sorted(self) -> bool:
        """Whether the answer comes in another order than the newest first, so that it cannot be paged by number."""
        return any(tag.lower().startswith(("sort:", "order:", "ordfav:")) for tag in self.tags)

    @property
    def plain(self) -> tuple[str, ...]:
        """The tags without signs, conditions and patterns."""
        found = (tag.lstrip("-~").lower() for tag in self.tags if not set(tag) & set("*:{}") and tag not in "(~)")
        return tuple(tag for tag in found if tag and tag != "or")

    @property
    def name(self) -> str:
        """A name for what is found: the tags that are wanted; empty when there is none."""
        return "_".join(tag for tag in self.tags if tag[0].isalnum() and ":" not in tag and "*" not in tag)[:60]


def parse_search(location: str, options: PostOptions, *, title: str, syntax: str) -> Search:
    """Tags, or the link of a search or of one post, with the words of guides translated.

    Args:
        location: as the user gave it.
        options: whose ratings and score count too.
        title: the site's name, for sentences.
        syntax: how its tags are written, for hints.

    Raises:
        InputError: it is no search; the hint says how one is written.
    """
    plain = location.strip()
    site = ""
    if "://" in plain:
        site, plain = _of_link(plain, title, syntax)
    tags = plain.split()
    if not tags:
        raise InputError(f"No tags were given to look for on {title}.", syntax)
    if len(plain) > _LONGEST or len(tags) > _MOST_TAGS:
        raise InputError(f"That search is too long for {title}: {len(tags)} tags, {len(plain)} characters.", syntax)
    _refuse_commas(tags, plain, syntax)
    for tag in tags:
        if not tag.isprintable() or not tag.strip("-~"):
            raise InputError(f"{tag!r} is no tag.", syntax)
    return _translated(Search(site, tuple(tags), Wish(frozenset(options.ratings), options.least_score)), title)


def split_link(text: str) -> SplitResult | None:
    """The parts of a link; None when it is none."""
    try:
        parts = urlsplit(text.strip())
        readable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # also of a port that is none
        return None
    return parts if readable else None


def _of_link(link: str, title: str, syntax: str) -> tuple[str, str]:
    parts = split_link(link)
    if parts is None:
        raise InputError("The link cannot be read.", f"Copy the address of a search on {title}. {syntax}")
    scheme = "https" if parts.port is None else parts.scheme  # old bookmarks
    site = f"{scheme}://{parts.netloc.rpartition('@')[2]}"
    query = parse_qs(parts.query)
    if query.get("tags"):
        return site, query["tags"][0]
    pieces = [piece for piece in parts.path.split("/") if piece]
    ids = [*query.get("id", ()), *(pieces[1:2] if pieces[:1] in (["posts"], ["post"]) else ())]
    if ids and ids[0].isascii() and ids[0].isdigit():
        return site, f"id:{ids[0]}"
    if pieces[:1] == ["pools"] and pieces[1:] and pieces[1].isdigit():
        return site, f"pool:{pieces[1]}"
    raise InputError(
        f"That link shows no search and no post of {title}.", f"Open a search and copy its address. {syntax}"
    )


def _refuse_commas(tags: Sequence[str], plain: str, syntax: str) -> None:
    """Captions have commas between tags, searches have none."""
    if not any("," in tag and not is_kaomoji(tag) for tag in tags):
        return
    likely = " ".join("_".join(part.split()) for part in plain.split(",") if part.strip())
    raise InputError("Tags of a search have no commas between them.", f"Did you mean: {likely[:200]}? {syntax}")


def _translated(search: Search, title: str) -> Search:
    kept: list[str] = []
    said: list[str] = []
    wish = search.wish
    for tag in search.tags:
        word = tag.lower()
        if word in _PRAISE:
            least = max(_PRAISED, wish.least_score if wish.least_score is not None else _PRAISED)
            wish = replace(wish, least_score=least)
            said.append(f"'{tag}' is no tag of {title}; posts with a score of {least} or more are asked for instead.")
        elif word in _RATED:
            wish = replace(wish, ratings=wish.ratings & _RATED[word])
            rated = " or ".join(rating for rating in RATINGS if rating in _RATED[word])
            said.append(f"'{tag}' is no tag of {title}; posts rated {rated} are asked for instead.")
        else:
            kept.append(tag)
    if not wish.ratings:
        raise InputError("No post can have the ratings that are asked for.", "Name one rating, or none.")
    return replace(search, tags=tuple(kept), wish=wish, said=tuple(said))
