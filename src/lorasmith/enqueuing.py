"""Jobs written down for their turn: ``Studio.enqueue``. What would be refused when it starts is refused now.

``Studio.queue`` has the verbs for what waits and runs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from lorasmith import sequels
from lorasmith.errors import ConfigError, EnvironmentProblem, InputError, JobError
from lorasmith.files import write_json
from lorasmith.payloads import base_reference, caption_payload, certify_payload, generate_payload

if TYPE_CHECKING:
    from lorasmith.captioning import Existing
    from lorasmith.datasets.manifest import DatasetVersion
    from lorasmith.jobfolder import JobKind
    from lorasmith.jobs import Job, Jobs
    from lorasmith.queue.dispatcher import Dispatcher
    from lorasmith.queue.records import QueuedJob
    from lorasmith.queue.verbs import Placement, Queue
    from lorasmith.sequels import Step
    from lorasmith.studio import Studio


class Enqueue:
    """The verbs. Every one returns when the job is on the disk, and takes a ``Placement``."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def train(
        self,
        version: str | DatasetVersion,
        config: Mapping[str, Any],
        placement: Placement | None = None,
        then: Sequence[Step] = (),
        about: Mapping[str, Any] | None = None,
    ) -> QueuedJob:
        """A training job. Its output name is made unique among adapters and jobs; a note in its events says so.

        Args:
            version: what to learn from.
            config: as of ``Studio.train``.
            placement: where in the queue.
            then: what follows when it has succeeded; import and caption jobs take such a plan too.
            about: what the adapter is said to be (``name``, ``description``, ``kind``, ``public``); goes into the
                library with it.

        Raises:
            ConfigError, BaseError, DatasetError, EnvironmentProblem: it cannot be run as it is; nothing was written.
        """

        def fill(folder: Path) -> None:
            sequels.write(folder, then)
            if about:
                write_json(folder / sequels.ABOUT, dict(about))

        return self._train(version, config, placement, fill)

    def rehearse(
        self, version: str | DatasetVersion, config: Mapping[str, Any], placement: Placement | None = None
    ) -> QueuedJob:
        """Two real steps of a training, whose figures then tell how long it takes; it keeps nothing else."""
        recipe = self._studio.prepare(version, config)
        payload = recipe.payload() | {"rehearse": True}
        return self._submit("train", payload, "rehearsal", placement)

    def sequel(self, job: Job) -> list[str]:
        """What follows a job when it has succeeded, in words."""
        return sequels.words(sequels.read(job.folder.path))

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
        placement: Placement | None = None,
        then: Sequence[Step] = (),
        **options: Any,
    ) -> QueuedJob:
        """A caption job; its captions become a version when it has succeeded. Arguments as of ``Studio.caption``."""
        studio, parent = self._studio, self._studio.dataset(version)
        payload = caption_payload(studio, parent, captioner, options, existing, lines, fresh, download, device)
        plan = {"existing": existing, "as_line": as_line, "onto": onto(version)}

        def fill(folder: Path) -> None:
            write_json(folder / sequels.COMMIT, plan)
            sequels.write(folder, then)

        return self._submit("caption", payload, parent.dataset, placement, fill)

    def generate(
        self, request: Mapping[str, Any] | None = None, *, placement: Placement | None = None, **values: Any
    ) -> QueuedJob:
        """Pictures; fields as of ``Studio.generate``."""
        return self._submit("generate", generate_payload(self._studio, {**(request or {}), **values}), "", placement)

    def certify(self, adapter: Path | str, base: str, placement: Placement | None = None) -> QueuedJob:
        """The proof that a LoRA file loads into a base; the certificate is the job's output."""
        return self._submit("certify", certify_payload(self._studio, adapter, base), "", placement)

    def import_dataset(
        self,
        source: Path | str | Sequence[Path | str],
        name: str | None = None,
        placement: Placement | None = None,
        then: Sequence[Step] = (),
        **options: Any,
    ) -> QueuedJob:
        """Pictures taken in by a worker; ``options`` as of ``Studio.import_dataset``.

        What ``Studio.lay_out_uploads`` laid out is removed when it was taken in.

        Raises:
            InputError: a source is not there.
        """
        given = [source] if isinstance(source, Path | str) else list(source)
        paths = [Path(path).expanduser().absolute() for path in given]
        for path in paths:
            if not path.exists():
                raise InputError(f"There is no {path}.", "Check the path.")
        if not paths:
            raise InputError("There is nothing to import.", "Name a ZIP, a folder or pictures.")
        payload = {"sources": [str(path) for path in paths], "name": name or "", "options": options}
        return self._submit(
            "import", payload, name or paths[0].stem, placement, lambda folder: sequels.write(folder, then)
        )

    def gather(
        self,
        location: str,
        source: str | None = None,
        *,
        name: str | None = None,
        into: str | None = None,
        importing: Mapping[str, Any] | None = None,
        placement: Placement | None = None,
        **options: Any,
    ) -> QueuedJob:
        """Pictures from elsewhere, brought and taken in by a worker; arguments as of ``Studio.sources.fetch``.

        Raises:
            ConfigError: no such source or option.
            ConsentNeeded: the user has to agree to something first.
        """
        payload = self._studio.sources.checked(location, source, **options)
        payload |= {"name": name or "", "into": into or "", "importing": dict(importing or {})}
        return self._submit("gather", payload, name or into or payload["source"], placement)

    def compare(
        self,
        version: str | DatasetVersion,
        captioner_options: Mapping[str, Mapping[str, Any]],
        *,
        download: bool = False,
        device: str = "auto",
        placement: Placement | None = None,
    ) -> tuple[QueuedJob, ...]:
        """A caption job for each captioner (name or alias) whose captions are not written anywhere: they are looked at
        side by side with ``Studio.captions.told_by``, and brought together by ``combine``."""
        studio, parent = self._studio, self._studio.dataset(version)
        payloads = [
            caption_payload(studio, parent, name, options, "replace", 1, False, download, device)
            for name, options in captioner_options.items()
        ]
        return tuple(self._submit("caption", payload, parent.dataset, placement) for payload in payloads)

    def fetch_base(self, link: str, name: str = "", placement: Placement | None = None) -> QueuedJob:
        """Base weights from a link or path; what the link means is asked when its turn comes.

        Raises:
            BaseError: it means nothing that is known.
        """
        self._studio.bases.link(link)
        return self._submit("fetch", {"link": link, "name": name}, name, placement)

    def export(
        self,
        version: str | DatasetVersion,
        layout: str,
        folder: Path | str,
        *,
        force: bool = False,
        placement: Placement | None = None,
    ) -> QueuedJob:
        """A version written in the layout of another program.

        Raises:
            ConfigError: no such layout.
            DatasetError: no such version.
        """
        from lorasmith.datasets.layouts import available
        from lorasmith.plugins import choose

        found, layout = self._studio.dataset(version), layout.replace("-", "_")
        choose(available(), layout, "layout")
        target = str(Path(folder).expanduser().absolute())
        payload = {"dataset": found.reference, "layout": layout, "folder": target, "force": force}
        return self._submit("export", payload, found.dataset, placement)

    def tool(
        self,
        verb: str,
        values: Mapping[str, Any],
        name: str = "",
        placement: Placement | None = None,
        *,
        thumbnail: Path | None = None,
        certify: str = "",
    ) -> QueuedJob:
        """A LoRA file made of others by a tool of ``Studio.toolbox``; it goes into the library under a name of its own,
        and what bakes LoRAs into a base makes a base.

        Args:
            verb: resize, merge, convert, scale, edit, average, extract or bake.
            values: as ``adapters.tools.requests`` describes them.
            name: what the result shall be called; a number is put behind it where that is taken.
            placement: where in the queue.
            thumbnail: of ``edit``: a picture to keep inside.
            certify: a base to load the result into when it is made; empty: none.

        Raises:
            ConfigError: no such tool, or values it does not take.
            AdapterError: a file is missing, damaged or no LoRA.
            BaseError: a base is missing.
        """
        from lorasmith.adapters.tools.requests import request_of
        from lorasmith.bases.registry import safe_name
        from lorasmith.library import adapter_name
        from lorasmith.toolbox import THUMBNAIL, made_by, refuse_early

        asked = request_of(verb, values)
        located = self._studio.toolbox.located(asked)
        refuse_early(located)
        wanted = name or f"{asked.called_after(located.files)}-{located.suffix}"
        called = adapter_name(wanted) if made_by(verb) == "adapter" else safe_name(wanted)
        payload: dict[str, Any] = {"verb": verb, "request": located.model_dump(mode="json"), "name": called}
        if certify and made_by(verb) == "adapter":
            payload["certify"] = base_reference(self._studio, certify)

        def fill(folder: Path) -> None:
            if thumbnail is not None:
                shutil.copyfile(thumbnail, folder / THUMBNAIL)

        return self._submit("tool", payload, called, placement, fill)

    # From another job

    def clone(
        self, reference: str, changes: Mapping[str, Any] | None = None, placement: Placement | None = None
    ) -> QueuedJob:
        """The same once more as a job of its own; a training with other values where ``changes`` names them.

        Raises:
            ConfigError: the changes cannot be used, or the job is no training and there are any.
        """
        job = self._studio.job(reference)
        record = job.record()
        if record.kind == "train" and "config" in record.payload:
            return self._retrain(job, changes or {}, placement, lambda folder: _plan_of(job, folder))
        if changes:
            raise ConfigError(f"Job {job.id} is a {record.kind} job and has no values to change.", "Submit it anew.")
        return self.amend(reference, {}, placement)

    def amend(self, reference: str, changes: Mapping[str, Any], placement: Placement | None = None) -> QueuedJob:
        """The same request once more as a job of its own, with what follows it, and other values where ``changes``
        names them: the one way to change a job that is no training, for those who know its request."""
        job = self._studio.job(reference)
        record = job.record()
        payload = {**record.payload, **changes}
        return self._submit(record.kind, payload, "", _from(job, placement), lambda folder: _plan_of(job, folder))

    def continue_from(
        self,
        reference: str,
        step: int | None = None,
        changes: Mapping[str, Any] | None = None,
        placement: Placement | None = None,
    ) -> QueuedJob:
        """A new training that begins where a checkpoint of another one stands; that one stays as it is.

        Args:
            reference: the job that has the checkpoint.
            step: of the checkpoint; left out, the newest.
            changes: values that shall be others from there on, most often a higher ``max_train_steps``.
            placement: where in the queue.

        Raises:
            JobError: there is no such checkpoint.
            ConfigError: the changes cannot be used, or leave no step to train.
        """
        job = self._studio.job(reference)
        place = job.folder.path / "checkpoints"
        steps = sorted(int(path.name) for path in place.glob("*") if path.name.isdecimal())
        if not steps or (step is not None and step not in steps):
            there = f"It has {', '.join(map(str, steps))}." if steps else "It has none."
            raise JobError(f"Job {job.id} has no checkpoint{'' if step is None else f' of step {step}'}.", there)
        chosen = steps[-1] if step is None else step
        total = (changes or {}).get("max_train_steps", job.record().payload["config"]["max_train_steps"])
        if int(total) <= chosen:
            raise ConfigError(
                f"The checkpoint stands at step {chosen}, and max_train_steps is {total}: nothing is left to train.",
                "Change max_train_steps to a higher number.",
            )
        return self._retrain(
            job, changes or {}, placement,
            lambda folder: shutil.copytree(place / str(chosen), folder / "checkpoints" / str(chosen)),
        )  # fmt: skip

    def _retrain(
        self,
        job: Job,
        changes: Mapping[str, Any],
        placement: Placement | None,
        prepare: Callable[[Path], object] = lambda folder: None,
    ) -> QueuedJob:
        from lorasmith.config import layer

        config: dict[str, Any] = job.record().payload["config"]
        values = layer({k: v for k, v in config.items() if k != "dataset"}, layer(changes))
        return self._train(str(config["dataset"]), values, _from(job, placement), prepare)

    # How it is done

    def _train(
        self,
        version: str | DatasetVersion,
        config: Mapping[str, Any],
        placement: Placement | None,
        prepare: Callable[[Path], object] = lambda folder: None,
    ) -> QueuedJob:
        from lorasmith.events import Notice
        from lorasmith.hardware import refuse_what_is_missing
        from lorasmith.jobfolder import JobFolder

        studio = self._studio
        recipe = studio.prepare(version, config)
        refuse_what_is_missing(recipe.config)
        with self._names() as taken:
            wanted = recipe.config.output_name
            name, number = wanted, 1
            while name.casefold() in taken:
                number += 1
                name = f"{wanted}-{number}"
            payload = recipe.payload()
            payload["config"] = {**payload["config"], "output_name": name}
            notices = list(recipe.notices)
            if name != wanted:
                notices.append(Notice(f"There is a '{wanted}' already, so this adapter will be called '{name}'."))

            def fill(folder: Path) -> None:
                prepare(folder)
                for notice in notices:
                    JobFolder(folder).emit(notice)

            return self._submit("train", payload, name, placement, fill)

    @contextmanager
    def _names(self) -> Iterator[frozenset[str]]:
        """Names of adapters that are there or will be; nobody else chooses one meanwhile."""
        studio = self._studio
        studio.home.mkdir(parents=True, exist_ok=True)
        with FileLock(studio.home / "names.lock"):
            coming = {row.output_name for row in studio.queue.list() if row.state not in ("failed", "cancelled")}
            yield frozenset(name.casefold() for name in (*studio.library.names(), *coming) if name)

    def _submit(
        self,
        kind: JobKind,
        payload: Mapping[str, Any],
        name: str,
        placement: Placement | None,
        prepare: Callable[[Path], object] = lambda folder: None,
    ) -> QueuedJob:
        return self._studio.queue.submit(kind, payload, name=name, placement=placement, prepare=prepare)


def open_queue(jobs: Jobs, *, damaged: bool = False) -> Queue:
    """The queue of a home: in its ``studio.db``, or at the Postgres address that ``LORASMITH_DATABASE`` holds.

    A file that cannot be opened is set aside where ``damaged`` allows it.

    Raises:
        EnvironmentProblem: the extra ``web`` is missing, or the database cannot be used.
    """
    if find_spec("sqlalchemy") is None:
        raise EnvironmentProblem(
            "The queue needs SQLAlchemy, which is not installed.", 'Run `python -m pip install "lorasmith[web]"`.'
        )
    from lorasmith.queue.fsck import open_to_rebuild
    from lorasmith.queue.verbs import Queue

    return (open_to_rebuild if damaged else Queue.open)(jobs, os.environ.get("LORASMITH_DATABASE", ""))


def make_dispatcher(studio: Studio, settings: Mapping[str, Any]) -> Dispatcher:
    """The dispatcher of a studio, which files what ended jobs made and queues what shall follow them."""
    from lorasmith.queue.dispatcher import Dispatcher

    return Dispatcher(studio.queue, **{"collect": lambda job: sequels.collect_ended(studio, job), **settings})


def _plan_of(job: Job, folder: Path) -> None:
    """What shall become of a job's result goes with it into another folder."""
    for name in (sequels.COMMIT, sequels.ABOUT, sequels.FILE):
        if (job.folder.path / name).exists():
            shutil.copyfile(job.folder.path / name, folder / name)


def _from(job: Job, placement: Placement | None) -> Placement:
    from dataclasses import replace

    from lorasmith.queue.verbs import Placement

    return replace(placement or Placement(), parent=job.id)


def onto(version: str | DatasetVersion) -> str:
    """Where an edit goes when its version is not the present one: who writes ``name@3`` means that version and goes on
    from it; an edit of a name or of a version in hand is joined with what others did meanwhile."""
    return "parent" if isinstance(version, str) and "@" in version else "head"
