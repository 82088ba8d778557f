"""The caption job: pictures of a dataset version in, one caption or one named failure for each out.

Pictures are opened ahead in processes of their own and the captioner works in another, so that neither a poisoned file
nor a crash of a model library stops the run. What is done is in the job's journal at once, and what a captioner said
of a picture is kept beyond the job (``answers.py``), so that nothing is asked twice.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import lorasmith.captioners
from lorasmith.captioners import Captioner, Need
from lorasmith.captioners.downloads import fetch, in_words, refuse_unless_allowed
from lorasmith.captioners.pairs import refuse_unless_paired
from lorasmith.captioners.sending import refuse_unless_agreed
from lorasmith.captioners.speaking import ProcessSpeaker, Speaker
from lorasmith.captioners.work import CaptionWork
from lorasmith.config import Section
from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import ConfigError, EnvironmentProblem, Stopped
from lorasmith.events import Emit, Notice, Phase, Progress
from lorasmith.files import bytes_in_words
from lorasmith.jobfolder import Control, JobFolder
from lorasmith.plugins import discover


class CaptionRequest(BaseModel):
    """The payload of a caption job."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    """``name@number``."""
    captioner: str = "wd_tagger"
    options: dict[str, Any] = {}
    device: str = "auto"
    which: Literal["all", "missing"] = "all"
    """Which pictures: all, or those without a caption."""
    lines: Annotated[int, Field(ge=1, le=16)] = 1
    """How many captions of each picture, a line each; more than one needs a captioner that varies."""
    fresh: bool = False
    """Whether answers that are kept of earlier jobs are passed over."""
    download: bool = False
    """Whether what the captioner lacks may be downloaded."""


def captioners() -> dict[str, Captioner]:
    """All captioners, by name."""
    return discover(lorasmith.captioners, Captioner)  # type: ignore[type-abstract]


def find_captioner(
    name: str, options: Mapping[str, Any], known: Mapping[str, Captioner] | None = None
) -> tuple[Captioner, dict[str, Any]]:
    """The captioner that a name or alias means, with its options; what the user gives wins over the alias's own.

    Args:
        name: of a captioner, or one of its other names.
        options: as the user gives them.
        known: all captioners, for whoever looks for many.

    Raises:
        ConfigError: no such captioner; the hint names the nearest name.
    """
    known = captioners() if known is None else known
    if name in known:
        return known[name], dict(options)
    for captioner in known.values():
        aliases = captioner.aliases()
        if name in aliases:
            return captioner, {**aliases[name], **options}
    names = [*known, *(alias for captioner in known.values() for alias in captioner.aliases())]
    near = difflib.get_close_matches(name, names, n=1)
    listed = f"There are: {', '.join(known)}; `lorasmith caption --list` has their other names and models."
    raise ConfigError(
        f"There is no captioner called '{name}'.", f"Did you mean '{near[0]}'? {listed}" if near else listed
    )


def read_options(captioner: Captioner, options: dict[str, Any]) -> Section:
    """A captioner's options from a plain mapping.

    Raises:
        ConfigError: an unknown key or an impossible value.
    """
    try:
        return type(captioner).Options.model_validate(options)
    except ValidationError as cause:
        raise ConfigError(*_explain(captioner, cause)) from cause


def run(folder: JobFolder, emit: Emit, control: Callable[[], Control]) -> dict[str, Any]:
    """Caption the pictures of ``payload["dataset"]``.

    Returns ``{"captions": {item: {"caption", "tags": [[name, category, probability], ...]}}, "failures": {item:
    reason}, "by": who spoke, "complete": whether every item is in one of the two}``; a job that is told to stop is not
    complete.

    Raises:
        ConfigError: an unknown captioner or option.
        DatasetError: no such version.
        EnvironmentProblem: the captioner cannot be loaded.
        InputError: not one picture could be captioned.
    """
    request = _request(folder.record().payload)
    store = DatasetStore(folder.home)
    version = store.get(request.dataset)
    captioner, given = find_captioner(request.captioner, request.options)
    options = read_options(captioner, given)
    refuse_unless_paired(options, version)
    if request.lines > 1 and not captioner.varies:
        raise ConfigError(
            f"{captioner.name} always says the same of a picture, so it has no {request.lines} captions for it.",
            "Leave 'lines' out, or take another captioner.",
        )
    try:
        _get_ready(captioner, options, request, folder.home, emit, control)
        return _caption(folder, store, version, captioner, options, request, emit, control)
    except Stopped:
        return {"captions": {}, "failures": {}, "complete": False}
    except EnvironmentProblem as cause:
        raise _failed(captioner, cause) from cause


def _caption(
    folder: JobFolder,
    store: DatasetStore,
    version: DatasetVersion,
    captioner: Captioner,
    options: Section,
    request: CaptionRequest,
    emit: Emit,
    control: Callable[[], Control],
) -> dict[str, Any]:
    emit(Phase("loading"))
    speaker = start_speaker(captioner, options, device=request.device, home=folder.home)
    try:
        if speaker.about.device:
            emit(Notice(f"{speaker.about.identity.model} works on {speaker.about.device}."))
        batch_size = getattr(options, "batch_size", 1)
        work = CaptionWork(folder, version, store, speaker, request.which, request.lines, batch_size, request.fresh)
        emit(Phase("captioning"))
        try:
            work.go(emit, control)
        finally:
            work.close()
    finally:
        speaker.close()
    identity = speaker.about.identity
    by = {
        "captioner": captioner.name,
        "model": identity.model,
        "revision": identity.revision,
        "settings": {**identity.settings, **options.model_dump(mode="json", exclude_defaults=True)},
        "device": speaker.about.device,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return {**work.output(), "by": by}


def start_speaker(captioner: Captioner, options: Section, *, device: str, home: Path) -> Speaker:
    """The captioner, loaded in a process of its own.

    Raises:
        EnvironmentProblem: it cannot be loaded.
    """
    chosen = options.model_dump(mode="json", exclude_unset=True)
    return ProcessSpeaker(captioner.name, chosen, device=device, home=home)


def tell_need(captioner: Captioner, options: Section, home: Path, *, download: bool) -> Need:
    """What it takes, refused where it cannot be had, before anything is started.

    Raises:
        EnvironmentProblem: there is no such model, or it would have to be downloaded and that was not allowed.
        ConsentNeeded: pictures would leave this machine, and the user did not agree to that.
    """
    try:
        need = captioner.need(options, home=home)
        refuse_unless_agreed(need, home)
        refuse_unless_allowed(need, allowed=download, home=home)
    except EnvironmentProblem as cause:
        raise _failed(captioner, cause) from cause
    return need


def _failed(captioner: Captioner, cause: EnvironmentProblem) -> EnvironmentProblem:
    """The true cause first, then what helps most often."""
    return type(cause)(f"{captioner.doing} failed: {cause.message}", f"{cause.hint} {captioner.advice}".strip())


def _get_ready(
    captioner: Captioner,
    options: Section,
    request: CaptionRequest,
    home: Path,
    emit: Emit,
    control: Callable[[], Control],
) -> None:
    """Fetch what is lacking, if that was allowed."""
    need = captioner.need(options, home=home)
    refuse_unless_agreed(need, home)
    refuse_unless_allowed(need, allowed=request.download, home=home)
    if need.memory and need.memory >= 1_000_000_000:  # what is less is not worth a word
        emit(Notice(f"It needs about {bytes_in_words(need.memory)} of memory."))
    if not need.lacks:
        return
    emit(Phase("downloading"))
    if need.downloads:
        emit(Notice(f"Downloading {in_words(need, home)}."))
    fetch(
        need,
        home,
        lambda done, total: emit(Progress(done, total, unit="bytes")),
        cancel=lambda: control().wanted != "run",
        tell=lambda words: emit(Notice(words)),
    )


def _request(payload: dict[str, Any]) -> CaptionRequest:
    try:
        return CaptionRequest.model_validate(payload)
    except ValidationError as cause:
        problem = cause.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"]))
        raise ConfigError(
            f"The caption job's '{where}' cannot be used: {problem['msg']}.", "Submit it again."
        ) from cause


def _explain(captioner: Captioner, error: ValidationError) -> tuple[str, str]:
    problem = error.errors(include_url=False)[0]
    where = ".".join(map(str, problem["loc"]))
    known = ", ".join(type(captioner).Options.model_fields)
    if problem["type"] == "extra_forbidden" and where == "pairs":
        return (
            f"The captioner {captioner.name} looks at one picture at a time, so it cannot say what changed in a pair.",
            "Take a server for pairs: openai_compatible, or vllm, ollama, lm-studio or llama-cpp.",
        )
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where, type(captioner).Options.model_fields, n=1, cutoff=0.5)
        hint = f"Did you mean '{near[0]}'?" if near else f"It has: {known}."
        return f"The captioner {captioner.name} has no option '{where}'.", hint
    told = problem["msg"].removeprefix("Value error, ").rstrip(".")
    subject = f"The option '{where}' of {captioner.name}" if where else f"The options of {captioner.name}"
    return f"{subject}: {told}.", "Change it and try again."
