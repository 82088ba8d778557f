"""The caption job: pictures of a dataset version in, one caption or one named failure for each out.

What is done is kept in ``captions.json`` of the job folder, so that a paused or killed job goes on where it was.
"""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

import lorasmith.captioners
from lorasmith.captioners import Answer, Captioner
from lorasmith.config import Section
from lorasmith.datasets.captions import is_excuse
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import ConfigError, InputError
from lorasmith.events import Emit, Notice, Phase, Progress
from lorasmith.files import write_json
from lorasmith.jobfolder import Control, JobFolder
from lorasmith.plugins import choose, discover

_SAVE_SECONDS: Final = 5.0
_PROGRESS_FILE: Final = "captions.json"


class CaptionRequest(BaseModel):
    """The payload of a caption job."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    """``name@number``."""
    captioner: str = "wd_tagger"
    options: dict[str, Any] = {}
    device: str = "auto"


def captioners() -> dict[str, Captioner]:
    """All captioners, by name."""
    return discover(lorasmith.captioners, Captioner)  # type: ignore[type-abstract]


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
    """Caption every picture of ``payload["dataset"]``.

    Returns ``{"captions": {item: {"caption", "tags": [[name, category, probability], ...]}}, "failures": {item:
    reason}, "complete": whether every item is in one of the two}``; a job that is told to stop is not complete.

    Raises:
        ConfigError: an unknown captioner or option.
        DatasetError: no such version.
        EnvironmentProblem: the captioner cannot be loaded.
        InputError: not one picture could be captioned.
    """
    request = _request(folder.record().payload)
    store = DatasetStore(folder.home)
    version = store.get(request.dataset)
    captioner = choose(captioners(), request.captioner, "captioner")
    options = read_options(captioner, request.options)
    emit(Phase("loading"))
    captioner.load(options, device=request.device)
    work = _CaptionRun(folder, version, store, captioner, int(getattr(options, "batch_size", 1)))
    emit(Phase("captioning"))
    work.go(emit, control)
    return work.output()


class _CaptionRun:
    """The captions and failures of one run as they come in."""

    def __init__(
        self, folder: JobFolder, version: DatasetVersion, store: DatasetStore, captioner: Captioner, batch_size: int
    ) -> None:
        self._path = folder.path / _PROGRESS_FILE
        self._version = version
        self._store = store
        self._captioner = captioner
        self._batch_size = batch_size
        self._captions: dict[str, Any] = {}
        self._failures: dict[str, str] = {}
        self._recall()

    def go(self, emit: Emit, control: Callable[[], Control]) -> None:
        """Caption what is left, batch by batch, until done or told to stop."""
        left = [item for item in self._version.items if item.name not in self._captions]
        self._failures.clear()  # what failed before the pause is tried again
        total = len(self._version.items)
        began = saved = time.monotonic()
        for start in range(0, len(left), self._batch_size):
            if control().wanted != "run":
                break
            self._batch(left[start : start + self._batch_size], emit)
            now = time.monotonic()
            tried = min(start + self._batch_size, len(left))
            rate = tried / max(now - began, 1e-9)
            done = total - len(left) + tried
            emit(Progress(done, total, unit="pictures", per_second=rate, seconds_left=(len(left) - tried) / rate))
            if now - saved > _SAVE_SECONDS:
                self._save()
                saved = now
        self._save()
        if left and not self._captions and len(self._failures) == total:
            first = next(iter(self._failures.items()))
            raise InputError(
                f"None of the {total} pictures could be captioned; {first[0]}: {first[1]}",
                "Try lower thresholds or another captioner.",
            )

    def output(self) -> dict[str, Any]:
        """The job's output, in the order of the items."""
        names = [item.name for item in self._version.items]
        return {
            "captions": {name: self._captions[name] for name in names if name in self._captions},
            "failures": {name: self._failures[name] for name in names if name in self._failures},
            "complete": all(name in self._captions or name in self._failures for name in names),
        }

    def _batch(self, items: Sequence[Item], emit: Emit) -> None:
        opened: list[tuple[Item, Image.Image]] = []
        for item in items:
            try:
                opened.append((item, self._store.open_image(item)))
            except InputError as cause:
                self._fail(item, str(cause), emit)
        try:
            answers = self._captioner.caption([image for _, image in opened]) if opened else []
        except InputError:
            self._one_by_one(opened, emit)
            return
        for (item, _), answer in zip(opened, answers, strict=True):
            self._take(item, answer, emit)

    def _one_by_one(self, opened: Sequence[tuple[Item, Image.Image]], emit: Emit) -> None:
        """A batch failed: find out which of its pictures is to blame, and caption the others."""
        for item, image in opened:
            try:
                (answer,) = self._captioner.caption([image])
            except InputError as cause:
                self._fail(item, str(cause), emit)
            else:
                self._take(item, answer, emit)

    def _take(self, item: Item, answer: Answer, emit: Emit) -> None:
        if not answer.caption.strip():
            self._fail(item, "The captioner found nothing to say; lower its thresholds.", emit)
        elif is_excuse(answer.caption):
            self._fail(item, f"The captioner answered with an excuse: {answer.caption[:80]!r}.", emit)
        else:
            tags = [[tag.name, tag.category, round(tag.probability, 4)] for tag in answer.tags]
            self._captions[item.name] = {"caption": answer.caption, "tags": tags}

    def _fail(self, item: Item, reason: str, emit: Emit) -> None:
        self._failures[item.name] = reason
        emit(Notice(f"{item.name} has no caption.", reason))

    def _save(self) -> None:
        write_json(self._path, {"fingerprint": self._version.fingerprint, **self.output()})

    def _recall(self) -> None:
        """Take up what an earlier run of this job had done; a file of other pictures or a torn one counts nothing."""
        try:
            saved = json.loads(self._path.read_bytes())
        except (FileNotFoundError, ValueError):
            return
        if isinstance(saved, dict) and saved.get("fingerprint") == self._version.fingerprint:
            self._captions = dict(saved.get("captions", {}))


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
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where, type(captioner).Options.model_fields, n=1, cutoff=0.5)
        hint = f"Did you mean '{near[0]}'?" if near else f"It has: {known}."
        return f"The captioner {captioner.name} has no option '{where}'.", hint
    return f"The option '{where}' of {captioner.name}: {problem['msg']}.", "Change it and try again."
