"""lora inspect, diff, interfere: what files are, and how they get on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lorasmith.cli.lora.options import (
    FILE,
    base_option,
    lora,
    watch_of,
)
from lorasmith.cli.session import Session, count, listed, plain, size, table, visible

if TYPE_CHECKING:
    from lorasmith.adapters.tools.describing import Description

_SHOWN_TAGS = 12
_LONGEST = 600


@lora.verb("inspect")
@click.argument("lora_", metavar="LORA")
@click.option("--deep", is_flag=True, help="Read all of it: hashes, norms, spectra, damage.")
@click.option("--base", default="", help="A base by name or path; then norms are told relative to its weights.")
@click.option("--picture", type=FILE, metavar="FILE.svg", help="Draw how much each block is changed.")
@click.option("--metadata", "shown", is_flag=True, help="Show every entry of the metadata.")
def inspect(session: Session, lora_: str, deep: bool, base: str, picture: Path | None, shown: bool) -> None:
    """Say what a LoRA file is, what it says of itself and what it leaks.

    \b
      lorasmith lora inspect ohwx
      lorasmith lora inspect downloaded.safetensors --deep --picture blocks.svg
    """
    toolbox = session.studio.toolbox
    found = toolbox.inspect(lora_, deep=deep or picture is not None, base=base, watch=watch_of(session))
    if picture is not None:
        picture.write_text(toolbox.picture(found), encoding="utf-8")
    lines = described(found)
    lines += [f"{picture} written."] if picture is not None else []
    if shown:
        lines += [f"  {visible(name)}: {visible(value[:200])}" for name, value in sorted(found.metadata.items())]
    session.answer(plain(found), *lines)


def described(found: Description) -> list[str]:
    """A description for people, a line each."""
    kind = found.kind
    family = kind.family or (f"one of {', '.join(kind.candidates)}" if kind.candidates else "no family that is known")
    ranks = ", ".join(f"{rank} ({number})" for rank, number in list(kind.ranks.items())[:6])
    alphas = ", ".join(f"{alpha:g} ({number})" for alpha, number in list(found.alphas.items())[:6])
    alphas = f", alpha {alphas}" if alphas else ""
    lines = [
        f"{found.file}: {kind.kind} for {' '.join((family, kind.variant)).strip()}, {size(found.size)}, {found.dtype}",
        f"  {found.dialect_meaning}",
        f"  {count(found.modules, 'module')}, rank {ranks or 'none'}{alphas}; "
        + ", ".join(f"{part} {number}" for part, number in kind.parts.items()),
    ]
    beside = [f"{name} {number}" for name, number in kind.kinds.items()] if len(kind.kinds) > 1 else []
    beside += [f"the embedding {visible(name)}" for name in kind.embeddings]
    lines += [f"  inside: {', '.join(beside)}"] if beside else []
    lines += [f"  because {reason}" for reason in kind.evidence]
    told = (
        ("base", found.base),
        ("trigger", ", ".join(found.trigger_words)),
        ("every picture had", ", ".join(found.likely_triggers)),
        ("tags", ", ".join(f"{tag} ({number})" for tag, number in found.tags[:_SHOWN_TAGS])),
        ("licence", found.license),
        ("recipe", ", ".join(f"{name} {value[:60]}" for name, value in list(found.recipe.items())[:10])),
    )
    lines += [f"  {name}: {visible(value[:_LONGEST])}" for name, value in told if value]
    if found.oversized:
        have = "has a rank" if len(found.oversized) == 1 else "have ranks"
        lines.append(
            f"  {count(len(found.oversized), 'module')} {have} larger than the layer itself; "
            f"`lora resize --method sv_fro --value 1` loses nothing: {listed(found.oversized)}"
        )
    if kind.incomplete:
        lines.append(f"  {count(len(kind.incomplete), 'module')} incomplete: {listed(kind.incomplete)}")
    if kind.foreign:
        lines.append(f"  {count(len(kind.foreign), 'key')} in another dialect: {listed(kind.foreign)}")
    for leak in found.leaks[:8]:
        lines.append(f"  it tells {leak.kind}: {visible(leak.excerpt)} ({visible(leak.key)})")
    if found.hashes is not None:
        hashes = found.hashes
        lines.append(f"  sha256 {hashes.sha256}, AutoV2 {hashes.autov2}")
        if hashes.data:
            lines.append(f"  sshs_model_hash {hashes.data}, of the weights alone; A1111 writes {hashes.data[:12]}")
        if hashes.stated and hashes.stated.removeprefix("0x") != hashes.data:
            lines.append("  its weights are not the ones it was written with: the hash it states is another")
    return lines + _deep(found)


def _deep(found: Description) -> list[str]:
    depth = found.depth
    if depth is None:
        return []
    related = any(block.relative is not None for block in depth.blocks)
    rows = [
        (
            block.name,
            block.modules,
            f"{block.norm:.4g}",
            *(["" if block.relative is None else f"{block.relative:.2%}"] if related else []),
            f"{block.effective_rank:.1f}",
        )
        for block in depth.blocks
    ]
    headers = ("block", "modules", "norm", *(["of base"] if related else []), "effective rank")
    lines = table(headers, rows) if rows else []
    for one, several, names in (
        ("changes nothing", "change nothing", depth.dead),
        ("holds NaN or infinite values", "hold NaN or infinite values", depth.not_finite),
        ("is too large for fp16", "are too large for fp16", depth.too_large_for_fp16),
        ("needs its base to be measured (--base)", "need their base to be measured (--base)", depth.needs_base),
    ):
        if names:
            word = one if len(names) == 1 else several
            lines.append(f"  {count(len(names), 'module')} {word}: {listed(names)}")
    return [*lines, f"  {depth.advice}"] if depth.advice else lines


@lora.verb("diff")
@click.argument("first")
@click.argument("second")
@base_option
def diff(session: Session, first: str, second: str, base: str) -> None:
    """Say what differs between two LoRA files, whatever their dialects.

    \b
      lorasmith lora diff ohwx ohwx-r16.safetensors
    """
    found = session.studio.toolbox.diff(first, second, base=base, watch=watch_of(session))
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
    if found.beside:
        lines.append(f"Beside the matrices {count(len(found.beside), 'tensor')} differ: {listed(found.beside)}")
    lines += [
        f"  {visible(k)}: {visible(a[:60])} -> {visible(b[:60])}" for k, (a, b) in list(found.metadata.items())[:12]
    ]
    session.answer(plain(found), *lines)


@lora.verb("interfere")
@click.argument("first")
@click.argument("second")
@base_option
def interfere(session: Session, first: str, second: str, base: str) -> None:
    """Say how two LoRAs get on, and with which weights to use them together.

    \b
      lorasmith lora interfere ohwx pencil
    """
    found = session.studio.toolbox.interfere(first, second, base=base, watch=watch_of(session))
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
