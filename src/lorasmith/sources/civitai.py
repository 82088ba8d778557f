"""Civitai: pictures of a post, a user, a model's gallery, or one by one; and the training data that a model publishes.

The API gives up to 200 pictures at a time and a cursor for the next. What a picture is called there is no name of a
file, and its address ends as its preview does whatever the original is, so that the suffix is told by its first bytes.
Models themselves are bases: `lorasmith bases add`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, Literal
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from pydantic import Field

from lorasmith.bases.links import CIVITAI_HOSTS, CivitaiLink, parse_link
from lorasmith.config import Section
from lorasmith.datasets.manifest import Fate
from lorasmith.errors import BaseError, FetchError, InputError
from lorasmith.fetching import Notice, shown
from lorasmith.fetching.limits import stop_if
from lorasmith.sources import Errand, Listing, Offered, Source, left_out
from lorasmith.sources.posts import Endpoint, absolute, number, text
from lorasmith.sources.searching import split_link

SITE: Final = "https://civitai.com"
PAGE: Final = 200  # pictures a request
TERMS: Final = Notice(
    "civitai-terms",
    "Pictures of Civitai",
    "They belong to those who made or posted them, and may show people and works of others. Read the site's terms of "
    "service and the rules of your country before you train on them or publish what comes of it, look at what arrives, "
    "and ask for no more than you need. Some of it is for adults only.",
)
LEVELS: Final = ("none", "soft", "mature", "x")
_BITS: Final[Mapping[int, int]] = {1: 0, 2: 1, 4: 2, 8: 3, 16: 3, 32: 3}  # browsing levels of the newer answers
_FILMS: Final = (".mp4", ".webm", ".mov")
_PAGES: Final = re.compile(r"/(images|posts|user|collections)(?:/([^/]+))?(?:/.*)?")
_SHORT: Final = re.compile(r"(user|post|image|model):(.+)")
_NETWORK: Final = re.compile(r"<[^<>]{0,200}>")
_WEIGHT: Final = re.compile(r"[(\[]([^()\[\]:]+)(?::\s*[0-9.]+)?[)\]]")
_LOOKED_AT: Final = 20
_LOOKED_AT_LEAST: Final = 2_000
_HELP: Final = (
    "Copy the address of a post, a picture, a user's page or a model's page there, or write user:NAME, post:NUMBER, "
    "image:NUMBER or model:NUMBER."
)


class Civitai(Source):
    """Pictures of Civitai: of a post, a user or a model's gallery; or the training data that a model publishes.

    Links of civitai.com, .red and .green and AIRs are understood, and ``post:``, ``user:``, ``image:`` and ``model:``
    with a number or name. A model's page means the pictures of its gallery; the model itself is had with ``lorasmith
    bases add``. A download link with ``?type=Training%20Data`` or the ``?fileId=`` of such a file brings the ZIP that
    it was trained on. Public pictures need no key; with one, the site shows what your account may see. Collections are
    not given out by its API; gallery_dl can bring them.
    """

    name = "civitai"
    title = "Civitai"
    examples = (
        "https://civitai.com/posts/123456",
        "user:somebody",
        "https://civitai.com/models/4384?modelVersionId=128713",
    )
    services = ("civitai",)
    pace: ClassVar[Mapping[str, float]] = {"civitai.com": 0.5, "civitai.red": 0.5, "civitai.green": 0.5}

    class Options(Section):
        """Which pictures, in which size, and what becomes their caption."""

        limit: Annotated[int, Field(ge=1, le=100_000)] = 50
        """How many pictures, 1 to 100000. Start with 50 to 100 and look at them before you ask for more."""
        most_nsfw: Literal["none", "soft", "mature", "x"] = "soft"
        """The most that may be seen on them, as the site rates it: none, soft, mature, x."""
        size: Literal["original", "preview"] = "original"
        """The original file, or the preview that pages show (450 pixels wide: too small for most training)."""
        captions: Literal["prompt", "none"] = "prompt"
        """Whether the prompt that a picture was made with becomes its caption, without weights and network names. A
        prompt says what was wished for, not what is to be seen."""
        sort: Literal["newest", "most_reactions", "most_comments"] = "newest"
        """In which order they are listed."""
        period: Literal["all_time", "year", "month", "week", "day"] = "all_time"
        """How old they may be."""
        endpoint: Endpoint = SITE
        """The site, without a path; a server of your own answers too."""

    def accepts(self, location: str) -> bool:
        """A link to it, or an AIR."""
        if location.strip().lower().startswith("urn:air:"):
            return ":civitai:" in location.lower()
        link = split_link(location)
        return link is not None and (link.hostname or "").removeprefix("www.") in CIVITAI_HOSTS

    def notices(self, location: str, options: Section) -> tuple[Notice, ...]:
        """Its terms."""
        del location, options
        return (TERMS,)

    def look(self, location: str, options: Section, errand: Errand) -> Listing:
        """The pictures of a page, or the one ZIP of a model's training data."""
        assert isinstance(options, self.Options)
        place = _place(location, options.endpoint)
        errand.consents.require(TERMS)
        asking = _Asking(place, options, errand)
        if place.version is not None:
            return self._training_data(location, asking.training_data(place.version), place)
        gathered = asking.gather()
        if not gathered.files:
            first = f" {gathered.left_out[0].path} {gathered.left_out[0].detail}" if gathered.left_out else ""
            passed = f" {gathered.said[-1]}" if gathered.said else ""
            raise InputError(f"There is no picture to be had at {place.name}.{first}{passed}", _HELP)
        return Listing(
            source=self.name,
            location=shown(location) if "://" in location else location,
            name=f"civitai_{place.name}",
            files=tuple(gathered.files),
            origin={"license": "not stated; the rights are the creator's"},
            left_out=tuple(gathered.left_out),
            said=(*place.said, *gathered.said),
        )

    def _training_data(self, location: str, file: Offered, place: _Place) -> Listing:
        name = f"civitai_{place.name}"
        return Listing(self.name, shown(location), name, (file,), {"license": "as the page of the model says"})


@dataclass(frozen=True)
class _Place:
    """What a location means."""

    root: str
    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    version: CivitaiLink | None = None
    """Set where a file of a model is meant, not pictures."""
    said: tuple[str, ...] = ()


@dataclass
class _Gathered:
    files: list[Offered] = field(default_factory=list)
    left_out: list[Fate] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


class _Asking:
    """One conversation with the API."""

    def __init__(self, place: _Place, options: Civitai.Options, errand: Errand) -> None:
        self._place, self._options, self._errand = place, options, errand
        self._most = LEVELS.index(options.most_nsfw)

    def gather(self) -> _Gathered:
        """Pictures until there are enough, the site has no more, or it repeats itself."""
        found = _Gathered()
        seen: set[int] = set()
        above = 0
        for page in self._pages():
            fresh = [entry for entry in page if (own := number(entry.get("id"))) is not None and own not in seen]
            for entry in fresh:
                seen.add(int(entry["id"]))
                if _level(entry) > self._most:
                    above += 1
                    continue
                self._take(entry, found)
                if len(found.files) >= self._options.limit:
                    break
            if len(found.files) >= self._options.limit or not fresh:
                break
            if len(seen) >= max(_LOOKED_AT_LEAST, _LOOKED_AT * self._options.limit):
                found.said.append(f"The listing ends after {len(seen)} pictures.")
                break
        if above:
            found.said.append(f"{above} pictures above '{self._options.most_nsfw}' were passed over (most_nsfw).")
        return found

    def training_data(self, link: CivitaiLink) -> Offered:
        """The ZIP of pictures that a version was trained on, where its creator publishes it.

        Raises:
            InputError: the link is of a model; or there is no such file.
        """
        raw = self._ask(f"model-versions/{link.version}", {})
        files = [file for file in raw.get("files") or () if isinstance(file, dict)] if isinstance(raw, dict) else []
        wanted = [file for file in files if link.file is None or number(file.get("id")) == link.file]
        data = [file for file in wanted if str(file.get("type", "")).lower() == "training data"]
        if not data or (link.file is None and link.filters.get("type", "").lower() != "training data"):
            extra = " It publishes its training data too: add ?type=Training%20Data to the link." if data else ""
            raise InputError(
                f"Version {link.version} on Civitai is a model, not pictures.{extra}",
                f"Add it as a base: `lorasmith bases add {self._place.root}/api/download/models/{link.version}`.",
            )
        file, own = data[0], number(data[0].get("id"))
        query = f"?fileId={own}" if own is not None else "?type=Training%20Data"
        url = f"{self._place.root}/api/download/models/{link.version}{query}"
        told = file.get("hashes")
        digest = str(told.get("SHA256", "")).lower() if isinstance(told, dict) else ""
        page = f"{self._place.root}/models/{raw.get('modelId')}?modelVersionId={link.version}"
        return Offered(
            path=f"civitai_{link.version}_training_data.zip",
            url=url,
            sha256=digest if re.fullmatch(r"[0-9a-f]{64}", digest) else None,
            expected="zip",
            origin={"page": page},
        )

    def _pages(self) -> Iterator[list[Mapping[str, Any]]]:
        options = self._options
        asked: dict[str, Any] = {
            **self._place.params,
            "limit": min(PAGE, max(20, options.limit)),
            "nsfw": options.most_nsfw.capitalize(),
            "sort": options.sort.replace("_", " ").title(),
            "period": options.period.title().replace("_", ""),
        }
        cursor, before = None, set()
        while True:
            stop_if(self._errand.cancel)
            raw = self._ask("images", {**asked, "cursor": cursor})
            items = raw.get("items") if isinstance(raw, dict) else None
            if not isinstance(items, list):
                raise FetchError(
                    f"{urlsplit(self._place.root).netloc} answers without a list of pictures.", "Try again later."
                )
            yield [entry for entry in items if isinstance(entry, dict)]
            cursor = _cursor(raw.get("metadata"))
            if cursor is None or cursor in before or not items:
                return
            before.add(cursor)

    def _take(self, entry: Mapping[str, Any], found: _Gathered) -> None:
        name = f"civitai_{entry['id']}"
        page = f"{self._place.root}/images/{entry['id']}"
        url = absolute(page, entry.get("url"))
        if not url:
            found.left_out.append(left_out(name, "has no file for you.", "withheld"))
            return
        if entry.get("type") == "video" or urlsplit(url).path.lower().endswith(_FILMS):
            found.left_out.append(left_out(name, "is a film."))
            return
        told = entry.get("meta")
        meta: Mapping[str, Any] = told if isinstance(told, dict) else {}
        said = {
            "page": page,
            "post": number(entry.get("id")),
            "author": text(entry.get("username")),
            "rating": LEVELS[_level(entry)],
            "score": _reactions(entry),
        }
        found.files.append(
            Offered(
                path=name,
                url=_original(url) if self._options.size == "original" else url,
                caption=plain_prompt(meta.get("prompt")) if self._options.captions == "prompt" else "",
                origin={key: value for key, value in said.items() if value not in ("", None)},
            )
        )

    def _ask(self, what: str, params: Mapping[str, Any]) -> Any:
        try:
            raw = self._errand.fetcher.json(f"{self._place.root}/api/v1/{what}", params, cancel=self._errand.cancel)
        except FetchError as failure:
            if failure.status == 404:
                raise FetchError(f"Civitai knows nothing of {self._place.name}.", _HELP, 404) from failure
            raise
        if isinstance(raw, dict) and raw.get("error"):
            said = text(raw.get("message")) or text(raw["error"]) or "no reason given"
            raise FetchError(
                f"Civitai does not answer: “{said[:200]}”.", "Check the address; if it is right, try later."
            )
        return raw


def plain_prompt(prompt: object) -> str:
    """A prompt as a caption: on one line, without names of networks and without weights."""
    plain = _NETWORK.sub("", text(prompt))
    for _ in range(4):  # weights within weights
        plain = _WEIGHT.sub(r"\1", plain)
    parts = (" ".join(part.split()) for part in plain.split(","))
    return ", ".join(part for part in parts if part and part != "BREAK")


def _place(location: str, endpoint: str) -> _Place:
    """What a location means; nothing is asked.

    Raises:
        InputError: nothing of Civitai, or what its API does not give out.
    """
    plain = location.strip()
    short = _SHORT.fullmatch(plain)
    if short is not None:
        return _short(short[1], short[2].strip(), endpoint)
    if plain.lower().startswith("urn:air:"):
        return _model(plain, endpoint)
    link = split_link(plain)
    host = (link.hostname or "").removeprefix("www.") if link is not None else ""
    own = urlsplit(endpoint)
    if link is None or (host not in CIVITAI_HOSTS and link.netloc != own.netloc):
        raise InputError(f"'{shown(plain)[:100]}' is no page of Civitai.", _HELP)
    root = endpoint if endpoint != SITE else f"https://{host}"
    found = _PAGES.fullmatch(link.path.rstrip("/"))
    if found is None:
        asked = plain if host in CIVITAI_HOSTS else urlunsplit(("https", "civitai.com", link.path, link.query, ""))
        return _model(asked, root)
    kind, name = found[1], unquote(found[2] or "")
    if kind == "collections":
        raise InputError(
            "Civitai's public API does not give out collections.",
            f"gallery-dl can: `lorasmith import gallery_dl {shown(plain)}`.",
        )
    if kind == "images" and not name:
        return _Place(root, "images")
    return _short({"images": "image", "posts": "post"}.get(kind, kind), name, root)


def _short(kind: str, name: str, root: str) -> _Place:
    if kind == "user":
        if not re.fullmatch(r"[\w.-]{1,100}", name):
            raise InputError(f"{name[:100]!r} is no name of a user of Civitai.", _HELP)
        return _Place(root, f"user_{name}", {"username": name})
    if not re.fullmatch(r"[0-9]{1,15}", name):
        raise InputError(f"{name[:100]!r} is no number of a {kind} of Civitai.", _HELP)
    if kind == "model":
        return _model(f"https://civitai.com/models/{name}", root)
    return _Place(root, f"{kind}_{name}", {f"{kind}Id": int(name)})


def _model(address: str, root: str) -> _Place:
    """A model's page or AIR: its gallery; a link of its download: one of its files."""
    try:
        link = parse_link(address)
    except BaseError as cause:
        raise InputError(f"'{shown(address)[:100]}' shows no pictures of Civitai.", _HELP) from cause
    if not isinstance(link, CivitaiLink):
        raise InputError(f"'{shown(address)[:100]}' is no page of Civitai.", _HELP)
    if link.model is None or link.file is not None:
        version = link.version
        if version is None:
            raise InputError("The link names a file and not its version.", "Copy the link of the download button.")
        return _Place(root, f"version_{version}", version=link)
    params = {"modelId": link.model} if link.version is None else {"modelVersionId": link.version}
    said = (
        "These are the pictures of its gallery, made with it by others; the model itself is had with "
        f"`lorasmith bases add {shown(address)}`."
    )
    return _Place(root, f"model_{link.model}", params, said=(said,))


def _cursor(metadata: object) -> str | None:
    """Where the next page begins: ``nextCursor``, or what the address of the next page holds; that is not followed."""
    if not isinstance(metadata, dict):
        return None
    cursor = metadata.get("nextCursor")
    if isinstance(cursor, str | int) and not isinstance(cursor, bool) and str(cursor):
        return str(cursor)[:500]
    page = split_link(metadata["nextPage"]) if isinstance(metadata.get("nextPage"), str) else None
    return parse_qs(page.query).get("cursor", [None])[0] if page is not None else None


def _level(entry: Mapping[str, Any]) -> int:
    """How much is to be seen, by ``LEVELS``; what is not rated counts as most."""
    told = entry.get("nsfwLevel")
    if isinstance(told, str) and told.lower() in LEVELS:
        return LEVELS.index(told.lower())
    bit = told if isinstance(told, int) and not isinstance(told, bool) else entry.get("browsingLevel")
    if isinstance(bit, int) and bit in _BITS:
        return _BITS[bit]
    return 0 if entry.get("nsfw") is False else len(LEVELS) - 1


def _reactions(entry: Mapping[str, Any]) -> int | None:
    stats = entry.get("stats")
    if not isinstance(stats, dict):
        return None
    return sum(count for key in ("likeCount", "heartCount") if (count := number(stats.get(key))) is not None)


def _original(url: str) -> str:
    """The address of the original, from that of a preview: one part of it names the transformation."""
    parts = urlsplit(url)
    pieces = parts.path.split("/")
    changed = [
        "original=true" if re.match(r"(width|height|anim|optimized|transcode|quality)=", p) else p for p in pieces
    ]
    return urlunsplit((parts.scheme, parts.netloc, "/".join(changed), parts.query, ""))


plugin = Civitai()
