"""dataset pictures, rename: image tools and names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from lorasmith.cli.completion import complete_dataset, complete_tool
from lorasmith.cli.editing import dry_run_option, made_line, one_of, set_option
from lorasmith.cli.lens import dataset_argument, lens_of, lens_options, where_option
from lorasmith.cli.prepare import summary
from lorasmith.cli.progress import meter
from lorasmith.cli.sections import answer_list, answer_options, values_for
from lorasmith.cli.session import Session, count, listed, size, verb, visible
from lorasmith.cli.words import difference_lines
from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from lorasmith.datasets.pictures.work import ToolExample, ToolPreview


@verb("pictures")
@click.argument("reference", metavar="DATASET", required=False, shell_complete=complete_dataset)
@click.argument("tool", metavar="TOOL", required=False, shell_complete=complete_tool)
@set_option
@where_option()
@dry_run_option
@click.option("--list", "listing", is_flag=True, help="List the tools.")
@click.option("--options", "describe", is_flag=True, help="List the options of TOOL.")
@lens_options()
def pictures(
    session: Session,
    reference: str | None,
    tool: str | None,
    settings: tuple[str, ...],
    where: str,
    dry_run: bool,
    listing: bool,
    describe: bool,
    **lens: Any,
) -> None:
    """Use an image tool on pictures.

    \b
      lorasmith dataset pictures --list
      lorasmith dataset pictures resize --options
      lorasmith dataset pictures cats resize --set mode=long_side --set size=1024 --dry-run

    Originals are never touched: the result is one new version. Pictures that the tool refuses stay and are listed.
    """
    from lorasmith.datasets.pictures import TOOLS, tool_from

    if listing:
        more = "`lorasmith dataset pictures TOOL --options` lists the options of one."
        answer_list(session, "tool", TOOLS, more)
        return
    if describe:
        name = one_of(TOOLS, tool or reference, "image tool")
        answer_options(session, name, TOOLS[name])
        return
    if reference is None or tool is None:
        raise ConfigError("This needs a dataset and a tool.", "`lorasmith dataset pictures --list` lists them.")
    name = one_of(TOOLS, tool, "image tool")
    curate, options = session.studio.curate, values_for(TOOLS[name], settings)
    looked_at, before = lens_of(session, lens), curate.version(reference)
    if dry_run:
        preview = curate.preview_tool(before, name, options, where, looked_at)
        lines = [*_preview_lines(preview), "Nothing was changed: this was a dry run."]
        session.answer(_preview_document(preview) | {"before": before.reference, "dry_run": True}, *lines)
        return
    with meter(session, name) as progress:
        outcome = curate.use_tool(reference, name, options, where, looked_at, progress=progress)
    made = outcome.version
    lines = [f"{visible(tool_from(name, options).describe().rstrip('.'))}."]
    lines.append(f"{count(outcome.changed, 'picture')} changed, {len(outcome.refused)} refused.")
    lines += _refused_lines(outcome.refused)
    document = summary(made) | {"before": before.reference, "dry_run": False, "changed": outcome.changed}
    lines.append(made_line(before.reference, made.reference, made.dataset))
    session.answer(document | {"refused": outcome.refused}, *lines)


def _preview_lines(preview: ToolPreview) -> list[str]:
    if preview.changed is None:
        how_many = "how many change is told only by looking at each"
    else:
        how_many = f"{preview.changed:,} change"
    lines = [f"{visible(preview.description.rstrip('.'))}.", f"On {preview.scope}: {how_many}."]
    for example in preview.examples:
        sizes = " + ".join(_by(image.size) for image in example.after)
        line = f"  {visible(example.item)}: {_by(example.before.size)} -> {sizes}"
        if example.bytes_after is not None:
            line += f", {size(example.bytes_before)} -> {size(example.bytes_after)}"
        share = _trained(example)
        lines.append(line + (f", {share:.0%} of it trained" if share is not None else ""))
    return lines + _refused_lines(preview.refused)


def _refused_lines(refused: Mapping[str, str]) -> list[str]:
    """Pictures that a tool cannot work on, by reason."""
    by_reason: dict[str, list[str]] = {}
    for item, reason in refused.items():
        by_reason.setdefault(reason, []).append(item)
    return [f"  Refused: {listed(names)}: {reason}." for reason, names in by_reason.items()]


def _preview_document(preview: ToolPreview) -> dict[str, Any]:
    examples = [
        {
            "item": example.item,
            "before": list(example.before.size),
            "after": [list(image.size) for image in example.after],
            "bytes_before": example.bytes_before,
            "bytes_after": example.bytes_after,
            "trained_share": _trained(example),
        }
        for example in preview.examples
    ]
    return {
        "description": preview.description,
        "scope": preview.scope,
        "in_scope": preview.in_scope,
        "changed": preview.changed,
        "examples": examples,
        "refused": preview.refused,
    }


def _trained(example: ToolExample) -> float | None:
    """The share of the first resulting picture that its mask lets through; None without a mask."""
    mask = example.masks[0] if example.masks else None
    if mask is None:
        return None
    histogram = mask.histogram()
    return sum(value * number for value, number in enumerate(histogram)) / (255 * max(1, sum(histogram)))


def _by(pixels: tuple[int, int]) -> str:
    return f"{pixels[0]}x{pixels[1]}"


@verb("rename")
@dataset_argument
@click.option("--digits", type=click.IntRange(1, 12), default=4, show_default=True, help="At least so many.")
@click.option("--start", type=click.IntRange(0), default=1, show_default=True, help="The first number.")
@click.option("--prefix", default="", help="Stands before every number.")
@click.option("--folders", is_flag=True, help="Keep the folder of each picture, and count in each anew.")
def rename(session: Session, reference: str, **options: Any) -> None:
    """Name pictures by number.

    In their order: 0001.png, 0002.jpg ... Each keeps its former name, and undo gives it back.
    """
    curate = session.studio.curate
    before = curate.version(reference)
    made = curate.rename(before, **options)
    difference = curate.diff(before, made)
    names = {old.name: new.name for old, new in zip(before.items, made.items, strict=True)}
    session.answer(
        summary(made) | {"before": before.reference, "names": names},
        *difference_lines(session, difference, 8),
        made_line(before.reference, made.reference, made.dataset),
    )
