"""The adapters of a home as models that people look at: ``Studio.models``.

A model is an adapter of the library with everything that belongs to it: what its header says, its certificate, the run
that made it with its previews, and the words of people beside it. Nothing here loads a model library.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lorasmith.errors import AdapterError, ConfigError, JobError, LorasmithError
from lorasmith.files import json_in
from lorasmith.library import About, Deleted, Library, adapter_name, lineage

if TYPE_CHECKING:
    from lorasmith.adapters.tools.describing import Description
    from lorasmith.adapters.tools.using import Usage
    from lorasmith.jobs import Job
    from lorasmith.queue.records import QueuedJob
    from lorasmith.studio import Studio

SHOWN_SAMPLES: Final = 4
LARGEST: Final = 8_000_000_000
"""Bytes of a file that is taken in; the largest LoRAs of the largest bases stay below it."""


@dataclass(frozen=True)
class Picture:
    """A preview that a run painted."""

    job: str
    path: str
    """Relative to the job's folder."""
    prompt: str = ""
    step: int = 0


@dataclass(frozen=True)
class Model:
    """One adapter, as a list shows it."""

    name: str
    about: About
    size: int
    trigger_word: str
    base: str
    """What it was trained on, as its file says; else what it looks like."""
    license: str
    passed: bool | None
    """Its certificate; None when it has none."""
    versions: tuple[str, ...]
    """Names of all adapters of this line, itself among them, the newest first."""
    samples: tuple[Picture, ...]
    problem: str = ""
    """Why its file cannot be read; empty when it can."""

    @property
    def title(self) -> str:
        return self.about.title or self.name


@dataclass(frozen=True)
class LoraFile:
    """One file of the library, as the list of its tools shows it."""

    name: str
    size: int
    passed: bool | None
    """Its certificate; None when it has none."""
    description: Description | None
    problem: str = ""
    """Why it cannot be read; empty when it can."""


@dataclass(frozen=True)
class Run:
    """Where an adapter came from."""

    job: str
    """Empty when its folder is gone; the rest is what the file remembers."""
    dataset: str
    config: Mapping[str, Any]
    created: str
    checkpoints: tuple[int, ...]
    """Steps of which a checkpoint is kept."""


@dataclass(frozen=True)
class WholeModel:
    """One adapter with all there is to say of it."""

    model: Model
    path: Path
    report: Description | None
    certificate: dict[str, Any] | None
    run: Run | None
    usage: Usage | None
    """None where the file leaves open what it is for, or is damaged."""


class Models:
    """The verbs. Cheap to make; nothing is read or written until asked for."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    @property
    def _library(self) -> Library:
        return self._studio.library

    def list(self) -> tuple[Model, ...]:
        """The newest of each line, the newest first."""
        lines = self._lines()
        return tuple(
            sorted((self._model(line[0], line) for line in lines.values()), key=lambda m: m.about.added, reverse=True)
        )

    def get(self, name: str) -> WholeModel:
        """Everything about one.

        Raises:
            AdapterError: there is none of that name.
        """
        path = self._library.path(name)
        lines = self._lines()
        versions = next(line for line in lines.values() if name in line)
        model, report, usage = self._model(name, versions, all_samples=True), None, None
        certificate = self._library.certificate(name)
        if not model.problem:
            report = _described(path)
            with suppress(AdapterError):  # its family is asked for on the page where it is used
                usage = self.use(name)
        return WholeModel(model, path, report, certificate, self._run(name, report), usage)

    def files(self) -> tuple[LoraFile, ...]:
        """Every file of the library with what its header says, by name."""
        found = []
        for name in self._library.names():
            path, certificate = self._library.path(name), self._library.certificate(name)
            passed = None if certificate is None else bool(certificate.get("passed"))
            try:
                found.append(LoraFile(name, path.stat().st_size, passed, _described(path)))
            except LorasmithError as damage:
                found.append(LoraFile(name, path.stat().st_size, passed, None, damage.message))
        return tuple(found)

    def use(self, name: str) -> Usage:
        """How it is used in ComfyUI, A1111 and diffusers, with the exact text.

        Raises:
            AdapterError: there is none of that name, or its family stays open and matters.
        """
        from lorasmith.adapters.tools.using import Chosen, use

        base = self._model(name, (name,)).base
        programs = (self._library.certificate(name) or {}).get("programs")
        return use(
            [Chosen(self._library.path(name))],
            base=base,
            beside=True,
            programs=programs if isinstance(programs, Mapping) else None,
        )

    def register(self, file: Path | str, name: str = "") -> str:
        """Take in an adapter that somebody else made; its name here. Nothing is certified by this.

        Raises:
            AdapterError: it is none, it is damaged, or it is here already.
        """
        from lorasmith.adapters.tools.describing import describe
        from lorasmith.files import file_digest

        path = Path(file).expanduser()
        describe(path)
        digest = file_digest(path)
        for known in self._library.names():
            there = self._library.path(known)
            if there.stat().st_size == path.stat().st_size and file_digest(there) == digest:
                raise AdapterError(f"This file is here already, as '{known}'.", "Look at it on the models page.")
        return self._library.add(path, None, name=adapter_name(name or path.stem)).stem

    def certify(self, name: str, base: str) -> QueuedJob:
        """Certify it again; the certificate is filed when the job has succeeded.

        Raises:
            AdapterError, BaseError: one of both is not here.
        """
        return self._studio.enqueue.certify(self._library.path(name), base)

    def file_certificate(self, job: Job) -> str:
        """Keep what a certify job has shown, if it was about an adapter of the library; that one's name, or nothing."""
        certificate = job.output()
        path = Path(str(job.record().payload.get("adapter", "")))
        if path.parent != self._library.folder.absolute() or path.stem not in self._library.names():
            return ""
        try:
            self._library.set_certificate(path.stem, certificate)
        except AdapterError:  # other bytes by now: the proof is of no use
            return ""
        return path.stem

    def describe(self, name: str, **changes: str) -> About:
        """Change title, description, visibility, kind or licence; the file stays as it is."""
        return self._library.describe(name, **changes)

    def remove(self, name: str) -> Deleted:
        """Move it to the trash.

        Raises:
            JobError: a job is using it.
        """
        path = str(self._library.path(name))
        for row in self._studio.queue.list({"starting", "running", "pausing", "queued", "paused", "held", "blocked"}):
            uses = row.kind in ("generate", "certify", "tool")
            if uses and path in json.dumps(self._payload(row.id), ensure_ascii=False):
                raise JobError(f"Job {row.id} needs '{name}'.", "Wait for it, or cancel it first.")
        return self._library.remove(name)

    # What is put together

    def _lines(self) -> dict[str, tuple[str, ...]]:
        """Names by the first of their line, each line newest first."""
        names = frozenset(self._library.names())
        lines: dict[str, list[tuple[int, str]]] = {}
        for name in names:
            first = lineage(name, names)
            number = int(name[len(first) + 1 :]) if name != first else 1
            lines.setdefault(first, []).append((number, name))
        return {first: tuple(name for _, name in sorted(line, reverse=True)) for first, line in lines.items()}

    def _model(self, name: str, versions: tuple[str, ...], *, all_samples: bool = False) -> Model:
        path, about = self._library.path(name), self._library.about(name)
        certificate = self._library.certificate(name)
        try:
            header = _described(path)
            metadata, looks_like, problem = dict(header.metadata), header.looks_like, ""
        except LorasmithError as damage:
            metadata, looks_like, problem = {}, "", damage.message
        samples = self._samples(about.job, metadata, all_samples)
        return Model(
            name=name,
            about=about,
            size=path.stat().st_size,
            trigger_word=metadata.get("lorasmith.trigger_word") or metadata.get("modelspec.trigger_phrase", ""),
            base=metadata.get("lorasmith.base") or metadata.get("ss_sd_model_name", "") or looks_like,
            license=about.license or metadata.get("modelspec.license", ""),
            passed=None if certificate is None else bool(certificate.get("passed")),
            versions=versions,
            samples=samples,
            problem=problem,
        )

    def _samples(self, job: str, metadata: Mapping[str, str], everything: bool) -> tuple[Picture, ...]:
        """Previews of the run that made it: the last of each prompt; for a list a few, without their words."""
        if not job:
            return ()
        folder = self._studio.home / "jobs" / job
        if not everything:
            there = sorted(path.name for path in (folder / "samples").glob("*.png"))
            newest = [name for name in there if name.partition("-")[0] == there[-1].partition("-")[0]]
            return tuple(Picture(job, f"samples/{name}") for name in newest[:SHOWN_SAMPLES])
        from lorasmith.chronicle import chronicle_of

        try:
            told = chronicle_of(self._studio.job(job).folder)
        except LorasmithError:
            return ()
        rows = told.samples_by_prompt()
        last = [row[max(row)] for row in rows.values() if row]
        return tuple(Picture(job, one.path, one.prompt, one.step) for one in last if (folder / one.path).is_file())

    def _run(self, name: str, report: Description | None) -> Run | None:
        job = self._job_of(name)
        remembered = report.metadata if report is not None else {}
        if job is not None:
            record = job.record()
            config = record.payload.get("config")
            config = config if isinstance(config, Mapping) else {}
            steps = (job.folder.path / "checkpoints").glob("*")
            kept = tuple(sorted(int(path.name) for path in steps if path.name.isdecimal()))
            return Run(job.id, str(config.get("dataset", "")), config, record.created, kept)
        if "lorasmith.config" not in remembered:
            return None
        config = json_in(remembered["lorasmith.config"])
        config = config if isinstance(config, Mapping) else {}
        return Run("", remembered.get("lorasmith.dataset", ""), config, remembered.get("modelspec.date", ""), ())

    def _job_of(self, name: str) -> Job | None:
        """The run that made an adapter: as it was noted, else the one whose file has these very bytes."""
        noted = self._library.about(name).job
        if noted and (self._studio.home / "jobs" / noted / "job.json").is_file():
            return self._studio.job(noted)
        digest = (self._library.certificate(name) or {}).get("sha256")
        if noted or not digest:
            return None
        for job in reversed(self._studio.jobs()):
            if "-train" in job.id:
                try:
                    result = job.result()
                except LorasmithError:
                    continue
                if result is not None and result.output.get("sha256") == digest:
                    return job
        return None

    def _payload(self, job: str) -> dict[str, Any]:
        try:
            return self._studio.job(job).record().payload
        except LorasmithError:
            return {}


def uploaded(name: str, chunks: Iterable[bytes], folder: Path) -> Path:
    """Write what somebody uploads into a folder, under a safe name.

    Raises:
        AdapterError: it is no ``.safetensors`` file by its name, or too large.
        ConfigError: nothing was sent.
    """
    plain = name.replace("\\", "/").rpartition("/")[2]
    if not plain:
        raise ConfigError("No file was sent.", "Choose a .safetensors file first.")
    if not plain.lower().endswith(".safetensors"):
        kind = plain.rpartition(".")[2][:20] if "." in plain else "file of no kind"
        raise AdapterError(
            f"A {kind} is not taken in: a LoRA is a .safetensors file.",
            "A pickle can run programs; `lorasmith bases convert` writes its tensors as safetensors.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{adapter_name(plain[: -len('.safetensors')])}.safetensors"
    size = 0
    with target.open("wb") as stream:
        for chunk in chunks:
            size += len(chunk)
            if size > LARGEST:
                raise AdapterError("That file is larger than any LoRA.", "Is it a base? Add it on the bases page.")
            stream.write(chunk)
    if not size:
        raise AdapterError(f"{target.name} is empty.", "Download or export it again.")
    return target


def _described(path: Path) -> Description:
    """What the header of a LoRA file says, kept as long as the file is the same."""
    facts = path.stat()
    return _described_as(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=512)
def _described_as(path: Path, size: int, changed: int) -> Description:
    from lorasmith.adapters.tools.describing import describe

    return describe(path)
