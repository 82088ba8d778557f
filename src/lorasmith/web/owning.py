"""A studio for requests: over stores, a queue and a library that ask the rules first.

Pages and API know nothing of it. What is not yours is not there: the refusal is the same as for a name that nobody has.
Outside a request (the queue's own work, the command line) nobody is asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from lorasmith.datasets.garbage import Garbage
from lorasmith.datasets.history import HistoryEntry
from lorasmith.datasets.holders import Holders
from lorasmith.datasets.manifest import DatasetVersion, Fate, Item, Operation
from lorasmith.datasets.recall import Recall
from lorasmith.datasets.store import DatasetStore
from lorasmith.datasets.versions import VersionFiles
from lorasmith.enqueuing import Enqueue
from lorasmith.errors import AdapterError, BaseError, ConfigError, JobError, UnknownJob
from lorasmith.files import write_json
from lorasmith.jobfolder import PERSON, JobKind
from lorasmith.jobs import Job, Jobs
from lorasmith.library import About, Deleted, Library
from lorasmith.queue.records import Happening, QueuedJob
from lorasmith.queue.states import State
from lorasmith.queue.verbs import Placement, Queue
from lorasmith.recipe import SANDBOX
from lorasmith.sequels import Step
from lorasmith.shelf import ScanResult, Shelf
from lorasmith.studio import Studio
from lorasmith.web.people import YOU, Kind, acting, changing
from lorasmith.web.rules import Rules, absent

if TYPE_CHECKING:
    from lorasmith.bases.adding import Added
    from lorasmith.bases.converting import Converted
    from lorasmith.bases.links import Link
    from lorasmith.bases.wanting import Wanted

_RECALLED: Final = 60_000
"""Pictures of the versions that requests find in memory: a kilobyte each."""


class OwnedStore(DatasetStore):
    """A store that asks first."""

    def __init__(self, home: Path, rules: Rules, versions: VersionFiles | None = None) -> None:
        super().__init__(home, versions=versions)
        self._rules = rules

    def get(self, reference: str) -> DatasetVersion:
        self._rules.require("dataset", self._bare(reference), "see")
        return super().get(reference)

    def names(self) -> list[str]:
        return [name for name in super().names() if self._rules.may("dataset", name, "see")]

    def versions(self, name: str) -> list[int]:
        return super().versions(name) if self._rules.may("dataset", self._bare(name), "see") else []

    def history(self, name: str) -> list[HistoryEntry]:
        self._rules.require("dataset", self._bare(name), "see")
        return super().history(name)

    def commit(
        self,
        parent: DatasetVersion,
        items: Sequence[Item],
        operation: Operation,
        *,
        onto: Literal["head", "parent"] = "head",
        ledger: Sequence[Fate] | None = None,
    ) -> DatasetVersion:
        self._rules.require("dataset", parent.dataset, "change")
        return super().commit(parent, items, operation, onto=onto, ledger=ledger)

    def commit_aside(self, parent: DatasetVersion, items: Sequence[Item], operation: Operation) -> DatasetVersion:
        self._rules.require("dataset", parent.dataset, "change")
        return super().commit_aside(parent, items, operation)

    def undo(self, name: str, steps: int = 1) -> DatasetVersion:
        self._rules.require("dataset", self._bare(name), "change")
        return super().undo(name, steps)

    def redo(self, name: str, steps: int = 1) -> DatasetVersion:
        self._rules.require("dataset", self._bare(name), "change")
        return super().redo(name, steps)

    def restore(self, reference: str) -> DatasetVersion:
        self._rules.require("dataset", self._bare(reference), "change")
        return super().restore(reference)

    def branch(self, reference: str, new_name: str) -> DatasetVersion:
        self._rules.require("dataset", self._bare(reference), "see")
        made = super().branch(reference, new_name)
        self._rules.made("dataset", made.dataset)
        return made

    def drop(self, reference: str) -> None:
        name = self._bare(reference)
        self._rules.require("dataset", name, "own")
        super().drop(reference)
        if "@" not in reference:
            self._rules.forget("dataset", name)

    def create(self, *arguments: Any, **options: Any) -> DatasetVersion:
        made = super().create(*arguments, **options)
        self._rules.made("dataset", made.dataset)
        return made

    def import_source(self, source: Any, **options: Any) -> DatasetVersion:
        wanted = options.get("into") or options.get("name")
        first = source if isinstance(source, str | Path) else next(iter(source), "")
        target = self._versions.existing(str(wanted) if wanted else self._name_for(Path(first), None))
        if target is not None:
            self._rules.require("dataset", target, "change")
        made = super().import_source(source, **options)
        self._rules.made("dataset", made.dataset)
        return made

    def garbage(self) -> Garbage:
        _admins_only()
        return super().garbage()

    def _bare(self, reference: str) -> str:
        """The name as it is written on the disk."""
        name = reference.partition("@")[0]
        return self._versions.existing(name) or name


@dataclass(frozen=True)
class OwnedJobs(Jobs):
    """Jobs that ask first."""

    rules: Rules | None = None

    def submit(self, kind: JobKind, payload: Mapping[str, Any], **options: Any) -> Job:
        further = options.pop("prepare", lambda folder, record: None)

        def prepare(folder: Path, record: bytes) -> None:
            if person := _person():
                write_json(folder / PERSON, {"person": person})
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
            if _sees_all():
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
            if _sees_all():
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
        if _sees_all():
            return super().list(states, in_turn=in_turn, newest=newest, limit=limit, offset=offset)
        rows = [row for row in super().list(states, in_turn=in_turn, newest=newest) if self._sees(row.id)]
        return tuple(rows[offset : None if limit is None else offset + limit])

    def counts(self) -> dict[State, int]:
        if _sees_all():
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
        _admins_only()
        return super().drain(lane, reason)

    def open_lane(self, lane: str = "") -> Any:
        _admins_only()
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
        made = super().add(file, certificate, name=name, job=job, by=by or _person())
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
        if not _sees_all() and not self._holds(reference):
            raise BaseError(f"There is no base '{reference}' here.", "Choose one of those on the bases page.")
        return super().place(reference)

    def link(self, text: str) -> Link:
        from lorasmith.bases.links import parse_link

        return parse_link(text, paths=_sees_all())

    def add(self, link: str | Wanted, **options: Any) -> Added:
        _admins_only()
        return super().add(link, **options)

    def assemble(self, reference: str, files: Iterable[Path | str] = (), *, name: str = "") -> Added:
        _admins_only()
        return super().assemble(reference, files, name=name)

    def scan(self, folders: Iterable[Path | str] = (), **options: Any) -> ScanResult:
        _admins_only()
        return super().scan(folders, **options)

    def convert(self, source: Path | str, out: Path | str | None = None) -> Converted:
        _admins_only()
        return super().convert(source, out)

    def _holds(self, reference: str) -> bool:
        """By name, or by where one of them lies: jobs name theirs so. The disk is never asked by the text."""
        if reference == SANDBOX or any(reference in (one.name, one.path) for one in self.list()):
            return True
        folder = self.home / "bases"
        names = {one.name for one in folder.iterdir()} if folder.is_dir() else set()
        inside = {str(place / name) for place in (folder.absolute(), folder.resolve()) for name in names}
        return reference in names or reference in inside or reference == str(super().place(SANDBOX))


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
            _admins_only()
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
        if _sees_all():
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
        if not _sees_all():
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


def _person() -> str:
    """Who acts, as it is written beside what they make; empty for the owner of this machine."""
    actor = acting.get()
    return "" if actor is None or actor == YOU or actor.only is not None else actor.name


def _sees_all() -> bool:
    actor = acting.get()
    return actor is None or (actor.role == "admin" and actor.only is None)


def _admins_only() -> None:
    if not _sees_all():
        raise ConfigError("Only an admin may do that.", "Ask one of them.")
