"""In which layout a source lies: every layout is asked, and of several that claim it the most specific is followed.

The order, when more than one does: by the layouts' own ``rank`` (a file of settings outranks mere names), then the
one that read more files besides pictures, then the one that describes more pictures, then by name. The others are
named in the version's operation, and ``layout`` chooses one by name.

A layout that recognises the source and finds its files damaged is an error when it was chosen. When it was not, it is
not followed, which is said: one broken JSON file must not keep a thousand good pictures out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from lorasmith import plugins
from lorasmith.datasets import layouts as room
from lorasmith.datasets.layouts import Described, Layout, Reading
from lorasmith.datasets.source import IMAGE_SUFFIXES, Entry, RefusedError, Source
from lorasmith.errors import ConfigError, DatasetError

PLAIN: Final = "plain"
"""The name that asks for no layout at all: pictures, and the files beside them."""
_RANK: Final = 50  # of a layout that names none


def recognise(source: Source, entries: Sequence[Entry], wanted: str | None) -> tuple[Reading | None, list[str]]:
    """What the layout of the source says, and in sentences what could not be followed or was not chosen.

    Args:
        source: open.
        entries: every file that may be read.
        wanted: name of the layout to use; ``plain`` for none; None to find out.

    Raises:
        ConfigError: there is no such layout.
        DatasetError: the layout wanted does not recognise the source, or its files are damaged.
    """
    if wanted == PLAIN:
        return None, []
    found = plugins.discover(room, Layout)  # type: ignore[type-abstract]
    if wanted is not None:
        found = {wanted: plugins.choose(found, wanted, "layout")}
    if not found:
        return None, []
    readings, broken = read_all(found, source, entries)
    if broken and wanted is not None:
        raise broken[0][1]
    reading, said = decide(readings, wanted, source)
    return reading, [*said, *(f"The layout {name} was not followed: {cause.message}" for name, cause in broken)]


def read_all(
    found: Mapping[str, Layout], source: Source, entries: Sequence[Entry]
) -> tuple[list[Reading], list[tuple[str, DatasetError]]]:
    """What every layout makes of the source, the most specific first, and which of them found it damaged."""
    paths = [entry.path for entry in entries]
    opener, before = _opener(source, entries), source.read_bytes
    readings: list[tuple[int, Reading]] = []
    broken: list[tuple[str, DatasetError]] = []
    for layout in found.values():
        try:
            reading = layout.read(paths, opener)
        except DatasetError as cause:
            broken.append((layout.name, cause))
            continue
        if reading is not None:
            readings.append((getattr(layout, "rank", _RANK), reading))
    source.read_bytes = before  # what layouts read is read once more, or not part of the dataset
    ranked = sorted(readings, key=lambda pair: (-pair[0], *_specific(pair[1])))
    return [reading for _, reading in ranked], broken


def decide(readings: Sequence[Reading], wanted: str | None, source: Source) -> tuple[Reading | None, list[str]]:
    """The first of the readings that says more than the files beside the pictures do."""
    telling = [reading for reading in readings if wanted is not None or _tells(reading)]
    if not telling:
        if wanted is None:
            return None, []
        raise DatasetError(
            f"{source.name} does not lie in the layout '{wanted}'.", "Leave the layout out to have it recognised."
        )
    chosen, *others = telling
    said = [f"Read as {chosen.layout}: {chosen.evidence}", *chosen.said]
    said += [f"The layout {other.layout} was recognised as well and not used: {other.evidence}" for other in others]
    return chosen, said


def _tells(reading: Reading) -> bool:
    return bool(reading.used) or any(told != Described() for told in reading.described.values())


def _specific(reading: Reading) -> tuple[int, int, str]:
    files = [path for path in reading.used if PurePosixPath(path).suffix.lower() not in IMAGE_SUFFIXES]
    return -len(files), -len(reading.described), reading.layout


def _opener(source: Source, entries: Sequence[Entry]) -> Callable[[str], bytes]:
    by_path: dict[str, Entry] = {}
    for entry in entries:
        by_path.setdefault(entry.path, entry)

    def open_bytes(path: str) -> bytes:
        if path not in by_path:
            raise ConfigError(f"A layout asked for {path}, which is not among the files it was given.", "Report this.")
        try:
            return b"".join(source.chunks(by_path[path]))
        except RefusedError as refusal:
            raise DatasetError(f"{path} {refusal.detail}", "Mend or remove it.") from refusal

    return open_bytes
