"""A source brings pictures from elsewhere to this machine, with what is known of each; one file each.

Write ``sources/<name>.py`` with a class that derives from ``Source`` and a module-level ``plugin = ThatClass()``.
``Options`` is a strict config section: command line and forms come from it for free.

A source never makes a dataset. It says what it would bring (``look``), brings it into a folder (``bring``), and the
ordinary import takes it from there: so what lies in a ZIP of a stranger meets the same limits wherever it came from.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from lorasmith import plugins
from lorasmith.config import Section
from lorasmith.credentials import Credentials
from lorasmith.datasets.manifest import Fate
from lorasmith.datasets.origins import Origin
from lorasmith.errors import ConfigError
from lorasmith.fetching import Cancel, Consents, Expected, Fetcher, Notice, Transfer, shown

Limit = Annotated[int, Field(ge=1, le=1_000_000)] | None
"""The type of an option ``limit``: how many pictures at most; None for all."""
LeftOut = Literal["not_wanted", "withheld", "not_fetched"]


@dataclass(frozen=True)
class Offered:
    """One file that a source would bring."""

    path: str
    """Where it will lie in the folder, ``/`` between parts; unique in a listing, a name that every system allows."""
    url: str
    """Where it is; without tokens. Empty where the source brings it by other means."""
    size: int | None = None
    """Bytes; None when nobody says."""
    sha256: str | None = None
    expected: Expected = "image"
    caption: str = ""
    """What the source says is on it; becomes a ``.txt`` beside it."""
    origin: Mapping[str, Any] = field(default_factory=dict)
    """Into the item's provenance, by the keys of ``datasets/origins.py``; ``address`` and ``retrieved`` are added."""


@dataclass(frozen=True)
class Listing:
    """What a source would bring from one place, before anything is brought."""

    source: str
    """The plugin's name."""
    location: str
    """As the user gave it, without secrets."""
    name: str
    """A name for the dataset, where the user gives none."""
    files: tuple[Offered, ...]
    origin: Mapping[str, Any] = field(default_factory=dict)
    """Into the provenance of every item: ``license``, ``revision``, ``page``; ``from`` is the source's name."""
    left_out: tuple[Fate, ...] = ()
    """What is there and will not be brought, each with its reason: made by ``left_out``."""
    said: tuple[str, ...] = ()
    """Sentences for the user: what was cut short, what a search means."""

    @property
    def bytes_known(self) -> int:
        """Of all files whose size is known."""
        return sum(file.size or 0 for file in self.files)


@dataclass(frozen=True)
class Haul:
    """What was brought, ready for the import."""

    places: tuple[Path, ...]
    """What to import: a folder, or files such as a ZIP."""
    listing: Listing
    missed: tuple[Fate, ...] = ()
    """Files that could not be had, each with its reason; they go into the ledger."""
    origins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What is known of each file besides ``listing.origin``, by its path in what is imported."""

    limit: int | None = None
    """How many pictures the import shall take at most; None: all."""

    @property
    def origin(self) -> Origin | None:
        """For the import; None when nothing was brought from anywhere."""
        if not (self.listing.origin or self.origins):
            return None
        return Origin(
            source=self.listing.source,
            location=self.listing.location,
            everywhere=self.listing.origin,
            by_path=self.origins,
            missed=(*self.listing.left_out, *self.missed),
            said=self.listing.said,
        )


@dataclass(frozen=True)
class Errand:
    """All that a source may use. One per ``look`` and ``bring``; whoever makes it closes its fetcher."""

    fetcher: Fetcher
    credentials: Credentials
    consents: Consents
    folder: Path
    """Its own folder: the same for the same place and options, so that what arrived is not asked for again."""
    watch: Callable[[int, int, str], None] | None = None
    """Called with (files done, files in all, path)."""
    transfer: Callable[[Transfer], None] | None = None
    """Called a few times a second while a large file arrives, by several threads."""
    cancel: Cancel | None = None


def left_out(path: str, detail: str, rule: LeftOut = "not_wanted") -> Fate:
    """The fate of a file that will not be brought. ``detail`` goes on where the path ends ("is a film.").

    ``not_wanted``: an option or the kind of file left it out; ``withheld``: it is listed and given to nobody, or not to
    this user; ``not_fetched``: it should have come and did not.
    """
    return Fate(path=path, fate="left_out", rule=rule, detail=detail)


class Source(ABC):
    """The contract: ``accepts`` a location, ``look`` without bringing, then ``bring``."""

    name: ClassVar[str]
    title: ClassVar[str]
    examples: ClassVar[tuple[str, ...]]
    """Locations as people write them."""
    by_location: ClassVar[bool] = False
    """Whether its locations are known as such, so that its name need not stand before them."""

    """Locations as people write them."""
    rank: ClassVar[int] = 50
    """Where several accept a location, the highest counts: who knows a site (50) goes before any address (10)."""
    services: ClassVar[tuple[str, ...]] = ()
    """Whose secrets it can use (``credentials.WANTED``); those that it cannot do without are for ``look`` to miss."""
    pace: ClassVar[Mapping[str, float]] = {}
    """Least seconds between the beginnings of two requests, by host; the fetcher keeps to it."""

    class Options(Section):
        """Nothing to choose. A field ``endpoint`` names a mirror: its host may be asked, on whatever network it is."""

    def command(self, example: str) -> str:
        """A location as it is typed on the command line."""
        quoted = f'"{example}"' if any(sign in example for sign in " ?&*()'") else example
        return f"lorasmith import {quoted}" if self.by_location else f"lorasmith import {self.name} {quoted}"

    @abstractmethod
    def accepts(self, location: str) -> bool:
        """Whether this is surely meant for this source when its name was not given; quick, asks nobody."""

    def notices(self, location: str, options: Section) -> tuple[Notice, ...]:
        """What the user has to agree to before anything is asked there."""
        del location, options
        return ()

    @abstractmethod
    def look(self, location: str, options: Section, errand: Errand) -> Listing:
        """What would be brought; brings nothing but metadata.

        Raises:
            InputError: a location that means nothing here, or nothing there.
            FetchError: the place refuses or cannot be reached.
            ConsentNeeded: the user has to agree first.
        """

    def bring(self, listing: Listing, options: Section, errand: Errand) -> Haul:
        """Bring everything of a listing; going on after an interruption asks for nothing twice.

        A file that cannot be had is one listed ``Fate`` (rule ``not_fetched``); no room on the disk, a cancel and a
        place that refuses everything end it.
        """
        from lorasmith.sources.bringing import bring_files

        del options
        return bring_files(listing, errand)


def sources() -> dict[str, Source]:
    """Every source by name.

    Raises:
        ConfigError, EnvironmentProblem: a plugin is broken; see ``plugins.discover``.
    """
    return plugins.discover(sys.modules[__name__], Source)  # type: ignore[type-abstract]


def choose_source(location: str) -> Source | None:
    """The source that a location is surely meant for: the one that accepts it with the highest ``rank``.

    Raises:
        ConfigError: two of the same rank accept it.
    """
    accepting = [source for source in sources().values() if source.accepts(location)]
    best = max((source.rank for source in accepting), default=0)
    chosen = [source for source in accepting if source.rank == best]
    if len(chosen) > 1:
        names = " and ".join(source.name for source in chosen)
        raise ConfigError(f"Both {names} know what to do with '{shown(location)}'.", "Name the one you mean.")
    return chosen[0] if chosen else None
