"""The whole straight line on the sandbox, through the studio's own verbs, ending in one page that shows it.

ZIP with hostile extras → import → check → leave out → caption → edit, undone and redone → train, killed once and
resumed → certificate → pictures with and without → measured verdict → ``report.html``. Few worker processes: one for
the tags, two for the training (the kill), one for all pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lorasmith.config import layer
from lorasmith.demo import recipe as numbers
from lorasmith.demo.preparing import prepare
from lorasmith.demo.record import Curation, Judged, Record
from lorasmith.demo.report import write_report
from lorasmith.demo.training import Diary, Say, train_and_kill
from lorasmith.demo.watch import PeakMemory, Stopwatch, machine_facts
from lorasmith.evaluation.verdict import Share, decide
from lorasmith.files import write_json
from lorasmith.generation.prompt import write_mention

if TYPE_CHECKING:
    from PIL.Image import Image

    from lorasmith.datasets.manifest import DatasetVersion
    from lorasmith.demo.recipe import Recipe
    from lorasmith.evaluation.verdict import Verdict
    from lorasmith.generation.request import GeneratedImage
    from lorasmith.jobs import Job
    from lorasmith.studio import Studio


def run(studio: Studio, out: Path, *, style: bool = False, quick: bool = False, say: Say) -> Path:
    """Give the tour; ``report.html`` and ``tour.json`` (the figures) lie in ``out`` afterwards.

    Args:
        studio: whose home holds the dataset, the jobs and the adapter.
        out: a folder; made if it is not there.
        style: learn the style in place of the mascot.
        quick: few steps and pictures: everything is exercised, nothing is proven.
        say: told what is going on, a line at a time.

    Returns:
        The path of the report.
    """
    recipe = numbers.recipe_for(style=style)
    out.mkdir(parents=True, exist_ok=True)
    watch = Stopwatch()
    with PeakMemory() as memory:
        dataset = prepare(studio, recipe, out / f"{recipe.name}.zip", watch, say)
        trained = _train(studio, recipe, dataset.trained, watch, say, quick=quick)
        painted = _paint(studio, recipe, trained.adapter, watch, say, quick=quick)
        with watch.station("Measure") as said:
            verdict, sets = _measure(recipe, painted)
            said.append("by a detector that reads pixels and is no network")
        say(verdict.sentence)
        say(verdict.leak_sentence)
    record = Record(
        subject=recipe.subject,
        trigger_word=recipe.trigger_word,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        verdict=verdict,
        stations=tuple(watch.stations),
        peak_memory=memory.bytes,
        ledger=dataset.ledger,
        captions=dataset.captions,
        curation=dataset.curation,
        curves=trained.diary.curves(),
        previews=trained.diary.previews(trained.job),
        with_trigger=sets[0],
        without_trigger=sets[1],
        base=sets[2],
        certificate=trained.certificate,
        config=yaml.safe_dump(trained.job.record().payload["config"], sort_keys=False, allow_unicode=True),
        machine=machine_facts(),
        commands=_commands(recipe, trained.adapter, quick=quick),
        adapter_file=trained.adapter.name,
    )
    report = out / "report.html"
    write_report(record, report)
    write_json(out / "tour.json", _figures(record, quick=quick))
    say(f"{report}")
    return report


# --- the steps ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Trained:
    job: Job
    adapter: Path
    certificate: dict[str, Any]
    diary: Diary


def _train(
    studio: Studio, recipe: Recipe, version: DatasetVersion, watch: Stopwatch, say: Say, *, quick: bool
) -> _Trained:
    """Train with one kill; the file in the library has passed its certificate."""
    own = {
        "output_name": recipe.name,
        "trigger_word": recipe.trigger_word,
        "sample": {"prompts": list(recipe.previews)},
    }
    config = layer(numbers.TRAIN, recipe.train, own, numbers.QUICK_TRAIN if quick else {})
    total = int(config["max_train_steps"])
    say(f"train: {total} steps of {config['train_batch_size']} pictures")
    with watch.station("Train and certify") as said:
        job = studio.train(version, config)
        diary = train_and_kill(studio, job, total=total, kill_after=numbers.KILL_AFTER, say=say)
        adapter = studio.collect(job)
        certificate = dict(job.output()["certificate"])
        said.append(f"{total} steps")
        if diary.killed_at is not None:
            said.append(f"killed at step {diary.killed_at}, resumed from {diary.resumed_from}")
        said.append(f"{certificate.get('modules', 0)} modules loaded again and compared")
    say(f"  certificate passed: {adapter.name}")
    return _Trained(job, adapter, certificate, diary)


@dataclass(frozen=True)
class _Painted:
    with_trigger: Sequence[GeneratedImage]
    without_trigger: Sequence[GeneratedImage]
    base: Sequence[GeneratedImage]


def _paint(studio: Studio, recipe: Recipe, adapter: Path, watch: Stopwatch, say: Say, *, quick: bool) -> _Painted:
    """Three sets at the same seeds and scenes, by one worker."""
    count = numbers.QUICK_PICTURES if quick else numbers.PICTURES
    scenes = list(islice(cycle(recipe.prompts), count))
    seeds = [numbers.FIRST_SEED + n for n in range(count)]
    mention, word = write_mention(adapter.stem, 1.0), recipe.trigger_word
    prompts = [
        *(f"{word}, {scene} {mention}" for scene in scenes),
        *(f"{scene} {mention}" for scene in scenes),
        *(f"{word}, {scene}" for scene in scenes),
    ]
    say(f"generate: {len(prompts)} pictures, with and without the adapter, at the same {count} seeds")
    settings = {**numbers.GENERATE, **recipe.generate, **(numbers.QUICK_GENERATE if quick else {})}
    with watch.station("Generate") as said:
        images = studio.generate(base=numbers.TRAIN["base"], prompts=prompts, seeds=seeds * 3, **settings)
        said.append(f"{len(images)} pictures at {count} seeds")
    return _Painted(images[:count], images[count : 2 * count], images[2 * count :])


def _measure(recipe: Recipe, painted: _Painted) -> tuple[Verdict, list[tuple[Judged, ...]]]:
    sets = [_judge(images, recipe.shows) for images in (painted.with_trigger, painted.without_trigger, painted.base)]
    shares = [Share(found=sum(judged.found for judged in judgements), total=len(judgements)) for judgements in sets]
    verdict = decide(
        with_trigger=shares[0],
        without_trigger=shares[1],
        base=shares[2],
        subject=recipe.subject,
        trigger_word=recipe.trigger_word,
    )
    return verdict, sets


def _judge(images: Sequence[GeneratedImage], shows: Callable[[Image], bool]) -> tuple[Judged, ...]:
    from PIL import Image as Images

    judged: list[Judged] = []
    for image in images:
        with Images.open(image.path) as stream:
            picture = stream.convert("RGB")
        judged.append(Judged(picture, image.prompt, image.seed, shows(picture)))
    return tuple(judged)


# --- what the report shows ---------------------------------------------------------------------------------


def _commands(recipe: Recipe, adapter: Path, *, quick: bool) -> tuple[str, ...]:
    options = (" --style" if recipe.subject == "style" else "") + (" --quick" if quick else "")
    prompt = f"{recipe.trigger_word}, {recipe.prompts[0]} {write_mention(adapter.stem, 1.0)}"
    return (
        f"lorasmith demo{options}",
        "",
        "# the same, step by step, with pictures of your own",
        "lorasmith import photos.zip --name mine",
        "lorasmith caption mine --trigger-word ohwx",
        "lorasmith check mine",
        "lorasmith dataset report mine --out mine.html",
        "lorasmith train mine --base sandbox --trigger-word ohwx",
        f'lorasmith generate --base sandbox "{prompt}"',
    )


def _figures(record: Record, *, quick: bool) -> dict[str, Any]:
    """The tour in numbers, for benches and tests."""
    return {
        "created": record.created,
        "quick": quick,
        "seconds": round(record.seconds, 2),
        "stations": {station.title: round(station.seconds, 2) for station in record.stations},
        "peak_memory_bytes": record.peak_memory,
        "dataset": _dataset_figures(record.curation),
        "verdict": record.verdict.model_dump(mode="json"),
        "certificate_passed": bool(record.certificate.get("passed")),
        "marks": [list(mark) for mark in record.curves.marks],
        "machine": dict(record.machine),
    }


def _dataset_figures(curation: Curation) -> dict[str, Any]:
    """Checks, duplicates, edits and versions in numbers."""
    checkups = (("before", curation.before), ("after", curation.after))
    return {
        "health": {when: checkup.score for when, checkup in checkups},
        "checks": {when: checkup.ran for when, checkup in checkups},
        "findings": {when: [row.id for row in checkup.findings] for when, checkup in checkups},
        "groups": [
            {"kind": group.kind, "members": [shown.name for shown in group.members], "left_out": list(group.left_out)}
            for group in curation.groups
        ],
        "edits": [
            {"operation": edit.words, "scope": edit.scope, "changed": edit.changed, "unchanged": edit.unchanged}
            for edit in curation.edits
        ],
        "versions": [
            {"number": row.number, "operation": row.words, "pictures": row.pictures, "fingerprint": row.fingerprint}
            for row in curation.versions
        ],
        "undo_is_exact": curation.undo.is_exact,
        "seen_on_its_side_by": list(curation.eye.trainers) if curation.eye is not None else [],
    }
