"""Who may see, change and give away what: the rules, as they are written in the home.

    private   its owner
    team      everybody with an account sees it, members change it
    public    as team, but only its owner changes it; and a page without signing in shows it

Who sees an adapter stands beside it, in the library's ``about``, where the wizard, its page and the API write it; all
else is in ``web.db``. Admins see and change everything. What has no owner, such as what was there before there were
accounts, is the admins'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lorasmith.errors import AdapterError, ConfigError, DatasetError, LorasmithError, UnknownJob
from lorasmith.library import Library
from lorasmith.web.accounts import opened
from lorasmith.web.people import Actor, Kind, Visibility, acting

_ABSENT: Mapping[Kind, tuple[type[LorasmithError], str, str]] = {
    "dataset": (DatasetError, "There is no dataset '{}'.", "List the datasets for those there are."),
    "adapter": (AdapterError, "There is no adapter '{}'.", "List the adapters for those there are."),
    "job": (UnknownJob, "There is no job '{}'.", "List the jobs for those there are."),
}


@dataclass(frozen=True)
class Possession:
    """Whose something is, and who else may see it."""

    kind: Kind
    name: str
    owner: str
    visibility: Visibility


class Rules:
    """Who may what, as it is written in the home."""

    def __init__(self, home: Path, maker_of: Callable[[Kind, str], str | None] = lambda kind, name: None) -> None:
        """
        Args:
            home: whose database holds possessions.
            maker_of: the job that made a dataset or adapter by itself, whose owner then has it.
        """
        self._home, self._maker_of = home, maker_of

    def of(self, kind: Kind, name: str) -> Possession:
        """Whose it is; without a record, that of the job that made it, else nobody's and private."""
        with opened(self._home) as database:
            row = database.execute(
                "SELECT owner, visibility FROM possession WHERE kind = ? AND name = ?", (kind, name)
            ).fetchone()
        if row is None:
            maker = self._maker_of(kind, name)
            row = self.of("job", maker).owner if maker else "", "private"
            if row[0]:
                self.record(kind, name, row[0])
        return Possession(kind, name, row[0], Library(self._home).visibility(name) if kind == "adapter" else row[1])

    def record(self, kind: Kind, name: str, owner: str) -> None:
        """Write down who made something; what has a record keeps it."""
        with opened(self._home) as database, database:
            database.execute("INSERT OR IGNORE INTO possession VALUES (?, ?, ?, 'private')", (kind, name, owner))

    def made(self, kind: Kind, name: str) -> None:
        """Whoever acts has made it."""
        actor = acting.get()
        if actor is not None and actor.only is None:
            self.record(kind, name, actor.name)

    def forget(self, kind: Kind, name: str) -> None:
        """It is gone; who makes one of that name later begins anew."""
        with opened(self._home) as database, database:
            database.execute("DELETE FROM possession WHERE kind = ? AND name = ?", (kind, name))

    def rename(self, kind: Kind, name: str, new: str) -> None:
        """It has another name now, as an adapter that goes to the trash and comes back."""
        owner = self.of(kind, name).owner
        with opened(self._home) as database, database:
            database.execute("DELETE FROM possession WHERE kind = ? AND name = ?", (kind, name))
            database.execute("INSERT OR REPLACE INTO possession VALUES (?, ?, ?, 'private')", (kind, new, owner))

    def show(self, kind: Kind, name: str, visibility: Visibility) -> Possession:
        """Let others see something, or no longer. Only its owner and admins may."""
        self.require(kind, name, "own")
        if kind == "adapter":
            Library(self._home).describe(name, visibility=visibility)
            return self.of(kind, name)
        owner = self.of(kind, name).owner
        with opened(self._home) as database, database:
            database.execute("INSERT OR REPLACE INTO possession VALUES (?, ?, ?, ?)", (kind, name, owner, visibility))
        return self.of(kind, name)

    def may(self, kind: Kind, name: str, what: Literal["see", "change", "own"], actor: Actor | None = None) -> bool:
        """Whether whoever acts may do that."""
        actor = actor or acting.get()
        if actor is None or (actor.role == "admin" and actor.only is None):
            return True
        if actor.only is not None:
            return what == "see" and actor.only == (kind, name)
        possession = self.of(kind, name)
        if possession.owner == actor.name:
            return what == "see" or actor.role != "viewer"
        if possession.visibility == "private" or what == "own":
            return False
        return what == "see" or (possession.visibility == "team" and actor.role == "member")

    def require(self, kind: Kind, name: str, what: Literal["see", "change", "own"]) -> None:
        """Refuse what is not allowed: as absent where it may not even be seen.

        Raises:
            LorasmithError: of the kind that a missing one raises, or a ``ConfigError``.
        """
        if not self.may(kind, name, "see"):
            raise absent(kind, name)
        if what != "see" and not self.may(kind, name, what):
            raise ConfigError(f"The {kind} '{name}' is not yours to change.", "Ask its owner, or work on a copy.")


def absent(kind: Kind, name: str) -> LorasmithError:
    """What is said of a name that nobody has, and just so of one that may not be seen."""
    error, sentence, hint = _ABSENT[kind]
    return error(sentence.format(name), hint)
