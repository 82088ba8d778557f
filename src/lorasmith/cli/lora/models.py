"""lora average, extract, bake: between LoRA files and whole models."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lorasmith.cli.lora.options import (
    dialect_option,
    drop_option,
    dry_option,
    dtype_option,
    family_option,
    kept,
    lora,
    needed_out,
    only_option,
    over_option,
    pairs,
    watch_of,
    weighted,
    written,
)
from lorasmith.cli.session import Session, count, listed, plain, table
from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from lorasmith.adapters.tools.rest import Rest


@lora.verb("average")
@click.argument("checkpoints", nargs=-1, metavar="LORA...")
@needed_out
@click.option("--run", default="", metavar="JOB", help="Instead of files: the checkpoints that this training saved.")
@click.option("--sigma-rel", type=float, default=0.1, help="Width of the window as a share of the run, 0.01 to 0.28.")
@click.option("--equal", is_flag=True, help="All checkpoints count alike.")
@click.option("--steps", default="", metavar="N,N,...", help="The step of every file; of a run, which ones.")
@click.option("--rank", type=int, help="Of the result; otherwise the largest of the files'.")
@dialect_option
@family_option
@drop_option
@dtype_option
@over_option
@dry_option
def average(
    session: Session, checkpoints: tuple[str, ...], out: Path, sigma_rel: float, equal: bool, steps: str, **options: Any
) -> None:
    """Average checkpoints of one run, late ones more.

    \b
      lorasmith lora average run-500.safetensors run-1000.safetensors run-1500.safetensors \\
        --steps 500,1000,1500 --out mean.safetensors
      lorasmith lora average --run last --out mean.safetensors
    """
    if not checkpoints and not options["run"]:
        raise ConfigError("There is nothing to average.", "Name LoRA files, or a training: --run last.")
    try:
        at = [int(text) for text in steps.split(",")] if steps else []
    except ValueError:
        raise ConfigError(f"'{steps}' is no list of steps.", "Write for example --steps 500,1000,1500.") from None
    made = session.studio.toolbox.average(
        list(checkpoints), out, sigma_rel=None if equal else sigma_rel, steps=at, watch=watch_of(session), **options
    )
    rows = [(name, step, f"{weight:.3f}") for name, step, weight in made.weights]
    lines = [
        written(made.merged.out, options["dry_run"], made.merged.size),
        f"  {count(made.merged.layers, 'layer')}{kept(made.merged, 'sum').replace('sum', 'average')}",
        *table(("file", "step", "weight"), rows),
    ]
    lines += [f"  left out: {listed(made.merged.left_out)}"] if made.merged.left_out else []
    session.answer(plain(made), *lines)


@lora.verb("extract")
@click.argument("base")
@click.argument("tuned")
@needed_out
@click.option("--rank", type=int, default=32, show_default=True, help="Of every layer.")
@click.option("--block", "blocks", multiple=True, metavar="PATTERN=RANK", help="Another rank for layers; repeatable.")
@click.option(
    "--no-text-encoders", "text_encoders", is_flag=True, flag_value=False, default=True, help="Leave them out."
)
@click.option(
    "--keep-rest",
    is_flag=True,
    help="Keep what changed of norms, biases and other tensors too, whole; for ComfyUI (--only-for comfyui).",
)
@dialect_option
@family_option
@only_option
@click.option("--dtype", default="bf16", show_default=True, help="fp32, fp16 or bf16.")
@over_option
@dry_option
def extract(session: Session, base: str, tuned: str, out: Path, blocks: tuple[str, ...], **options: Any) -> None:
    """Make a LoRA of what a fine-tuned checkpoint changed.

    \b
      lorasmith lora extract my-sdxl tuned.safetensors --rank 64 --out what-it-learned.safetensors
    """
    by_block = pairs(blocks, int, "--block 'mid_block*=16'")
    made = session.studio.toolbox.extract(base, tuned, out, by_block=by_block, watch=watch_of(session), **options)
    lines = [
        written(made.out, options["dry_run"], made.size),
        f"  {count(made.layers, 'layer')} of {made.family}, {made.unchanged} unchanged; {made.kept:.1%} of the "
        f"difference is kept, least in {made.worst[0]} ({made.worst[1]:.1%})",
        *_rest(made.rest),
        f"  of all that differs the file holds {made.whole:.2%}: its error is {math.sqrt(1 - made.whole**2):.2%}",
    ]
    lines += [f"  left out: {listed(made.left_out)}"] if made.left_out else []
    session.answer(plain(made), *lines)


def _rest(rest: Rest) -> list[str]:
    """What no LoRA stands beside: how many differ, of which sort, and which most."""
    if not rest.differing:
        return [f"  no difference in the {rest.compared} norms, biases and other tensors"]
    sorts = ", ".join(f"{number} {sort}" for sort, number in rest.counts.items())
    return [
        f"  {len(rest.differing)} of {rest.compared} other tensors differ ({sorts}), {rest.kept} of them kept; most "
        f"of its size {rest.largest[0]} ({rest.largest[1]:.2%}); together {rest.share:.1%} of all that differs",
        f"    {listed([one.name for one in rest.differing])}",
    ]


@lora.verb("bake")
@click.argument("base")
@click.argument("loras", nargs=-1, required=True, metavar="LORA[:WEIGHT]...")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="PLACE",
    required=True,
    help="The file to write; of a base that is a folder, the folder to make.",
)
@family_option
@click.option("--allow-missing", is_flag=True, help="Leave out layers that the file has no weights of.")
@over_option
@dry_option
def bake(session: Session, base: str, loras: tuple[str, ...], out: Path, **options: Any) -> None:
    """Write a base with LoRAs in it for good.

    \b
      lorasmith lora bake my-sdxl ohwx:0.8 --out with-ohwx.safetensors
    """
    made = session.studio.toolbox.bake(base, weighted(loras), out, watch=watch_of(session), **options)
    lines = [
        written(made.out, options["dry_run"], made.size),
        f"  {made.changed} of {made.tensors} tensors are changed, by {count(made.layers, 'layer')}",
    ]
    lines += [f"  left out: {listed(made.left_out)}"] if made.left_out else []
    session.answer(plain(made), *lines)
