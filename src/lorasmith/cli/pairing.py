"""dataset references, set-references, swap-references: the pictures that a base which edits is given."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from lorasmith.cli.editing import dry_run_option, made_line
from lorasmith.cli.lens import dataset_argument, lens_of, lens_options, where_option
from lorasmith.cli.prepare import summary
from lorasmith.cli.progress import meter
from lorasmith.cli.session import Session, count, listed, table, verb, visible
from lorasmith.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from lorasmith.datasets.manifest import DatasetVersion
    from lorasmith.datasets.partners import Proposal

_SHOWN: Final = 8


@verb("references")
@dataset_argument
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--suffix", default="", metavar="SUFFIX", help="What their names end in: _control, or _start:_end.")
@click.option("--append", is_flag=True, help="Put them behind the references that are there.")
@click.option("--remove", is_flag=True, help="Take all references away, of the pictures that --where means.")
@where_option()
@dry_run_option
@lens_options()
def references(
    session: Session,
    reference: str,
    folder: Path | None,
    suffix: str,
    append: bool,
    remove: bool,
    where: str,
    dry_run: bool,
    **lens: Any,
) -> None:
    """Give pictures their references, from a folder or ZIP by name.

    \b
      lorasmith dataset references rooms
      lorasmith dataset references rooms ~/before --dry-run
      lorasmith dataset references rooms ~/before
      lorasmith dataset references rooms --remove --where "name:kitchen"

    cat.png in the folder becomes the reference of cat.jpg; cat_0.png and cat_1.png become two. Without a folder it
    lists what pictures have.
    """
    before = session.studio.curate.version(reference)
    if remove:
        if folder is not None:
            raise ConfigError("References are given or removed, not both.", "Leave the folder or --remove out.")
        _remove(session, reference, before, where, dry_run, lens)
        return
    if where:
        raise ConfigError("--where says whose references are removed.", "Add --remove, or leave it out.")
    if folder is None:
        _list(session, before)
        return
    verbs, mode = session.studio.curate.pairs, "append" if append else "replace"
    options: dict[str, Any] = {"suffix": suffix, "mode": mode}
    with meter(session, "references") as progress:
        if dry_run:
            proposal = verbs.preview(reference, folder, progress=progress, **options)
            document = _document(proposal) | {"before": before.reference, "dry_run": True}
            session.answer(document, *_lines(proposal), "Nothing was changed: this was a dry run.")
            return
        given = verbs.give(reference, folder, progress=progress, **options)
    made = given.version
    document = _document(given.proposal) | summary(made) | {"before": before.reference, "dry_run": False}
    session.answer(document, *_lines(given.proposal), made_line(before.reference, made.reference, made.dataset))


@verb("set-references")
@dataset_argument
@click.argument("item", metavar="PICTURE")
@click.argument("chosen", metavar="[FILE|NUMBER]...", nargs=-1)
@click.option("--none", is_flag=True, help="Take all of them away.")
def set_references(session: Session, reference: str, item: str, chosen: tuple[str, ...], none: bool) -> None:
    """Set the references of one picture, in their order.

    \b
      lorasmith dataset set-references rooms kitchen.png before.png
      lorasmith dataset set-references rooms kitchen.png 2 1
      lorasmith dataset set-references rooms kitchen.png 1 sofa.jpg
      lorasmith dataset set-references rooms kitchen.png --none

    A number is one that it has now, counted from 1; what is not named goes. A file called like a number: ./2.
    """
    if bool(chosen) == none:
        raise ConfigError("Say which references it shall have.", "Name files or numbers, or --none for no reference.")
    before = session.studio.curate.version(reference)
    found = next((one for one in before.items if one.name == item), None)
    if found is None:
        raise DatasetError(
            f"{before.reference} has no picture '{item}'.", f"`lorasmith captions {reference}` lists them."
        )
    wanted: list[str | Path] = []
    for one in chosen:
        if not one.isascii() or not one.isdigit():
            wanted.append(Path(one))
        elif 1 <= int(one[:9]) <= len(found.references):
            wanted.append(found.references[int(one) - 1])
        else:
            have = f"It has {count(len(found.references), 'reference')}." if found.references else "It has none."
            raise ConfigError(f"'{item}' has no reference {one}.", f"{have} Count from 1, or name a file.")
    made = session.studio.curate.pairs.set(reference, item, wanted)
    told = f"{visible(item)}: {count(len(wanted), 'reference') if wanted else 'no reference'}."
    document = summary(made) | {"before": before.reference, "item": item, "references": len(wanted)}
    session.answer(document, told, made_line(before.reference, made.reference, made.dataset))


@verb("swap-references")
@dataset_argument
@where_option()
@click.option("--number", type=click.IntRange(1, 16), default=1, show_default=True, help="Which reference, from 1.")
@dry_run_option
@lens_options()
def swap_references(session: Session, reference: str, where: str, number: int, dry_run: bool, **lens: Any) -> None:
    """Let pictures and their references change places.

    For pairs that came the wrong way round: what was given becomes what shall be made of it. Captions stay, so look
    whether they still say the right thing.
    """
    curate = session.studio.curate
    before = curate.version(reference)
    names = curate.select(before, where, lens_of(session, lens)) if where else None
    if dry_run:
        meant = [item.name for item in before.items if item.references and (names is None or item.name in set(names))]
        document = {"before": before.reference, "dry_run": True, "names": meant}
        said = f"Swapped: {listed(meant, _SHOWN)}." if meant else "No picture with a reference is meant."
        session.answer(document, said, "Nothing was changed: this was a dry run.")
        return
    done = curate.pairs.swap(reference, names, number=number)
    lines = [f"Swapped: {count(len(done.swapped), 'picture')}."]
    lines += [f"  {visible(name)} stays: it {why}." for name, why in list(done.refused.items())[:_SHOWN]]
    document = summary(done.version) | {"before": before.reference, "dry_run": False}
    document |= {"swapped": list(done.swapped), "refused": done.refused}
    session.answer(document, *lines, made_line(before.reference, done.version.reference, done.version.dataset))


def _remove(
    session: Session, reference: str, before: DatasetVersion, where: str, dry_run: bool, lens: dict[str, Any]
) -> None:
    curate = session.studio.curate
    chosen = curate.select(before, where, lens_of(session, lens)) if where else [item.name for item in before.items]
    names = [item.name for item in before.items if item.references and item.name in set(chosen)]
    said = f"References removed from {count(len(names), 'picture')}: {listed(names, _SHOWN)}."
    document: dict[str, Any] = {"before": before.reference, "dry_run": dry_run, "names": names}
    if dry_run:
        session.answer(document, said, "Nothing was changed: this was a dry run.")
        return
    made = curate.pairs.remove(reference, names)
    session.answer(document | summary(made), said, made_line(before.reference, made.reference, made.dataset))


def _list(session: Session, version: DatasetVersion) -> None:
    counts = Counter(len(item.references) for item in version.items)
    rows = [(visible(item.name), len(item.references), _paths(item.provenance)) for item in version.items]
    told = ", ".join(f"{number} with {have or 'none'}" for have, number in sorted(counts.items()))
    document = {
        "reference": version.reference,
        "pictures": [{"name": item.name, "references": list(item.references)} for item in version.items],
    }
    session.answer(document, *table(("picture", "references", "from"), rows), f"References: {told}.")


def _paths(provenance: dict[str, Any]) -> str:
    return visible(", ".join(str(path) for path in provenance.get("references", ())))


def _lines(proposal: Proposal) -> list[str]:
    lines = [f"{visible(name)}: {visible(', '.join(paths))}" for name, paths in list(proposal.matched.items())[:_SHOWN]]
    more = len(proposal.matched) - _SHOWN
    lines += [f"and {more:,} more"] if more > 0 else []
    lines.append(
        f"{count(len(proposal.matched), 'picture')} would get references, {len(proposal.unmatched):,} find none."
    )
    if proposal.replaced:
        lines.append(f"Replaced: the references of {listed(list(proposal.replaced), _SHOWN)}.")
    if proposal.unmatched:
        lines.append(f"Without a match: {listed(list(proposal.unmatched), _SHOWN)}.")
    lines += [f"Left out: {visible(path)} {visible(why)}" for path, why in list(proposal.left_out.items())[:_SHOWN]]
    if len(proposal.left_out) > _SHOWN:
        lines.append(f"and {len(proposal.left_out) - _SHOWN:,} files more")
    return lines


def _document(proposal: Proposal) -> dict[str, Any]:
    return {
        "matched": {name: list(paths) for name, paths in proposal.matched.items()},
        "replaced": list(proposal.replaced),
        "unmatched": list(proposal.unmatched),
        "left_out": dict(proposal.left_out),
        "mode": proposal.mode,
    }
