"""Adapters and bases for requests: a library and a shelf that ask first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasmith.errors import BaseError
from lorasmith.library import About, Deleted, Library
from lorasmith.recipe import SANDBOX
from lorasmith.shelf import ScanResult, Shelf
from lorasmith.web.owning.asking import admins_only, person, sees_all
from lorasmith.web.people import YOU
from lorasmith.web.rules import Rules

if TYPE_CHECKING:
    from lorasmith.bases.adding import Added
    from lorasmith.bases.converting import Converted
    from lorasmith.bases.links import Link
    from lorasmith.bases.wanting import Wanted


@dataclass(frozen=True)
class OwnedLibrary(Library):
    """A library that asks first."""

    rules: Rules | None = None

    @property
    def _asked(self) -> Rules:
        assert self.rules is not None
        return self.rules

    def names(self) -> tuple[str, ...]:
        return tuple(name for name in super().names() if self._asked.may("adapter", name, "see"))

    def path(self, name: str) -> Path:
        self._asked.require("adapter", name, "see")
        return super().path(name)

    def add(self, file: Path, certificate: Mapping[str, Any] | None, *, name: str, job: str = "", by: str = "") -> Path:
        made = super().add(file, certificate, name=name, job=job, by=by or person())
        self._asked.made("adapter", made.stem)
        return made

    def made_by(self, name: str) -> str:
        """As the rules have it, for what is given away or was here before anybody's name was kept beside it."""
        owner = self._asked.of("adapter", name).owner
        return ("" if owner == YOU.name else owner) or super().made_by(name)

    def certificate(self, name: str) -> dict[str, Any] | None:
        self._asked.require("adapter", name, "see")
        return super().certificate(name)

    def set_certificate(self, name: str, certificate: Mapping[str, Any]) -> None:
        self._asked.require("adapter", name, "change")
        super().set_certificate(name, certificate)

    def about(self, name: str) -> About:
        self._asked.require("adapter", name, "see")
        return super().about(name)

    def describe(self, name: str, **changes: str) -> About:
        self._asked.require("adapter", name, "see")
        same = changes.get("visibility", "") in ("", super().visibility(name))
        self._asked.require("adapter", name, "change" if same else "own")
        return super().describe(name, **changes)

    def remove(self, name: str) -> Deleted:
        self._asked.require("adapter", name, "own")
        gone = super().remove(name)
        self._asked.rename("adapter", name, gone.id)  # who makes one of that name now begins anew
        return gone

    def trash(self) -> tuple[Deleted, ...]:
        return tuple(one for one in super().trash() if self._asked.may("adapter", one.id, "see"))

    def restore(self, id: str) -> str:
        if any(one.id == id for one in super().trash()):
            self._asked.require("adapter", id, "own")
        name = super().restore(id)
        self._asked.rename("adapter", id, name)
        return name

    def empty_trash(self) -> int:
        for one in super().trash():
            self._asked.require("adapter", one.id, "own")
        return super().empty_trash()


class OwnedShelf(Shelf):
    """A shelf that asks first: whoever is no admin names bases of this home, and learns nothing of other files."""

    def place(self, reference: str) -> Path:
        if not sees_all() and not self._holds(reference):
            raise BaseError(f"There is no base '{reference}' here.", "Choose one of those on the bases page.")
        return super().place(reference)

    def link(self, text: str) -> Link:
        from lorasmith.bases.links import parse_link

        return parse_link(text, paths=sees_all())

    def add(self, link: str | Wanted, **options: Any) -> Added:
        admins_only()
        return super().add(link, **options)

    def assemble(self, reference: str, files: Iterable[Path | str] = (), *, name: str = "") -> Added:
        admins_only()
        return super().assemble(reference, files, name=name)

    def scan(self, folders: Iterable[Path | str] = (), **options: Any) -> ScanResult:
        admins_only()
        return super().scan(folders, **options)

    def convert(self, source: Path | str, out: Path | str | None = None) -> Converted:
        admins_only()
        return super().convert(source, out)

    def _holds(self, reference: str) -> bool:
        """By name, or by where one of them lies: jobs name theirs so. The disk is never asked by the text."""
        if reference == SANDBOX or any(reference in (one.name, one.path) for one in self.list()):
            return True
        folder = self.home / "bases"
        names = {one.name for one in folder.iterdir()} if folder.is_dir() else set()
        inside = {str(place / name) for place in (folder.absolute(), folder.resolve()) for name in names}
        return reference in names or reference in inside or reference == str(super().place(SANDBOX))
