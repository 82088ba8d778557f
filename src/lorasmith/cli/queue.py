"""queue: what waits and what runs, its order, and the process that works it off."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from lorasmith.cli.app import Group
from lorasmith.cli.completion import complete_job
from lorasmith.cli.options import pairs
from lorasmith.cli.placing import answer_queued
from lorasmith.cli.session import Session, count, duration, plain, shared_options, table, visible
from lorasmith.errors import ConfigError, LorasmithError

if TYPE_CHECKING:
    from lorasmith.queue.records import Happening, Lane, QueuedJob

_DIFFERENT = 3

_jobs = click.argument("references", metavar="JOB...", nargs=-1, required=True, shell_complete=complete_job)
_job = click.argument("reference", metavar="JOB", shell_complete=complete_job)


@click.group("queue", cls=Group, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@shared_options
@click.pass_context
def queue(context: click.Context) -> None:
    """List, order, pause and retry jobs that take turns.

    Without a command it lists what waits and runs. JOB is an id, an unmistakable part of one, or `last`.
    """
    if context.invoked_subcommand is None:
        _list(context.ensure_object(Session), everything=False)


@queue.verb("list")
@click.option("--all", "everything", is_flag=True, help="What has ended too.")
def list_queue(session: Session, everything: bool) -> None:
    """List jobs in the order in which they run."""
    _list(session, everything=everything)


def _list(session: Session, *, everything: bool) -> None:
    line = session.studio.queue
    ended = ("succeeded", "failed", "cancelled", "lost")
    rows = [row for row in line.list(in_turn=True) if everything or row.state not in ended]
    order = {"starting": 0, "running": 0, "pausing": 0, "cancelling": 0, "queued": 1, "blocked": 2, "held": 2}
    rows.sort(key=lambda row: order.get(row.state, 3))
    cells = [(row.id, row.kind, row.state, row.lane or row.wants, row.priority, _doing(row)) for row in rows]
    lines = table(("job", "kind", "state", "lane", "priority", ""), cells) if cells else ["Nothing waits or runs."]
    lanes = line.lanes()
    lines += [f"Lane {lane.name} is drained. {lane.reason}" for lane in lanes if lane.draining]
    session.answer({"jobs": plain(rows), "lanes": plain(lanes)}, *lines)


def _doing(row: QueuedJob) -> str:
    if row.state in ("starting", "running", "pausing", "cancelling"):
        progress = f"{row.done}/{row.total}" if row.total else ""
        left = f"{duration(row.seconds_left)} left" if row.seconds_left is not None else ""
        return " ".join(part for part in (row.phase, progress, left) if part)
    return row.reason


@queue.verb("show")
@_job
def show(session: Session, reference: str) -> None:
    """Say how a job stands and what became of it so far."""
    line = session.studio.queue
    row = line.get(reference)
    happened = line.journal(job=row.id)
    lines = [f"{row.id}  {row.kind}  {row.state}", f"  {row.reason}" if row.reason else ""]
    lines += [f"  {entry.at}  {_words(entry)}" for entry in happened if entry.kind != "progress"]
    document = {"job": plain(row), "needs": list(line.needs(row.id)), "journal": plain(happened)}
    session.answer(document, *(text for text in lines if text))


def _words(entry: Happening) -> str:
    if entry.kind == "state":
        return f"{entry.after}. {entry.detail.get('reason', '')}".strip()
    return f"{entry.kind}: " + ", ".join(
        f"{key} {value}" for key, value in entry.detail.items() if value not in ("", 0)
    )


def _each(session: Session, references: tuple[str, ...], act: Callable[[str], QueuedJob]) -> None:
    """Do it to each; the first refusal ends it, and what was done before stays done and is said."""
    done: list[QueuedJob] = []
    for reference in references:
        try:
            done.append(act(reference))
        except LorasmithError:
            for row in done:
                session.note(_stands(row))
            raise
    session.answer({"jobs": plain(done)}, *(_stands(row) for row in done))


def _stands(row: QueuedJob) -> str:
    return f"{row.id} is {row.state}. {row.reason}".rstrip()


@queue.verb("hold")
@_jobs
@click.option("--reason", default="", help="Why, for whoever sees the list.")
def hold(session: Session, references: tuple[str, ...], reason: str) -> None:
    """Keep waiting jobs from being started."""
    _each(session, references, lambda reference: session.studio.queue.hold(reference, reason))


@queue.verb("release")
@_jobs
def release(session: Session, references: tuple[str, ...]) -> None:
    """Let held jobs wait for their turn again."""
    _each(session, references, session.studio.queue.release)


@queue.verb("front")
@_jobs
def front(session: Session, references: tuple[str, ...]) -> None:
    """Move jobs before all others of their priority; the first one named is the first."""
    _each(session, references[::-1], session.studio.queue.front)


@queue.verb("back")
@_jobs
def back(session: Session, references: tuple[str, ...]) -> None:
    """Move jobs behind all others of their priority."""
    _each(session, references, session.studio.queue.back)


@queue.verb("priority")
@_job
@click.argument("priority", type=int)
def priority(session: Session, reference: str, priority: int) -> None:
    """Give a job another priority, -100 to 100; higher goes first. Write -- before a negative one."""
    _each(session, (reference,), lambda one: session.studio.queue.prioritise(one, priority))


@queue.verb("pause")
@_jobs
def pause(session: Session, references: tuple[str, ...]) -> None:
    """Let jobs save and free their device; waiting ones are held."""
    _each(session, references, session.studio.queue.pause)


@queue.verb("resume")
@_jobs
def resume(session: Session, references: tuple[str, ...]) -> None:
    """Go on with jobs that were paused or ended early, before the others."""
    _each(session, references, session.studio.queue.resume)


@queue.verb("cancel")
@_jobs
def cancel(session: Session, references: tuple[str, ...]) -> None:
    """Let jobs save and end; `resume` goes on with them."""
    _each(session, references, session.studio.queue.cancel)


@queue.verb("finish")
@_jobs
def finish(session: Session, references: tuple[str, ...]) -> None:
    """Let running jobs end now and keep what they have made."""
    _each(session, references, session.studio.queue.finish)


@queue.verb("retry")
@_jobs
def retry(session: Session, references: tuple[str, ...]) -> None:
    """Another attempt at jobs that failed or were cancelled, behind the others."""
    _each(session, references, session.studio.queue.retry)


@queue.verb("clone")
@_job
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Another value, of trainings; repeatable.")
@click.option("--from-step", type=int, help="Begin at this checkpoint of it.")
@click.option("--from-newest", is_flag=True, help="Begin at its newest checkpoint.")
def clone(
    session: Session, reference: str, settings: tuple[str, ...], from_step: int | None, from_newest: bool
) -> None:
    """Queue a job once more, with other values or from a checkpoint.

    To train longer: --from-newest --set max_train_steps=4000. The job it comes from stays as it is.
    """
    enqueue, changes = session.studio.enqueue, pairs(settings)
    if from_step is not None or from_newest:
        answer_queued(session, enqueue.continue_from(reference, from_step, changes))
    else:
        answer_queued(session, enqueue.clone(reference, changes))


@queue.verb("drain")
@click.argument("lane", required=False, default="")
@click.option("--off", is_flag=True, help="Start jobs there again.")
@click.option("--reason", default="", help="Why, for whoever sees the list.")
def drain(session: Session, lane: str, off: bool, reason: str) -> None:
    """Start nothing more on a lane, or on all; what runs goes on."""
    line = session.studio.queue
    lanes: tuple[Lane, ...] = line.open_lane(lane) if off else line.drain(lane, reason)
    if not lanes:
        raise ConfigError("No lane was ever opened here.", "`lorasmith queue run` opens them.")
    said = [f"{one.name}: {'drained. ' + one.reason if one.draining else 'open.'}" for one in lanes]
    session.answer({"lanes": plain(lanes)}, *said)


@queue.verb("fsck")
@click.option("--rebuild", is_flag=True, help="Make the database anew from the job folders, after a backup.")
@click.pass_context
def fsck(context: click.Context, session: Session, rebuild: bool) -> None:
    """Hold the job folders and the database against each other.

    The folders are right. Ends with exit code 3 when they differ. A running dispatcher mends most by itself when it is
    started again; --rebuild mends all that can be mended.
    """
    studio = session.studio
    if rebuild:
        made, damaged = studio.rebuild_queue()
        lines = [f"{count(made, 'job')} entered anew.", *(f"{one.job}: {one.sentence}" for one in damaged)]
        session.answer({"jobs": made, "damaged": plain(damaged)}, *lines)
        return
    found = studio.queue.examine()
    lines = [f"{one.job or 'database'}: {one.sentence}" for one in found] or ["No difference."]
    session.answer({"differences": plain(found)}, *lines)
    context.exit(_DIFFERENT if found else 0)


@queue.verb("remedies")
@click.argument("job", shell_complete=complete_job)
def remedies(session: Session, job: str) -> None:
    """Say what a failed job died of, and what helps.

    Also why one that is running gives no sign of life.
    """
    studio = session.studio
    row = studio.queue.get(job)
    found = studio.remedies.diagnose(row)
    if found is None:
        session.answer({"job": row.id, "diagnosis": None}, f"{row.id} is {row.state} and needs no remedy.")
        return
    lines = [f"{found.title} {found.why}", *([f"  {visible(found.evidence)}"] if found.evidence else [])]
    for one in found.remedies:
        how = "in the web app" if one.address else f"lorasmith queue remedy {row.id} {one.id}"
        lines += [f"{one.title} {one.effect}", f"  {how}"]
    session.answer({"job": row.id, "diagnosis": plain(found)}, *lines)


@queue.verb("remedy")
@click.argument("job", shell_complete=complete_job)
@click.argument("remedy")
def remedy(session: Session, job: str, remedy: str) -> None:
    """Do what helps a failed job, and let it run again.

    REMEDY is one of those that `lorasmith queue remedies` lists.
    """
    answer_queued(session, session.studio.remedies.apply(job, remedy))


@queue.verb("run")
@click.option("--until-idle", is_flag=True, help="Return when nothing runs and nothing is left that could be started.")
@click.option(
    "--grace",
    type=click.FloatRange(min=1),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="For a worker that was asked to end before it is signalled, and again before it is killed.",
)
def run(session: Session, until_idle: bool, grace: float) -> None:
    """Work the queue off in this terminal.

    Ctrl-C ends it; workers go on, and the next one finds them again. One per home.
    """
    from lorasmith.queue.dispatcher import Pace

    dispatcher = session.studio.dispatcher(pace=Pace(grace=grace))
    with dispatcher:
        names = ", ".join(f"{name} ({number})" for name, number in dispatcher.lanes.items())
        session.note(f"Working off the queue of {session.studio.home}: {names}. Ctrl-C ends it; workers go on.")
        before = {number: signal.signal(number, lambda *_: dispatcher.end()) for number in _signals()}
        try:
            dispatcher.run(until_idle=until_idle, hear=lambda entry: _tell(session, entry))
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    session.answer(_ended(session.studio.queue.counts()), "Ended.")


def _signals() -> tuple[int, ...]:
    if sys.platform == "win32":
        return (signal.SIGINT, signal.SIGBREAK)
    return (signal.SIGINT, signal.SIGTERM)


def _ended(counts: Mapping[Any, int]) -> dict[str, Any]:
    return {"states": dict(counts)}


def _tell(session: Session, entry: Happening) -> None:
    if entry.kind == "state" and entry.before:
        session.note(f"{entry.job}: {_words(entry)}")
