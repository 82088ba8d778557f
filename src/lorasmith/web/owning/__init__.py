"""A studio for requests: over stores, a queue and a library that ask the rules first.

Pages and API know nothing of it. What is not yours is not there: the refusal is the same as for a name that nobody has.
Outside a request (the queue's own work, the command line) nobody is asked.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from lorasmith.datasets.holders import Holders
from lorasmith.datasets.recall import Recall
from lorasmith.datasets.store import DatasetStore
from lorasmith.datasets.versions import VersionFiles
from lorasmith.enqueuing import Enqueue
from lorasmith.errors import AdapterError, JobError
from lorasmith.jobs import Jobs
from lorasmith.library import Library
from lorasmith.queue.verbs import Queue
from lorasmith.shelf import Shelf
from lorasmith.studio import Studio
from lorasmith.web.owning.asking import sees_all
from lorasmith.web.owning.pictures import OwnedStore
from lorasmith.web.owning.weights import OwnedLibrary, OwnedShelf
from lorasmith.web.owning.work import OwnedEnqueue, OwnedJobs, OwnedQueue
from lorasmith.web.people import Kind
from lorasmith.web.rules import Rules

_RECALLED: Final = 60_000
"""Pictures of the versions that requests find in memory: a kilobyte each."""


class OwnedStudio(Studio):
    """The studio as requests see it."""

    def __init__(self, under: Studio) -> None:
        """``under``: the studio of the owner; both share what they know of running workers."""
        super().__init__(under.home, worker=under._worker)
        self._under = under
        self.rules = Rules(self.home, self._maker_of)
        self._holders = Holders(self.home)
        self._versions = VersionFiles(self.home, recall=Recall(_RECALLED))

    def sees_picture(self, sha256: str) -> bool:
        """Whether whoever acts sees a dataset that holds these bytes."""
        if sees_all():
            return True
        before = self._holders.of(sha256)
        if any(self.rules.may("dataset", name, "see") for name in before):
            return True
        now = set(self._holders.look_again(sha256)) - set(before)
        return any(self.rules.may("dataset", name, "see") for name in sorted(now))

    @property
    def queue(self) -> Queue:
        below = self._under.queue
        if self._known_queue is None or self._known_queue.database is not below.database:
            self._known_queue = OwnedQueue(below.home, self._jobs, below.database, below.changed, self.rules)
        return self._known_queue

    @property
    def enqueue(self) -> Enqueue:
        return OwnedEnqueue(self)

    @property
    def library(self) -> Library:
        return OwnedLibrary(self.home, self.rules)

    def adapter(self, reference: Path | str) -> Path:
        """A path is for admins: it could be any file of the server. That of an adapter here is its name."""
        if not sees_all():
            library, name = self.library, str(reference).removesuffix(".safetensors")
            if isinstance(reference, Path) and reference.parent == library.folder:
                name = reference.stem
            if "/" in name or "\\" in name or name not in library.names():
                raise AdapterError(f"There is no adapter '{reference}' in the library.", "List those there are.")
        return super().adapter(reference)

    @property
    def bases(self) -> Shelf:
        return OwnedShelf(self.home)

    @property
    def _store(self) -> DatasetStore:
        return OwnedStore(self.home, self.rules, self._versions)

    @property
    def _jobs(self) -> Jobs:
        if self._known_jobs is None:
            below = self._under._jobs
            self._known_jobs = OwnedJobs(below.home, below.command, below._children, rules=self.rules)
        return self._known_jobs

    def _maker_of(self, kind: Kind, name: str) -> str | None:
        """The job of the queue that made a dataset or an adapter; the one that a job followed."""
        if kind == "job":
            return self._parent_of(name)
        if kind == "adapter" and (noted := Library(self.home).job_of(name)):
            with suppress(JobError):
                return self._under.queue.get(noted).id
        makers, by = (("import",), "dataset") if kind == "dataset" else (("train", "tool"), "adapter")
        for row in self._under.queue.list(["succeeded"], newest=True):
            told = str((row.output or {}).get(by, "")).partition("@")[0]
            if row.kind in makers and told == name:
                return row.id
        return None

    def _parent_of(self, job: str) -> str | None:
        """What the queue makes by itself belongs to whose plan it is."""
        try:
            return self._under.queue.get(job).parent or None
        except JobError:
            return None
