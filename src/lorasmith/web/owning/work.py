"""Jobs for requests: their folders, the queue, and what is written down for it, each of which asks first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.datasets.store import DatasetStore
from lorasmith.enqueuing import Enqueue
from lorasmith.errors import JobError, UnknownJob
from lorasmith.files import write_json
from lorasmith.jobfolder import PERSON, JobKind
from lorasmith.jobs import Job, Jobs
from lorasmith.queue.records import Happening, QueuedJob
from lorasmith.queue.states import State
from lorasmith.queue.verbs import Placement, Queue
from lorasmith.sequels import Step
from lorasmith.web.owning.asking import admins_only, person, sees_all
from lorasmith.web.people import changing
from lorasmith.web.rules import Rules, absent

if TYPE_CHECKING:
    from lorasmith.web.owning import OwnedStudio


@dataclass(frozen=True)
class OwnedJobs(Jobs):
    """Jobs that ask first."""

    rules: Rules | None = None

    def submit(self, kind: JobKind, payload: Mapping[str, Any], **options: Any) -> Job:
        further = options.pop("prepare", lambda folder, record: None)

        def prepare(folder: Path, record: bytes) -> None:
            if who := person():
                write_json(folder / PERSON, {"person": who})
            further(folder, record)

        job = super().submit(kind, payload, prepare=prepare, **options)
        self._asked.made("job", job.id)
        return job

    def get(self, reference: str) -> Job:
        if reference == "last":
            mine = self.list()
            if not mine:
                raise UnknownJob("There is no job 'last'.", "List the jobs for those there are.")
            reference = max(mine, key=lambda job: job.record().created).id
        try:
            job = super().get(reference)
        except JobError:  # the words for what nobody has must be those for what may not be seen
            if sees_all():
                raise
            raise absent("job", reference) from None
        if not self._asked.may("job", job.id, "see"):
            raise absent("job", reference)  # and not by its whole id, where a part of it was given
        self._asked.require("job", job.id, "change" if changing.get() else "see")  # who holds it can speak to it
        return job

    def list(self) -> tuple[Job, ...]:
        return tuple(job for job in super().list() if self._asked.may("job", job.id, "see"))

    @property
    def _asked(self) -> Rules:
        assert self.rules is not None
        return self.rules


@dataclass(frozen=True)
class OwnedQueue(Queue):
    """A queue that asks first: who may not change a job may not speak to it either."""

    rules: Rules | None = None

    def get(self, reference: str) -> QueuedJob:
        try:
            row = super().get(reference if reference != "last" else self.jobs.get("last").id)
        except JobError:
            if sees_all():
                raise
            raise absent("job", reference) from None
        if not self._sees(row.id):
            raise absent("job", reference)
        return row

    def list(
        self,
        states: Collection[State] | None = None,
        *,
        in_turn: bool = False,
        newest: bool = False,
        limit: int | None = None,
        offset: int = 0,
    ) -> tuple[QueuedJob, ...]:
        if sees_all():
            return super().list(states, in_turn=in_turn, newest=newest, limit=limit, offset=offset)
        rows = [row for row in super().list(states, in_turn=in_turn, newest=newest) if self._sees(row.id)]
        return tuple(rows[offset : None if limit is None else offset + limit])

    def counts(self) -> dict[State, int]:
        if sees_all():
            return super().counts()
        found: dict[State, int] = {}
        for row in self.list():
            found[row.state] = found.get(row.state, 0) + 1
        return found

    def journal(self, after: int = 0, *, limit: int = 1000, job: str = "") -> tuple[Happening, ...]:
        entries = super().journal(after, limit=limit, job=job)
        return tuple(entry for entry in entries if not entry.job or self._sees(entry.job))

    def needs(self, job: str) -> tuple[str, ...]:
        return tuple(one for one in super().needs(job) if self._sees(one))

    def hold(self, reference: str, reason: str = "") -> QueuedJob:
        return super().hold(self._changeable(reference), reason)

    def release(self, reference: str) -> QueuedJob:
        return super().release(self._changeable(reference))

    def front(self, reference: str) -> QueuedJob:
        return super().front(self._changeable(reference))

    def back(self, reference: str) -> QueuedJob:
        return super().back(self._changeable(reference))

    def move_before(self, reference: str, other: str) -> QueuedJob:
        return super().move_before(self._changeable(reference), other)

    def prioritise(self, reference: str, priority: int) -> QueuedJob:
        return super().prioritise(self._changeable(reference), priority)

    def pause(self, reference: str) -> QueuedJob:
        return super().pause(self._changeable(reference))

    def resume(self, reference: str) -> QueuedJob:
        return super().resume(self._changeable(reference))

    def retry(self, reference: str) -> QueuedJob:
        return super().retry(self._changeable(reference))

    def cancel(self, reference: str) -> QueuedJob:
        return super().cancel(self._changeable(reference))

    def finish(self, reference: str) -> QueuedJob:
        return super().finish(self._changeable(reference))

    def save_now(self, reference: str) -> QueuedJob:
        return super().save_now(self._changeable(reference))

    def sample_now(self, reference: str) -> QueuedJob:
        return super().sample_now(self._changeable(reference))

    def drain(self, lane: str = "", reason: str = "") -> Any:
        admins_only()
        return super().drain(lane, reason)

    def open_lane(self, lane: str = "") -> Any:
        admins_only()
        return super().open_lane(lane)

    @property
    def _asked(self) -> Rules:
        assert self.rules is not None
        return self.rules

    def _sees(self, job: str) -> bool:
        return self._asked.may("job", job, "see")

    def _changeable(self, reference: str) -> str:
        row = self.get(reference)
        self._asked.require("job", row.id, "change")
        return row.id


class OwnedEnqueue(Enqueue):
    """What is committed later by nobody in particular is asked for now."""

    def __init__(self, studio: OwnedStudio) -> None:
        super().__init__(studio)
        self._rules = studio.rules

    def caption(
        self, version: str | DatasetVersion, captioner: str = "wd_tagger", *, placement: Placement | None = None,
        **options: Any,
    ) -> QueuedJob:  # fmt: skip
        parent = self._studio.dataset(version)
        self._rules.require("dataset", parent.dataset, "change")
        return super().caption(version, captioner, placement=placement, **options)

    def import_dataset(
        self, source: Path | str | Sequence[Path | str], name: str | None = None, placement: Placement | None = None,
        then: Sequence[Step] = (), **options: Any,
    ) -> QueuedJob:  # fmt: skip
        first = source if isinstance(source, Path | str) else next(iter(source), "")
        wanted = str(options.get("into") or name or Path(first).stem)
        taken = {known.casefold(): known for known in DatasetStore(self._studio.home).names()}
        if (known := taken.get(wanted.casefold())) is not None:
            self._rules.require("dataset", known, "change")
        return super().import_dataset(source, name, placement, then, **options)

    def tool(self, verb: str, *arguments: Any, **options: Any) -> QueuedJob:
        if verb == "bake":  # everybody sees a base, and it fills the disk: whoever may add one may bake one
            admins_only()
        return super().tool(verb, *arguments, **options)

    def amend(self, reference: str, changes: Mapping[str, Any], placement: Placement | None = None) -> QueuedJob:
        record = self._studio.job(reference).record()
        payload = {**record.payload, **changes}
        if record.kind == "import" and not payload.get("name"):
            payload["name"] = Path(str(payload["sources"][0])).stem
        targets = {"caption": ("dataset",), "import": ("name",), "gather": ("name", "into")}.get(record.kind, ())
        for key in targets:  # whoever may speak to a job may not do with it what its owner may
            wanted = str(payload.get(key) or "").partition("@")[0]
            if wanted and wanted in DatasetStore(self._studio.home).names():
                self._rules.require("dataset", wanted, "change")
        return super().amend(reference, changes, placement)
