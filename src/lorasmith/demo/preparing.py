"""From the ZIP to the version that is trained: import, checks, what had better go, captions, and their edits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lorasmith.demo import recipe as numbers
from lorasmith.demo.checkup import OpenImage, check_up, find_copies, look_through_other_eyes, surprises
from lorasmith.demo.record import (
    CaptionRow,
    Checkup,
    Curation,
    EditExample,
    EditRow,
    GroupRow,
    LedgerRow,
    UndoRow,
    VersionRow,
)

if TYPE_CHECKING:
    from lorasmith.datasets.checks import Report
    from lorasmith.datasets.lens import Lens
    from lorasmith.datasets.manifest import DatasetVersion, Operation
    from lorasmith.demo.recipe import Recipe
    from lorasmith.demo.training import Say
    from lorasmith.demo.watch import Stopwatch
    from lorasmith.sandbox.samples import Member
    from lorasmith.studio import Studio

_CAPTIONS_SHOWN: Final = 6
_EXAMPLES_SHOWN: Final = 4
_TAGS_SHOWN: Final = 8
_REPAIRED: Final = (("near", "D3"), ("turned", "D5"))  # kinds of copies and the check that names them


@dataclass(frozen=True)
class Prepared:
    """The version that is trained, and what the report shows of the way to it."""

    trained: DatasetVersion
    ledger: tuple[LedgerRow, ...]
    captions: tuple[CaptionRow, ...]
    curation: Curation


def prepare(studio: Studio, recipe: Recipe, archive: Path, watch: Stopwatch, say: Say) -> Prepared:
    """ZIP to a captioned version with its trigger word; every change on the way is a version of its own."""
    from lorasmith.datasets.store import DatasetStore

    open_image = DatasetStore(studio.home).open_image
    lens = studio.curate.lens(
        base=numbers.TRAIN["base"],
        trigger_word=recipe.trigger_word,
        goal=recipe.goal,
        batch_size=numbers.TRAIN["train_batch_size"],
        steps=numbers.TRAIN["max_train_steps"],
    )
    members, came = _import(studio, recipe, archive, watch, say)
    with watch.station("Check") as said:
        report, before = check_up(studio, came, lens, open_image)
        said.append(f"{before.ran} checks, {_graves(before)}; health {before.score} of 100")
    say(f"check: {watch.stations[-1].detail}")
    for row in before.findings:
        say(f"  {row.severity} {row.id}: {row.message}")
    clean, groups = _leave_out(studio, came, report, lens, open_image, watch, say)
    with watch.station("Caption") as said:
        say("caption: a tagger looks at every picture")
        tagged = studio.caption(clean, "wd_tagger")
        said.append(f"{len(tagged.items)} pictures tagged")
    trained, edits, undo = _edit_captions(studio, recipe, tagged, lens, open_image, watch, say)
    with watch.station("Check again") as said:
        _, after = check_up(studio, trained, lens, open_image)
        said.append(f"{_graves(after)}; health {after.score} of 100, where it was {before.score}")
    say(f"check again: {watch.stations[-1].detail}")
    unforeseen = surprises(members, came, report.findings, trained)
    curation = Curation(
        before=before,
        after=replace(after, findings=(*unforeseen, *after.findings)),
        eye=look_through_other_eyes(studio, came, lens),
        groups=groups,
        edits=edits,
        versions=_versions(studio, trained),
        undo=undo,
    )
    ledger = _ledger_rows(came, open_image)
    return Prepared(trained, ledger, _caption_rows(came, tagged, trained, open_image), curation)


# --- the steps ---------------------------------------------------------------------------------------------


def _import(
    studio: Studio, recipe: Recipe, archive: Path, watch: Stopwatch, say: Say
) -> tuple[list[Member], DatasetVersion]:
    say(f"import: a ZIP of the {recipe.subject} '{recipe.trigger_word}', with damaged and odd files in it")
    with watch.station("Import") as said:
        archive.unlink(missing_ok=True)
        members = recipe.write_zip(archive)
        came = studio.import_dataset(archive, name=recipe.name)
        left_out = sum(fate.fate == "left_out" for fate in came.ledger)
        said.append(f"{len(came.ledger)} files: {len(came.items)} pictures, {left_out} left out, each with its reason")
    say(f"  {watch.stations[-1].detail}")
    return members, came


def _leave_out(
    studio: Studio,
    came: DatasetVersion,
    report: Report,
    lens: Lens,
    open_image: OpenImage,
    watch: Stopwatch,
    say: Say,
) -> tuple[DatasetVersion, tuple[GroupRow, ...]]:
    """What is out of focus, and copies; each repair is one version.

    Versions are named by number: a second tour goes on from what came, and not from where the first one ended.
    """
    repairs = {finding.id: finding for finding in report.findings if finding.repair is not None}
    with watch.station("Leave out") as said:
        clean = came
        if "P8" in repairs:
            clean = studio.curate.repair(clean.reference, repairs["P8"], lens=lens)
            said.append(f"{len(came.items) - len(clean.items)} out of focus")
        groups = find_copies(studio, clean, open_image)
        for kind, id_ in _REPAIRED:
            copied = [group for group in groups if group.kind == kind]
            if copied and id_ in repairs:
                names = [name for group in copied for name in (group.members[0].name, *group.left_out)]
                clean = studio.curate.repair(clean.reference, repairs[id_], names, lens)
                said.append(f"{sum(len(group.left_out) for group in copied)} {_KINDS[kind]}")
        said.append(f"{len(clean.items)} pictures are left")
    say(f"leave out: {watch.stations[-1].detail}")
    return clean, groups


_KINDS: Final[Mapping[str, str]] = {"near": "saved again", "turned": "mirrored"}


def _edit_captions(
    studio: Studio,
    recipe: Recipe,
    tagged: DatasetVersion,
    lens: Lens,
    open_image: OpenImage,
    watch: Stopwatch,
    say: Say,
) -> tuple[DatasetVersion, tuple[EditRow, ...], UndoRow]:
    """Two edits of all captions, each shown before it is done; then one step back and forward again."""
    plan: list[tuple[str, dict[str, Any]]] = [
        ("remove_tags", {"tags": list(recipe.remove_tags)}),
        ("add_trigger_word", {"word": recipe.trigger_word}),
    ]
    edits: list[EditRow] = []
    version = tagged
    with watch.station("Edit captions") as said:
        for operation, arguments in plan:
            row = _preview(studio, version, operation, arguments, lens, open_image)
            version = studio.curate.edit(version, operation, arguments, lens=lens)
            edits.append(row)
            say(f"edit: {row.words}; of {row.scope} {row.changed} change")
        undone = studio.curate.undo(recipe.name)
        redone = studio.curate.redo(recipe.name)
        undo = UndoRow(_version_row(studio, version), _version_row(studio, undone), _version_row(studio, redone))
        said.append(f"{len(edits)} edits of all captions, shown before they were done")
        said.append(f"undone and redone, {'byte for byte' if undo.is_exact else 'and not the same'}")
    say(f"  {watch.stations[-1].detail}: fingerprint {undo.redone.fingerprint[:12]}")
    return redone, tuple(edits), undo


def _preview(
    studio: Studio,
    version: DatasetVersion,
    operation: str,
    arguments: Mapping[str, Any],
    lens: Lens,
    open_image: OpenImage,
) -> EditRow:
    from lorasmith.datasets.captions.worddiff import word_diff

    told = studio.curate.preview_edit(version, operation, arguments, lens=lens)
    items = {item.name: item for item in version.items}
    return EditRow(
        words=told.operation,
        scope=told.scope,
        changed=told.changed,
        unchanged=told.unchanged,
        tags=tuple((tag, before, after) for tag, (before, after) in [*told.tags.items()][:_TAGS_SHOWN]),
        examples=tuple(
            EditExample(example.item, open_image(items[example.item]), tuple(word_diff(example.before, example.after)))
            for example in told.examples[:_EXAMPLES_SHOWN]
        ),
        warnings=told.warnings,
    )


# --- what the report shows ---------------------------------------------------------------------------------


def _graves(checkup: Checkup) -> str:
    count = Counter(row.severity for row in checkup.findings)
    words = (("error", "error"), ("warning", "warning"), ("info", "note"))
    return ", ".join(f"{count[level]} {name}{'' if count[level] == 1 else 's'}" for level, name in words)


def _versions(studio: Studio, trained: DatasetVersion) -> tuple[VersionRow, ...]:
    line = [entry for entry in studio.curate.history(trained.dataset) if entry.on_current_line]
    rows = [_version_row(studio, studio.curate.version(f"{trained.dataset}@{entry.number}")) for entry in line]
    return tuple(replace(row, is_trained=row.number == trained.number) for row in rows)


def _version_row(studio: Studio, version: DatasetVersion) -> VersionRow:
    words = _words(version.operation)
    return VersionRow(version.number, words, len(version.items), version.fingerprint, is_trained=False)


def _words(operation: Operation) -> str:
    """What made a version; of repairs, which pictures went and for which finding."""
    from lorasmith.datasets.history import in_words

    if operation.name != "leave_out":
        return in_words(operation)
    gone = [name for name in operation.arguments["items"] if name not in operation.arguments.get("keep", ())]
    return f"left out: {', '.join(gone)} ({operation.arguments['finding']})"


def _ledger_rows(version: DatasetVersion, open_image: OpenImage) -> tuple[LedgerRow, ...]:
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
    came: DatasetVersion, tagged: DatasetVersion, trained: DatasetVersion, open_image: OpenImage
) -> tuple[CaptionRow, ...]:
    before = {item.name: item.caption for item in came.items}
    tags = {item.name: item.caption for item in tagged.items}
    shown = sorted(trained.items, key=lambda item: not before.get(item.name))[:_CAPTIONS_SHOWN]
    return tuple(
        CaptionRow(item.name, open_image(item), before.get(item.name, ""), tags.get(item.name, ""), item.caption)
        for item in shown
    )
