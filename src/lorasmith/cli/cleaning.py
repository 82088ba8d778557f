"""dataset drop, gc: what is deleted, said before it is."""

from __future__ import annotations

from typing import Any

import click

from lorasmith.cli.lens import dataset_argument
from lorasmith.cli.session import Session, count, plain, size, verb

_yes = click.option("--yes", is_flag=True, help="Do it; without, it is only said.")


@verb("drop")
@dataset_argument
@_yes
def drop(session: Session, reference: str, yes: bool) -> None:
    """Remove a version, or a whole dataset.

    A name alone means the dataset with all its versions, name@number that version. This cannot be undone; the disk
    space comes back with `gc`.
    """
    studio = session.studio
    if "@" in reference:
        version = studio.dataset(reference)
        words, numbers = version.reference, [version.number]
    else:
        numbers = [entry.number for entry in studio.curate.history(reference)]
        words = f"the dataset '{reference}' with {count(len(numbers), 'version')}"
    if yes:
        studio.curate.drop(reference)
    line = f"Dropped {words}." if yes else f"This would drop {words} for good. --yes does it."
    session.answer({"reference": reference, "versions": numbers, "dropped": yes}, line)


@verb("gc")
@_yes
def gc(session: Session, yes: bool) -> None:
    """Say what no version needs, and free it.

    What a version, a job or an import under way needs is never among it.
    """
    curate = session.studio.curate
    garbage = curate.garbage()
    if yes and garbage.files:
        garbage = curate.collect(garbage)
    kinds = {"pictures": garbage.blobs, "pieces": garbage.pieces, "leftovers": garbage.leftovers}
    document: dict[str, Any] = {kind: [str(path) for path in paths] for kind, paths in kinds.items()}
    document |= {"bytes": garbage.bytes, "freed": yes, "held_by": plain(garbage.held_by)}
    if garbage.held_by:
        lines = ["Nothing can be freed, since it cannot be told what is needed:"]
        session.answer(document, *lines, *(f"  {reason}" for reason in garbage.held_by))
        return
    if not garbage.files:
        session.answer(document, "Nothing to free.")
        return
    parts = [
        count(len(garbage.blobs), "picture"),
        count(len(garbage.pieces), "piece of manifests", "pieces of manifests"),
    ]
    parts.append(count(len(garbage.leftovers), "leftover"))
    what = f"{', '.join(parts)}: {size(garbage.bytes)}"
    session.answer(document, f"Freed {what}." if yes else f"Nobody needs {what}. --yes frees it.")
