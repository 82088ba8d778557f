"""The adapters of a home, each with its certificate and what people wrote about it beside it.

adapters/<name>.safetensors              never written over
         <name>.certificate.json         what loading it into a base has shown, when it was tried
         <name>.about.json               title, description, visibility: words of people, not of the file
         .trash/<moment>-<name>/         what was deleted, until the trash is emptied
"""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

from filelock import FileLock

from lorasmith.errors import AdapterError, ConfigError
from lorasmith.files import file_digest, read_json, write_json
from lorasmith.jobfolder import person_of

Visibility = Literal["private", "team", "public"]
VISIBILITIES: Final = get_args(Visibility)
KINDS: Final = ("", "person", "style", "object")
"""What an adapter teaches; empty where nobody has said."""
_PARTS: Final = (".safetensors", ".certificate.json", ".about.json")
_TRASH: Final = ".trash"
_RESERVED: Final = frozenset(
    {"new", "import", "con", "prn", "aux", "nul", *(f"{a}{n}" for a in ("com", "lpt") for n in range(1, 10))}
)
"""What cannot be a file's name on Windows, and two addresses of the web app."""
_LONGEST: Final = {"title": 200, "description": 10_000, "license": 500}


@dataclass(frozen=True)
class About:
    """What is kept beside an adapter."""

    title: str = ""
    """What people call it; empty: its name."""
    description: str = ""
    visibility: Visibility = "private"
    """Who else may see it: nobody, everybody with an account, everybody. Kept here alone; a server goes by it."""
    kind: str = ""
    license: str = ""
    """Empty: what the file itself says."""
    job: str = ""
    """The run that made it; empty for what came from elsewhere."""
    added: str = ""
    by: str = ""
    """Who made it or brought it here, on a server with accounts; empty for the owner of this machine."""


@dataclass(frozen=True)
class Deleted:
    """An adapter in the trash."""

    id: str
    name: str
    size: int
    deleted: str


@dataclass(frozen=True)
class Library:
    """``<home>/adapters``."""

    home: Path

    @property
    def folder(self) -> Path:
        return self.home / "adapters"

    def names(self) -> tuple[str, ...]:
        """All of them, by name."""
        return self._names()

    def path(self, name: str) -> Path:
        """Where the adapter lies.

        Raises:
            AdapterError: there is none of that name.
        """
        if name not in self._names():
            raise AdapterError(f"There is no model '{name}'.", "The models page lists what there is.")
        return self.folder / f"{name}.safetensors"

    def add(self, file: Path, certificate: Mapping[str, Any] | None, *, name: str, job: str = "", by: str = "") -> Path:
        """Copy an adapter in under ``name``, or ``name-2`` and so on when that is taken by other bytes, or by somebody
        else's same ones.

        One's own bytes under one of these names are not added again, so that asking twice is harmless. Two people never
        share an entry: each can see, change and delete their own, and nobody learns what the other has.

        Args:
            file: what to copy.
            certificate: what loading it has shown; None where that was not tried.
            name: what it shall be called.
            job: the run that made it.
            by: whose it is; left out, of whoever asked for the job.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        digest, person = file_digest(file), by or person_of(self.home, job)
        with self._alone():
            number, target = 1, self.folder / f"{name}.safetensors"
            while target.exists() and (self.made_by(target.stem) != person or file_digest(target) != digest):
                number += 1
                target = self.folder / f"{name}-{number}.safetensors"
            if certificate is not None:
                write_json(self._beside(target.stem, ".certificate.json"), dict(certificate))
            if not self._beside(target.stem, ".about.json").exists():
                about = About(job=job, added=datetime.now(UTC).isoformat(timespec="seconds"), by=person)
                write_json(self._beside(target.stem, ".about.json"), asdict(about))
            if not target.exists():
                temporary = target.with_name(f".{target.name}.tmp")
                shutil.copyfile(file, temporary)
                temporary.replace(target)
        return target

    def made_by(self, name: str) -> str:
        """Who made it or brought it here; empty for the owner of this machine, and where nothing says so."""
        return str(self._read(name, ".about.json").get("by", ""))

    def job_of(self, name: str) -> str:
        """The job that made it; empty where nothing says so."""
        return str(self._read(name, ".about.json").get("job", ""))

    def disown(self, person: str) -> None:
        """Nothing is theirs any more; who comes later under that name begins anew."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            for path in (*self.folder.glob("*.about.json"), *(self.folder / _TRASH).glob("*/*.about.json")):
                if (told := read_json(path)).get("by") == person:
                    write_json(path, {**told, "by": ""})

    def certificate(self, name: str) -> dict[str, Any] | None:
        """What loading it has shown; None when it was not tried, or when that was with other bytes.

        Raises:
            AdapterError: there is no such adapter.
        """
        path = self.path(name)
        return self._read(path.stem, ".certificate.json") or None

    def set_certificate(self, name: str, certificate: Mapping[str, Any]) -> None:
        """Keep a newer certificate.

        Raises:
            AdapterError: there is no such adapter, or the certificate is about another file.
        """
        if file_digest(self.path(name)) != certificate.get("sha256"):
            raise AdapterError(f"The certificate is not about '{name}' as it is now.", "Certify it again.")
        with self._alone():
            write_json(self._beside(name, ".certificate.json"), dict(certificate))

    def about(self, name: str) -> About:
        """What is kept beside it; what is damaged counts as not there.

        Raises:
            AdapterError: there is no such adapter.
        """
        path = self.path(name)
        raw = self._read(path.stem, ".about.json")
        known = {field.name for field in fields(About)}
        about = About(**{key: str(value) for key, value in raw.items() if key in known})  # type: ignore[arg-type]
        if about.visibility not in VISIBILITIES:
            about = replace(about, visibility="private")
        moment = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
        return replace(about, kind=about.kind if about.kind in KINDS else "", added=about.added or moment)

    def visibility(self, name: str) -> Visibility:
        """Who sees it beside its owner; private where nothing says so, as for what is not here."""
        try:
            said = self._read(name, ".about.json").get("visibility") if Path(name).name == name else ""
        except OSError:  # too long to be a name
            return "private"
        return cast(Visibility, said) if said in VISIBILITIES else "private"

    def describe(self, name: str, **changes: str) -> About:
        """Change what is kept beside it: ``title``, ``description``, ``visibility``, ``kind``, ``license``.

        Raises:
            AdapterError: there is no such adapter.
            ConfigError: a value that cannot be.
        """
        about = self.about(name)
        if unknown := changes.keys() - {"title", "description", "visibility", "kind", "license"}:
            raise ConfigError(f"A model has no {', '.join(sorted(unknown))}.", "Change its title or description.")
        for key, longest in _LONGEST.items():
            if len(changes.get(key, "")) > longest:
                raise ConfigError(f"The {key} is longer than {longest:,} characters.", "Say it shorter.")
        if changes.get("visibility", "private") not in VISIBILITIES:
            raise ConfigError(f"There is no visibility '{changes['visibility']}'.", "There are: private, team, public.")
        if changes.get("kind", "") not in KINDS:
            raise ConfigError(f"There is no kind '{changes['kind']}'.", f"Choose one of {', '.join(KINDS[1:])}.")
        changed = replace(about, **{key: value.strip() for key, value in changes.items()})  # type: ignore[arg-type]
        with self._alone():
            write_json(self._beside(name, ".about.json"), asdict(changed))
        return changed

    def introduce(self, name: str, said: Mapping[str, Any]) -> None:
        """Take over what was said of a model before it was trained: ``name``, ``description``, ``kind``, ``public``.

        What somebody has written about it since stays.
        """
        about = self.about(name)
        if not said or about.title or about.description:
            return
        kind = str(said.get("kind", ""))
        self.describe(
            name,
            title=str(said.get("name", ""))[: _LONGEST["title"]],
            description=str(said.get("description", ""))[: _LONGEST["description"]],
            visibility="public" if said.get("public") is True else "private",
            kind=kind if kind in KINDS else "",
        )

    # The trash

    def remove(self, name: str) -> Deleted:
        """Move an adapter to the trash.

        Raises:
            AdapterError: there is no such adapter.
        """
        path = self.path(name)
        moment = datetime.now(UTC)
        with self._alone():
            place = self.folder / _TRASH / f"{moment:%Y%m%d-%H%M%S-%f}-{name}"
            place.mkdir(parents=True)
            for ending in reversed(_PARTS):  # the file itself last: until it is gone, nothing is
                if (part := self._beside(path.stem, ending)).exists():
                    part.replace(place / part.name)
        return next(one for one in self._deleted() if one.id == place.name)

    def trash(self) -> tuple[Deleted, ...]:
        """What can be put back, the newest first."""
        return self._deleted()

    def _deleted(self) -> tuple[Deleted, ...]:
        found = []
        for file in sorted((self.folder / _TRASH).glob("*/*.safetensors"), reverse=True):
            facts = file.parent.stat()
            deleted = datetime.fromtimestamp(facts.st_mtime, UTC).isoformat(timespec="seconds")
            found.append(Deleted(file.parent.name, file.stem, file.stat().st_size, deleted))
        return tuple(found)

    def restore(self, id: str) -> str:
        """Put an adapter back; its name, which has a number now if another one took it meanwhile.

        Raises:
            AdapterError: it is not in the trash.
        """
        thing = next((one for one in self._deleted() if one.id == id), None)
        if thing is None:
            raise AdapterError("That is not in the trash any more.", "Look at the list again.")
        with self._alone():
            place, name, number = self.folder / _TRASH / thing.id, thing.name, 1
            while self._beside(name, ".safetensors").exists():
                number += 1
                name = f"{thing.name}-{number}"
            for ending in reversed(_PARTS):
                if (part := place / f"{thing.name}{ending}").exists():
                    part.replace(self._beside(name, ending))
            shutil.rmtree(place)
        return name

    def empty_trash(self) -> int:
        """Delete for good what lies in the trash; how many bytes that were."""
        with self._alone():
            freed = sum(one.size for one in self._deleted())
            shutil.rmtree(self.folder / _TRASH, ignore_errors=True)
        return freed

    def _names(self) -> tuple[str, ...]:
        return tuple(sorted(path.stem for path in self.folder.glob("*.safetensors") if path.name[0] != "."))

    def _beside(self, name: str, ending: str) -> Path:
        return self.folder / f"{name}{ending}"

    def _read(self, name: str, ending: str) -> dict[str, Any]:
        return read_json(self._beside(name, ending))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with FileLock(self.folder / ".lock"):
            yield


def adapter_name(text: str) -> str:
    """A name that is a file name on every system and can be written into a prompt, made of what was given."""
    name = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", text)).strip(" .-_")[:100].strip(" .-_")
    return f"{name}-lora" if name.casefold() in _RESERVED else name or "lora"


def lineage(name: str, names: frozenset[str]) -> str:
    """The name that an adapter's versions share: ``cat-2`` and ``cat-3`` are versions of ``cat``, if there is one."""
    first, dash, number = name.rpartition("-")
    return first if dash and number.isascii() and number.isdecimal() and first in names else name
