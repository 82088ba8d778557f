"""The whole straight line on the sandbox, through the studio's own verbs, ending in one page that shows it.

ZIP with hostile extras → import → check → caption → train, killed once and resumed → certificate → pictures with and
without → measured verdict → ``report.html``. Few worker processes: one for the tags, two for the training (the kill),
one for all pictures.
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
from lorasmith.demo.record import CaptionRow, FindingRow, Judged, LedgerRow, Record
from lorasmith.demo.report import write_report
from lorasmith.demo.training import Diary, Say, train_and_kill
from lorasmith.demo.watch import PeakMemory, Stopwatch, machine_facts
from lorasmith.evaluation.verdict import Share, decide
from lorasmith.files import write_json
from lorasmith.generation.prompt import write_mention

if TYPE_CHECKING:
    from PIL.Image import Image

    from lorasmith.datasets.manifest import DatasetVersion, Item
    from lorasmith.demo.recipe import Recipe
    from lorasmith.evaluation.verdict import Verdict
    from lorasmith.jobs import Job
    from lorasmith.sandbox.samples import Member
    from lorasmith.studio import GeneratedImage, Studio

_CAPTIONS_SHOWN = 6


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
        dataset = _prepare(studio, recipe, out / f"{recipe.name}.zip", watch, say)
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
        findings=dataset.findings,
        captions=dataset.captions,
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
class _Prepared:
    trained: DatasetVersion  # the version that is trained
    ledger: tuple[LedgerRow, ...]
    findings: tuple[FindingRow, ...]
    captions: tuple[CaptionRow, ...]


def _prepare(studio: Studio, recipe: Recipe, archive: Path, watch: Stopwatch, say: Say) -> _Prepared:
    """ZIP to a captioned version with its trigger word."""
    from lorasmith.datasets.store import DatasetStore

    say(f"import: a ZIP of the {recipe.subject} '{recipe.trigger_word}', with damaged and odd files in it")
    with watch.station("Import") as said:
        archive.unlink(missing_ok=True)
        members = recipe.write_zip(archive)
        came = studio.import_dataset(archive, name=recipe.name)
        left_out = sum(fate.fate == "left_out" for fate in came.ledger)
        said.append(f"{len(came.ledger)} files: {len(came.items)} pictures, {left_out} left out, each with its reason")
    say(f"  {watch.stations[-1].detail}")

    with watch.station("Caption") as said:
        say("caption: a tagger looks at every picture")
        tagged = studio.caption(came, "wd_tagger")
        plain = studio.remove_tags(tagged, recipe.remove_tags) if recipe.remove_tags else tagged
        trained = studio.add_trigger_word(plain, recipe.trigger_word)
        said.append(f"{len(trained.items)} pictures tagged, '{recipe.trigger_word}' put in front")
    with watch.station("Check") as said:
        from lorasmith.sandbox.world import SIZE

        findings = studio.check(trained, trigger_word=recipe.trigger_word, resolution=SIZE)
        words = f"{len(findings)} findings" if len(findings) != 1 else "1 finding"
        said.append(f"{words}, {sum(finding.severity == 'error' for finding in findings)} of them errors")
    for finding in findings:
        say(f"  {finding.severity}: {finding.message}")
    return _Prepared(
        trained,
        _ledger_rows(came, DatasetStore(studio.home).open_image),
        (
            *_surprises(members, came),
            *(FindingRow(finding.severity, finding.message, finding.fix) for finding in findings),
        ),
        _caption_rows(came, tagged, trained, DatasetStore(studio.home).open_image),
    )


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


def _surprises(members: Sequence[Member], version: DatasetVersion) -> list[FindingRow]:
    """Files whose fate is not what the maker of the ZIP knows it must be; there should be none."""
    became = {fate.path: (fate.fate, fate.rule) for fate in version.ledger}
    return [
        FindingRow("error", f"{member.path} became {became.get(member.path)}, and had to be {member.fate}.", member.why)
        for member in members
        if became.get(member.path) != (member.fate, member.rule)
    ]


def _ledger_rows(version: DatasetVersion, open_image: Callable[[Item], Image]) -> tuple[LedgerRow, ...]:
    """One row per file; only the file that became the picture shows it, not the caption beside it."""
    items = {item.name: item for item in version.items}
    rows: list[LedgerRow] = []
    for fate in version.ledger:
        item = items.get(fate.item or "")
        pictured = item is not None and fate.fate != "left_out" and not fate.path.lower().endswith(".txt")
        thumbnail = open_image(item) if item is not None and pictured else None
        rows.append(LedgerRow(fate.path, fate.fate, fate.rule, fate.detail, thumbnail))
    return tuple(rows)


def _caption_rows(
    came: DatasetVersion, tagged: DatasetVersion, trained: DatasetVersion, open_image: Callable[[Item], Image]
) -> tuple[CaptionRow, ...]:
    before = {item.name: item.caption for item in came.items}
    tags = {item.name: item.caption for item in tagged.items}
    shown = sorted(trained.items, key=lambda item: not before.get(item.name))[:_CAPTIONS_SHOWN]
    return tuple(
        CaptionRow(item.name, open_image(item), before.get(item.name, ""), tags.get(item.name, ""), item.caption)
        for item in shown
    )


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
        "verdict": record.verdict.model_dump(mode="json"),
        "certificate_passed": bool(record.certificate.get("passed")),
        "marks": [list(mark) for mark in record.curves.marks],
        "machine": dict(record.machine),
    }
