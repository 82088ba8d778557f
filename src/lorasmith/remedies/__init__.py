"""What a failed job died of, and what helps: ``Studio.remedies``.

``diagnose`` names the class of a failure with the line that proves it; ``apply`` does what helps and lets the job run
again. The catalogue is data; what it cannot say (which picture, how large the batch was) is read from the job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from lorasmith.errors import ConfigError, JobError, LorasmithError
from lorasmith.heartbeat import read_pulse
from lorasmith.queue.records import QueuedJob
from lorasmith.queue.ticket import read_ticket
from lorasmith.remedies.catalogue import Evidence, Failure, Remedy, catalogue

if TYPE_CHECKING:
    from lorasmith.jobs import Job
    from lorasmith.studio import Studio

SILENCE: Final = 60.0
"""Seconds without a heartbeat, of which there is one every 5, after which a worker counts as stuck."""
_AT_WORK: Final = ("starting", "running", "pausing", "cancelling")
_ENDED: Final = ("failed", "lost", "paused")
_LOG_LINES: Final = 200
_LONGEST: Final = 600  # characters of an evidence line


@dataclass(frozen=True)
class Diagnosis:
    """What a job died of."""

    id: str
    title: str
    why: str
    evidence: str
    """The line that says so; empty where only the class of the error does."""
    named: Mapping[str, str]
    """What the evidence names, such as ``item``."""
    remedies: tuple[Remedy, ...]
    """What would help this job; a patch holds the values that the config would get."""


class Remedies:
    """The verbs."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def diagnose(self, row: QueuedJob) -> Diagnosis | None:
        """What a job died of, or why it says nothing any more; None where all is well, or it was paused by hand."""
        job = self._studio.queue.job(row.id)
        if row.state in _AT_WORK:
            found = _silent(row, job)
        elif row.state in _ENDED and (row.state != "paused" or self._error(job)[0]):
            found = self._failure(row, job)
        else:
            return None
        if found is None:
            return None
        failure, evidence = found
        config = _config_of(job)
        remedies = tuple(fitting for one in failure.remedies if (fitting := _fitted(one, row, config)) is not None)
        shown = evidence.line[:_LONGEST]
        return Diagnosis(failure.id, failure.title, failure.why, shown, evidence.named, remedies)

    def apply(self, reference: str, remedy: str) -> QueuedJob:
        """Do what helps; the job that runs then, the same one or a new one.

        Raises:
            JobError: the job did not fail.
            ConfigError: there is no such remedy for it, or it cannot be applied as things stand.
        """
        row = self._studio.queue.get(reference)
        found = self.diagnose(row)
        if found is None:
            raise JobError(f"Job {row.id} is {row.state} and needs no remedy.", "Load the page again.")
        chosen = next((one for one in found.remedies if one.id == remedy and not one.address), None)
        if chosen is None:
            raise ConfigError(f"There is no such remedy for {row.id}.", "Load the page again and use its buttons.")
        if chosen.patch:
            return self._studio.enqueue.clone(row.id, dict(chosen.patch))
        if chosen.amend:
            return self._studio.enqueue.amend(row.id, chosen.amend)
        return self._done(chosen.action, row, found)

    def _done(self, action: str, row: QueuedJob, found: Diagnosis) -> QueuedJob:
        queue, enqueue = self._studio.queue, self._studio.enqueue
        verbs = {"resume": queue.resume, "retry": queue.retry, "pause": queue.pause, "clone": enqueue.clone}
        if action in verbs:
            return verbs[action](row.id)
        match action:
            case "without":
                return self._without(row, found.named.get("item", ""))
            case "afresh":
                dataset = str(self._studio.queue.job(row.id).record().payload["dataset"]).partition("@")[0]
                return enqueue.amend(row.id, {"dataset": self._studio.dataset(dataset).reference})
            case "agree":
                return self._agreed(row)
            case _:
                raise AssertionError(f"the catalogue names an action that nobody does: {action}")

    def _failure(self, row: QueuedJob, job: Job) -> tuple[Failure, Evidence]:
        error, message = self._error(job)
        message = message or row.reason
        log = job.log_tail(_LOG_LINES)
        for failure in catalogue():
            evidence = failure.fits(row.kind, row.state, error, message, log)
            if evidence is not None:
                return failure, evidence
        raise AssertionError("the last entry of the catalogue fits everything")

    def _error(self, job: Job) -> tuple[str, str]:
        """The class of the error that a job ended with, and what it said; empty where it has no readable result.

        A worker that did its part may have made what could not be filed: the queue wrote down why.
        """
        try:
            result = job.result()
        except LorasmithError:
            return "", ""
        if result is None or result.outcome == "succeeded":
            ticket = read_ticket(job.folder.path)
            return (ticket.attempts[-1].error if result and ticket and ticket.attempts else ""), ""
        return result.error, f"{result.message} {result.hint}".strip() if result.message else ""

    def _without(self, row: QueuedJob, item: str) -> QueuedJob:
        config = dict(_config_of(self._studio.queue.job(row.id)) or {})
        version = self._studio.dataset(str(config.pop("dataset")))
        if item not in {one.name for one in version.items}:
            raise ConfigError(
                f"It cannot be told which picture of {version.reference} it is.", "Look at the dataset's checks."
            )
        left = self._studio.curate.leave_out(version.reference, [item])
        from lorasmith.queue.verbs import Placement

        return self._studio.enqueue.train(left.reference, config, Placement(parent=row.id))

    def _agreed(self, row: QueuedJob) -> QueuedJob:
        from lorasmith.fetching import Consents, Notice

        result = self._studio.queue.job(row.id).result()
        told = result.output.get("consent") if result is not None else None
        if not isinstance(told, dict):
            raise ConfigError("What has to be agreed to is not written down.", "Start the job anew from its form.")
        Consents(self._studio.home).give(Notice(str(told["id"]), str(told["title"]), str(told["text"])))
        return self._studio.queue.retry(row.id)


def _silent(row: QueuedJob, job: Job) -> tuple[Failure, Evidence] | None:
    """Whether a worker that is there has given no sign of life for long."""
    pulse = read_pulse(job.folder.path / "heartbeat")
    if pulse is None or pulse.age < SILENCE:
        return None
    said = f"The last sign of life was {round(pulse.age)} s ago, in the phase '{pulse.phase}'."
    log = job.log_tail(_LOG_LINES)
    return next(((one, found) for one in catalogue() if (found := one.fits(row.kind, row.state, "", said, log))), None)


def _config_of(job: Job) -> dict[str, Any] | None:
    try:
        config = job.record().payload.get("config")
    except LorasmithError:
        return None
    return config if isinstance(config, dict) else None


def _fitted(remedy: Remedy, row: QueuedJob, config: dict[str, Any] | None) -> Remedy | None:
    """A remedy with the values that this job would get; None where it would change nothing."""
    if remedy.kinds and row.kind not in remedy.kinds:
        return None
    if remedy.address:
        return replace(remedy, address=remedy.address.format(job=row.id))
    if not remedy.patch:
        return remedy
    if config is None or row.kind != "train":
        return None
    patch = {}
    for key, wanted in remedy.patch.items():
        now = _at(config, key)
        new = _changed(now, wanted)
        if new is not None and new != now:
            patch[key] = new
    leading = next(iter(remedy.patch))
    return replace(remedy, patch=patch) if leading in patch else None


def _changed(now: Any, wanted: Any) -> Any:
    """``/2`` and ``*0.75`` of the present value, whole where that is; None where there is nothing to change."""
    if not (isinstance(wanted, str) and wanted[:1] in "/*" and wanted[1:].replace(".", "").isdigit()):
        return wanted
    if not isinstance(now, int | float) or isinstance(now, bool):
        return None
    factor = float(wanted[1:])
    new = now / factor if wanted[0] == "/" else now * factor
    if isinstance(now, float):
        return new
    if now >= 128 and factor < 4 and now % 8 == 0:
        return int(new) // 64 * 64 or 64  # a resolution
    return max(1, int(new))


def _at(tree: Mapping[str, Any], key: str) -> Any:
    node: Any = tree
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


__all__ = ["Diagnosis", "Failure", "Remedies", "Remedy", "catalogue"]
