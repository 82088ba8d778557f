"""A trainer trains: our own loop, or somebody else's program behind the same contract.

Write ``trainers/<name>.py`` with a class that derives from ``Trainer`` and a module-level ``plugin = ThatClass()``.
Importing a trainer loads no model library: heavy imports stand inside ``train``, which only the worker calls.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from lorasmith.events import Emit
from lorasmith.families import Family
from lorasmith.jobfolder import Control, JobFolder

ControlReader = Callable[[], Control]
"""What is wanted now. Its two counters begin at 0 when the worker starts."""


class Trainer(ABC):
    """The contract."""

    name: ClassVar[str]
    title: ClassVar[str]

    @abstractmethod
    def supports(self, family: Family) -> bool:
        """Whether this trainer can train bases of the family."""

    @abstractmethod
    def honours(self) -> frozenset[str]:
        """The dotted config keys that it really uses; forms show only these, and setting another is an error."""

    @abstractmethod
    def train(self, folder: JobFolder, emit: Emit, control: ControlReader) -> dict[str, Any]:
        """Train what ``job.json`` asks for, into the job folder, and go on where an earlier attempt ended.

        Returns:
            ``adapter`` (path relative to the folder), ``sha256``, ``certificate``, ``steps``, ``losses``; or, when a
            pause or stop was asked for on the way, ``complete: false`` and ``steps``, with everything saved.

        Raises:
            LorasmithError: with a sentence for the user.
            OSError: a full disk, among others; what was saved stays whole.
        """
