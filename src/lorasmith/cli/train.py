"""train and resume: the run, before it, during it and after it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lorasmith.cli.completion import complete_job
from lorasmith.cli.options import chosen, config_options, option_lines, option_table, pairs
from lorasmith.cli.placing import answer_queued, placement_of, queue_options
from lorasmith.cli.session import Session, count, duration, plain, size, table, verb
from lorasmith.cli.watching import Detached, reporter, watch
from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from lorasmith.collecting import Rehearsal
    from lorasmith.jobs import Job
    from lorasmith.recipe import Recipe
    from lorasmith.studio import Studio
    from lorasmith.training.plan import Plan

_INTERRUPTED = 130


@verb("train")
@click.argument("dataset", required=False)
@config_options
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="A YAML or TOML file of options.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any option, by its dotted name; repeatable."
)
@click.option("--dry-run", is_flag=True, help="Show the resolved config and the plan; train nothing.")
@click.option("--rehearse", is_flag=True, help="Go the whole way with two steps first, and state the time needed.")
@click.option("--detach", is_flag=True, help="Start the job and return; `lorasmith jobs show ID --follow` watches it.")
@queue_options
@click.option("--options", "list_options", is_flag=True, help="List every option with its description.")
@click.pass_context
def train(
    context: click.Context,
    session: Session,
    /,
    *,
    dataset: str | None,
    config: Path | None,
    settings: tuple[str, ...],
    dry_run: bool,
    rehearse: bool,
    detach: bool,
    list_options: bool,
    **flags: Any,
) -> None:
    """Train a LoRA on a dataset.

    DATASET is a name, which means the newest version, or name@number. Options given here win over those of --config,
    and both over the defaults of the base's family. Ctrl-C saves and stops; `lorasmith resume` goes on.
    """
    if list_options:
        session.answer({"options": option_table()}, *option_lines())
        return
    place = placement_of(session, flags)
    studio, values = session.studio, _values(dataset, config, settings, flags)
    reference = str(values["dataset"])
    recipe = studio.prepare(reference, values)
    document: dict[str, Any] = {"notices": plain(recipe.notices)}
    lines: list[str] = []
    if dry_run:
        plan = studio.plan(reference, values)
        document |= {"config": recipe.config.model_dump(mode="json"), "plan": plain(plan)}
        lines += [*_recipe_lines(recipe), *_plan_lines(plan)]
    if rehearse:
        session.note("Rehearsing with two steps.")
        with reporter(session) as report:
            rehearsal = studio.rehearse(reference, values, on_event=report)
        document["rehearsal"] = plain(rehearsal)
        lines += _rehearsal_lines(rehearsal)
    if dry_run:
        session.answer(document, *lines)
        return
    for line in lines:
        session.note(line)
    if place is not None:
        answer_queued(session, studio.enqueue.train(reference, values, place), document)
        return
    job = studio.train(reference, values)
    if detach:
        session.answer(document | {"job": job.id, "state": job.state()}, job.id)
        return
    session.note(f"Job {job.id}")
    context.exit(_see_through(session, studio, job, document))


@verb("resume")
@click.argument("job_id", metavar="JOB", default="last", shell_complete=complete_job)
@click.option("--detach", is_flag=True, help="Start the job and return.")
@click.pass_context
def resume(context: click.Context, session: Session, job_id: str, detach: bool) -> None:
    """Go on with a job that ended early.

    JOB is an id, an unmistakable part of one, or `last`, which is what is meant when it is left out.
    """
    studio = session.studio
    job = studio.resume(job_id)
    if detach:
        session.answer({"job": job.id, "state": job.state()}, job.id)
        return
    session.note(f"Job {job.id} goes on.")
    context.exit(_see_through(session, studio, job, {}))


def _see_through(session: Session, studio: Studio, job: Job, document: dict[str, Any]) -> int:
    """Watch a job to its end and answer; the exit code."""
    try:
        watch(session, job, latest=True)
    except Detached:
        session.answer(document | {"job": job.id, "state": job.state()})
        return _INTERRUPTED
    result = job.result()
    document |= {"job": job.id, "state": job.state()}
    if result is not None and result.outcome in ("stopped", "paused") and not result.error:
        session.answer(document, f"{job.id} is {result.outcome}. `lorasmith resume {job.id}` goes on.")
        return _INTERRUPTED
    output, kind = job.output(), job.record().kind
    if kind == "caption":
        version = studio.collect_captions(job)
        session.answer(document | {"reference": version.reference}, f"{version.reference} has the captions.")
        return 0
    if kind != "train" or "adapter" not in output:
        session.answer(document | {"output": output}, f"{job.id} has succeeded.")
        return 0
    adapter = studio.collect(job)
    document |= {"adapter": str(adapter), "output": output}
    session.answer(
        document, f"{adapter}", "It loads: every key was consumed and the effect measured (certificate beside it)."
    )
    return 0


def _values(
    dataset: str | None, config: Path | None, settings: tuple[str, ...], flags: dict[str, Any]
) -> dict[str, Any]:
    """The user's values: the command line over the config file, one of which names the dataset."""
    from lorasmith.config import layer, read_config_file

    given = [chosen(flags), pairs(settings)]
    for key in given[0].keys() & given[1].keys():
        if str(given[0][key]) != str(given[1][key]):
            raise ConfigError(f"{key} is given twice, by its flag and by --set.", "Keep one.")
    own = layer({**given[0], **given[1]})
    values = layer(read_config_file(config) if config else {}, own, {"dataset": dataset} if dataset else {})
    if not values.get("dataset"):
        raise ConfigError(
            "No dataset is named.", "`lorasmith train DATASET --base BASE`; `lorasmith datasets` lists them."
        )
    values.setdefault("output_name", str(values["dataset"]).partition("@")[0])
    return values


def _recipe_lines(recipe: Recipe) -> list[str]:
    import yaml

    detection = recipe.base.detection
    lines = [f"Base: {recipe.base.name}, {detection.title}"]
    lines += [f"  because {reason}" for reason in detection.evidence]
    lines += [
        "Config:",
        *yaml.safe_dump(recipe.config.model_dump(mode="json"), allow_unicode=True, sort_keys=False).splitlines(),
    ]
    return lines + [f"Note: {notice.message} {notice.hint}".rstrip() for notice in recipe.notices]


def _plan_lines(plan: Plan) -> list[str]:
    rows = [(bucket.title.replace(" ", ""), len(bucket.placed)) for bucket in plan.buckets]
    moving = plan.frames > 1
    lines = ["Buckets:", *(f"  {line}" for line in table(("size", "clips" if moving else "pictures"), rows))]
    lines += [f"  left out: {entry.item}: {entry.reason}" for entry in plan.left_out]
    least, most = plan.least_exposures, plan.most_exposures
    span = str(least) if least == most else f"{least} to {most}"
    return [
        *lines,
        f"Steps: {plan.steps} of {plan.batch_size} x {plan.accumulation} pictures, {plan.epochs:.1f} epochs.",
        f"Exposures: {plan.exposures} in all, {span} per picture; {count(len(plan.validation), 'picture')} held out.",
        *([f"Frames: {plan.frames_shown:,} shown, at most {plan.frames} at once."] if moving else []),
        f"Disk: {size(plan.disk.total)} at most.",
    ]


def _rehearsal_lines(rehearsal: Rehearsal) -> list[str]:
    stages = ", ".join(f"{name} {duration(seconds)}" for name, seconds in rehearsal.seconds.items())
    return [
        f"Rehearsed without a fault: {stages}.",
        f"Time: about {duration(rehearsal.estimated_seconds)} at {rehearsal.seconds_per_step:.2f} s per step.",
        f"Memory: {size(rehearsal.peak_rss_bytes)}, on the device {size(rehearsal.peak_device_bytes)}.",
    ]
