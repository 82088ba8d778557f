"""Galleries of 300 sites and more, through the program gallery-dl: pictures with the metadata that it writes of each.

It is started twice: to tell what is there (``look``), and to bring it (``bring``). The address is checked before, and
so is every one that the sites lead to (``guarded_way.py``). Its metadata becomes captions and provenance in the
ordinary import (``datasets/sidecars.py``).

    <errand>/files/            what it brings: pictures, and a .json beside each
    <errand>/archive.sqlite3   what it has brought, so that it goes on where it was stopped
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import Field

from lorasmith.config import Section
from lorasmith.credentials import HIDDEN, mentioned, redact
from lorasmith.datasets.manifest import Fate
from lorasmith.datasets.names import make_unique, safe_dataset_name, safe_item_name
from lorasmith.datasets.source import IMAGE_SUFFIXES
from lorasmith.errors import AddressRefused, FetchError, InputError, OutOfDisk
from lorasmith.fetching import Notice, shown
from lorasmith.fetching.addresses import Address, Gate
from lorasmith.fetching.authorization import Authorization
from lorasmith.sources import Errand, Haul, Listing, Offered, Source, left_out
from lorasmith.sources.gallery_dl_program import FILMS, Run, find_program, in_words, running, settings, with_secrets
from lorasmith.sources.posts import text
from lorasmith.sources.searching import split_link

NOTICE: Final = Notice(
    "gallery-dl",
    "Pictures through gallery-dl",
    "gallery-dl is a program of its own under the GPL-2.0, which asks the sites itself. "
    "What it brings belongs to those who made it: read the terms of the site and the rules of your country before you "
    "train on it or publish what comes of it, look at what arrives, and ask for no more than you need.",
)
_PREFIX: Final = "gallery-dl:"
# Sites whose pages are galleries beyond doubt; all others are asked for by this source's name.
_HOSTS: Final = frozenset((
    "artstation.com", "behance.net", "bsky.app", "deviantart.com", "e621.net", "flickr.com", "furaffinity.net",
    "imgur.com", "instagram.com", "konachan.com", "newgrounds.com", "pinterest.com", "pixiv.net", "reddit.com",
    "rule34.xxx", "safebooru.org", "tumblr.com", "twitter.com", "wallhaven.cc", "x.com", "yande.re", "zerochan.net",
))  # fmt: skip
_FOLLOWED: Final = "-J"  # albums of a user and the like are opened
_FILE, _QUEUE = 3, 6  # kinds of its messages


class GalleryDl(Source):
    """Galleries, users and searches of over 300 sites, by the separate program gallery-dl.

    It is free software under the GPL-2.0 that lorasmith neither contains nor imports: install it with ``pipx install
    gallery-dl``, or name its path in ``LORASMITH_GALLERY_DL``. It runs with settings of ours and reads none of yours,
    neither cookies nor logins; the secret of the one site that is asked lies in a file that only you can read, for as
    long as it runs. Every address that it asks for is checked, so that no page leads it into your own network. Its
    metadata become captions and provenance. Stopped and asked again, it goes on; what it could not get is listed.
    """

    name = "gallery_dl"
    title = "gallery-dl (300 sites and more)"
    examples = (
        "https://www.artstation.com/somebody",
        "gallery-dl:https://safebooru.org/index.php?page=post&s=list&tags=solo",
    )
    services = ("gelbooru", "danbooru", "civitai")
    rank = 40

    class Options(Section):
        """How much of a gallery."""

        limit: Annotated[int, Field(ge=1, le=100_000)] = 50
        """How many pictures, 1 to 100000. Start with 50 to 100 and look at them before you ask for more."""
        tag_kinds: bool = False
        """Ask sites with tags which of them are characters and artists: one more request for each picture."""
        largest_megabytes: Annotated[int, Field(ge=1, le=10_000)] = 200
        """Files larger than this are left out, 1 to 10000 MB."""
        most_gigabytes: Annotated[float, Field(gt=0, le=10_000)] = 20
        """It is stopped when so much has come, above 0 to 10000 GB."""

    def __init__(self, program: Sequence[str] | None = None, settings: Mapping[str, Any] | None = None) -> None:
        """
        Args:
            program: the command that starts it, if not the one that is found.
            settings: further ones of its sites, such as servers of one's own.
        """
        self._program, self._settings = program, dict(settings or {})

    def accepts(self, location: str) -> bool:
        """A page of one of the best-known galleries, or any with ``gallery-dl:`` before it."""
        if location.strip().lower().startswith(_PREFIX):
            return True
        link = split_link(location)
        return link is not None and (link.hostname or "").removeprefix("www.") in _HOSTS and len(link.path) > 1

    def notices(self, location: str, options: Section) -> tuple[Notice, ...]:
        """That it is another program, and whose the pictures are."""
        del location, options
        return (NOTICE,)

    def look(self, location: str, options: Section, errand: Errand) -> Listing:
        """What the program says is there; nothing is brought."""
        assert isinstance(options, self.Options)
        address = _checked(location, errand)
        errand.consents.require(NOTICE)
        found = _Found()
        with self._running(address, options, errand, (_FOLLOWED,), bringing=False) as run:
            for line in run.lines():
                found.hear(line)
                if len(found.files) >= options.limit:
                    found.said.append(f"There may be more; the first {options.limit} are listed (limit).")
                    break
        if not found.files:
            self._explain_nothing(address, options, errand, found)
        last = PurePosixPath(urlsplit(address.url).path).stem
        name = "_".join(part for part in (found.site, found.tags or last) if part)[:60]
        return Listing(
            source=self.name,
            location=address.url,
            name=safe_dataset_name(name or self.name),
            files=tuple(found.files),
            origin={"page": shown(address.url)},
            left_out=tuple(found.left_out),
            said=tuple(found.said),
        )

    def bring(self, listing: Listing, options: Section, errand: Errand) -> Haul:
        """Run it; what it wrote is what is imported. Stopped and started again, it goes on where it was."""
        assert isinstance(options, self.Options)
        address = _checked(listing.location, errand)
        place = errand.folder / "files"
        place.mkdir(parents=True, exist_ok=True)
        _forget_what_is_gone(errand.folder)
        coming = _Coming(place, options, errand, len(listing.files))
        with self._running(address, options, errand, (), bringing=True) as run:
            for line in run.lines():
                if not coming.hear(line):
                    break
            code = 0 if coming.enough else run.code()
        missed = [*_failures(run), *coming.missed]
        origins = _origins(place)
        if not origins:
            what, hint = in_words(code, run.errors) if code else ("it brought nothing", "Try again later.")
            raise FetchError(f"gallery-dl brought nothing from {address.place}: {what}.", hint)
        if code and not missed:
            what, _ = in_words(code, run.errors)
            missed.append(left_out(address.place, f"did not give everything: {what}.", "not_fetched"))
        told = replace(listing, origin={"from": self.name, **listing.origin})
        return Haul((place,), told, tuple(missed), origins)

    def _running(
        self, address: Address, options: Options, errand: Errand, arguments: Sequence[str], *, bringing: bool
    ) -> AbstractContextManager[Run]:
        told = settings(
            errand.folder,
            limit=options.limit if bringing else None,
            largest=options.largest_megabytes * 1_000_000,
            tag_kinds=options.tag_kinds,
            pictures_only=bringing,
            retries=4 if bringing else 2,
        )
        told["extractor"].update(self._settings)
        service = Authorization(None).service_of(address)
        program = self._program or find_program()
        full = with_secrets(told, service, errand.credentials)
        return running(program, full, arguments, address.url, Gate(errand.fetcher.limits), errand.cancel)

    def _explain_nothing(self, address: Address, options: Options, errand: Errand, found: _Found) -> None:
        """Raise with the reason why nothing is listed: in that mode it keeps its errors to itself, so ask once more."""
        if found.left_out:
            raise InputError(f"There is no picture at {address.place}: {found.left_out[0].detail}", "Try another page.")
        with self._running(address, options, errand, ("-s",), bringing=False) as run:
            for _ in run.lines():
                pass
            code = run.code()
        if run.way.refused:
            raise AddressRefused(
                f"gallery-dl was kept from an address that {address.place} leads to: {run.way.refused[0]}",
                "A server of your own has to be allowed by name (allow_hosts).",
            )
        if not code:
            raise InputError(
                f"gallery-dl finds no picture at {shown(address.url)}.", "Open it in a browser to see why."
            )
        what, hint = in_words(code, run.errors)
        service = Authorization(None).service_of(address)
        login = (
            f"`lorasmith secrets set {service}`, then try again." if code & 16 and service in self.services else hint
        )
        raise FetchError(f"gallery-dl cannot list {shown(address.url)}: {what}.", login)


@dataclass
class _Found:
    """What the program says is there."""

    files: list[Offered] = field(default_factory=list)
    left_out: list[Fate] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    site: str = ""
    tags: str = ""
    """What was searched for there, where it was a search."""
    _taken: set[str] = field(default_factory=set)

    def hear(self, line: str) -> None:
        """One message: ``[3, address, metadata]`` is a file, ``[6, address, ...]`` a page that it cannot open."""
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(message, list) or len(message) < 3 or not isinstance(message[1], str):
            return
        url, facts = message[1], message[2] if isinstance(message[2], dict) else {}
        if message[0] == _QUEUE:
            self.left_out.append(left_out(text(shown(url))[:200], "leads to a page that gallery-dl does not know."))
        if message[0] != _FILE:
            return
        self.site = self.site or text(facts.get("category"))
        self.tags = self.tags or text(facts.get("search_tags")).replace(" ", "_")
        suffix = text(facts.get("extension")).lower()
        stem = text(facts.get("filename")) or str(facts.get("id") or "file")
        name = make_unique(safe_item_name(f"{self.site}/{stem.replace('/', '_')[:100]}.{suffix or 'jpg'}"), self._taken)
        if suffix in FILMS or (suffix and f".{suffix}" not in IMAGE_SUFFIXES):
            self.left_out.append(left_out(name, f"is no picture (.{suffix[:20]})."))
            return
        said = {"post": facts.get("id"), "site": self.site, "rating": facts.get("rating"), "score": facts.get("score")}
        origin = {key: value for key, value in said.items() if isinstance(value, str | int) and value != ""}
        self.files.append(Offered(name, shown(url.removeprefix("text:")), origin=origin))


@dataclass
class _Coming:
    """What the program brings, file by file, and when it is enough."""

    place: Path
    options: GalleryDl.Options
    errand: Errand
    total: int
    done: int = 0
    bytes: int = 0
    enough: bool = False
    missed: list[Fate] = field(default_factory=list)

    def hear(self, line: str) -> bool:
        """One line of its output: a path, or ``# `` and one that was there. False: it is enough.

        Raises:
            OutOfDisk: the disk is nearly full; what came is kept.
        """
        path = Path(line.removeprefix("# "))
        if not path.is_relative_to(self.place) or not path.is_file():
            return True
        self.done += 1
        self.bytes += path.stat().st_size
        if self.errand.watch is not None:
            self.errand.watch(self.done, max(self.total, self.done), path.relative_to(self.place).as_posix())
        free = shutil.disk_usage(self.place).free
        if free < self.errand.fetcher.limits.reserve_bytes:
            raise OutOfDisk(
                f"The disk of {self.place} is nearly full: {free / 1e9:.2f} GB are free.", "Free some space."
            )
        if self.bytes > self.options.most_gigabytes * 1e9:
            said = f"was stopped: more than {self.options.most_gigabytes:g} GB have come (most_gigabytes)."
            self.missed.append(left_out("gallery-dl", said, "not_fetched"))
            self.enough = True
        self.enough = self.enough or self.done >= self.options.limit
        return not self.enough


def _checked(location: str, errand: Errand) -> Address:
    """The address, when it is one of the public internet; checked before the program is started.

    Raises:
        InputError: no address, or one that the program would read as an order.
        AddressRefused: one that must not be asked.
    """
    plain = location.strip()
    plain = plain[len(_PREFIX) :].strip() if plain.lower().startswith(_PREFIX) else plain
    if "://" not in plain or any(sign.isspace() for sign in plain):
        raise InputError(
            f"'{redact(plain)[:100]}' is no address of a gallery.", "Copy the address of the page, with https://."
        )
    gate = Gate(errand.fetcher.limits)
    address = gate.check(plain)
    if HIDDEN in shown(address.url) and HIDDEN not in address.url:
        raise InputError(
            f"The address {shown(address.url)} holds a key, which everybody on this machine could read meanwhile.",
            "Copy the address of the page without it.",
        )
    try:
        gate.resolve(address.host, address.port)
    except (OSError, UnicodeError) as cause:
        raise FetchError(
            f"{address.place} is not known here ({cause}).", "Check the address and your connection."
        ) from cause
    return address


def _forget_what_is_gone(folder: Path) -> None:
    """Without the files that it speaks of, the list of what was brought would keep them from coming again."""
    archive = folder / "archive.sqlite3"
    if not archive.is_file():
        return
    try:
        with closing(sqlite3.connect(archive)) as connection:
            (known,) = connection.execute("SELECT count(*) FROM archive").fetchone()
    except sqlite3.Error:  # torn by a crash
        known = -1
    if known != sum(1 for _ in _pictures(folder / "files")):
        archive.unlink()


def _failures(run: Run) -> Iterator[Fate]:
    """Files that it says it could not download, and addresses that it was kept from."""
    for line in run.errors:
        _, found, name = line.partition("Failed to download ")
        if found:
            yield left_out(safe_item_name(name.strip())[:200], "could not be had by gallery-dl.", "not_fetched")
    for why in dict.fromkeys(run.way.refused):
        yield left_out("gallery-dl", f"was kept from an address: {why}", "not_fetched")


def _origins(place: Path) -> dict[str, dict[str, Any]]:
    """Where each picture lay, from the metadata beside it; a secret that a site echoed there is taken out."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    found: dict[str, dict[str, Any]] = {}
    for path in _pictures(place):
        origin: dict[str, Any] = {"retrieved": now}
        beside = path.with_name(f"{path.name}.json")
        if beside.is_file():
            said = beside.read_text(encoding="utf-8", errors="replace")
            if mentioned(said) is not None:
                said = redact(said)
                beside.write_text(said, encoding="utf-8")
            origin |= _address_in(said)
        found[path.relative_to(place).as_posix()] = origin
    return found


def _address_in(said: str) -> dict[str, str]:
    try:
        facts = json.loads(said)
    except (ValueError, RecursionError):
        return {}
    url = facts.get("file_url") if isinstance(facts, dict) else None
    return {"address": shown(url)} if isinstance(url, str) and split_link(url) is not None else {}


def _pictures(place: Path) -> Iterator[Path]:
    for path in sorted(place.rglob("*")):
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not path.is_symlink():
            yield path


plugin = GalleryDl()
