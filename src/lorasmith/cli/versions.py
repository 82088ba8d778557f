"""dataset list, history, undo, redo, restore, branch: which versions there are, and which one is the present."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from lorasmith.cli.completion import complete_dataset
from lorasmith.cli.lens import dataset_argument
from lorasmith.cli.prepare import summary
from lorasmith.cli.session import Session, count, plain, table, verb, visible
from lorasmith.cli.words import tally_line
from lorasmith.errors import DatasetError

if TYPE_CHECKING:
    from lorasmith.datasets.history import HistoryEntry
    from lorasmith.datasets.manifest import DatasetVersion

_name = click.argument("name", metavar="NAME", shell_complete=complete_dataset)
_steps = click.option("--steps", type=click.IntRange(1), default=1, show_default=True, help="How many.")


@verb("list")
def list_datasets(session: Session) -> None:
    """List the datasets with their present versions."""
    list_all(session)


def list_all(session: Session) -> None:
    """The answer of ``dataset`` and ``dataset list``. A damaged dataset is listed as such and hides no other."""
    studio = session.studio
    facts: list[dict[str, Any]] = []
    for name in studio.datasets():
        try:
            entries = studio.curate.history(name)
            head = next(entry for entry in entries if entry.is_head)
        except DatasetError as damage:
            facts.append({"dataset": name, "damaged": damage.message})
            continue
        fact = {"dataset": name, "version": head.number, "versions": len(entries), "pictures": head.count}
        facts.append(fact | {"created": head.created, "operation": head.words})
    rows = [
        (f["dataset"], "?", "?", "?", "", f["damaged"])
        if "damaged" in f
        else (f["dataset"], f["version"], f["versions"], f["pictures"], _when(f["created"]), visible(f["operation"]))
        for f in facts
    ]
    headers = ("dataset", "present", "versions", "pictures", "made (UTC)", "by")
    lines = table(headers, rows) if rows else ["No datasets yet. `lorasmith import` makes one."]
    session.answer({"datasets": facts}, *lines)


@verb("history")
@_name
def history(session: Session, name: str) -> None:
    """Draw the versions of a dataset as a tree.

    Oldest first; `*` marks the present version, `o` the others. A line that begins anew from an older version is
    drawn beside it.
    """
    entries = session.studio.curate.history(name)
    drawn = list(draw(entries))
    width = max(len(graph) for graph, _ in drawn)
    session.answer(
        {"dataset": name, "history": [plain(entry) | {"words": entry.words} for entry in entries]},
        *(f"{graph:<{width}}  {_entry_line(entry)}" for graph, entry in drawn),
    )


def draw(entries: Sequence[HistoryEntry]) -> Iterator[tuple[str, HistoryEntry]]:
    """Every version with its part of the drawing, parents before children.

    A line goes straight down; where several versions were made from one, the present line goes on and the others are
    drawn before it, one step to the right.
    """
    children: defaultdict[int | None, list[HistoryEntry]] = defaultdict(list)
    for entry in entries:
        children[entry.parent].append(entry)
    width = max((len(str(entry.number)) for entry in entries), default=1)
    waiting = [("", "", root) for root in reversed(children[None])]
    while waiting:
        lead, bars, entry = waiting.pop()
        yield f"{lead}{'*' if entry.is_head else 'o'} {entry.number:>{width}}", entry
        below = sorted(children[entry.number], key=lambda child: (child.on_current_line, child.number))
        if below:  # what is pushed last is drawn first, with all that follows from it
            waiting.append((bars, bars, below[-1]))
            waiting += [(f"{bars}|-", f"{bars}| ", child) for child in reversed(below[:-1])]


def _entry_line(entry: HistoryEntry) -> str:
    marks = "   <- present" if entry.is_head else "   (redo)" if entry.redo else ""
    if not entry.created:
        return f"damaged: {visible(entry.words)}{marks}"
    return f"{_when(entry.created)}  {count(entry.count, 'picture'):>12}  {visible(entry.words)}{marks}"


def _when(created: str) -> str:
    return created[:16].replace("T", " ")


@verb("undo")
@_name
@_steps
def undo(session: Session, name: str, steps: int) -> None:
    """Go back to what the present version was made from.

    Nothing is deleted: `redo` goes forward again, and `history` shows what was passed over.
    """
    _move(session, name, lambda: session.studio.curate.undo(name, steps), f"lorasmith dataset redo {name}")


@verb("redo")
@_name
@_steps
def redo(session: Session, name: str, steps: int) -> None:
    """Take back an undo."""
    _move(session, name, lambda: session.studio.curate.redo(name, steps), f"lorasmith dataset undo {name}")


@verb("restore")
@dataset_argument
def restore(session: Session, reference: str) -> None:
    """Make an old version the present one again.

    It becomes a new version with the same content; what came in between stays in the history.
    """
    name = reference.partition("@")[0]
    _move(session, name, lambda: session.studio.curate.restore(reference), f"lorasmith dataset undo {name}")


def _move(session: Session, name: str, move: Callable[[], DatasetVersion], back: str) -> None:
    before = session.studio.dataset(name)
    after = move()
    difference = session.studio.curate.diff(before, after)
    document = summary(after) | {"before": before.reference, "counts": difference.counts()}
    if after.reference == before.reference:
        session.answer(document, f"{after.reference} is the present version already.")
        return
    line = f"{after.reference} is the present version now; against {before.reference}: {tally_line(difference)}."
    session.answer(document, line, f"Back: {back}")


@verb("branch")
@dataset_argument
@click.argument("name")
def branch(session: Session, reference: str, name: str) -> None:
    """Begin a new dataset with a version of another.

    Both share their pictures on disk; neither sees the other's edits.
    """
    made = session.studio.curate.branch(reference, name)
    session.answer(summary(made), f"{made.reference}: {count(len(made.items), 'picture')}.")
