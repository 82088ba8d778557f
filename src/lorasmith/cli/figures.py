"""dataset stats, buckets: a version in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from lorasmith.cli.lens import dataset_argument, lens_of, lens_options
from lorasmith.cli.session import Session, count, listed, size, table, verb, visible

if TYPE_CHECKING:
    from lorasmith.datasets.bucket_plan import BucketPlan
    from lorasmith.datasets.distributions import Distribution, Histogram
    from lorasmith.datasets.statistics import Statistics

_HEADERS: Final = ("", "least", "10 %", "median", "mean", "90 %", "most")


@verb("stats")
@dataset_argument
@click.option("--most", type=click.IntRange(1), default=20, show_default=True, help="Tags and pairs to show.")
@lens_options()
def stats(session: Session, reference: str, most: int, **lens: Any) -> None:
    """Count pictures, tags, lengths, shapes and files.

    --json has every figure. A tokenizer whose name begins with ~ is estimated.
    """
    figures = session.studio.curate.statistics(reference, lens_of(session, lens))
    lines = [
        *_counts(figures),
        *_captions(figures),
        *_tags(figures, most),
        *_pictures(figures),
    ]
    session.answer(figures.to_dict(), *lines)


def _counts(figures: Statistics) -> list[str]:
    counts, has = figures.counts, figures.completeness
    lines = [
        f"{figures.reference}: {count(counts.items, 'picture')}, {counts.captioned} with a caption, "
        f"{counts.masked} with a mask; an epoch shows {counts.shown}."
    ]
    styles = [f"{number} {style}" for style, number in counts.styles.items() if number]
    lines.append(f"Captions: {', '.join(styles)}.")
    if has.trigger is not None:
        lines.append(f"Trigger word: in {has.trigger:.0%} of the captions.")
    groups = [("role", group) for group in counts.roles] + [("concept", group) for group in counts.concepts]
    rows = [(kind, visible(group.name) or "(none)", group.items, group.shown) for kind, group in groups]
    return [*lines, "", *table(("", "name", "pictures", "shown"), rows)]


def _captions(figures: Statistics) -> list[str]:
    captions = figures.captions
    tokens = f"tokens ({captions.tokenizer})"
    spreads = {
        "words": captions.words,
        "characters": captions.characters,
        "tags": captions.tags,
        tokens: captions.tokens,
    }
    rows = [(name, *_spread(spread)) for name, spread in spreads.items() if spread is not None]
    lines = ["", "Length of captions", *table(_HEADERS, rows)] if rows else []
    if captions.over_limit:
        lines.append(f"{count(captions.over_limit, 'caption')} over the {captions.token_limit} tokens that are read.")
    return lines


def _tags(figures: Statistics, most: int) -> list[str]:
    tags, consistency = figures.tags, figures.consistency
    if not tags.vocabulary:
        return []
    lines = [
        "",
        f"Tags: {count(tags.vocabulary, 'different one', 'different ones')}, {tags.uses} uses, {tags.once} once.",
    ]
    tagged = max(1, figures.counts.captioned)
    rows = [(visible(tag.tag), tag.items, f"{tag.items / tagged:.0%}") for tag in tags.counts[:most]]
    lines += table(("tag", "pictures", "share"), rows)
    pairs = [(visible(p.first), visible(p.second), p.items, f"{p.lift:.1f}") for p in tags.pairs[:most]]
    if pairs:
        lines += ["", *table(("together", "", "pictures", "times chance"), pairs)]
    if tags.baked:
        lines.append(f"In nearly every caption: {listed([tag.tag for tag in tags.baked], 8)}.")
    lines.append(f"Spelling: {consistency.share:.0%} of the uses in the usual one.")
    for variant in consistency.variants[:most]:
        lines.append("  " + ", ".join(f"{visible(tag.tag)} {tag.items}" for tag in variant.spellings))
    return lines


def _pictures(figures: Statistics) -> list[str]:
    pictures = figures.pictures
    spreads = {"width": pictures.width, "height": pictures.height}
    rows = [(name, *_spread(spread)) for name, spread in spreads.items() if spread is not None]
    lines = ["", "Pixels", *table(_HEADERS, rows)] if rows else []
    formats = ", ".join(f"{number} {name}" for name, number in pictures.formats.items())
    lines.append(f"Formats: {formats}." + (f" {size(pictures.total_bytes)} in all." if pictures.total_bytes else ""))
    lines += ["", "Shorter side", *_bars(pictures.shorter_side)]
    lines += ["", "Width by height", *_bars(pictures.aspect)]
    return lines


def _spread(spread: Distribution) -> Sequence[str]:
    figures = (spread.minimum, spread.p10, spread.median, spread.mean, spread.p90, spread.maximum)
    return [f"{figure:.0f}" if figure == int(figure) or figure >= 100 else f"{figure:.1f}" for figure in figures]


def _bars(histogram: Histogram) -> list[str]:
    """A bar of ``#`` per bin, the fullest one 40 long; empty bins between others are shown too."""
    most = max(histogram.counts, default=0)
    edges = ["" if edge is None else f"{edge:g}" for edge in histogram.edges]
    rows: list[tuple[str, int, str]] = []
    for low, high, number in zip(edges, edges[1:], histogram.counts, strict=False):
        rows.append((f"{low} to {high}" if high else f"{low} and more", number, "#" * -(-40 * number // max(1, most))))
    return table(("from", "pictures", ""), rows) if rows else []


@verb("buckets")
@dataset_argument
@click.option("--accumulation", type=click.IntRange(1), default=1, show_default=True, help="Batches per step.")
@click.option("--run-repeats", "repeats", type=click.IntRange(1), help="Repeats of the run, on top of each picture's.")
@click.option("--steps", type=click.IntRange(1), help="Length of the run, in place of --epochs.")
@click.option("--no-upscale", is_flag=True, help="Leave out pictures that are smaller than their bucket.")
@lens_options("batch_size", "epochs")
def buckets(
    session: Session,
    reference: str,
    accumulation: int,
    repeats: int | None,
    steps: int | None,
    no_upscale: bool,
    **lens: Any,
) -> None:
    """Show the buckets that pictures land in, and the steps.

    The same code decides as in training, so the steps are exact.
    """
    looked_at = lens_of(session, lens, repeats=repeats or 1, steps=steps)
    plan = session.studio.curate.buckets(reference, looked_at, accumulation=accumulation, upscale=not no_upscale)
    session.answer(plan.to_dict() | {"family": looked_at.family}, *_plan_lines(plan))


def _plan_lines(plan: BucketPlan) -> list[str]:
    lines = [f"{plan.version} at {plan.resolution} pixels, sides in steps of {plan.side_step}."]
    rows = [
        (
            bucket.title,
            len(bucket.landings),
            bucket.exposures,
            bucket.batches,
            bucket.left_over,
            f"{max(landing.crop_loss for landing in bucket.landings):.0%}",
            f"{max(landing.scale for landing in bucket.landings):.2f}",
        )
        for bucket in plan.buckets
    ]
    headers = ("bucket", "pictures", "shown", "batches", "left over", "most cut", "largest scale")
    lines += table(headers, rows) if rows else ["No picture is trained."]
    lines.append(
        f"{count(plan.pictures, 'picture')}, {plan.exposures_per_epoch} shown an epoch: "
        f"{plan.steps_per_epoch:g} steps of {plan.batch_size}"
        + (f" x {plan.accumulation}." if plan.accumulation > 1 else ".")
    )
    lines.append(f"The run: {count(plan.steps, 'step')}, {plan.epochs:.2f} epochs.")
    lines += _named("cut by more than 10 %", {one.item: f"{one.crop_loss:.0%}" for one in plan.cropped(0.1)})
    lines += _named("enlarged", {one.item: f"{one.scale:.2f} times" for one in plan.enlarged(1.0)})
    lines += _named("held out", {one.item: "" for one in plan.validation})
    return [*lines, *(f"left out: {visible(entry.item)}: {entry.reason}" for entry in plan.left_out)]


def _named(what: str, found: Mapping[str, str]) -> list[str]:
    names = [f"{name} ({figure})" if figure else name for name, figure in found.items()]
    return [f"{len(names)} {what}: {listed(names, 6)}"] if names else []
