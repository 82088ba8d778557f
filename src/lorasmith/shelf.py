"""The bases of a home and what can be done with them: ``Studio.bases``.

Nothing here loads a model or opens a pickle. Weights of other programs are referred to, never copied or changed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasmith.errors import BaseError, ConfigError, EnvironmentProblem

if TYPE_CHECKING:
    from lorasmith.bases.adding import Added, Downloads
    from lorasmith.bases.assembling import Plan
    from lorasmith.bases.catalogue import Catalogue
    from lorasmith.bases.converting import Converted
    from lorasmith.bases.links import Link
    from lorasmith.bases.needs import Machine
    from lorasmith.bases.recognition import Question, Recognition
    from lorasmith.bases.registry import BaseRegistry, RegisteredBase
    from lorasmith.bases.scanning import Sighting
    from lorasmith.bases.trainable import FamilyFacts
    from lorasmith.bases.wanting import Wanted
    from lorasmith.families import Base


@dataclass(frozen=True)
class ScanResult:
    """What a scan found."""

    places: tuple[Path, ...]
    sightings: tuple[Sighting, ...]
    added: tuple[RegisteredBase, ...]


@dataclass(frozen=True)
class Asked:
    """A question about a base that its tensors leave open, and what was answered."""

    question: Question
    answer: str = ""


class Shelf:
    """The verbs. Cheap to make; nothing is read or written until asked for."""

    def __init__(self, home: Path, fetcher: Callable[[], Downloads] | None = None) -> None:
        """
        Args:
            home: where bases lie, in ``bases``.
            fetcher: what brings files, if not ``lorasmith.fetching`` with the secrets of this home.
        """
        self.home = home
        self._fetcher = fetcher

    def list(self) -> Sequence[RegisteredBase]:
        """All bases that this home knows, by name."""
        return tuple(self._registry)

    def get(self, name: str) -> RegisteredBase:
        """The base of that name.

        Raises:
            BaseError: there is none, or its record is damaged.
        """
        return self._registry.get(name)

    def place(self, reference: str) -> Path:
        """Where a base lies, by its name or path, so that it is found from any folder.

        This is the one way from what a person calls a base to a file: every verb above goes through it, so that a
        shelf which asks first (``web/owning``) is asked by all of them.

        Raises:
            BaseError: there is none.
        """
        from lorasmith.bases.opening import locate

        return locate(reference, self.home).absolute()

    def open(self, reference: str) -> Base:
        """The base that a name or path means, as a run uses it; its header is read and no weights.

        Raises:
            BaseError: not there, damaged, of no known family, or without the configs it needs.
            EnvironmentProblem: packed in a way that needs a package which is not installed.
        """
        from lorasmith.bases import open_base

        self.place(reference)
        return open_base(reference, home=self.home)

    def recognise(self, reference: str) -> tuple[Path, Recognition]:
        """What the weights are that a name or path means, by their header alone.

        Raises:
            BaseError: not there, a pickle, or damaged.
        """
        from lorasmith.bases import read_header, recognise

        path = self.place(reference)
        return path, recognise(read_header(path))

    def families(self, name: str = "") -> tuple[FamilyFacts, ...]:
        """What can be trained: all families, or the one of that name.

        Raises:
            ConfigError: there is none of that name; the hint has the nearest.
        """
        from lorasmith.bases.detection import family_named, registered_families
        from lorasmith.bases.trainable import facts_of

        chosen = [family_named(name)] if name else registered_families().values()
        return tuple(facts_of(family) for family in chosen)

    def trainable(self, family: str) -> bool:
        """Whether bases of this family can be trained here today."""
        from lorasmith.bases.detection import registered_families

        return family in registered_families()

    def link(self, text: str) -> Link:
        """What a text means that shall name a base to add: a page, a repository, a file. Nothing is looked up.

        Raises:
            BaseError: none of these.
        """
        from lorasmith.bases.links import parse_link

        return parse_link(text)

    def wanted(self, link: str) -> Wanted | Path:
        """What a link means, before anything is fetched: files, sizes, licence; a path for what is here.

        Raises:
            BaseError: it means nothing that is known.
            LorasmithError: the service does not answer, or not to you.
        """
        from lorasmith.bases.links import LocalPath
        from lorasmith.bases.wanting import resolve

        parsed = self.link(link)
        return parsed.path if isinstance(parsed, LocalPath) else resolve(parsed, self._downloads().json)

    def add(
        self,
        link: str | Wanted,
        *,
        name: str = "",
        progress: Callable[[Any], None] | None = None,
        cancel: Any = None,
    ) -> Added:
        """Make a base known: fetched from a link, or referred to where it is.

        Args:
            link: a link, an id, a path, or what ``wanted`` gave.
            name: what it shall be called; left out, made from its own.
            progress: hears of the download.
            cancel: stops it; what has arrived is used by the next attempt.

        Raises:
            BaseError: it cannot be read, or is neither a base nor a part of one.
            LorasmithError: it cannot be fetched.
        """
        from lorasmith.bases.adding import add_local, add_wanted

        wanted = self.wanted(link) if isinstance(link, str) else link
        if isinstance(wanted, Path):
            return add_local(self._registry, wanted, name=name)
        return add_wanted(self._registry, wanted, self._downloads(), name=name, progress=progress, cancel=cancel)

    def parts(self, reference: str, files: Iterable[Path | str] = ()) -> Plan:
        """What a denoiser needs to be a base: the parts that are given, here, shipped, and those that are missing.

        Args:
            reference: name or path of the denoiser.
            files: of its text encoders and VAE, and folders of tokenizers; registered names are taken too.

        Raises:
            BaseError: it cannot be read, its family cannot be put together, or a file is none of its parts.
        """
        from lorasmith.bases.assembling import plan
        from lorasmith.bases.detection import detect
        from lorasmith.bases.opening import answered_header

        header = answered_header(self._denoiser(reference), self.home)
        given = [self.place(str(file)) for file in files]
        return plan(header, detect(header), given=given, registry=self._registry)

    def assemble(self, reference: str, files: Iterable[Path | str] = (), *, name: str = "") -> Added:
        """Make a denoiser a whole base of files that lie anywhere; nothing is copied but tokenizers and configs.

        Args:
            reference: name or path of the denoiser; a path is added.
            files: of its text encoders and VAE, and folders of tokenizers.
            name: what the base shall be called, where it is new.

        Raises:
            BaseError: something is missing, or is none of its parts; nothing is changed then.
        """
        from lorasmith.bases.adding import Added, add_local
        from lorasmith.bases.assembling import assemble, refuse_missing
        from lorasmith.bases.detection import detect
        from lorasmith.bases.opening import answered_header, shipped_for
        from lorasmith.bases.quantised import require_unpacker

        made = self.parts(reference, files)
        refuse_missing(made)
        header = answered_header(made.path, self.home)
        require_unpacker(header)
        shipped = shipped_for(header, detect(header))
        known = next((base.name for base in self._registry if base.name == reference), "")
        added = add_local(self._registry, made.path, name=name or known)
        record = assemble(self._registry, added.base, made, shipped)
        notes = tuple(f"{need.title}: {need.note}" for need in made.needs)
        return Added(record, added.new, notes)

    def move_in(self, weights: Path, note: Path, *, name: str, like: str = "") -> RegisteredBase:
        """Make weights that were made here, of the base at ``like``, a base; ``note`` keeps where they went, so that
        asking twice is harmless.

        Raises:
            BaseError: they cannot be read, or are no base.
        """
        from lorasmith.bases.adding import move_in

        return move_in(self._registry, weights, note, name=name, like=like)

    def scan(
        self,
        folders: Iterable[Path | str] = (),
        *,
        add: bool = False,
        progress: Callable[[int, str], None] | None = None,
    ) -> ScanResult:
        """Look for weights of ComfyUI, A1111, Forge, InvokeAI and the Hugging Face cache; nothing is copied.

        Args:
            folders: where to look; left out, at the usual places of those programs.
            add: whether to remember the bases found, and the parts of which bases are put together.
            progress: called with the number of files and the name of each.

        Raises:
            BaseError: a folder is not there.
        """
        from lorasmith.bases.scanning import Place, places_of, scan, usual_places, worth_keeping

        places: list[Place] = []
        for folder in folders:
            path = Path(folder).expanduser().absolute()
            if not path.is_dir():
                raise BaseError(
                    f"There is no folder {path}.", "Name the folder of a program, or one with weights in it."
                )
            places += places_of(path)
        places = places or ([] if folders else usual_places())
        sightings = tuple(scan(places, progress))
        added: list[RegisteredBase] = []
        for sighting in sightings if add else ():
            if sighting.header is not None and sighting.found is not None and worth_keeping(sighting.found):
                record, new = self._registry.add(sighting.header, sighting.found, name=sighting.name)
                added += [record] if new else []
        return ScanResult(tuple(place.path for place in places), sightings, tuple(added))

    def hash(self, name: str, progress: Callable[[int, int, str], None] | None = None) -> RegisteredBase:
        """The base with its SHA-256, worked out now if it was not before."""
        return self._registry.hashed(name, progress)

    def questions(self, name: str) -> tuple[Asked, ...]:
        """What the tensors of a base leave open, with the answers that were given.

        Raises:
            BaseError: there is no such base, or its files are gone.
        """
        from lorasmith.bases import read_header, recognise

        record = self._registry.get(name)
        place = self._registry.find(name)
        assert place is not None
        found = recognise(read_header(place))
        return tuple(Asked(question, record.answers.get(question.name, "")) for question in found.questions)

    def answer(self, name: str, question: str, choice: str) -> RegisteredBase:
        """Keep the answer to a question about a base; runs that need it use it. An empty choice takes it back.

        Raises:
            BaseError: there is no such base, or it does not ask that.
            ConfigError: the choice is none of the question's.
        """
        asked = {one.question.name: one for one in self.questions(name)}
        if question not in asked:
            there = f"It asks: {', '.join(asked)}." if asked else "Its tensors leave nothing open."
            raise BaseError(f"'{name}' does not ask '{question}'.", there)
        choices = asked[question].question.choices
        if choice and choice not in choices:
            raise ConfigError(f"'{choice}' is no answer to '{question}'.", f"Choose one of {', '.join(choices)}.")
        answers = {key: one.answer for key, one in asked.items()} | {question: choice}
        still_open = [one.question.text for key, one in asked.items() if not answers[key]]
        return self._registry.answer(name, question, choice, still_open)

    def forget(self, name: str, *, delete: bool = False) -> RegisteredBase:
        """Remove a base from the list; with ``delete`` its weights too, if they lie in this home.

        Raises:
            BaseError: there is none, or ``delete`` is asked for weights of another program.
        """
        record = self._registry.get(name)
        path = Path(record.path)
        if delete and not path.is_relative_to(self._registry.folder.absolute()):
            raise BaseError(
                f"The weights of '{name}' lie outside this home, at {path}, and are not deleted.",
                f"`lorasmith bases forget {name}` takes it off the list; delete the file yourself if you mean it.",
            )
        self._registry.forget(name)
        configs = self._registry.folder / f"{record.name}.parts"
        if record.parts and configs.is_dir():
            shutil.rmtree(configs)
        if delete and path.is_dir():
            shutil.rmtree(path)
        elif delete:
            path.unlink(missing_ok=True)
        return record

    def convert(self, source: Path | str, out: Path | str | None = None) -> Converted:
        """Write the tensors of a pickle as safetensors, in a locked process.

        Raises:
            BaseError: it holds anything but tensors, or the target exists.
        """
        from lorasmith.bases.converting import convert

        return convert(Path(source), Path(out) if out is not None else None)

    def catalogue(self) -> Catalogue:
        """Well-known bases with their licences."""
        from lorasmith.bases.catalogue import catalogue

        return catalogue()

    def machine(self) -> Machine:
        """What this machine has, for an estimate of what it can train."""
        from lorasmith.bases.needs import this_machine

        return this_machine()

    def _denoiser(self, reference: str) -> Path:
        """Where a denoiser lies, though parts of its base may be gone, which are then named anew."""
        known = next((base for base in self._registry if base.name == reference), None)
        if known is not None and known.parts and Path(known.path).is_file() and not Path(reference).exists():
            return Path(known.path)
        return self.place(reference)

    @property
    def _registry(self) -> BaseRegistry:
        from lorasmith.bases.registry import BaseRegistry

        return BaseRegistry(self.home)

    def _downloads(self) -> Downloads:
        if self._fetcher is not None:
            return self._fetcher()
        from importlib.util import find_spec

        if find_spec("lorasmith.fetching") is None:
            raise EnvironmentProblem("This lorasmith cannot download.", "Download the file yourself and name its path.")
        from lorasmith.credentials import Credentials
        from lorasmith.fetching import Fetcher

        downloads: Downloads = Fetcher(credentials=Credentials(self.home))
        return downloads
