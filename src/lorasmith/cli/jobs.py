"""jobs: what runs, what ran, and a word to the workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from lorasmith.cli.app import Group
from lorasmith.cli.completion import complete_job
from lorasmith.cli.session import Session, duration, plain, shared_options, table
from lorasmith.cli.watching import described, remaining, sentences, watch
from lorasmith.errors import JobError
from lorasmith.events import Metric, Phase, Progress
from lorasmith.heartbeat import Pulse, read_pulse

if TYPE_CHECKING:
    from lorasmith.jobs import Job

_job = click.argument("job_id", metavar="JOB", default="last", shell_complete=complete_job)


@click.group("jobs", cls=Group, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@shared_options
@click.pass_context
def jobs(context: click.Context) -> None:
    """List, watch, pause and stop jobs.

    Without a command it lists them. JOB is an id, an unmistakable part of one, or `last`.
    """
    if context.invoked_subcommand is None:
        _list(context.ensure_object(Session))


@jobs.verb("list")
def list_jobs(session: Session) -> None:
    """List all jobs, newest last."""
    _list(session)


def _list(session: Session) -> None:
    facts = [_facts(job) for job in session.studio.jobs()]
    rows = [(fact["id"], fact["kind"], fact["state"], fact["doing"]) for fact in facts]
    lines = table(("job", "kind", "state", ""), rows) if rows else ["No jobs yet."]
    session.answer({"jobs": facts}, *lines)


@jobs.verb("show")
@_job
@click.option("--follow", is_flag=True, help="Stay with it until it ends.")
def show(session: Session, job_id: str, follow: bool) -> None:
    """Say how a job stands, what it was asked and what it said."""
    job = session.studio.job(job_id)
    if follow:
        watch(session, job)
    record, result = job.record(), job.result()
    events = [event for _, event in job.folder.read_events()]
    lines = [f"{job.id}  {record.kind}  {job.state()}", f"  folder: {job.folder.path}"]
    lines += [f"  {line}" for line in _doing(events)]
    pulse = _pulse(job)
    if pulse is not None:
        lines += [f"  heartbeat {duration(round(pulse.age))} ago, {pulse.phase}"]
    lines += [f"  {line.strip()}" for event in events for line in sentences(event)]
    if result is not None and result.message:
        lines += [f"  {result.message} {result.hint}".rstrip()]
    if job.state() == "lost":
        lines += [f"  {job.death()}"]
    document = _facts(job) | {"payload": record.payload, "result": plain(result), "events": plain(events)}
    document["heartbeat"] = plain(pulse)
    session.answer(document | {"folder": str(job.folder.path)}, *lines)


@jobs.verb("stop")
@_job
@click.option(
    "--force", is_flag=True, help="Signal it if it does not stop when asked, and kill it if it does not then."
)
@click.option("--grace", type=click.FloatRange(min=0), default=30.0, show_default=True, help="Seconds between those.")
def stop(session: Session, job_id: str, force: bool, grace: float) -> None:
    """Let a job save and end; `lorasmith resume` goes on with it."""
    job = session.studio.job(job_id)
    job.stop(force=force, grace=grace)
    _told(session, job, "stop")


@jobs.verb("pause")
@_job
def pause(session: Session, job_id: str) -> None:
    """Let a job save and free the device; `lorasmith resume` goes on with it."""
    job = session.studio.job(job_id)
    job.pause()
    _told(session, job, "pause")


@jobs.verb("save")
@_job
def save(session: Session, job_id: str) -> None:
    """Ask a running job for a checkpoint now."""
    job = session.studio.job(job_id)
    job.save_now()
    _told(session, job, "save at its next step")


@jobs.verb("sample")
@_job
def sample(session: Session, job_id: str) -> None:
    """Ask a running job for previews now."""
    job = session.studio.job(job_id)
    job.sample_now()
    _told(session, job, "paint previews at its next step")


@jobs.verb("log")
@_job
@click.option(
    "-n", "--lines", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many, from the end."
)
def log(session: Session, job_id: str, lines: int) -> None:
    """Show the end of what a job's libraries wrote."""
    job = session.studio.job(job_id)
    tail = job.log_tail(lines)
    session.answer({"id": job.id, "log": tail}, *tail)


def _told(session: Session, job: Job, what: str) -> None:
    state = job.state()
    words = f"{job.id} is {state}." if state != "running" else f"{job.id} will {what}."
    session.answer({"id": job.id, "state": state}, words)


def _pulse(job: Job) -> Pulse | None:
    """The last sign of life of a running job, or of one that was lost; others need none."""
    return read_pulse(job.folder.path / "heartbeat") if job.state() in ("running", "lost") else None


def _facts(job: Job) -> dict[str, Any]:
    """One line about a job; a damaged one is listed as such and hides no other."""
    try:
        record = job.record()
    except JobError as damage:
        return {"id": job.id, "kind": "?", "state": "damaged", "created": "", "doing": damage.message}
    state = job.state()
    doing = " ".join(_doing([event for _, event in job.folder.read_events()])) if state in ("running", "lost") else ""
    result = job.result() if state not in ("running", "lost") else None
    words = doing or (result.message if result is not None else "")
    return {"id": job.id, "kind": record.kind, "state": state, "created": record.created, "doing": words}


def _doing(events: Sequence[Any]) -> list[str]:
    """The last phase with its progress and numbers, in words."""
    phase = next((event for event in reversed(events) if isinstance(event, Phase)), None)
    if phase is None:
        return []
    parts = [phase.name]
    since = events[events.index(phase) :]
    progress = next((event for event in reversed(since) if isinstance(event, Progress)), None)
    if progress is not None:
        parts += [f"{progress.done}/{progress.total} {progress.unit}", *remaining(progress)]
    numbers: dict[str, float] = {}
    for event in events:
        if isinstance(event, Metric):
            numbers.update(event.values)
    return [", ".join([*parts, *described(numbers)])]
