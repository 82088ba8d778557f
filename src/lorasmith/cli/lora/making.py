"""lora resize, merge, convert, scale: another LoRA file of those there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lorasmith.cli.lora.options import (
    base_option,
    dialect_option,
    drop_option,
    dry_option,
    dtype_option,
    family_option,
    kept,
    lora,
    needed_out,
    only_option,
    out_option,
    over_option,
    pairs,
    refuse_idle_options,
    watch_of,
    weighted,
    written,
)
from lorasmith.cli.session import Session, count, listed, plain


@lora.verb("resize")
@click.argument("lora_", metavar="LORA")
@out_option
@click.option("--rank", type=int, help="The new rank; with another method, the largest one allowed.")
@click.option(
    "--method",
    type=click.Choice(("fixed", "sv_ratio", "sv_cumulative", "sv_fro")),
    default="fixed",
    help="How the rank of each module is chosen.",
)
@click.option("--value", type=float, default=0.0, help="What the method needs: a ratio, or a share between 0 and 1.")
@click.option("--block", "blocks", multiple=True, metavar="PATTERN=RANK", help="Another rank for layers; repeatable.")
@dtype_option
@base_option
@over_option
@dry_option
def resize(session: Session, lora_: str, out: Path | None, blocks: tuple[str, ...], base: str, **options: Any) -> None:
    """Make a LoRA of lower rank that keeps as much as can be kept.

    \b
      lorasmith lora resize ohwx --rank 16
      lorasmith lora resize ohwx --method sv_fro --value 0.9 --rank 64
    """
    refuse_idle_options(options["method"], {"value": ("sv_ratio", "sv_cumulative", "sv_fro")})
    by_block = pairs(blocks, int, "--block mid_block=4")
    made = session.studio.toolbox.resize(lora_, out, base=base, by_block=by_block, watch=watch_of(session), **options)
    ranks = ", ".join(f"{rank} ({number})" for rank, number in list(made.ranks_after.items())[:8])
    lines = [
        written(made.out, options["dry_run"], made.size_after),
        f"  {count(made.modules, 'module')}, rank {ranks}; {made.kept:.1%} of the change is kept, "
        f"least in {made.worst[0]} ({made.worst[1]:.1%})",
    ]
    session.answer(plain(made), *lines)


@lora.verb("merge")
@click.argument("loras", nargs=-1, required=True, metavar="LORA[:WEIGHT]...")
@needed_out
@click.option(
    "--method",
    type=click.Choice(("sum", "ties", "dare", "dare_ties", "magnitude")),
    default="sum",
    help="How to merge.",
)
@click.option("--rank", type=int, help="Of the result; left out, a sum is exact and the ranks add up.")
@click.option("--density", type=float, default=0.5, help="Share of entries to keep, for all methods but sum.")
@click.option("--seed", type=int, default=0, help="Of what dare drops.")
@click.option(
    "--block", "blocks", multiple=True, metavar="PATTERN=WEIGHT", help="Another weight for layers of the first."
)
@dialect_option
@family_option
@only_option
@drop_option
@dtype_option
@base_option
@over_option
@dry_option
def merge(
    session: Session, loras: tuple[str, ...], out: Path, blocks: tuple[str, ...], base: str, **options: Any
) -> None:
    """Make one LoRA of several.

    \b
      lorasmith lora merge ohwx:0.8 pencil:0.5 --out both.safetensors
      lorasmith lora merge ohwx pencil --method ties --rank 32 --out both.safetensors
    """
    thinned = ("ties", "dare", "dare_ties", "magnitude")
    refuse_idle_options(options["method"], {"density": thinned, "seed": ("dare", "dare_ties")})
    by_block = pairs(blocks, float, "--block 'up_blocks*=0.5'")
    toolbox = session.studio.toolbox
    made = toolbox.merge(weighted(loras), out, by_block=by_block, base=base, watch=watch_of(session), **options)
    ranks = ", ".join(f"{rank} ({number})" for rank, number in list(made.ranks.items())[:8])
    whole = "" if made.left_out else "; nothing is lost"
    exact = whole if made.exact else kept(made, options["method"])
    lines = [
        written(made.out, options["dry_run"], made.size),
        f"  {made.family}, {made.dialect} names, {count(made.layers, 'layer')}, rank {ranks}{exact}",
    ]
    lines += [f"  left out: {listed(made.left_out)}"] if made.left_out else []
    session.answer(plain(made), *lines)


@lora.verb("convert")
@click.argument("lora_", metavar="LORA")
@out_option
@dialect_option
@family_option
@click.option("--rank", type=int, help="Largest rank of a LoRA made of another kind; otherwise 64.")
@only_option
@drop_option
@dtype_option
@base_option
@over_option
@dry_option
def convert(session: Session, lora_: str, out: Path | None, base: str, **options: Any) -> None:
    """Write a LoRA file in another dialect, as a plain LoRA.

    LoHa, LoKr, DoRA, OFT and others become a LoRA, with the measured error. A pickle is opened where it can do nothing.

    \b
      lorasmith lora convert ohwx --dialect kohya
      lorasmith lora convert dora.safetensors --base my-sdxl --rank 32
    """
    made = session.studio.toolbox.convert(lora_, out, base=base, watch=watch_of(session), **options)
    error = "exact" if made.exact else f"the worst layer, {made.worst}, differs by {made.largest_error:.2%}"
    readers = " and ".join(program for program, reads in made.read_by.items() if reads) or "no program known here"
    lines = [
        written(made.out, options["dry_run"], made.size),
        f"  {made.dialect_before} -> {made.dialect}, {made.family}, {count(made.layers, 'layer')}, {error}; "
        f"read by {readers}",
    ]
    lines += [f"  left out: {listed(made.left_out)}"] if made.left_out else []
    session.answer(plain(made), *lines)


@lora.verb("scale")
@click.argument("lora_", metavar="LORA")
@click.argument("factor", type=float)
@out_option
@click.option(
    "--block", "blocks", multiple=True, metavar="PATTERN=FACTOR", help="Another factor for layers; repeatable."
)
@over_option
@dry_option
def scale(
    session: Session, lora_: str, factor: float, out: Path | None, blocks: tuple[str, ...], **options: Any
) -> None:
    """Make a LoRA stronger or weaker for good.

    \b
      lorasmith lora scale ohwx 0.8
      lorasmith lora scale ohwx 1 --block 'down_blocks*=0'
    """
    by_block = pairs(blocks, float, "--block 'down_blocks*=0'")
    made = session.studio.toolbox.scale(lora_, factor, out, by_block=by_block, watch=watch_of(session), **options)
    lines = [
        written(made.out, options["dry_run"], made.size),
        f"  {count(made.modules, 'module')}, {made.through_alpha} through their alpha alone",
    ]
    session.answer(plain(made), *lines)
