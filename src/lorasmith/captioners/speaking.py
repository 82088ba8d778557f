"""The process that holds the captioner: a crash inside a model library costs that process and never the job.

``Speaker`` is the side that asks; run as a module, this is the side that answers.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from lorasmith import errors
from lorasmith.captioners import Answer, Captioner, Failure, Identity, Known, Tag
from lorasmith.captioners.children import Child, ChildDiedError, Frame, serve, write_frame
from lorasmith.captioners.decoding import Picture
from lorasmith.config import Section
from lorasmith.errors import LorasmithError

MODULE: Final = "lorasmith.captioners.speaking"
log = logging.getLogger("lorasmith.captioners")

Shown = tuple[Picture, ...]
"""The references of a picture, in order, and the picture; of most it stands alone."""


@dataclass(frozen=True)
class About:
    """What a loaded captioner says of itself."""

    identity: Identity
    longest_side: int | None = None
    batch_limit: int | None = None
    varies: bool = False
    device: str = ""
    legend: dict[str, Any] | None = None
    reads: tuple[str, ...] = ()
    frames: int = 1


class Speaker(ABC):
    """A loaded captioner, wherever it is."""

    about: About

    @abstractmethod
    def caption(self, shown: Sequence[Shown], attempt: int, known: Sequence[Known] = ()) -> list[Answer | Failure]:
        """As ``Captioner.caption``, each picture behind its references; ``known`` comes without them.

        Raises:
            ChildDiedError: its process ended; ``restart`` before the next question.
        """

    @abstractmethod
    def again(self, kept: Sequence[bytes]) -> list[Answer]:
        """As ``Captioner.again``, for several."""

    @abstractmethod
    def restart(self) -> None:
        """Load it anew."""

    @abstractmethod
    def close(self) -> None:
        """Let it go."""


class LocalSpeaker(Speaker):
    """A captioner in this process."""

    def __init__(self, captioner: Captioner, options: Section, *, device: str, home: Path | None) -> None:
        captioner.load(options, device=device, home=home)
        self._captioner = captioner
        self.about = about(captioner)

    def caption(self, shown: Sequence[Shown], attempt: int, known: Sequence[Known] = ()) -> list[Answer | Failure]:
        return _say(self._captioner, shown, attempt, known)

    def again(self, kept: Sequence[bytes]) -> list[Answer]:
        return [self._captioner.again(entry) for entry in kept]

    def restart(self) -> None:
        raise RuntimeError("a captioner in this process cannot have died")

    def close(self) -> None:
        pass


class ProcessSpeaker(Speaker):
    """A captioner in a process of its own."""

    def __init__(
        self, captioner: str, options: dict[str, Any], *, device: str, home: Path, module: str = MODULE
    ) -> None:
        """
        Args:
            captioner: its name.
            options: checked ones.
            device: as ``Captioner.load`` takes it.
            home: as ``Captioner.load`` takes it.
            module: what the process runs.

        Raises:
            LorasmithError: it cannot be loaded.
        """
        self._load = {"do": "load", "captioner": captioner, "options": options, "device": device, "home": str(home)}
        self._module = module
        self._child: Child | None = None
        self.restart()

    @property
    def pid(self) -> int | None:
        """Of the process; None once it is closed."""
        return self._child.pid if self._child is not None else None

    def caption(self, shown: Sequence[Shown], attempt: int, known: Sequence[Known] = ()) -> list[Answer | Failure]:
        sizes = [[[picture.width, picture.height] for picture in those] for those in shown]
        question = {"do": "caption", "sizes": sizes, "attempt": attempt, "known": [_in_words(one) for one in known]}
        answer, blobs = self._ask(question, [picture.rgb for those in shown for picture in those])
        return [_read(entry, blob) for entry, blob in zip(answer["answers"], blobs, strict=True)]

    def again(self, kept: Sequence[bytes]) -> list[Answer]:
        answer, blobs = self._ask({"do": "again"}, kept)
        read = [_read(entry, blob) for entry, blob in zip(answer["answers"], blobs, strict=True)]
        return [entry for entry in read if isinstance(entry, Answer)]

    def restart(self) -> None:
        self.close()
        self._child = Child(self._module)
        try:
            told, _ = self._ask(self._load)
        except ChildDiedError as cause:
            raise errors.EnvironmentProblem(
                f"The captioner {self._load['captioner']} cannot be loaded: its process {cause}.",
                "Most often memory is short: close other programs, or take a smaller model.",
            ) from cause
        self.about = About(**{**told, "identity": Identity(**told["identity"]), "reads": tuple(told["reads"])})

    def close(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None

    def _ask(self, question: dict[str, Any], blobs: Sequence[bytes] = ()) -> Frame:
        if self._child is None:
            raise RuntimeError("the captioner's process was closed")
        try:
            answer, answered = self._child.ask(question, blobs)
        except ChildDiedError:
            self._child = None
            raise
        if "error" in answer:
            raise _read_error(answer["error"])
        return answer, answered


def about(captioner: Captioner) -> About:
    """What a loaded captioner says of itself."""
    return About(
        identity=captioner.identity(),
        longest_side=captioner.longest_side(),
        batch_limit=captioner.batch_limit(),
        varies=captioner.varies,
        device=captioner.device(),
        legend=captioner.legend(),
        reads=tuple(sorted(captioner.reads())),
        frames=captioner.clip_frames(),
    )


def _say(captioner: Captioner, shown: Sequence[Shown], attempt: int, known: Sequence[Known]) -> list[Answer | Failure]:
    images = [those[-1].image() for those in shown]
    if not known:
        return captioner.caption(images, attempt=attempt)
    seen = [tuple(picture.image() for picture in those[:-1]) for those in shown]
    whole = [replace(one, references=those) for one, those in zip(known, seen, strict=True)]
    return captioner.caption(images, attempt=attempt, known=whole)


def _in_words(known: Known) -> dict[str, Any]:
    """All of it but pictures, as JSON."""
    return {field.name: getattr(known, field.name) for field in fields(known) if field.name != "references"}


def _read(entry: dict[str, Any], kept: bytes) -> Answer | Failure:
    if "reason" in entry:
        return Failure(str(entry["reason"]))
    return Answer(str(entry["caption"]), tuple(Tag(*tag) for tag in entry["tags"]), kept, str(entry["note"]))


def _read_error(told: dict[str, str]) -> Exception:
    kind = getattr(errors, told["kind"], None)
    if isinstance(kind, type) and issubclass(kind, LorasmithError):
        return kind(told["message"], told["hint"])
    return RuntimeError(told["message"])


# --- in the process ------------------------------------------------------------------------------------------


def main() -> None:
    """Answer until nobody asks any more."""
    loaded: list[Captioner] = []
    for frame, answers in serve():
        try:
            _answer(frame, loaded, answers)
        except LorasmithError as error:
            told = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
            write_frame(answers, {"error": told})
        except Exception as error:  # a process boundary: the cause goes over, its whole story into the job's log
            log.exception("the captioner failed")
            told = {"kind": "", "message": f"{type(error).__name__}: {error}", "hint": ""}
            write_frame(answers, {"error": told})


def _answer(frame: Frame, loaded: list[Captioner], answers: BinaryIO) -> None:
    question, blobs = frame
    if question["do"] == "load":
        from lorasmith.captioners.run import captioners, read_options

        captioner = captioners()[question["captioner"]]
        options = read_options(captioner, question["options"])
        captioner.load(options, device=question["device"], home=Path(question["home"]))
        loaded[:] = [captioner]
        write_frame(answers, asdict(about(captioner)))
        return
    (captioner,) = loaded
    said: Sequence[Answer | Failure]
    if question["do"] == "again":
        said = [captioner.again(kept) for kept in blobs]
    else:
        coming = iter(blobs)
        shown = [tuple(Picture(wide, high, next(coming)) for wide, high in sizes) for sizes in question["sizes"]]
        said = _say(captioner, shown, question["attempt"], [Known(**one) for one in question["known"]])
    entries: list[dict[str, Any]] = []
    kept_ones: list[bytes] = []
    for entry in said:
        if isinstance(entry, Failure):
            entries.append({"reason": entry.reason})
            kept_ones.append(b"")
        else:
            tags = [[tag.name, tag.category, tag.probability] for tag in entry.tags]
            entries.append({"caption": entry.caption, "tags": tags, "note": entry.note})
            kept_ones.append(entry.kept)
    write_frame(answers, {"answers": entries}, kept_ones)


if __name__ == "__main__":
    main()
