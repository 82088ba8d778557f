"""lora: the toolbox of LoRA files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lorasmith.cli.app import Group
from lorasmith.cli.session import Session, count, listed, plain, shared_options, size, table, visible
from lorasmith.errors import ConfigError
from lorasmith.toolbox import Watch

if TYPE_CHECKING:
    from lorasmith.adapters.tools.describing import Description

_FILE = click.Path(dir_okay=False, path_type=Path)
_SHOWN_TAGS = 12
out_option = click.option("--out", type=_FILE, metavar="FILE", help="The file to write; otherwise beside the LoRA.")
needed_out = click.option("--out", type=_FILE, metavar="FILE", required=True, help="The file to write.")
dry_option = click.option("--dry-run", is_flag=True, help="Do all but the writing, and say what would be written.")
over_option = click.option("--overwrite", is_flag=True, help="Replace a file of that name.")
dtype_option = click.option(
    "--dtype", default="", metavar="FORMAT", help="fp32, fp16 or bf16; otherwise the file's own."
)
family_option = click.option("--family", default="", help="Of the base, where the file leaves it open.")
base_option = click.option("--base", default="", help="A base by name or path, for DoRA, OFT and GLoRA.")
dialect_option = click.option(
    "--dialect",
    default="",
    help="kohya, peft, comfyui, onetrainer, simpletuner, diffusion_pipe, omi or fal_kontext; otherwise what most "
    "programs read.",
)
only_option = click.option(
    "--only-for", default="", metavar="PROGRAM", help="diffusers, comfyui or any: allow a dialect others do not read."
)


@click.group("lora", cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@shared_options
def lora() -> None:
    """Look into LoRA files, convert, resize, merge and use them.

    LORA is a path or a name in the library, of any dialect and kind. Nothing is changed in place but by `edit`.
    """


def _watch(session: Session) -> Watch:
    if not session.live:
        return Watch()

    def show(done: int, total: int) -> None:
        click.echo(f"\r{done} of {total}".ljust(24) + ("\n" if done == total else ""), err=True, nl=False)

    return Watch(show)


def _pairs(texts: Sequence[str], kind: type[int] | type[float], example: str) -> dict[str, Any]:
    """``PATTERN=NUMBER`` options as a table."""
    made: dict[str, Any] = {}
    for text in texts:
        pattern, equals, number = text.rpartition("=")
        try:
            made[pattern] = kind(number)
        except ValueError:
            pattern = ""
        if not equals or not pattern:
            raise ConfigError(f"'{text}' gives no number to a block.", f"Write for example {example}.")
    return made


def _weighted(texts: Sequence[str]) -> list[tuple[str, float]]:
    """``name`` or ``name:0.8``; the colon of a Windows drive is part of the name."""
    found: list[tuple[str, float]] = []
    for text in texts:
        name, colon, weight = text.rpartition(":")
        try:
            found.append((name, float(weight)) if colon and name else (text, 1.0))
        except ValueError:
            if weight[:1] not in ("/", "\\") and "." not in weight:
                raise ConfigError(f"'{weight}' in '{text}' is not a weight.", "Write for example photos:0.8.") from None
            found.append((text, 1.0))
    return found


def _written(out: Path, dry_run: bool, bytes_: int) -> str:
    return f"{out} would be {size(bytes_)}; nothing was written." if dry_run else f"{out} written, {size(bytes_)}."


@lora.verb("inspect")
@click.argument("lora_", metavar="LORA")
@click.option("--deep", is_flag=True, help="Read all of it: hashes, norms, spectra, damage.")
@click.option("--base", default="", help="A base by name or path; then norms are told relative to its weights.")
@click.option("--picture", type=_FILE, metavar="FILE.svg", help="Draw how much each block is changed.")
@click.option("--metadata", "shown", is_flag=True, help="Show every entry of the metadata.")
def inspect(session: Session, lora_: str, deep: bool, base: str, picture: Path | None, shown: bool) -> None:
    """Say what a LoRA file is, what it says of itself and what it leaks."""
    toolbox = session.studio.toolbox
    found = toolbox.inspect(lora_, deep=deep or picture is not None, base=base, watch=_watch(session))
    if picture is not None:
        picture.write_text(toolbox.picture(found), encoding="utf-8")
    lines = _described(found)
    if shown:
        lines += [f"  {visible(name)}: {visible(value[:200])}" for name, value in sorted(found.metadata.items())]
    session.answer(plain(found), *lines)


def _described(found: Description) -> list[str]:
    kind = found.kind
    family = kind.family or (f"one of {', '.join(kind.candidates)}" if kind.candidates else "no family that is known")
    ranks = ", ".join(f"{rank} ({number})" for rank, number in list(kind.ranks.items())[:6])
    lines = [
        f"{found.file}: {kind.kind} for {' '.join((family, kind.variant)).strip()}, {size(found.size)}, {found.dtype}",
        f"  {found.dialect_meaning}",
        f"  {count(found.modules, 'module')}, rank {ranks or 'none'}; "
        + ", ".join(f"{part} {number}" for part, number in kind.parts.items()),
    ]
    lines += [f"  because {reason}" for reason in kind.evidence]
    told = (
        ("base", found.base),
        ("trigger", ", ".join(found.trigger_words)),
        ("every picture had", ", ".join(found.likely_triggers)),
        ("tags", ", ".join(f"{tag} ({number})" for tag, number in found.tags[:_SHOWN_TAGS])),
        ("licence", found.license),
        ("recipe", ", ".join(f"{name} {value}" for name, value in list(found.recipe.items())[:10])),
    )
    lines += [f"  {name}: {visible(value)}" for name, value in told if value]
    if kind.incomplete:
        lines.append(f"  {count(len(kind.incomplete), 'module')} incomplete: {listed(kind.incomplete)}")
    if kind.foreign:
        lines.append(f"  {count(len(kind.foreign), 'key')} in another dialect: {listed(kind.foreign)}")
    for leak in found.leaks[:8]:
        lines.append(f"  it tells {leak.kind}: {visible(leak.excerpt)} ({visible(leak.key)})")
    if found.hashes is not None:
        hashes = found.hashes
        lines += [f"  sha256 {hashes.sha256}", f"  AutoV2 {hashes.autov2}, of the weights {hashes.data[:12]}"]
        if hashes.stated and hashes.stated.removeprefix("0x") != hashes.data:
            lines.append("  its weights are not the ones it was written with: the hash it states is another")
    return lines + _deep(found)


def _deep(found: Description) -> list[str]:
    depth = found.depth
    if depth is None:
        return []
    rows = [
        (
            block.name,
            block.modules,
            f"{block.norm:.4g}",
            "" if block.relative is None else f"{block.relative:.2%}",
            f"{block.effective_rank:.1f}",
        )
        for block in depth.blocks
    ]
    lines = table(("block", "modules", "norm", "of base", "effective rank"), rows)
    for word, names in (
        ("change nothing", depth.dead),
        ("hold NaN or infinite values", depth.not_finite),
        ("are too large for fp16", depth.too_large_for_fp16),
        ("need their base to be measured (--base)", depth.needs_base),
    ):
        if names:
            lines.append(f"  {count(len(names), 'module')} {word}: {listed(names)}")
    return [*lines, f"  {depth.advice}"] if depth.advice else lines


@lora.verb("diff")
@click.argument("first")
@click.argument("second")
@base_option
def diff(session: Session, first: str, second: str, base: str) -> None:
    """Say what differs between two LoRA files, whatever their dialects."""
    found = session.studio.toolbox.diff(first, second, base=base, watch=_watch(session))
    if found.same_bytes:
        lines = ["They are the same, byte for byte."]
    elif found.same_weights:
        lines = ["Their updates are the same; names, format or metadata differ."]
    else:
        lines = [f"Their updates have a cosine of {found.cosine:.3f} over {count(len(found.layers), 'layer')}."]
        rows = [(layer.name, f"{layer.cosine:.3f}", f"{layer.difference:.1%}") for layer in found.layers[:10]]
        lines += table(("layer", "cosine", "difference"), rows) if rows else []
    for word, names in (("first", found.only_first), ("second", found.only_second)):
        if names:
            lines.append(f"Only the {word} has {count(len(names), 'layer')}: {listed(names)}")
    lines += [
        f"  {visible(k)}: {visible(a[:60])} -> {visible(b[:60])}" for k, (a, b) in list(found.metadata.items())[:12]
    ]
    session.answer(plain(found), *lines)


@lora.verb("interfere")
@click.argument("first")
@click.argument("second")
@base_option
def interfere(session: Session, first: str, second: str, base: str) -> None:
    """Say how two LoRAs get on, and with which weights to use them together."""
    found = session.studio.toolbox.interfere(first, second, base=base, watch=_watch(session))
    rows = [
        (b.block, f"{b.cosine:+.3f}", f"{b.written:.3f}", f"{b.read:.3f}", f"{b.expected:.3f}") for b in found.blocks
    ]
    lines = [
        found.verdict,
        f"Cosine {found.cosine:+.3f}, shared directions {found.overlap:.1%}; "
        f"suggested weights {found.weights[0]:g} and {found.weights[1]:g}.",
        *table(("block", "cosine", "write", "read", "by chance"), rows),
    ]
    session.answer(plain(found), *lines)


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
    """Make a LoRA of lower rank that keeps as much as can be kept."""
    by_block = _pairs(blocks, int, "--block mid_block=4")
    made = session.studio.toolbox.resize(lora_, out, base=base, by_block=by_block, watch=_watch(session), **options)
    ranks = ", ".join(f"{rank} ({number})" for rank, number in list(made.ranks_after.items())[:8])
    lines = [
        _written(made.out, options["dry_run"], made.size_after),
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
@dtype_option
@base_option
@over_option
@dry_option
def merge(
    session: Session, loras: tuple[str, ...], out: Path, blocks: tuple[str, ...], base: str, **options: Any
) -> None:
    """Make one LoRA of several."""
    by_block = _pairs(blocks, float, "--block 'up_blocks*=0.5'")
    toolbox = session.studio.toolbox
    made = toolbox.merge(_weighted(loras), out, by_block=by_block, base=base, watch=_watch(session), **options)
    ranks = ", ".join(f"{rank} ({number})" for rank, number in list(made.ranks.items())[:8])
    exact = "; nothing is lost" if made.exact else ""
    lines = [
        _written(made.out, options["dry_run"], made.size),
        f"  {made.family}, {made.dialect} names, {count(made.layers, 'layer')}, rank {ranks}{exact}",
    ]
    session.answer(plain(made), *lines)


@lora.verb("convert")
@click.argument("lora_", metavar="LORA")
@out_option
@dialect_option
@family_option
@click.option("--rank", type=int, help="Largest rank of a LoRA made of another kind; otherwise 64.")
@only_option
@click.option(
    "--drop-others", is_flag=True, help="Leave out norms, biases and the like, which a plain LoRA cannot hold."
)
@dtype_option
@base_option
@over_option
@dry_option
def convert(session: Session, lora_: str, out: Path | None, base: str, **options: Any) -> None:
    """Write a LoRA file in another dialect, as a plain LoRA.

    LoHa, LoKr, DoRA, OFT and others become a LoRA, with the measured error. A pickle is opened where it can do nothing.
    """
    made = session.studio.toolbox.convert(lora_, out, base=base, watch=_watch(session), **options)
    error = "exact" if made.exact else f"the worst layer, {made.worst}, differs by {made.largest_error:.2%}"
    readers = " and ".join(program for program, reads in made.read_by.items() if reads) or "no program known here"
    lines = [
        _written(made.out, options["dry_run"], made.size),
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
    """Make a LoRA stronger or weaker for good."""
    by_block = _pairs(blocks, float, "--block 'down_blocks*=0'")
    made = session.studio.toolbox.scale(lora_, factor, out, by_block=by_block, watch=_watch(session), **options)
    lines = [
        _written(made.out, options["dry_run"], made.size),
        f"  {count(made.modules, 'module')}, {made.through_alpha} through their alpha alone",
    ]
    session.answer(plain(made), *lines)


@lora.verb("average")
@click.argument("checkpoints", nargs=-1, required=True, metavar="LORA...")
@needed_out
@click.option("--sigma-rel", type=float, default=0.1, help="Width of the window as a share of the run, 0.01 to 0.28.")
@click.option("--equal", is_flag=True, help="All checkpoints count alike.")
@click.option("--steps", default="", metavar="N,N,...", help="The step of every file; otherwise what the files say.")
@click.option("--rank", type=int, help="Of the result; otherwise the largest of the files'.")
@dialect_option
@family_option
@dtype_option
@over_option
@dry_option
def average(
    session: Session, checkpoints: tuple[str, ...], out: Path, sigma_rel: float, equal: bool, steps: str, **options: Any
) -> None:
    """Average checkpoints of one run, late ones more."""
    try:
        at = [int(text) for text in steps.split(",")] if steps else []
    except ValueError:
        raise ConfigError(f"'{steps}' is no list of steps.", "Write for example --steps 500,1000,1500.") from None
    made = session.studio.toolbox.average(
        list(checkpoints), out, sigma_rel=None if equal else sigma_rel, steps=at, watch=_watch(session), **options
    )
    rows = [(name, step, f"{weight:.3f}") for name, step, weight in made.weights]
    lines = [_written(made.merged.out, options["dry_run"], made.merged.size), *table(("file", "step", "weight"), rows)]
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
@dialect_option
@family_option
@only_option
@click.option("--dtype", default="bf16", show_default=True, help="fp32, fp16 or bf16.")
@over_option
@dry_option
def extract(session: Session, base: str, tuned: str, out: Path, blocks: tuple[str, ...], **options: Any) -> None:
    """Make a LoRA of what a fine-tuned checkpoint changed."""
    by_block = _pairs(blocks, int, "--block 'mid_block*=16'")
    made = session.studio.toolbox.extract(base, tuned, out, by_block=by_block, watch=_watch(session), **options)
    lines = [
        _written(made.out, options["dry_run"], made.size),
        f"  {count(made.layers, 'layer')} of {made.family}, {made.unchanged} unchanged; {made.kept:.1%} of the "
        f"difference is kept, least in {made.worst[0]} ({made.worst[1]:.1%})",
    ]
    lines += [f"  left out: {listed(made.left_out)}"] if made.left_out else []
    session.answer(plain(made), *lines)


@lora.verb("bake")
@click.argument("base")
@click.argument("loras", nargs=-1, required=True, metavar="LORA[:WEIGHT]...")
@needed_out
@family_option
@click.option("--allow-missing", is_flag=True, help="Leave out layers that the file has no weights of.")
@over_option
@dry_option
def bake(session: Session, base: str, loras: tuple[str, ...], out: Path, **options: Any) -> None:
    """Write a base with LoRAs in it for good."""
    made = session.studio.toolbox.bake(base, _weighted(loras), out, watch=_watch(session), **options)
    lines = [
        _written(made.out, options["dry_run"], made.size),
        f"  {made.changed} of {made.tensors} tensors are changed, by {count(made.layers, 'layer')}",
    ]
    lines += [f"  left out: {listed(made.left_out)}"] if made.left_out else []
    session.answer(plain(made), *lines)


@lora.verb("edit")
@click.argument("lora_", metavar="LORA")
@click.option("--out", type=_FILE, metavar="FILE", help="Write a copy; otherwise the file itself is changed.")
@click.option("--title", help="What it is called where it is shown.")
@click.option("--author", help="Who made it.")
@click.option("--description", help="What it does, in a sentence or two.")
@click.option("--license", help="An SPDX name or a sentence.")
@click.option("--trigger", help="The word that calls it up.")
@click.option("--tags", help="Words, separated by commas.")
@click.option("--thumbnail", type=_FILE, metavar="PICTURE", help="A small picture of it is kept inside.")
@click.option("--set", "values", multiple=True, metavar="NAME=VALUE", help="Any other entry; repeatable.")
@click.option("--remove", multiple=True, metavar="NAME", help="Take an entry away; repeatable.")
@click.option(
    "--strip",
    multiple=True,
    type=click.Choice(("paths", "names", "captions", "secrets")),
    help="Take private parts away; repeatable.",
)
@over_option
@dry_option
def edit(
    session: Session,
    lora_: str,
    out: Path | None,
    tags: str | None,
    thumbnail: Path | None,
    values: tuple[str, ...],
    remove: tuple[str, ...],
    strip: tuple[str, ...],
    overwrite: bool,
    dry_run: bool,
    **fields: str | None,
) -> None:
    """Change what a LoRA file says of itself; its weights stay bit for bit."""
    for text in values:
        if not text.partition("=")[0] or "=" not in text:
            raise ConfigError(f"'{text}' names no entry.", "Write --set NAME=VALUE.")
    made = session.studio.toolbox.edit(
        lora_,
        out,
        fields={name: value for name, value in fields.items() if value is not None},
        tags=None if tags is None else tags.split(","),
        thumbnail=thumbnail,
        values=dict(text.split("=", 1) for text in values),
        remove=remove,
        strip=strip,
        overwrite=overwrite,
        dry_run=dry_run,
        watch=_watch(session),
    )
    lines = [f"{made.out}: {count(len(made.changed), 'entry', 'entries')} {'would change' if dry_run else 'changed'}."]
    lines += [
        f"  {visible(k)}: {visible(a[:60]) or 'none'} -> {visible(b[:60]) or 'none'}"
        for k, (a, b) in made.changed.items()
    ]
    lines += [f"  it still tells {leak.kind}: {visible(leak.excerpt)} ({visible(leak.key)})" for leak in made.leaks]
    session.answer(plain(made), *lines)


@lora.verb("use")
@click.argument("loras", nargs=-1, required=True, metavar="LORA[:STRENGTH]...")
@click.option("--base", default="", help="Name of the base's file or repository in the other program.")
@click.option("--prompt", default="", help="What to paint.")
@family_option
@click.option("--workflow", type=_FILE, metavar="FILE.json", help="Write the workflow for ComfyUI there.")
@click.option(
    "--copy-to", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER", help="Where ComfyUI or A1111 lies."
)
@click.option("--name", default="", help="What the copy is called.")
@dry_option
def use(
    session: Session,
    loras: tuple[str, ...],
    workflow: Path | None,
    copy_to: Path | None,
    name: str,
    dry_run: bool,
    **options: str,
) -> None:
    """Show how to use LoRAs in ComfyUI, A1111 and diffusers, and copy them there."""
    toolbox = session.studio.toolbox
    chosen = _weighted(loras)
    if name and len(chosen) > 1:
        raise ConfigError("--name is one name for several files.", "Copy them one by one.")
    found = toolbox.use(chosen, **options)
    copies = [toolbox.install(one, copy_to, name=name, dry_run=dry_run) for one, _ in chosen] if copy_to else []
    if workflow is not None and not dry_run:
        workflow.write_text(found.workflow, encoding="utf-8")
    lines = [f"Strengths to try: {', '.join(f'{value:g}' for value in found.strengths)}"]
    if found.a1111:
        lines += ["", f"A1111 and Forge, from {found.a1111_folder}:", f"  {found.a1111}"]
    lines += ["", f"ComfyUI, from {found.comfyui_folder}:", f"  {_comfyui(workflow)}", "", "diffusers:"]
    lines += [f"  {line}" for line in found.diffusers.splitlines()]
    lines += [
        f"{copy.path} {'is there already' if not copy.new else 'would be written' if dry_run else 'written'}."
        for copy in copies
    ]
    lines += found.warnings
    session.answer(plain(found) | {"copies": plain(copies)}, *lines)


def _comfyui(workflow: Path | None) -> str:
    return (
        f"drop {workflow} on its window" if workflow else "--workflow FILE.json writes a workflow with the loader nodes"
    )
