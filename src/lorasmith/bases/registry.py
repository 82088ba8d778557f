"""The bases of a home: one small JSON file each, ``<home>/bases/<name>.base.json``, about weights that lie anywhere.

Weights that were downloaded lie in ``<home>/bases``; those of other programs stay where they are and are referred to by
path, with the size and time that tell whether they are still the same. Hashes are worked out when they are first
needed, and kept. Two names never stand for the same bytes: adding a base again gives the first one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from lorasmith.bases.header import Header
from lorasmith.bases.recognition import Recognition
from lorasmith.errors import BaseError

Progress = Callable[[int, int, str], None]
"""Called with bytes done, bytes in all, and what is being read."""
_ENDING = ".base.json"
_CHUNK = 8_000_000
_RESERVED = frozenset(
    {"con", "prn", "aux", "nul", "sandbox"} | {f"{a}{n}" for a in ("com", "lpt") for n in range(1, 10)}
)


@dataclass(frozen=True)
class RegisteredBase:
    """What is known of a base in this home."""

    name: str
    path: str
    """Absolute; a single file or a folder."""
    kind: str
    family: str
    variant: str
    title: str
    evidence: tuple[str, ...]
    confidence: float
    questions: tuple[str, ...]
    """What its tensors leave open, in words."""
    quantisation: str
    parameters: int
    size: int
    stamps: dict[str, tuple[int, int]]
    """Size and modification time (ns) of every weights file, by its path below ``path`` (empty for a single file)."""
    sha256: str = ""
    """Of a single file; of a folder, of the list of its files' hashes. Empty until it was asked for."""
    origin: str = ""
    """The page it came from; empty for what was here."""
    license: str = ""
    owned: bool = False
    """Whether it lies in the home and goes when it is removed."""
    files: tuple[str, ...] = field(default=())
    answers: dict[str, str] = field(default_factory=dict)
    """What the user said to questions that its tensors leave open, by the question's name."""
    parts: dict[str, str] = field(default_factory=dict)
    """Of a denoiser that was made a whole base: the file of each part, absolute, by diffusers' names."""
    configs: str = ""
    """Of such a base: the folder of its configs and words."""

    def present(self) -> bool:
        """Whether its files are there, as they were."""
        return _stamps(Path(self.path), self.files) == self.stamps


class BaseRegistry:
    """The records of a home. Cheap to make; nothing is written until something is added."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "bases"

    def __iter__(self) -> Iterator[RegisteredBase]:
        """All records by name; a damaged one is passed over here and named by ``get``."""
        for file in sorted(self.folder.glob(f"*{_ENDING}")):
            record = self._read(file)
            if record is not None:
                yield record

    def get(self, name: str) -> RegisteredBase:
        """The record of that name.

        Raises:
            BaseError: there is none, or it is damaged.
        """
        file = self._file(name)
        if not file.is_file():
            raise BaseError(f"There is no base '{name}' in this home.", "`lorasmith bases list` shows what is here.")
        record = self._read(file)
        if record is None:
            raise BaseError(
                f"The record {file} is damaged.", f"Remove that file and run `lorasmith bases add` again for {name}."
            )
        return record

    def find(self, name: str) -> Path | None:
        """Where the base of that name lies; None when no base is called so.

        Raises:
            BaseError: its files are gone or are not what they were.
        """
        if not self._file(name).is_file():
            return None
        record = self.get(name)
        if not record.present():
            own = {file: stamp for file, stamp in record.stamps.items() if not Path(file).is_absolute()}
            if record.parts and _stamps(Path(record.path), tuple(own)) == own:
                raise BaseError(
                    f"A part of the base '{name}' is not where it was, or has changed.",
                    f"Put it together again: `lorasmith bases assemble {name}`.",
                )
            gone = not Path(record.path).exists()
            raise BaseError(
                f"The base '{name}' is {'not at' if gone else 'no longer what it was at'} {record.path}"
                f"{' any more' if gone else ''}.",
                f"Run `lorasmith bases forget {name}`, then add it again from where it is now.",
            )
        return Path(record.path)

    def add(
        self,
        header: Header,
        found: Recognition,
        *,
        name: str = "",
        origin: str = "",
        license: str = "",
        sha256: str = "",
    ) -> tuple[RegisteredBase, bool]:
        """Remember a base; gives its record, and whether it is new.

        A base that is known already, by its place or by its hash, keeps its name. A name that is taken by another
        base gets a number.
        """
        path = header.path.absolute()
        files = _weights(path)
        stamps = _stamps(path, files)
        for known in self:
            own = {file: stamp for file, stamp in known.stamps.items() if not Path(file).is_absolute()}
            same_place = known.path == str(path) and own == stamps
            if same_place or (sha256 and known.sha256 == sha256 and known.present()):
                return known, False
        taken = {known.name.casefold(): known for known in self}
        wanted = safe_name(name or (path.name if header.layout == "folder" else path.stem))
        chosen, number = wanted, 2
        while (other := taken.get(chosen.casefold())) is not None and other.path != str(path):
            chosen, number = f"{wanted}-{number}", number + 1
        record = RegisteredBase(
            name=chosen,
            path=str(path),
            kind=found.kind,
            family=found.family,
            variant=found.variant,
            title=found.title,
            evidence=found.evidence,
            confidence=found.confidence,
            questions=tuple(question.text for question in found.questions),
            quantisation=found.quantisation,
            parameters=found.parameters,
            size=sum(size for size, _ in stamps.values()),
            stamps=stamps,
            sha256=sha256,
            origin=origin,
            license=license or header.metadata.get("modelspec.license", ""),
            owned=path.is_relative_to(self.folder.absolute()),
            files=files,
        )
        self._write(record)
        return record, True

    def hashed(self, name: str, progress: Progress | None = None) -> RegisteredBase:
        """The record with its hash, worked out now if it was not before."""
        record = self.get(name)
        self.find(name)
        if record.sha256:
            return record
        record = replace(record, sha256=content_hash(Path(record.path), record.files, progress))
        self._write(record)
        return record

    def answer(self, name: str, question: str, choice: str, still_open: Iterable[str]) -> RegisteredBase:
        """The record with an answer to one of its questions; an empty ``choice`` takes the answer back.

        Args:
            name: of the base.
            question: its name; whether the base asks it, and the choice is one, is for the caller to know.
            choice: the answer.
            still_open: the questions, in words, that nobody has answered then.
        """
        record = self.get(name)
        answers = {key: value for key, value in record.answers.items() if key != question}
        answers |= {question: choice} if choice else {}
        record = replace(record, answers=answers, questions=tuple(still_open))
        self._write(record)
        return record

    def assembled(self, name: str, parts: Mapping[str, str], configs: Path) -> RegisteredBase:
        """The record of a denoiser that is a whole base from now on.

        Args:
            name: of the denoiser.
            parts: the file of each part, absolute, by diffusers' names.
            configs: the folder of its configs and words.
        """
        record = self.get(name)
        path = Path(record.path)
        own = tuple(file for file in record.files if not Path(file).is_absolute())
        files = (*own, *sorted({file for file in parts.values() if Path(file) != path}))
        stamps = _stamps(path, files)
        size = sum(one for one, _ in stamps.values())
        record = replace(
            record, parts=dict(parts), configs=str(configs), files=files, stamps=stamps, size=size, sha256=""
        )
        self._write(record)
        return record

    def record_of(self, reference: str, path: Path) -> RegisteredBase | None:
        """The base of that name, or the one whose weights lie at a path, those that were put together first."""
        if self._file(reference).is_file():
            return self.get(reference)
        place = {str(path), str(path.absolute())}
        known = [one for one in self if one.path in place or Path(one.path).resolve() == path.resolve()]
        return min(known, key=lambda one: not one.parts, default=None)

    def answers_for(self, path: Path) -> dict[str, str]:
        """What was answered about the weights at a path; nothing where they are not registered."""
        place = {str(path), str(path.absolute())}
        for record in self:
            if record.answers and (record.path in place or Path(record.path).resolve() == path.resolve()):
                return record.answers
        return {}

    def forget(self, name: str) -> RegisteredBase:
        """Remove the record; the weights stay where they are."""
        record = self.get(name)
        self._file(name).unlink()
        return record

    def _file(self, name: str) -> Path:
        return self.folder / f"{safe_name(name)}{_ENDING}"

    def _read(self, file: Path) -> RegisteredBase | None:
        try:
            raw = json.loads(file.read_text(encoding="utf-8"))
            lists = {name: tuple(raw[name]) for name in ("evidence", "questions", "files")}
            stamps = {str(key): (int(value[0]), int(value[1])) for key, value in raw["stamps"].items()}
            answers = {str(key): str(value) for key, value in raw.get("answers", {}).items()}
            known = {entry.name for entry in fields(RegisteredBase)}
            told = {key: value for key, value in raw.items() if key in known}
            lists["parts"] = {str(key): str(value) for key, value in raw.get("parts", {}).items()}  # type: ignore[assignment]
            return RegisteredBase(**told | lists | {"stamps": stamps, "answers": answers})
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
            return None

    def _write(self, record: RegisteredBase) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{record.name}.{os.getpid()}.tmp"
        temporary.write_text(json.dumps(asdict(record), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        temporary.replace(self._file(record.name))


def safe_name(name: str) -> str:
    """A name that is a file name on every system, made of what was given."""
    text = unicodedata.normalize("NFC", name)
    text = re.sub(r'[\x00-\x1f\x7f<>:"/\\|?*]+', "-", text).strip(" .-")[:100].strip(" .-")
    return f"{text}-base" if text.casefold() in _RESERVED else text or "base"


def content_hash(path: Path, files: tuple[str, ...], progress: Progress | None = None) -> str:
    """SHA-256 of a file; of a folder, of the lines ``<hash>  <file>`` of all its weights."""
    places = [path / file if file else path for file in files]
    total, done = sum(place.stat().st_size for place in places), 0
    digests: list[str] = []
    for file, place in zip(files, places, strict=True):
        digest = hashlib.sha256()
        with place.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, total, place.name)
        digests.append(f"{digest.hexdigest()}  {place.name if Path(file).is_absolute() else file}")
    if files == ("",):
        return digests[0].partition(" ")[0]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _weights(path: Path) -> tuple[str, ...]:
    if path.is_file():
        return ("",)
    return tuple(sorted(file.relative_to(path).as_posix() for file in path.rglob("*.safetensors")))


def _stamps(path: Path, files: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    stamps: dict[str, tuple[int, int]] = {}
    for file in files:
        try:
            facts = (path / file if file else path).stat()
        except OSError:
            return {}
        stamps[file] = (facts.st_size, facts.st_mtime_ns)
    return stamps


def as_facts(record: RegisteredBase) -> dict[str, Any]:
    """A record as JSON values, with whether its files are there."""
    return asdict(record) | {"present": record.present()}
