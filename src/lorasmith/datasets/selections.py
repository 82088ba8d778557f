"""Selections of a dataset, saved by name: a query that is asked anew each time, or a fixed list of pictures.

    <home>/datasets/<name>/selections.json      all selections of one dataset, replaced whole

They belong to the dataset and not to a version, so that "blurred ones" means the same after an edit.
"""

from __future__ import annotations

import difflib
import json
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lorasmith.datasets.names import collision_key, safe_dataset_name
from lorasmith.datasets.query import parse_query
from lorasmith.datasets.source import disk_errors
from lorasmith.errors import DatasetError
from lorasmith.files import write_atomically

if TYPE_CHECKING:
    from lorasmith.datasets.manifest import DatasetVersion
    from lorasmith.datasets.query import Facts

_LONGEST_NAME: Final = 80
_MOST: Final = 1_000


class Selection(BaseModel):
    """A saved selection: either ``query`` or ``names``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    query: str | None = None
    names: tuple[str, ...] | None = None
    """Names of items, each once, in the order they were chosen."""
    created: str
    """ISO 8601, UTC."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Selection:
        if (self.query is None) == (self.names is None):
            raise ValueError("a selection is either a query or a list of names")
        return self

    def select(self, version: DatasetVersion, facts: Facts | None = None) -> list[str]:
        """The names it stands for in a version, in the version's order. Names that the version lacks are left out.

        Raises:
            ConfigError: its query asks for something that ``facts`` cannot tell.
        """
        if self.query is not None:
            return parse_query(self.query).select(version, facts)
        wanted = set(self.names or ())
        return [item.name for item in version.items if item.name in wanted]

    def gone(self, version: DatasetVersion) -> list[str]:
        """Names of a fixed list that the version does not have; none for a query."""
        there = {item.name for item in version.items}
        return [name for name in self.names or () if name not in there]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    selections: Annotated[tuple[Selection, ...], Field(max_length=_MOST)] = ()


class Selections:
    """The saved selections of one dataset.

    Args:
        home: lorasmith's home.
        dataset: name of a dataset that exists.
    """

    def __init__(self, home: Path, dataset: str) -> None:
        if safe_dataset_name(dataset) != dataset:
            raise DatasetError(f"'{dataset}' cannot be the name of a dataset.", f"Use '{safe_dataset_name(dataset)}'.")
        self._folder: Final = Path(home) / "datasets" / dataset
        self._path: Final = self._folder / "selections.json"
        self.dataset: Final = dataset

    def list(self) -> list[Selection]:
        """All selections, by name.

        Raises:
            DatasetError: their file is damaged or of a newer release.
        """
        return sorted(self._read(), key=lambda selection: collision_key(selection.name))

    def get(self, name: str) -> Selection:
        """The selection of that name, in any case.

        Raises:
            DatasetError: there is none; the hint names the nearest.
        """
        known = {collision_key(selection.name): selection for selection in self._read()}
        found = known.get(collision_key(name.strip()))
        if found is None:
            near = difflib.get_close_matches(collision_key(name), known, n=1, cutoff=0.5)
            names = ", ".join(f"'{selection.name}'" for selection in known.values())
            hint = f"Did you mean '{known[near[0]].name}'?" if near else f"There are: {names or 'none yet'}."
            raise DatasetError(f"The dataset '{self.dataset}' has no selection '{name}'.", hint)
        return found

    def save_query(self, name: str, query: str, *, replace: bool = False) -> Selection:
        """Save a query under a name.

        Args:
            name: any text on one line of at most 80 characters.
            query: as it was typed; it is kept so.
            replace: take the place of a selection of that name.

        Raises:
            QueryError: the query cannot be read.
            DatasetError: the name cannot be used or is taken, or the dataset does not exist.
            OutOfDisk: it does not fit.
        """
        parse_query(query)
        return self._save(Selection(name=_usable(name), query=query, created=_now()), replace)

    def save_names(self, name: str, names: Sequence[str], *, replace: bool = False) -> Selection:
        """Save a fixed list of pictures under a name; as ``save_query``.

        Raises:
            DatasetError: also when the list is empty.
        """
        if not names:
            raise DatasetError("A selection needs at least one picture.", "Choose one, or save a query.")
        unique = tuple(dict.fromkeys(names))
        return self._save(Selection(name=_usable(name), names=unique, created=_now()), replace)

    def delete(self, name: str) -> Selection:
        """Remove a selection and give it back. No picture is touched.

        Raises:
            DatasetError: there is none of that name.
        """
        with self._locked():
            found = self.get(name)
            self._write([selection for selection in self._read() if selection.name != found.name])
        return found

    def _save(self, selection: Selection, replace: bool) -> Selection:
        key = collision_key(selection.name)
        with self._locked():
            present = list(self._read())
            taken = next((other for other in present if collision_key(other.name) == key), None)
            if taken is not None and not replace:
                message = f"The dataset '{self.dataset}' has a selection '{taken.name}' already."
                raise DatasetError(message, "Choose another name, or say that it is to be replaced.")
            kept = [other for other in present if other is not taken]
            if len(kept) >= _MOST:
                raise DatasetError(f"The dataset '{self.dataset}' has {_MOST:,} selections.", "Delete some first.")
            self._write([*kept, selection])
        return selection

    def _read(self) -> tuple[Selection, ...]:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return ()
        except OSError as cause:
            raise DatasetError(f"{self._path} cannot be read: {cause.strerror}.", "Check its permissions.") from cause
        try:
            return _File.model_validate_json(content).selections
        except ValidationError as cause:
            message = f"The selections of '{self.dataset}' are damaged or of a newer release."
            raise DatasetError(message, f"Restore {self._path}, or move it away to begin anew.") from cause

    def _write(self, selections: Sequence[Selection]) -> None:
        file = _File(selections=tuple(selections))
        text = json.dumps(file.model_dump(mode="json", exclude_none=True), ensure_ascii=False, indent=1)
        with disk_errors(self._folder):
            write_atomically(self._path, text.encode("utf-8", "surrogatepass"))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time: two that save at once lose nothing."""
        if not self._folder.is_dir():
            raise DatasetError(f"There is no dataset '{self.dataset}'.", "Import it first.")
        with FileLock(self._folder / ".selections.lock"):
            yield


def _usable(name: str) -> str:
    """The name as it is kept: NFC, without space around it."""
    clean = unicodedata.normalize("NFC", name.strip())
    if not clean or len(clean) > _LONGEST_NAME:
        count = f"{len(clean)} characters" if clean else "no name"
        raise DatasetError(
            f"A selection has a name of 1 to {_LONGEST_NAME} characters; this is {count}.", "Shorten it."
        )
    if not clean.isprintable():
        raise DatasetError(f"The name {clean!r} holds characters that cannot be seen.", "Use letters, digits, spaces.")
    return clean


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
