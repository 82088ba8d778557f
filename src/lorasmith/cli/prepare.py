"""datasets, caption, captions: which datasets there are, and what stands under their pictures."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lorasmith.cli.completion import complete_dataset
from lorasmith.cli.placing import answer_queued, placement_of, queue_options
from lorasmith.cli.progress import meter
from lorasmith.cli.sections import values_for
from lorasmith.cli.session import Session, count, table, verb
from lorasmith.cli.watching import reporter
from lorasmith.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from lorasmith.datasets.manifest import DatasetVersion

_MODES = {"overwrite": "replace", "fill": "keep", "append": "append", "prepend": "prepend"}


@verb("datasets")
def datasets(session: Session) -> None:
    """List the datasets and their versions."""
    known = session.studio.datasets()
    rows = [(name, numbers[-1], len(numbers)) for name, numbers in known.items() if numbers]
    lines = (
        table(("dataset", "newest", "versions"), rows) if rows else ["No datasets yet. `lorasmith import` makes one."]
    )
    session.answer({"datasets": known}, *lines)


def _list_captioners(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if not value:
        return
    session = context.ensure_object(Session)
    known = session.studio.captions
    titles, names = known.names(), known.other_names()
    lines = []
    for name, others in names.items():
        short = [other for other in others if "/" not in other]
        lines += [f"{name}: {titles[name]}"]
        if short:
            lines += textwrap.wrap(", ".join(short), 100, initial_indent="  ", subsequent_indent="  ")
    document = [{"name": name, "title": titles[name], "other_names": list(others)} for name, others in names.items()]
    session.answer({"captioners": document}, *lines)
    context.exit()


@verb("caption")
@click.argument("dataset", shell_complete=complete_dataset)
@click.option(
    "--with",
    "--captioner",
    "captioner",
    default="wd_tagger",
    show_default=True,
    help="Who writes the captions: a captioner or a model such as wd-vit-v3.",
)
@click.option("--threshold", type=click.FloatRange(0, 1), help="Least probability of a tag, of taggers.")
@click.option(
    "--mode",
    type=click.Choice(list(_MODES)),
    default="overwrite",
    show_default=True,
    help="What becomes of captions that are there; fill writes the missing ones only.",
)
@click.option("--keep-existing", is_flag=True, help="The same as --mode fill.")
@click.option("--as-line", is_flag=True, help="What is appended or prepended becomes a line of its own.")
@click.option("--lines", type=click.IntRange(1, 16), default=1, help="How many captions of each picture, a line each.")
@click.option("--pairs", is_flag=True, help="Show each picture with its references: captions say what changed.")
@click.option("--fresh", is_flag=True, help="Ask anew for pictures that were captioned before.")
@click.option("--download", is_flag=True, help="Download the model if it is not here.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda ...")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option of the captioner; repeatable.")
@click.option(
    "--list", is_flag=True, is_eager=True, expose_value=False, callback=_list_captioners, help="List the captioners."
)
@click.option("--trigger-word", default="", help="Put this word in front of every caption afterwards.")
@click.option(
    "--bundle",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write three files there too: captions as text, captions as JSON, and a ZIP of the pictures as PNG.",
)
@queue_options
def caption(
    session: Session,
    *,
    dataset: str,
    captioner: str,
    threshold: float | None,
    mode: str,
    keep_existing: bool,
    as_line: bool,
    lines: int,
    pairs: bool,
    fresh: bool,
    download: bool,
    device: str,
    settings: tuple[str, ...],
    trigger_word: str,
    bundle: Path | None,
    **turn: Any,
) -> None:
    """Let a captioner describe the pictures.

    DATASET is a name, which means the present version, or name@number. A new version is made; the old captions stay
    in the old one. With --pairs a server is shown references and picture together, in order, and writes the edit as an
    instruction: `lorasmith caption rooms --with vllm --pairs`.
    """
    if trigger_word and not trigger_word.strip():  # said before the captioner works, not after
        raise ConfigError("The trigger word is empty.", "Give a word the base does not know.")
    studio = session.studio
    parent = studio.dataset(dataset)
    kind = studio.captions.options_of(captioner)
    options = values_for(kind, settings)
    if threshold is not None:
        if "general_threshold" not in kind.model_fields:
            raise ConfigError(f"{captioner} gives no tags, so --threshold means nothing to it.", "Leave it out.")
        options.setdefault("general_threshold", threshold)
    if pairs:
        options["pairs"] = True  # a captioner that cannot says so itself
    existing: Any = "keep" if keep_existing else _MODES[mode]
    download = download or _agreed(session, captioner, options)
    place = placement_of(session, turn)
    if place is not None:
        if bundle is not None:
            raise ConfigError(
                "--bundle writes what the captions are, and --queue does not wait for them.",
                f"Later: lorasmith dataset export {parent.dataset} --layout bundle --to FOLDER",
            )
        if trigger_word:
            raise ConfigError(
                "--trigger-word comes after the captions, and --queue does not wait for them.",
                f"Later: lorasmith captions {parent.dataset} --trigger-word {trigger_word}",
            )
        row = studio.enqueue.caption(
            dataset if "@" in dataset else parent, captioner, existing=existing, as_line=as_line, lines=lines,
            fresh=fresh, download=download, device=device, placement=place, **options,
        )  # fmt: skip
        answer_queued(session, row)
        return
    with reporter(session) as report:
        version = studio.caption(
            dataset if "@" in dataset else parent,  # a number means just that version
            captioner,
            existing=existing,
            as_line=as_line,
            lines=lines,
            fresh=fresh,
            download=download,
            device=device,
            on_event=report,
            **options,
        )
    made = version.reference != parent.reference  # else nothing changed, and its operation is an older one
    failures: dict[str, str] = dict(version.operation.arguments.get("failures", {})) if made else {}
    if trigger_word:
        version = studio.add_trigger_word(version, trigger_word)
    before = {item.name: item.caption for item in parent.items}
    changed = sum(before.get(item.name) != item.caption for item in version.items)
    said = [f"{version.reference}: {count(changed, 'caption')} written, {len(failures)} failed."]
    said += [f"  {name}: {reason}" for name, reason in failures.items()]
    document = summary(version) | {"changed": changed, "failures": failures}
    if bundle is not None:
        document["bundle"] = [str(path) for path in _write_bundle(session, version, bundle)]
        said += document["bundle"]
    session.answer(
        document,
        *said,
        f"See them: lorasmith captions {version.dataset}",
    )


def _write_bundle(session: Session, version: DatasetVersion, folder: Path) -> list[Path]:
    """The captions and pictures as three files, of which training programs take two.

    Raises:
        DatasetError: files of someone else stand there; the captions are in their version all the same.
    """
    try:
        with meter(session, "bundling") as progress:
            exported = session.studio.curate.export(version, "bundle", folder, progress=progress)
    except DatasetError as cause:
        again = f"lorasmith dataset export {version.reference} --layout bundle --to FOLDER"
        raise DatasetError(
            f"The captions are in {version.reference}, but their files could not be written. {cause.message}",
            f"{cause.hint} Then: {again}",
        ) from cause
    return [exported.folder / name for name in sorted(exported.files)]


def _agreed(session: Session, captioner: str, options: dict[str, Any]) -> bool:
    """Whether a person at a terminal agrees to what would have to be downloaded; elsewhere --download has to say so."""
    from lorasmith.captioning import need_in_words

    if not session.live:
        return False
    words = need_in_words(session.studio.captions.need(captioner, **options), session.studio.home)
    return bool(words) and click.confirm(f"{captioner} would be downloaded: {words}. Go on?", err=True)


@verb("captions")
@click.argument("dataset", shell_complete=complete_dataset)
@click.option("--trigger-word", default="", help="Put this word in front of captions that lack it.")
@click.option("--remove-tag", "tags", multiple=True, metavar="TAG", help="Remove this whole tag; repeatable.")
def captions(session: Session, dataset: str, trigger_word: str, tags: tuple[str, ...]) -> None:
    """Show captions, add a trigger word, remove tags.

    DATASET is a name, which means the present version, or name@number. Edits make a new version; the old one stays.
    """
    studio = session.studio
    version = before = studio.dataset(dataset)
    if tags:
        version = studio.remove_tags(version, tags)
    if trigger_word:
        version = studio.add_trigger_word(version, trigger_word)
    document = summary(version) | {"captions": {item.name: item.caption for item in version.items}}
    lines = [f"{item.name}: {item.caption or '(none)'}" for item in version.items]
    if version.reference != before.reference:
        lines.append(f"{version.reference} made from {before.reference}.")
    elif tags or trigger_word:
        lines.append(f"Nothing to change in {version.reference}.")
    session.answer(document, *lines)


def summary(version: DatasetVersion) -> dict[str, Any]:
    """What every answer about a version says of it."""
    return {
        "dataset": version.dataset,
        "version": version.number,
        "reference": version.reference,
        "parent": version.parent,
        "pictures": len(version.items),
        "captioned": sum(bool(item.caption.strip()) for item in version.items),
        "fingerprint": version.fingerprint,
    }
