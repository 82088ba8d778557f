"""Which version of a dataset is the present one, and what an undo passed over: ``<home>/datasets/<name>/head.json``.

A commit writes no head: a version with a higher number than the file knows of is the head, and the file is out of date.
So a commit happens in one step, the renaming of its header, and a lost file means no more than the newest number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from lorasmith.datasets.manifest import Record
from lorasmith.errors import DatasetError
from lorasmith.files import write_atomically

FILE = "head.json"


class Head(Record):
    """Where a dataset stands."""

    format: Literal[1] = 1
    number: int
    """The version that the dataset's name alone means."""
    redo: tuple[int, ...] = ()
    """What ``redo`` goes to, the next one last."""
    newest: int
    """The highest number given so far; no number is given twice."""
    dropped: dict[int, int | None] = {}
    """Versions that were dropped on purpose, each with its parent, so that the line through them holds."""


def read_head(folder: Path, numbers: Sequence[int]) -> Head:
    """The head of a dataset that has these versions, ascending, at least one.

    Raises:
        DatasetError: the file is damaged, or names a version that is not there.
    """
    path, newest = folder / FILE, numbers[-1]
    try:
        head = Head.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Head(number=newest, newest=newest)
    except (OSError, ValidationError) as cause:
        message = f"It cannot be read where '{folder.name}' stands: {path} is damaged or unreadable."
        raise DatasetError(message, f"Delete it, then the newest version is the present one: {newest}.") from cause
    if newest > head.newest:
        return Head(number=newest, newest=newest, dropped=head.dropped)
    if head.number not in numbers:
        raise DatasetError(
            f"The present version of '{folder.name}' is {head.number}, and its file is missing.",
            f"Bring it back, or delete {path}; then the newest version is the present one: {newest}.",
        )
    return head


def write_head(folder: Path, head: Head) -> None:
    """Durable and whole when this returns."""
    write_atomically(folder / FILE, head.model_dump_json(indent=1).encode())


def parent_of(number: int, parents: Mapping[int, int | None], dropped: Mapping[int, int | None]) -> int | None:
    """The nearest ancestor that is there; None for the first version of a line.

    Args:
        number: of a version that is there.
        parents: of every version that is there.
        dropped: of every version that is not there any more.
    """
    parent = parents[number]
    while parent is not None and parent not in parents:
        parent = dropped.get(parent)
    return parent
