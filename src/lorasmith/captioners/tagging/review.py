"""Tags near their threshold, and what people said of them.

A verdict is on one tag of one picture, by the picture's SHA-256: it is asked for once, and every later retagging obeys
it, whichever tagger and rule it is done with. ``<home>/verdicts.sqlite`` holds them; they are work of people and lie
apart from the answers, which can be deleted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lorasmith.captioners.answers import open_database
from lorasmith.datasets.captions.spelling import same_spelling

_FILE: Final = "verdicts.sqlite"
_MEND: Final = "Put back a copy of it: it holds what people decided. Without one, move it away and decide anew."
_TABLE: Final = """CREATE TABLE IF NOT EXISTS verdict
    (image BLOB, tag TEXT, accepted INTEGER NOT NULL, PRIMARY KEY (image, tag)) WITHOUT ROWID"""

Verdicts = Mapping[str, Mapping[str, bool]]
"""By SHA-256 of the picture, by tag: whether it is there."""


@dataclass(frozen=True)
class Unsure:
    """A tag that is nearly in, or nearly out."""

    item: str
    tag: str
    category: str
    probability: float
    threshold: float
    present: bool
    """Whether the caption has it now."""


def read_verdicts(home: Path) -> Verdicts:
    """All that people said."""
    path = home / _FILE
    if not path.exists():
        return {}
    made: dict[str, dict[str, bool]] = defaultdict(dict)
    with closing(open_database(path, _MEND)) as database:
        database.execute(_TABLE)
        for image, tag, accepted in database.execute("SELECT image, tag, accepted FROM verdict"):
            made[image.hex()][tag] = bool(accepted)
    return made


def write_verdicts(home: Path, verdicts: Iterable[tuple[str, str, bool]]) -> None:
    """Keep verdicts: SHA-256 of the picture, tag, whether it is there. A later one replaces an earlier one."""
    home.mkdir(parents=True, exist_ok=True)
    with closing(open_database(home / _FILE, _MEND)) as database, database:
        database.execute(_TABLE)
        database.executemany(
            "INSERT OR REPLACE INTO verdict VALUES (?, ?, ?)",
            [(bytes.fromhex(image), same_spelling(tag), accepted) for image, tag, accepted in verdicts],
        )


def obey(tags: Sequence[str], said: Mapping[str, bool]) -> tuple[str, ...]:
    """The tags without those that were rejected, and behind them those that were accepted and are missing.

    An accepted tag that is missing is written as its spelling, with blanks.
    """
    kept = [tag for tag in tags if said.get(same_spelling(tag), True)]
    present = {same_spelling(tag) for tag in kept}
    return (*kept, *(tag for tag, accepted in said.items() if accepted and tag not in present))
