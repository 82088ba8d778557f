"""Paths of this machine as sources: what ``zip`` and ``folder`` have in common. Nothing is copied."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from lorasmith.config import Section
from lorasmith.datasets.archive import open_source
from lorasmith.datasets.source import Limits
from lorasmith.errors import InputError
from lorasmith.sources import Errand, Haul, Limit, Listing, Offered, Source


class LocalSource(Source):
    """A path; the import reads it where it is."""

    rank = 90

    class Options(Section):
        """How much of it."""

        limit: Limit = None
        """How many pictures at most, the first by name, 1 to 1000000."""

    def look(self, location: str, options: Section, errand: Errand) -> Listing:
        del options, errand
        path = path_of(location)
        with closing(open_source(path, Limits())) as opened:
            entries, fates = opened.scan()
        files = tuple(Offered(entry.path, "", entry.size, expected="any") for entry in entries)
        return Listing(
            self.name, str(path), path.stem if path.is_file() else path.absolute().name, files, {}, tuple(fates)
        )

    def bring(self, listing: Listing, options: Section, errand: Errand) -> Haul:
        assert isinstance(options, LocalSource.Options)
        del errand
        return Haul((Path(listing.location),), listing, limit=options.limit)


def path_of(location: str) -> Path:
    """The path that a text means.

    Raises:
        InputError: there is nothing.
    """
    path = Path(location).expanduser()
    if not is_there(path, Path.exists):
        raise InputError(f"There is no file or folder at {path}.", "Check the path.")
    return path


def is_there(path: Path, test: Callable[[Path], bool]) -> bool:
    """Whether a path stands the test; what cannot be a path does not."""
    try:
        return test(path)
    except (OSError, ValueError):
        return False
