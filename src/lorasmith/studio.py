"""``Studio(home)``: the verbs of the product, the one façade behind command line, notebooks and web.

    studio = Studio()
    version = studio.import_dataset("photos.zip")
    version = studio.add_trigger_word(studio.caption(version), "ohwx")
    job = studio.train(version, {"base": "sandbox", "trigger_word": "ohwx"})
    adapter = studio.collect(job)  # waits, checks, files it in the library
    pictures = studio.generate(base="sandbox", prompts=["ohwx on red"], adapters=[{"name": adapter.stem}])

Nothing here loads a model: what needs one is written down as a job and done by a worker process. Verbs take and
give value types; everything they refuse is a ``LorasmithError``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasmith.credentials import redact
from lorasmith.errors import ConfigError, InputError
from lorasmith.events import Event

if TYPE_CHECKING:
    from lorasmith.adapters.certificate import Certificate
    from lorasmith.adapters.tools.describing import Description
    from lorasmith.calculator import Calculation
    from lorasmith.captioning import Captioning, Existing
    from lorasmith.collecting import Rehearsal
    from lorasmith.curation import Curation
    from lorasmith.datasets.checks import Finding
    from lorasmith.datasets.manifest import DatasetVersion
    from lorasmith.datasets.store import DatasetStore
    from lorasmith.easel import Easel
    from lorasmith.enqueuing import Enqueue
    from lorasmith.gathering import Gathering
    from lorasmith.generation.lent import Lending
    from lorasmith.generation.request import GeneratedImage
    from lorasmith.jobfolder import JobKind
    from lorasmith.jobs import Command, Job, Jobs
    from lorasmith.library import Library
    from lorasmith.models import Models
    from lorasmith.queue.dispatcher import Dispatcher
    from lorasmith.queue.fsck import Difference
    from lorasmith.queue.verbs import Queue
    from lorasmith.recipe import Recipe
    from lorasmith.recipes import Recipes
    from lorasmith.remedies import Remedies
    from lorasmith.shelf import Shelf
    from lorasmith.sources.upload_sets import UploadSet
    from lorasmith.sources.uploads import Uploads
    from lorasmith.toolbox import Toolbox
    from lorasmith.training.plan import Plan
    from lorasmith.workbench import Workbench

Watch = Callable[[Event], None]


def default_home() -> Path:
    """``LORASMITH_HOME``, or the place where this system keeps a program's data."""
    if chosen := os.environ.get("LORASMITH_HOME"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "lorasmith"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "lorasmith"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "lorasmith"


class Studio:
    """Everything one home holds, and what can be done with it. Cheap to make; nothing is written until asked for."""

    def __init__(self, home: Path | str | None = None, *, worker: Command | None = None) -> None:
        """
        Args:
            home: where datasets, jobs and adapters lie; left out, ``default_home()``.
            worker: how a worker is started, if not as ``lorasmith.jobs.worker_command`` does.
        """
        self.home = (Path(home).expanduser() if home is not None else default_home()).absolute()
        self._worker = worker
        self._known_jobs: Jobs | None = None
        self._known_queue: Queue | None = None

    # Datasets

    def import_dataset(
        self,
        source: Path | str | Sequence[Path | str],
        name: str | None = None,
        background: str = "white",
        *,
        progress: Callable[[int, int, str], None] | None = None,
        **options: Any,
    ) -> DatasetVersion:
        """Take in pictures; the version's ledger tells the fate of every file.

        Args:
            source: a ZIP, tar, folder or picture, or several of them; nothing is written into it.
            name: of the dataset; left out, made from the source's.
            background: colour that replaces transparency.
            progress: called with (files done, files in all, path).
            options: further ones of ``DatasetStore.import_source``: ``into`` (add to a dataset), ``layout``, ``alpha``,
                ``max_side``, ``limit``, ``cancel``.

        Raises:
            InputError: not there, unreadable, or without pictures.
        """
        sources = [source] if isinstance(source, Path | str) else list(source)
        address = next((one for one in sources if isinstance(one, str) and "://" in one), None)
        if address is not None:
            raise InputError(f"'{redact(address)}' is an address and no path.", "Use studio.sources.fetch(address).")
        paths = [Path(path).expanduser() for path in sources]
        return self._store.import_source(paths, name=name, background=background, progress=progress, **options)

    def dataset(self, reference: str | DatasetVersion) -> DatasetVersion:
        """The version that ``name`` (the present one, the newest unless something was undone) or ``name@number`` means.

        Raises:
            DatasetError: there is none.
        """
        return self._store.get(reference) if isinstance(reference, str) else reference

    def datasets(self) -> dict[str, list[int]]:
        """Names of all datasets with the numbers of their versions."""
        store = self._store
        return {name: store.versions(name) for name in store.names()}

    def check(
        self,
        version: str | DatasetVersion,
        *,
        trigger_word: str = "",
        base: str = "",
        resolution: int | None = None,
        pictures: bool = True,
        **values: Any,
    ) -> list[Finding]:
        """What is wrong or doubtful about a dataset before it is trained, errors first.

        ``curate.inspect`` says in addition which checks were not carried out, and why.

        Args:
            version: what to check.
            trigger_word: the word that every caption should hold.
            base: the base it shall be trained with, which says how large pictures and how long captions may be.
            resolution: side in pixels of the square whose area is trained; left out, the base's, or 512.
            pictures: whether to look at the pixels too: blur, duplicates, watermarks.
            values: other fields of ``Lens``: ``goal``, ``trainer``, ``batch_size`` ...
        """
        curate = self.curate
        lens = curate.lens(base=base, resolution=resolution, trigger_word=trigger_word, **values)
        return list(curate.inspect(version, lens, pictures=pictures).findings)

    def add_trigger_word(self, version: str | DatasetVersion, word: str) -> DatasetVersion:
        """A new version whose captions begin with the word, every line of them; those that have it stay as they are.

        ``curate.edit`` does the same at other places, on some of the pictures, or with a preview.

        Raises:
            ConfigError: the word is empty.
            ConflictError: somebody else changed the same captions since ``version``, differently.
        """
        if not word.strip():
            raise ConfigError("The trigger word is empty.", "Give a word the base does not know.")
        return self.curate.edit(version, "add_trigger_word", {"word": word})

    def remove_tags(self, version: str | DatasetVersion, tags: Sequence[str]) -> DatasetVersion:
        """A new version without these tags; only whole tags are removed, never parts of one, and no sentences."""
        wanted = [tags] if isinstance(tags, str) else [tag for tag in tags if tag.strip()]
        return self.curate.edit(version, "remove_tags", {"tags": wanted}) if wanted else self.dataset(version)

    def caption(
        self,
        version: str | DatasetVersion,
        captioner: str = "wd_tagger",
        *,
        existing: Existing = "replace",
        as_line: bool = False,
        lines: int = 1,
        fresh: bool = False,
        download: bool = False,
        device: str = "auto",
        on_event: Watch | None = None,
        **options: Any,
    ) -> DatasetVersion:
        """A new version with captions by a captioner; pictures it failed on keep theirs and are listed.

        The list is ``version.operation.arguments["failures"]``, name to reason.

        Args:
            version: whose pictures.
            captioner: its name, or another name of it such as ``wd-vit-v3`` (``captions.names()``).
            existing: what becomes of captions that are there: ``replace`` them (they stay in the parent version),
                ``keep`` them and fill the missing, ``append`` or ``prepend`` what is new.
            as_line: whether what is appended or prepended becomes a line of its own.
            lines: how many captions of each picture, a line each.
            fresh: whether answers that are kept of earlier jobs are passed over.
            download: whether a model that is not here may be downloaded; ``captions.need`` tells what and how large.
            device: ``auto``, ``cpu``, ``cuda`` ...
            on_event: hears everything the job says.
            options: the captioner's own.

        Raises:
            ConfigError: no such captioner or option.
            DatasetError: no pictures, or it failed on all of them.
            EnvironmentProblem: the model is not here and downloading was not allowed.
        """
        from lorasmith.enqueuing import onto
        from lorasmith.files import write_json
        from lorasmith.payloads import caption_payload
        from lorasmith.sequels import COMMIT

        parent = self.dataset(version)
        payload = caption_payload(self, parent, captioner, options, existing, lines, fresh, download, device)
        if existing == "keep" and all(item.caption.strip() for item in parent.items):
            return parent
        job = self._submit("caption", payload, name=parent.dataset)
        write_json(job.folder.path / COMMIT, {"existing": existing, "as_line": as_line, "onto": onto(version)})
        self._run(job, on_event)
        return self.collect_captions(job)

    def collect_captions(self, job: Job | str) -> DatasetVersion:
        """Commit what a caption job made; asking again gives the same version.

        ``caption`` does so itself; this is for a job that was resumed.

        Raises:
            JobError: it is no caption job, or it has not succeeded.
            DatasetError: it captioned nothing.
        """
        from lorasmith.collecting import captions_of

        return captions_of(self, self._store, self.job(job))

    # Training

    def prepare(self, version: str | DatasetVersion, config: Mapping[str, Any]) -> Recipe:
        """The resolved run with its notices; nothing is written.

        Raises:
            ConfigError, BaseError, DatasetError: it cannot be run as it is.
        """
        from lorasmith.recipe import prepare

        return prepare(self.dataset(version), config, home=self.home, opens=self.bases.open)

    def plan(self, version: str | DatasetVersion, config: Mapping[str, Any]) -> Plan:
        """What training would do: buckets, steps, exposures, disk."""
        from lorasmith.hardware import refuse_what_is_missing
        from lorasmith.training.plan import plan

        recipe = self.prepare(version, config)
        refuse_what_is_missing(recipe.config)
        return plan(recipe.config, recipe.version, recipe.family, recipe.base)

    def rehearse(
        self, version: str | DatasetVersion, config: Mapping[str, Any], *, on_event: Watch | None = None
    ) -> Rehearsal:
        """Go the whole way with two steps, and estimate the real run's time from them.

        Raises:
            LorasmithError: whatever would have stopped the real run later.
        """
        from lorasmith.collecting import Rehearsal
        from lorasmith.hardware import refuse_what_is_missing

        recipe = self.prepare(version, config)
        refuse_what_is_missing(recipe.config)
        payload = recipe.payload() | {"rehearse": True}
        output = self._run(self._submit("train", payload, name="rehearsal"), on_event)
        return Rehearsal.of(output)

    def train(self, version: str | DatasetVersion, config: Mapping[str, Any], start: bool = True) -> Job:
        """Submit a training job, and start it. Its first events are the notices of ``prepare``.

        Args:
            version: what to learn from.
            config: ``TrainConfig`` values, nested or dotted; ``base`` is needed, the family gives the rest.
            start: False leaves the job queued, for this machine or another one.

        Raises:
            ConfigError, BaseError, DatasetError, EnvironmentProblem: it cannot be run as it is; nothing was written.
        """
        from lorasmith.hardware import refuse_what_is_missing

        recipe = self.prepare(version, config)
        if start:
            refuse_what_is_missing(recipe.config)
        job = self._submit("train", recipe.payload(), name=recipe.config.output_name)
        for notice in recipe.notices:
            job.folder.emit(notice)
        return job.start() if start else job

    def resume(self, job: Job | str) -> Job:
        """Go on with a job that was stopped, paused, lost or failed."""
        return self.job(job).resume()

    def collect(self, job: Job | str) -> Path:
        """Wait for a training job, and file its adapter in the library; asking again gives the same file.

        A base of two experts has two adapters: both are filed, each under the name and the word of its expert, and the
        first is given back; the name alone calls up both when pictures are painted.

        Raises:
            AdapterError: it failed its certificate, or its bytes are not those the worker wrote.
            LorasmithError: the job did not succeed.
        """
        from lorasmith.collecting import adapter_of

        return adapter_of(self, self.job(job))

    def calculate(self, **values: Any) -> Calculation:
        """How often a run shows each picture, in passes, steps and time; values as ``calculator.Question`` takes them.

        Raises:
            ConfigError, DatasetError, BaseError: the numbers make no run, or name what is not here.
        """
        from lorasmith.calculator import calculate, question

        asked = question(values)
        version, lens = None, None
        if asked.dataset:
            version = self.dataset(asked.dataset)
            family = "" if asked.base else asked.family
            lens = self.curate.lens(base=asked.base, family=family, resolution=asked.resolution)
        return calculate(asked, version=version, lens=lens, paces=self.workbench.paces(asked))

    # Using adapters

    def generate(
        self, request: Mapping[str, Any] | None = None, *, on_event: Watch | None = None, **values: Any
    ) -> list[GeneratedImage]:
        """Paint pictures; fields as in ``GenerateRequest``, in a mapping, as keywords, or both.

        Raises:
            ConfigError: an unknown field or an impossible value.
            AdapterError, BaseError: an adapter or the base cannot be used.
        """
        from lorasmith.generation.request import GeneratedImage
        from lorasmith.payloads import generate_payload

        payload = generate_payload(self, {**(request or {}), **values})
        job = self._submit("generate", payload)
        return [GeneratedImage.of(job.folder.path, image) for image in self._run(job, on_event)["images"]]

    def certify(self, adapter: Path | str, base: str, *, on_event: Watch | None = None) -> Certificate:
        """Load a LoRA file, anybody's, into a base and state what arrived; look at ``passed``.

        Raises:
            AdapterError, BaseError: there is no such file, or it cannot be read.
        """
        from lorasmith.adapters.certificate import Certificate
        from lorasmith.payloads import certify_payload

        payload = certify_payload(self, adapter, base)
        return Certificate.model_validate(self._run(self._submit("certify", payload), on_event))

    def inspect(self, adapter: Path | str) -> Description:
        """What a LoRA file is and says of itself, from its header alone; ``toolbox.inspect`` looks deeper."""
        return self.toolbox.inspect(adapter)

    def adapter(self, reference: Path | str) -> Path:
        """The absolute path of an adapter, from a path or a name in the library.

        Raises:
            AdapterError: there is none.
        """
        from lorasmith.generation.adapters import find_adapter

        return find_adapter(str(reference), self.home).absolute()

    def base_place(self, reference: str) -> Path:
        """Where a base lies, by its name or path, so that it is found from any folder.

        Raises:
            BaseError: there is none.
        """
        return self.bases.place(reference)

    # Jobs and what lies under them

    def jobs(self) -> tuple[Job, ...]:
        """All jobs of this home, oldest first."""
        return self._jobs.list()

    def job(self, reference: Job | str) -> Job:
        """The job of that id, an unmistakable part of one, or ``last``."""
        return self._jobs.get(reference) if isinstance(reference, str) else reference

    @property
    def queue(self) -> Queue:
        """What waits for its turn and what runs: look at it, reorder, pause, cancel, try again. See ``open_queue``."""
        from lorasmith.enqueuing import open_queue

        if self._known_queue is None:
            self._known_queue = open_queue(self._jobs)
        return self._known_queue

    @property
    def enqueue(self) -> Enqueue:
        """Jobs written down for their turn: train, caption, generate, import ..."""
        from lorasmith.enqueuing import Enqueue

        return Enqueue(self)

    def rebuild_queue(self) -> tuple[int, tuple[Difference, ...]]:
        """Make the queue's database anew from the job folders; how many jobs, and which folders are damaged."""
        from lorasmith.enqueuing import open_queue
        from lorasmith.queue.fsck import rebuild

        self._known_queue = open_queue(self._jobs, damaged=True)
        return rebuild(self._known_queue)

    def dispatcher(self, **settings: Any) -> Dispatcher:
        """What starts and follows the jobs of the queue; one per home. ``settings``: fields of ``Dispatcher``."""
        from lorasmith.enqueuing import make_dispatcher

        made = make_dispatcher(self, settings)
        self._known_queue = replace(self.queue, changed=made.wake)
        return made

    @property
    def workbench(self) -> Workbench:
        """What a person needs to set a run up: models, defaults, what is in the way, how long it takes here."""
        from lorasmith.workbench import Workbench

        return Workbench(self)

    @property
    def remedies(self) -> Remedies:
        """What helps a job that failed, and its application."""
        from lorasmith.remedies import Remedies

        return Remedies(self)

    @property
    def curate(self) -> Curation:
        """What can be done to the datasets of this home besides importing and captioning."""
        from lorasmith.curation import Curation

        return Curation(self.home, self._store, self.bases.open)

    @property
    def captions(self) -> Captioning:
        """Captions by machines, besides ``caption``: what they need, tags under other rules, several side by side."""
        from lorasmith.captioning import Captioning

        return Captioning(
            self.home,
            self._store,
            lambda payload, name, on_event: self._run(self._submit("caption", payload, name=name), on_event),
        )

    @property
    def sources(self) -> Gathering:
        """Pictures from elsewhere: what there is at a place, and how it becomes a dataset."""
        from lorasmith.gathering import Gathering

        return Gathering(self.home, self._store)

    @property
    def uploads(self) -> Uploads:
        """Files that arrive in pieces, from a browser."""
        from lorasmith.sources.uploads import Uploads

        return Uploads(self.home)

    def lay_out_uploads(self, ids: Collection[str], owner: str = "") -> UploadSet:
        """Whole uploads as the folder they came from, ready to be imported; the uploads themselves can go then.

        Raises:
            UploadRefused: one is not there, of somebody else, or not whole.
            InputError: there are none.
        """
        from lorasmith.sources.upload_sets import expire_sets, lay_out

        expire_sets(self.uploads)
        return lay_out(self.uploads, ids, owner)

    def release_uploads(self, ready: UploadSet) -> None:
        """Remove what ``lay_out_uploads`` laid out; the uploads themselves stay."""
        from lorasmith.sources.upload_sets import release

        release(self.home, [ready.folder])

    @property
    def lending(self) -> Lending:
        """Pictures that were given to be edited and are in no dataset."""
        from lorasmith.generation.lent import Lending

        return Lending(self.home)

    @property
    def recipes(self) -> Recipes:
        """Values for the training form under names, shared as files."""
        from lorasmith.recipes import Recipes

        return Recipes(self.home)

    @property
    def bases(self) -> Shelf:
        """The base weights of this home: find, add, look at, convert."""
        from lorasmith.shelf import Shelf

        return Shelf(self.home)

    @property
    def toolbox(self) -> Toolbox:
        """LoRA files: look into them, convert, resize, merge, use."""
        from lorasmith.toolbox import Toolbox

        return Toolbox(self.home, self.adapter, self.base_place, lambda job: self.job(job).folder.path)

    @property
    def models(self) -> Models:
        """The adapters of this home with all that belongs to them: look at, describe, take in, delete."""
        from lorasmith.models import Models

        return Models(self)

    @property
    def easel(self) -> Easel:
        """What was painted, with its parameters, and prompts worth keeping."""
        from lorasmith.easel import Easel

        return Easel(self)

    @property
    def library(self) -> Library:
        """The adapters of this home."""
        from lorasmith.library import Library

        return Library(self.home)

    @property
    def _store(self) -> DatasetStore:
        from lorasmith.datasets.store import DatasetStore

        return DatasetStore(self.home)

    @property
    def _jobs(self) -> Jobs:
        from lorasmith.jobs import Jobs, worker_command

        if self._known_jobs is None:  # one for all calls: it knows the exit codes of the workers it started
            self._known_jobs = Jobs(self.home, self._worker or worker_command)
        return self._known_jobs

    def _submit(self, kind: JobKind, payload: Mapping[str, Any], *, name: str = "") -> Job:
        return self._jobs.submit(kind, payload, name=name)

    def _run(self, job: Job, on_event: Watch | None) -> dict[str, Any]:
        """Start a job and stay with it to its end. Ctrl-C stops the worker too: nobody else waits for it."""
        job.start()
        try:
            for event in job.follow():
                if on_event is not None:
                    on_event(event)
        except KeyboardInterrupt:
            job.stop()
            raise
        return job.output()
