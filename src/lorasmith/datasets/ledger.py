"""The ledger of a dataset: what became of every file that was offered, and the rules by which it was decided.

``inputs = taken + left out``, always; a repaired or converted copy counts as taken. The ledger can be asked
(``filter_fates``), counted (``totals``) and written down for other programs (``ledger_text``).
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from lorasmith.datasets.manifest import DatasetVersion, Fate, FateWord, Item
from lorasmith.errors import ConfigError

LedgerForm = Literal["csv", "json", "jsonl"]

RULES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "image": "A picture that became an item, as it came or converted.",
        "repaired": "A JPEG that lacked only its end mark; a whole copy became an item.",
        "caption": "A caption or a file of captions that was used.",
        "metadata": "A file that told where a picture comes from, and held no caption that was used.",
        "mask": "A picture that became the mask of an item.",
        "reference": "A picture that became a reference of an item: what an edit model is given.",
        "layout": "A file that was read as part of a trainer's or a hub's layout.",
        "duplicate": "The same bytes or pixels as a picture that is kept or was there before.",
        "duplicate_caption": "A second caption of a picture that has one of higher rank.",
        "orphan_caption": "A caption without a picture that was taken.",
        "kept_caption": "A caption of a picture that is in the dataset already; what stands there was not touched.",
        "orphan_mask": "A mask without a picture that was taken.",
        "orphan_reference": "A reference picture without a picture that was taken.",
        "mask_size": "A mask of another size than its picture.",
        "unknown_sidecar": "A JSON, JSONL or CSV file that holds no captions in a form that is read.",
        "unreadable_caption": "A caption or table whose bytes are no text, or not what its suffix promises.",
        "not_an_image": "Neither a picture nor a caption.",
        "video": "A video, and clips were not asked for.",
        "unsupported_format": "A picture format that is not read.",
        "needs_extra": "A picture format that is read with an extra that is not installed.",
        "unsupported_pixels": "A picture whose numbers have no known scale.",
        "damaged": "A picture that does not decode to its end, or bytes that cannot be unpacked.",
        "empty_file": "A file of 0 bytes.",
        "too_large": "A file larger than the limit for its kind.",
        "too_many_pixels": "A picture with more pixels than the limit.",
        "bomb": "An archive member that unpacks to far more than its packed size.",
        "encrypted": "An archive member protected by a password.",
        "unsupported_compression": "An archive member packed in a way that is not read.",
        "unsafe_path": "An archive member whose path climbs out, is absolute or names a drive.",
        "link": "A symbolic link or junction; links are not followed.",
        "special_file": "A pipe, socket or device.",
        "unreadable": "A file or folder that may not be read.",
        "system_file": "A file the operating system keeps for itself.",
        "hidden": "A hidden file, or one in a hidden folder.",
        "nested_archive": "An archive inside the source.",
        "not_fetched": "A file of a source that could not be had.",
        "not_wanted": "A file of a source that was not asked for.",
        "withheld": "A file that a source lists and gives to nobody, or not to you.",
        "opened": "An archive inside the source that is part of its layout; its files are listed themselves.",
    }
)
"""Every rule's id with what it means. An id keeps its meaning for good; scripts and reports go by it."""

_COLUMNS: Final = ("source", "path", "fate", "rule", "item", "detail")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Staged:
    """A file in the staging folder, named by its content."""

    place: str
    """Its path as text: a ``Path`` takes five times the memory, and an import stages a hundred thousand files."""
    sha256: str

    @property
    def path(self) -> Path:
        return Path(self.place)


@dataclass(frozen=True)
class Imported:
    """What an import found; ``staged`` holds every file that ``items`` name and the store may lack."""

    items: tuple[Item, ...]
    ledger: tuple[Fate, ...]
    staged: tuple[Staged, ...]
    said: tuple[str, ...] = ()
    """What the source says that could not be followed, and what to know of its pairs and clips, a sentence each."""

    def trains_like(self, version: DatasetVersion) -> bool:
        """Whether the version holds the same items as far as training goes, in the same order."""
        return list(map(_trained, self.items)) == list(map(_trained, version.items))

    def unchanged(self, version: DatasetVersion) -> DatasetVersion | None:
        """The version that was added to, when nothing was added; else None."""
        return version if len(self.items) == len(version.items) else None


def _trained(item: Item) -> tuple[object, ...]:
    trained = (item.name, item.image, item.mask, item.references, item.caption, item.role, item.repeats, item.concept)
    return (*trained, item.clip)


@dataclass(frozen=True)
class Totals:
    """Files counted by fate; ``inputs == taken + left_out``."""

    inputs: int
    taken: int
    """Including ``converted``."""
    converted: int
    left_out: int
    by_rule: Mapping[str, int]


def totals(fates: Iterable[Fate]) -> Totals:
    """The counts of a ledger or a part of it."""
    listed = list(fates)
    words = Counter(fate.fate for fate in listed)
    rules = Counter(fate.rule for fate in listed)
    return Totals(
        inputs=len(listed),
        taken=words["taken"] + words["converted"],
        converted=words["converted"],
        left_out=words["left_out"],
        by_rule=dict(sorted(rules.items())),
    )


def filter_fates(
    version: DatasetVersion,
    fate: FateWord | None = None,
    rule: str | None = None,
    path: str | None = None,
    source: str | None = None,
) -> tuple[Fate, ...]:
    """The lines of the ledger that meet every condition given, in their order.

    Args:
        version: whose ledger.
        fate: ``taken``, ``converted`` or ``left_out``.
        rule: an id of ``RULES``.
        path: a path, or a pattern with ``*`` and ``?``.
        source: which source it came with, as the ledger names it.

    Raises:
        ConfigError: no such rule.
    """
    return fates_that(version.ledger, fate, rule, path, source)


def fates_that(
    fates: Iterable[Fate],
    fate: FateWord | None = None,
    rule: str | None = None,
    path: str | None = None,
    source: str | None = None,
) -> tuple[Fate, ...]:
    """``filter_fates`` of lines that somebody holds."""
    if rule is not None and rule not in RULES:
        raise ConfigError(f"There is no rule '{rule}' in the ledger.", f"The rules are: {', '.join(sorted(RULES))}.")
    return tuple(
        line
        for line in fates
        if (fate is None or line.fate == fate)
        and (rule is None or line.rule == rule)
        and (path is None or line.path == path or fnmatchcase(line.path, path))
        and (source is None or line.source == source)
    )


def ledger_table(fates: DatasetVersion | Iterable[Fate]) -> list[dict[str, str]]:
    """A row per file: ``source``, ``path``, ``fate``, ``rule``, ``item`` (empty when none), ``detail``."""
    lines = fates.ledger if isinstance(fates, DatasetVersion) else fates
    return [{column: getattr(line, column) or "" for column in _COLUMNS} for line in lines]


def ledger_text(fates: DatasetVersion | Iterable[Fate], form: LedgerForm) -> str:
    """The ledger for other programs.

    In CSV (RFC 4180, to be saved as UTF-8) a cell that a spreadsheet would take for a formula gets a ``'`` in front,
    as OWASP advises; JSON and JSONL hold every name as it is.

    Raises:
        ConfigError: no such form.
    """
    rows = ledger_table(fates)
    if form == "json":
        return json.dumps(rows, ensure_ascii=False, indent=1) + "\n"
    if form == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if form != "csv":
        raise ConfigError(f"A ledger cannot be written as '{form}'.", "Choose csv, json or jsonl.")
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    writer.writerows([_harmless(row[column]) for column in _COLUMNS] for row in rows)
    return stream.getvalue()


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA) else cell
