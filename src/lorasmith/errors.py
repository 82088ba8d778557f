"""Every error a user can meet.

    LorasmithError           exit 1
    ├── ConfigError               2   a value, key or command line that cannot be used
    │   └── ConsentNeeded         2   something that waits for the user's word
    ├── InputError                3   a file, folder or picture that cannot be used
    │   ├── DatasetError          3   a dataset or a version of one
    │   │   └── ConflictError     3   two edits of the same pictures
    │   ├── UploadRefused         3   a piece of a file, or an upload, that cannot be taken
    │   └── FetchError            3   something that could not be fetched, or is not what was asked for
    │       ├── AddressRefused    3   an address that must not be followed
    │       └── NoAnswer          3   a server that cannot be reached, or fell silent
    ├── BaseError                 4   base weights that are missing, damaged or of another family
    ├── AdapterError              5   a LoRA file that is damaged, foreign or fails its certificate
    ├── EnvironmentProblem        6   something this machine lacks: an extra, disk, memory, a device
    │   ├── OutOfDisk             6
    │   └── OutOfMemory           6
    ├── JobError                  7   a job that is running elsewhere, unknown, damaged or failed
    │   ├── UnknownJob            7   no job of that name
    │   ├── NonFiniteLoss         7
    │   └── CheckpointError       7
    └── Stopped                 130   stopped on request; nothing was changed

A message says in one sentence what is wrong; the hint says the next thing to do. Exit code 130 means
interrupted by the user; 1 is kept for what nobody foresaw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from lorasmith.datasets.merging import Conflict


class LorasmithError(Exception):
    """An error with a sentence for the user.

    Args:
        message: one sentence, what is wrong, naming the thing it is wrong with.
        hint: the next thing to do, a sentence or a command; empty when there is none.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class ConfigError(LorasmithError):
    """A value, key or command line that cannot be used."""

    exit_code = 2


class ConsentNeeded(ConfigError):
    """Something that is done only after the user has agreed to it once.

    ``notice`` is the id of what to agree to, ``title`` and ``text`` its words.
    """

    def __init__(self, message: str, hint: str = "", notice: str = "", title: str = "", text: str = "") -> None:
        super().__init__(message, hint)
        self.notice, self.title, self.text = notice, title, text


class InputError(LorasmithError):
    """A file, folder or picture that cannot be used."""

    exit_code = 3


class DatasetError(InputError):
    """A dataset, or a version of one, that is missing, empty or damaged."""


class ConflictError(DatasetError):
    """Two edits of the same pictures, made without knowing of each other; nothing was written.

    ``conflicts`` holds what each made of every picture that both changed; it is empty when both changed the order.
    """

    def __init__(self, message: str, hint: str = "", conflicts: Sequence[Conflict] = ()) -> None:
        super().__init__(message, hint)
        self.conflicts = tuple(conflicts)


class UploadRefused(InputError):
    """A piece of a file, or an upload, that cannot be taken; ``why`` tells programs the kind of reason."""

    def __init__(
        self,
        message: str,
        hint: str = "",
        why: Literal["unknown", "offset", "checksum", "too_large", "announced"] = "announced",
    ) -> None:
        super().__init__(message, hint)
        self.why = why


class FetchError(InputError):
    """Something that could not be fetched, or that is not what was asked for.

    ``status`` is the HTTP status when a server's answer was the reason, else None.
    """

    def __init__(self, message: str, hint: str = "", status: int | None = None) -> None:
        super().__init__(message, hint)
        self.status = status


class AddressRefused(FetchError):
    """An address that must not be followed: private, disguised, or of a kind that is not allowed."""


class NoAnswer(FetchError):
    """A server that could not be reached, or fell silent; a little later it may answer."""


class BaseError(LorasmithError):
    """Base weights that are missing, damaged or of another family."""

    exit_code = 4


class AdapterError(LorasmithError):
    """A LoRA file that is damaged, written for something else, or fails its certificate."""

    exit_code = 5


class EnvironmentProblem(LorasmithError):
    """Something this machine lacks: an extra, disk, memory, a device."""

    exit_code = 6


class OutOfDisk(EnvironmentProblem):
    """The disk is full; the job is paused, nothing is lost."""


class OutOfMemory(EnvironmentProblem):
    """The device's memory does not suffice; the hint names the smallest changes that would fit."""


class JobError(LorasmithError):
    """A job that is running elsewhere, unknown, damaged or failed."""

    exit_code = 7


class UnknownJob(JobError):
    """There is no job of that name."""


class NonFiniteLoss(JobError):
    """The loss became NaN or infinite; the message names step and pictures."""


class CheckpointError(JobError):
    """A checkpoint that is missing or whose bytes are not what was written."""


class Stopped(LorasmithError):
    """Something was stopped on request before it had an effect."""

    exit_code = 130
