"""import: from ZIPs, folders, files, addresses and sources to a dataset in which every file is accounted for."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from lorasmith.cli.asking import Asked, ImportCommand, given_options, options_for, understood
from lorasmith.cli.completion import complete_dataset, complete_layout
from lorasmith.cli.placing import answer_queued, placement_of, queue_options
from lorasmith.cli.prepare import summary
from lorasmith.cli.progress import Meter, cancelled_by_ctrl_c, meter
from lorasmith.cli.session import Session, count, plain, size, table, verb, visible
from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from lorasmith.datasets.importing import Pace
    from lorasmith.datasets.manifest import DatasetVersion, Fate
    from lorasmith.fetching import Transfer
    from lorasmith.gathering import Gathering
    from lorasmith.queue.records import QueuedJob
    from lorasmith.queue.verbs import Placement
    from lorasmith.sources import Listing

_ALPHA: Final = ("fill", "mask", "both")
_SHOWN: Final = 40  # files that were left out; --json and the ledger have all


@verb("import", cls=ImportCommand)
@click.argument("words", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--name", help="Name of the dataset; otherwise made from the first source's.")
@click.option("--into", metavar="NAME", shell_complete=complete_dataset, help="Add to this dataset.")
@click.option("--source", metavar="NAME", help="Who goes there; otherwise the first word, or found out.")
@click.option("--dry-run", is_flag=True, help="List what would come, and fetch and import nothing.")
@click.option("--allow-host", "hosts", multiple=True, metavar="HOST", help="A server of your own network; repeatable.")
@click.option("--layout", shell_complete=complete_layout, help="In which layout it lies; otherwise found out.")
@click.option("--background", default="white", show_default=True, help="Colour that replaces transparency.")
@click.option(
    "--alpha",
    type=click.Choice(_ALPHA),
    default="fill",
    show_default=True,
    help="Transparency is filled with the background, becomes the mask, or both.",
)
@click.option("--clips", is_flag=True, help="Take in videos and animated pictures as clips that move.")
@click.option("--references", metavar="FOLDER", help="For edit models: folder of reference pictures, paired by name.")
@click.option("--reference-suffix", metavar="WORD", help="What their names end in: _control, or _start:_end.")
@click.option("--max-side", type=click.IntRange(1), metavar="PIXELS", help="Reduce longer pictures to this.")
@queue_options
@click.pass_context
def import_(
    context: click.Context,
    /,
    session: Session,
    *,
    words: tuple[str, ...],
    name: str | None,
    into: str | None,
    source: str | None,
    dry_run: bool,
    hosts: tuple[str, ...],
    **importing: Any,
) -> None:
    """Take in pictures: ZIPs, folders, files, addresses, sources.

    \b
      lorasmith import photos.zip
      lorasmith import https://example.org/photos.zip --dry-run
      lorasmith import huggingface owner/dataset --limit 100

    A SOURCE is a path, an address, or the name of a source (`lorasmith sources`) and what it shall look for, with its
    own options. A path is read and never written to. Every file is accounted for: taken, or left out for a stated
    reason. With --into the pictures are added, and what is there already is left out. Ctrl-C stops it and changes
    nothing; what has arrived by then is not asked for again.
    """
    sources = session.studio.sources.allowing(hosts)
    asked = understood(sources, words, source)
    given = given_options(context)
    place = placement_of(session, importing)
    if place is not None:
        if dry_run or hosts:
            raise ConfigError("--queue does not go with --dry-run or --allow-host.", "Leave out one of them.")
        row = _queued(session, asked, given, name, into, importing, place)
        answer_queued(session, row)
        return
    if asked.paths and not (given or dry_run):
        _import(session, asked, sources, {}, name, into, importing, None)
        return
    if asked.paths:
        asked = _as_source(sources, asked.paths)
    options = options_for(sources, asked.source, given)
    listing = _looked(session, sources, asked, options)
    if dry_run:
        session.answer(_listing_document(listing), *_listing_lines(listing))
        return
    for line in _first_lines(listing):
        session.note(line)
    _import(session, asked, sources, options, name, into, importing, listing)


def _queued(
    session: Session,
    asked: Asked,
    given: Sequence[tuple[str, str | None]],
    name: str | None,
    into: str | None,
    importing: dict[str, Any],
    place: Placement,
) -> QueuedJob:
    """The import as a job; where it comes from is looked at when its turn has come."""
    studio = session.studio
    options = {key: value for key, value in importing.items() if value not in (None, False)}
    if asked.paths and not given:
        options |= {"into": into} if into else {}
        return studio.enqueue.import_dataset(asked.paths, name, place, **options)
    if asked.paths:
        asked = _as_source(studio.sources, asked.paths)
    chosen = options_for(studio.sources, asked.source, given)
    return studio.enqueue.gather(
        asked.location, asked.source, name=name, into=into, importing=options, placement=place, **chosen
    )


def _as_source(sources: Gathering, paths: Sequence[Path]) -> Asked:
    """One path as a source, for what sources alone can do."""
    if len(paths) > 1:
        raise ConfigError("--dry-run and the options of a source take one path.", "Name the paths one by one.")
    return Asked(source=sources.source_of(str(paths[0])) or "folder", location=str(paths[0]))


def _looked(session: Session, sources: Gathering, asked: Asked, options: dict[str, Any]) -> Listing:
    with cancelled_by_ctrl_c(session, "Stopping; nothing was fetched.") as cancel:
        return sources.look(asked.location, asked.source, cancel=cancel, **options)


def _import(
    session: Session,
    asked: Asked,
    sources: Gathering,
    options: dict[str, Any],
    name: str | None,
    into: str | None,
    importing: dict[str, Any],
    listing: Listing | None,
) -> None:
    studio = session.studio
    known = studio.datasets()
    before = len(studio.dataset(into).ledger) if into is not None else 0
    stopping = "Stopping after the pictures under way; nothing will be changed. Ctrl-C again stops at once."
    with cancelled_by_ctrl_c(session, stopping) as cancel, closing(_Told(session)) as told:
        if listing is None:
            version = studio.import_dataset(
                asked.paths, name, into=into, watch=told.importing, cancel=cancel, **importing
            )
        else:
            version = sources.fetch(
                asked.location,
                asked.source,
                name=name,
                into=into,
                importing={"watch": told.importing, **importing},
                listing=listing,
                progress=told.fetching,
                transfer=told.arriving,
                cancel=cancel,
                **options,
            )
    is_new = version.number not in known.get(version.dataset, [])
    fates = version.ledger[before:] if is_new else version.ledger
    session.answer(_document(version, fates, is_new), *_lines(version, fates, is_new))


class _Told:
    """Hears how far fetching and then importing is; a meter for each, one after the other."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stack = ExitStack()
        self._doing = ""
        self._told: Meter | None = None
        self._files = (0, 0)

    def fetching(self, done: int, total: int, path: str) -> None:
        self._files = (done, total)
        self._meter("fetching")(done, total, path)

    def arriving(self, transfer: Transfer) -> None:
        total = f" of {size(transfer.total)}" if transfer.total else ""
        self._meter("fetching")(*self._files, transfer.note or f"{size(transfer.done)}{total}")

    def importing(self, pace: Pace) -> None:
        self._meter("importing")(pace.done, pace.total, pace.path, left=pace.seconds_left)

    def close(self) -> None:
        self._stack.close()
        self._told = None

    def _meter(self, doing: str) -> Meter:
        if self._told is None or self._doing != doing:
            self.close()
            self._doing, self._told = doing, self._stack.enter_context(meter(self._session, doing))
        return self._told


def _listing_document(listing: Listing) -> dict[str, Any]:
    facts = plain(listing)
    return {"listing": facts | {"bytes_known": listing.bytes_known, "unknown": _unknown(listing)}}


def _unknown(listing: Listing) -> int:
    """How many files nobody knows the size of."""
    return sum(file.size is None for file in listing.files)


def _first_lines(listing: Listing) -> list[str]:
    """What will come, in a line or a few."""
    sizes = f", {size(listing.bytes_known)}" if listing.bytes_known else ""
    unknown = _unknown(listing)
    more = f" and {count(unknown, 'file')} of unknown size" if unknown and listing.bytes_known else ""
    license = str(listing.origin.get("license") or "") or "not stated"
    told = [f"{listing.source}: {count(len(listing.files), 'file')}{sizes}{more} from {visible(listing.location)}"]
    told += [f"  Licence: {visible(license)}"] if listing.origin or any(file.url for file in listing.files) else []
    return [*told, *(f"  {visible(sentence)}" for sentence in listing.said)]


def _listing_lines(listing: Listing) -> list[str]:
    lines = _first_lines(listing)
    rows = [
        (visible(file.path), "" if file.size is None else size(file.size), visible(file.caption)[:60])
        for file in listing.files[:_SHOWN]
    ]
    lines += table(("file", "size", "caption"), rows) if rows else []
    if len(listing.files) > _SHOWN:
        lines.append(f"and {len(listing.files) - _SHOWN:,} more; --json lists all.")
    lines += [f"  {visible(fate.path)}: {visible(fate.detail)}" for fate in listing.left_out[:_SHOWN]]
    if len(listing.left_out) > _SHOWN:
        lines.append(f"  and {len(listing.left_out) - _SHOWN:,} more that will not come; --json lists all.")
    return [*lines, "Nothing was fetched. Run it again without --dry-run."]


def _document(version: DatasetVersion, fates: Sequence[Fate], is_new: bool) -> dict[str, Any]:
    from lorasmith.datasets.ledger import totals

    said = version.operation.arguments.get("said", [])
    counts = {"totals": plain(totals(fates)), "ledger": plain(fates)}
    return (
        summary(version) | {"new": is_new, "layout": version.operation.arguments.get("layout"), "said": said} | counts
    )


def _lines(version: DatasetVersion, fates: Sequence[Fate], is_new: bool) -> list[str]:
    """What came of the import, for people."""
    if not is_new:
        return [f"Nothing new: {version.reference} holds just this.", f"Next: lorasmith check {version.dataset}"]
    left_out = [fate for fate in fates if fate.fate == "left_out"]
    taken = sum(fate.item is not None and fate.rule in ("image", "repaired") for fate in fates)
    first = f"{version.reference}: {count(taken, 'picture')} taken, {count(len(left_out), 'file')} left out."
    if version.operation.name == "add":
        first = f"{first[:-1]}; {count(len(version.items), 'picture')} in all."
    lines = [first, *(f"Note: {visible(str(one))}" for one in version.operation.arguments.get("said", []))]
    if layout := version.operation.arguments.get("layout"):
        lines.append(f"Read as the layout {layout}.")
    lines += [f"  {visible(fate.path)}: {visible(fate.detail)}" for fate in left_out[:_SHOWN]]
    if len(left_out) > _SHOWN:
        more = f"lorasmith dataset ledger {version.dataset} --fate left_out"
        lines.append(f"  and {len(left_out) - _SHOWN:,} more: {more}")
    return [*lines, f"Next: lorasmith check {version.dataset}"]
