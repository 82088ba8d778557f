"""The report's sections about the dataset: files, other trainers' eyes, checks, copies, captions, edits, history."""

from __future__ import annotations

from typing import Final

from lorasmith.demo.pieces import facts, pill, section, strip, table
from lorasmith.demo.record import (
    Checkup,
    EditExample,
    EditRow,
    FindingRow,
    GroupRow,
    LedgerRow,
    PartRow,
    Record,
    Shown,
    VersionRow,
)
from lorasmith.markup import Child, Markup, element, join, picture

_FATES: Final = {"taken": ("taken", "good"), "converted": ("converted", "note"), "left_out": ("left out", "bad")}
_SEVERITIES: Final = {"error": ("error", "bad"), "warning": ("warning", "note"), "info": ("note", "plain")}
_KINDS: Final = {
    "bytes": "The same bytes",
    "pixels": "The same pixels in another file",
    "near": "Nearly the same",
    "turned": "Mirrored or turned",
}
_STEPS: Final = {"removed": "del", "added": "ins"}
_FINGERPRINT: Final = 12  # characters shown


def dataset_sections(record: Record) -> list[Markup | None]:
    """All of them, in the order in which things happened."""
    return [
        _ledger(record),
        _other_eyes(record),
        _checks(record),
        _copies(record),
        _captions(record),
        _edits(record),
        _history(record),
    ]


# --- files -------------------------------------------------------------------------------------------------


def _ledger(record: Record) -> Markup:
    count = {fate: sum(row.fate == fate for row in record.ledger) for fate in _FATES}
    words = f"{len(record.ledger)} files were offered: {count['taken']} taken, {count['converted']} converted, " \
            f"{count['left_out']} left out. Nothing is lost without a word."  # fmt: skip
    rows = [
        (
            picture(row.thumbnail, f"thumbnail of {row.path}", side=48, class_="thumb") if row.thumbnail else None,
            element("code", row.path),
            pill(*_FATES.get(row.fate, (row.fate, "note"))),
            join(element("code", row.rule, class_="muted"), " ", row.detail),
        )
        for row in sorted(record.ledger, key=_telling_first)
    ]
    return section(
        "ledger",
        "The fate of every file",
        words,
        table("Every file of the ZIP and what became of it", ("", "File", "Fate", "Why"), rows, scroll=True),
    )


def _telling_first(row: LedgerRow) -> int:
    return list(_FATES).index(row.fate) * -1 if row.fate in _FATES else -9


def _other_eyes(record: Record) -> Markup | None:
    eye = record.curation.eye
    if eye is None:
        return None
    figures = [
        element("figure", picture(image, f"{eye.name}, {words}", class_="cell"), element("figcaption", words))
        for image, words in ((eye.meant, "as it is meant"), (eye.seen, "as they would train it"))
    ]
    return section(
        "eyes",
        "What other trainers would have seen",
        f"The files as they came, read by the rules of {len(eye.trainers) + len(eye.others)} trainers. One example:",
        element(
            "div",
            element("div", *figures, class_="pair"),
            element(
                "div",
                element("p", element("code", eye.name), f": {eye.sentence}"),
                facts((("Sideways for", ", ".join(eye.trainers)), ("Upright for", ", ".join(eye.others)))),
                element("p", "Import bakes the turn into the pixels, so that every trainer gets it upright.",
                        class_="muted"),
            ),
            class_="beside",
        ),
    )  # fmt: skip


# --- checks and copies -------------------------------------------------------------------------------------


def _checks(record: Record) -> Markup:
    before, after = record.curation.before, record.curation.after
    parts = [_health_row(*pair) for pair in zip(before.parts, after.parts, strict=True)]
    total: tuple[Child, ...] = (
        element("strong", "All"), _meter(before.score, 100), _meter(after.score, 100), "The sum of its parts.",
    )  # fmt: skip
    skipped = [element("li", element("code", id_), f" {reason}") for id_, reason in before.not_run]
    return section(
        "checks",
        "Checks before training",
        f"{before.ran} checks looked at files, pixels, copies, captions and the set as a whole. The set came with a "
        f"health of {before.score} of 100 and was trained at {after.score}; a score is never shown without its parts.",
        table("Health, and what it is made of", ("", "As it came", "As trained", "What still stands"),
              [*parts, total], scroll=True),
        element("h3", f"As it came: {_number(before)}"),
        _findings(before.findings),
        element("h3", f"As trained: {_number(after)}"),
        _still_standing(after.findings),
        element("details", element("summary", f"Not carried out: {len(skipped)}"), element("ul", *skipped))
        if skipped
        else None,
    )  # fmt: skip


def _number(checkup: Checkup) -> str:
    count = len(checkup.findings)
    return "nothing was found" if not count else f"{count} findings" if count > 1 else "1 finding"


def _health_row(before: PartRow, after: PartRow) -> tuple[Child, ...]:
    name = before.name.capitalize()
    said = after.sentence.removeprefix(f"{name}: ")
    return (
        name, _meter(before.points, before.most), _meter(after.points, after.most), said[:1].upper() + said[1:],
    )  # fmt: skip


def _meter(points: float, most: float) -> Markup:
    """Points in figures, and a bar as long as their share."""
    share = points / most if most else 0.0
    bar = element("span", element("span", class_="fill", style=f"width:{share:.1%}"), class_="meter")
    return join(element("span", f"{points:.0f} of {most:.0f}", class_="count"), bar)


def _findings(findings: tuple[FindingRow, ...]) -> Markup:
    if not findings:
        return element("p", "Nothing to say.", class_="muted")
    return element("ul", *(_finding(row) for row in findings), class_="findings")


def _still_standing(findings: tuple[FindingRow, ...]) -> Markup | None:
    """A line each; what they rest on was said above."""
    if not findings:
        return None
    return join(
        element("p", "Nothing is hidden once it is dealt with: what was looked at and kept stays on the list.",
                class_="muted"),
        element("ul", *(element("li", *_head(row)) for row in findings), class_="findings short"),
    )  # fmt: skip


def _head(row: FindingRow) -> tuple[Child, ...]:
    severity = pill(*_SEVERITIES.get(row.severity, (row.severity, "plain")))
    return (severity, " ", element("code", row.id, class_="muted") if row.id else None, " ", row.message)


def _finding(row: FindingRow) -> Markup:
    more = f"and {row.more} more" if row.more else ""
    named = f"{', '.join(row.files)} {more}" if row.files else more if row.pictures else ""
    return element(
        "li",
        element(
            "div",
            element("p", *_head(row)),
            element("p", named, class_="muted") if named else None,
            element(
                "details",
                element("summary", "Why, and what to do"),
                element("p", row.why, " ", element("span", row.source, class_="muted")) if row.why else None,
                element("p", row.fix),
                element("p", element("strong", "Repair, one version: "), row.repair) if row.repair else None,
            )
            if row.why or row.fix
            else None,
        ),
        strip(row.pictures),
    )


def _copies(record: Record) -> Markup | None:
    groups = record.curation.groups
    if not groups:
        return None
    gone = sum(len(group.left_out) for group in groups)
    words = (
        "A perceptual hash sees light and dark; copies have the same colours, too, and figures of one shape in other "
        f"colours are other pictures. {len(groups)} {'group holds' if len(groups) == 1 else 'groups hold'} copies: "
        f"{gone} {'picture was' if gone == 1 else 'pictures were'} left out, the best of each stays."
    )
    return section(
        "copies", "Copies, side by side", words, element("div", *(_group(group) for group in groups), class_="groups")
    )


def _group(group: GroupRow) -> Markup:
    best, *others = group.members
    bits = "bit" if group.bits == 1 else "bits"
    return element(
        "article",
        element("h3", f"{_KINDS.get(group.kind, group.kind)}, {group.bits} of 64 {bits} apart"),
        element(
            "div",
            _member(best, "kept", "good", group.reason),
            *(_member(other, "left out", "bad", "") for other in others),
            class_="members",
        ),
        class_="group",
    )  # fmt: skip


def _member(shown: Shown, fate: str, tone: str, reason: str) -> Markup:
    return element(
        "figure",
        picture(shown.picture, f"{shown.name}: {fate}", side=128, class_="cell"),
        element(
            "figcaption",
            element("code", shown.name),
            pill(fate, tone),
            element("span", reason, class_="muted") if reason else None,
        ),
        class_=None if fate == "kept" else "gone",
    )


# --- captions ----------------------------------------------------------------------------------------------


def _captions(record: Record) -> Markup:
    came_with_any = any(row.came for row in record.captions)
    rows = [
        (
            picture(row.thumbnail, f"thumbnail of {row.name}", side=64, class_="thumb"),
            *([row.came or element("span", "none", class_="muted")] if came_with_any else []),
            row.tagged,
            _with_trigger(row.trained, record.trigger_word),
        )
        for row in record.captions
    ]
    columns = ("", *(["As it came"] if came_with_any else []), "Tagged", "Trained with")
    words = (
        "A tagger looked at each picture. Tags that describe the subject itself were removed, so that the trigger "
        "word has to carry them; what may vary stays named."
    )
    return section(
        "captions",
        "Captions, before and after",
        words,
        table("Captions of some pictures", columns, rows),
    )


def _with_trigger(caption: str, word: str) -> Markup:
    """The caption with its trigger word marked where it leads."""
    if word and caption.startswith(word):
        return join(element("mark", word), caption.removeprefix(word))
    return join(caption)


def _edits(record: Record) -> Markup | None:
    edits, undo = record.curation.edits, record.curation.undo
    if not edits:
        return None
    steps: list[tuple[str, Child]] = [
        (name, join(f"version {row.number}: ", element("code", row.fingerprint[:_FINGERPRINT]), f" {ending}"))
        for name, row, ending in (
            ("Edited", undo.before, ""),
            ("Undone", undo.undone, ""),
            ("Redone", undo.redone, "(the same, byte for byte)" if undo.is_exact else "(not the same)"),
        )
    ]
    return section(
        "edits",
        "Edits of all captions",
        "Every operation says what it would do before it does it: to which pictures, to how many, and how. "
        "What goes is struck through, what comes is underlined.",
        *(_edit(number, edit) for number, edit in enumerate(edits, 1)),
        element("h3", "One step back, and forward again"),
        element("p", "A fingerprint covers everything that training sees: pixels, captions, roles and their order.",
                class_="muted"),
        facts(steps),
    )  # fmt: skip


def _edit(number: int, edit: EditRow) -> Markup:
    tags = [
        element("li", element("strong", tag), f" {before:,} → {after:,}")
        for tag, before, after in edit.tags
    ]  # fmt: skip
    changes = f"{edit.changed:,} change" if edit.changed != 1 else "1 changes"
    stays = f"{edit.unchanged:,} stay as they are" if edit.unchanged != 1 else "1 stays as it is"
    return element(
        "article",
        element("h3", f"{number}. {edit.words}"),
        element("p", f"On {edit.scope}: ", element("strong", changes), f", {stays}."),
        *(element("p", pill("look", "note"), " ", warning) for warning in edit.warnings),
        element("ul", *(_example(example) for example in edit.examples), class_="examples"),
        element("ul", *tags, class_="tags", aria_label="how often tags occur, before and afterwards")
        if tags
        else None,
        class_="edit",
    )  # fmt: skip


def _example(example: EditExample) -> Markup:
    words = [element(_STEPS[kind], text) if kind in _STEPS else element("span", text) for kind, text in example.steps]
    return element(
        "li",
        picture(example.picture, f"thumbnail of {example.name}", side=64, class_="thumb"),
        element("p", *words, class_="diff"),
    )


def _history(record: Record) -> Markup:
    rows = [_version(row) for row in record.curation.versions]
    return section(
        "history",
        "The history",
        "Each change made a version; all of them are still there, and any can be gone back to. A page like this one "
        "about any dataset is written by “lorasmith dataset report NAME --out PAGE.html”.",
        table("Versions of the dataset", ("", "What made it", "Pictures", "Fingerprint", ""), rows, scroll=True),
    )


def _version(row: VersionRow) -> tuple[Child, ...]:
    return (
        element("strong", str(row.number)),
        row.words,
        f"{row.pictures:,}",
        element("code", row.fingerprint[:_FINGERPRINT]),
        pill("trained", "good") if row.is_trained else None,
    )
