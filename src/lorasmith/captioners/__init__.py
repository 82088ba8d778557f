"""A captioner looks at pictures and says what is on them; one file each.

Write ``captioners/<name>.py`` with a class that derives from ``Captioner`` and a module-level
``plugin = ThatClass()``. ``Options`` is a strict config section: command line and forms come from it for free.
Importing a captioner loads no model library.

    run.py        the caption job: which pictures, modes, retries, failures, progress
    beside.py     what several of them say of the same pictures
    speaking.py   the process that holds the captioner, so that a crash of a model library ends no job
    pairs.py      pictures that are shown together with their references
    decoding.py   the processes that open pictures, so that a poisoned file ends no job
    children.py   how such processes are asked
    journal.py    what a job has done, safe from one picture to the next
    answers.py    answers kept by picture and captioner, so that nothing is asked twice
    batches.py    how many pictures at a time
    downloads.py  what has to be downloaded first, said and then done
    sending.py    pictures that leave this machine, and consent to that
    chat/         servers that are asked: their addresses, requests, refusals and answers
    repositories.py  models that are repositories: where they lie, which of their files are wanted
    prompts.py    what a picture is asked: templates, filled for each picture
    tagging/      taggers: models, layouts, rules over kept probabilities, merging, review
    seeing/       models that see and write: opening them, memory, words by chance or by beams, cut answers
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lorasmith.config import Section

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Tag:
    """One tag with its probability, 0 to 1."""

    name: str
    category: str  # "general", "character", "rating"
    probability: float


@dataclass(frozen=True)
class Answer:
    """What a captioner says of one picture: the caption, and for taggers the tags it is made of.

    ``kept`` is what the captioner wants remembered of the picture, so that ``again`` can answer under other options
    without looking; left empty, the caption itself is remembered.
    """

    caption: str
    tags: tuple[Tag, ...] = ()
    kept: bytes = b""
    note: str = ""
    """What a person should know of it, a sentence, such as that it was cut; said once, and not part of the caption."""


@dataclass(frozen=True)
class Known:
    """What the dataset knows of a picture besides its pixels, as far as the captioner asked for it (``reads``)."""

    filename: str = ""
    """The name of its file, without folder and ending."""
    tags: str = ""
    """Its present caption as one line: of a tagged picture, the tags."""
    frames: int = 1
    """Of a clip, how many of its frames the picture holds, one below the other, all of one height; 1 of pictures."""
    references: Sequence[Image] = ()
    """Of a pair, the pictures (RGB) that this one was made from, in order."""


@dataclass(frozen=True)
class Failure:
    """Why there is no answer for one picture, a sentence. The others of its batch have theirs."""

    reason: str


@dataclass(frozen=True)
class Identity:
    """Who speaks: all that an answer depends on besides the picture. It goes into the provenance of every caption."""

    model: str
    """A repository, a folder's name, a model's name on a server."""
    revision: str = ""
    """A commit or the SHA-256 of the weights; empty where it cannot be known, as on a server."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Options that change the answer: prompt, temperature, seed. Not those that ``again`` applies afterwards."""

    @property
    def key(self) -> str:
        """SHA-256 over all of it: answers under one key may stand for each other."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class Wanted:
    """One file that would be downloaded."""

    url: str
    path: str
    """Inside the folder of ``Need``, with ``/``."""
    size: int | None = None
    """In bytes, where known; sizes are of the published files and may be rounded."""
    sha256: str | None = None


@dataclass(frozen=True)
class Need:
    """What loading would take, told before anything is loaded or downloaded."""

    downloads: tuple[Wanted, ...] = ()
    folder: Path | None = None
    """Where the downloads would go."""
    source: str = ""
    """Where they come from, for people."""
    licence: str = ""
    memory: int | None = None
    """Bytes of memory while it works, of the device it works on; None where it cannot be known."""
    sends_to: str = ""
    """The host that the pictures leave for; empty when they stay on this machine. Leaving needs consent."""
    sends_references: bool = False
    """Whether their references leave with them, which needs a consent of its own."""
    repository: str = ""
    """A repository of Hugging Face, ``owner/name``, whose files are listed, with sizes and hashes, when a download was
    allowed and before it begins; ``about_bytes`` is their size as far as it is known before."""
    about_bytes: int | None = None

    @property
    def lacks(self) -> bool:
        """Whether anything would be downloaded."""
        return bool(self.downloads or self.repository)

    @property
    def bytes_to_load(self) -> int:
        """Of all downloads whose size is known."""
        return sum(wanted.size or 0 for wanted in self.downloads) or self.about_bytes or 0


class Captioner(ABC):
    """The contract: ``need`` tells what it takes, ``load`` once, then ``caption`` in batches.

    It is loaded in a process of its own, which may be ended at any time and started anew.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    doing: ClassVar[str] = "Captioning"
    """What it does, for the sentence that says that it failed."""
    advice: ClassVar[str] = (
        "If that is not it: check the internet connection and 2-3 GB of free disk, name another model, or make "
        "batch_size smaller."
    )
    """What helps most often, said after the true cause and what to do about it."""
    varies: ClassVar[bool] = False
    """Whether another ``attempt`` may give another answer. One that always says the same is never asked twice."""

    class Options(Section):
        """Nothing to choose. The job honours a field ``batch_size`` (None: found while working), and a field ``pairs``:
        where it is true, pictures come with their references, and ``references`` is among what the captioner reads.
        """

    def aliases(self) -> Mapping[str, Mapping[str, Any]]:
        """Other names for this captioner under certain options, such as ``{"wd-vit-v3": {"model": ...}}``."""
        return {}

    def need(self, options: Section, *, home: Path) -> Need:
        """What ``load`` would take under these options; quick, nothing is loaded."""
        del options, home
        return Need()

    @abstractmethod
    def load(self, options: Section, *, device: str, home: Path | None = None) -> None:
        """Get ready; may take long. Downloads nothing.

        Args:
            options: its own ``Options``.
            device: ``auto``, ``cpu``, ``cuda`` or another that the captioner names.
            home: where downloaded models lie; None: only what the options name.

        Raises:
            EnvironmentProblem: an extra, the model's files, the device or its memory is missing.
        """

    def identity(self) -> Identity:
        """Who speaks, once loaded."""
        return Identity(self.name)

    def device(self) -> str:
        """What it works on, once loaded, for people: ``CUDA``; empty when there is nothing to say."""
        return ""

    def longest_side(self) -> int | None:
        """Pixels of the longer side that it looks at, once loaded: pictures come reduced to it, never enlarged.
        None: they come as they are."""
        return None

    def batch_limit(self) -> int | None:
        """The most pictures that it can take at a time, once loaded; None: as many as memory holds."""
        return None

    def clip_frames(self) -> int:
        """How many frames of a clip it looks at, once loaded. Above 1 it has ``frames`` among what it ``reads``."""
        return 1

    def reads(self) -> frozenset[str]:
        """Which fields of ``Known`` its answers depend on, once loaded; pictures come with just these, and answers are
        kept for each picture under them."""
        return frozenset()

    def legend(self) -> dict[str, Any]:
        """What is needed to read ``Answer.kept`` without the model, as JSON; stored once beside the answers."""
        return {}

    @abstractmethod
    def caption(
        self, images: Sequence[Image], *, attempt: int = 0, known: Sequence[Known] = ()
    ) -> list[Answer | Failure]:
        """One answer or failure per picture (RGB), in order.

        Args:
            images: pictures.
            known: what is known of each; empty when nothing was asked for.
            attempt: 0 at first; another number asks for another answer, the same number for the same one.

        Raises:
            InputError: one of the pictures is to blame, it is not known which; they are then given one by one.
            OutOfMemory: too many at a time; fewer are given then.
        """

    def again(self, kept: bytes) -> Answer:
        """The answer from what an earlier one kept, under the present options, once loaded."""
        raise NotImplementedError(f"{self.name} keeps nothing")
