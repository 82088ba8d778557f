"""lora edit, use: what a file says of itself, and what to say to other programs."""

from __future__ import annotations

from pathlib import Path

import click

from lorasmith.cli.lora.options import (
    FILE,
    dry_option,
    family_option,
    lora,
    over_option,
    watch_of,
    weighted,
)
from lorasmith.cli.session import Session, count, plain, visible
from lorasmith.errors import ConfigError


@lora.verb("edit")
@click.argument("lora_", metavar="LORA")
@click.option("--out", type=FILE, metavar="FILE", help="Write a copy; otherwise the file itself is changed.")
@click.option("--title", help="What it is called where it is shown.")
@click.option("--author", help="Who made it.")
@click.option("--description", help="What it does, in a sentence or two.")
@click.option("--license", help="An SPDX name or a sentence.")
@click.option("--trigger", help="The word that calls it up.")
@click.option("--tags", help="Words, separated by commas.")
@click.option("--thumbnail", type=FILE, metavar="PICTURE", help="A small picture of it is kept inside.")
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
    """Change what a LoRA file says of itself; its weights stay bit for bit.

    \b
      lorasmith lora edit ohwx --trigger ohwx --license CC-BY-4.0 --thumbnail best.png
      lorasmith lora edit ohwx --strip paths --strip names --out to-give-away.safetensors
    """
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
        watch=watch_of(session),
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
@click.option("--workflow", type=FILE, metavar="FILE.json", help="Write the workflow for ComfyUI there.")
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
    base: str,
    prompt: str,
    family: str,
) -> None:
    """Show how to use LoRAs in ComfyUI, A1111 and diffusers, and copy them there.

    \b
      lorasmith lora use ohwx:0.9 pencil:0.5 --workflow both.json
      lorasmith lora use ohwx --copy-to ~/ComfyUI
    """
    toolbox = session.studio.toolbox
    chosen = weighted(loras)
    if name and len(chosen) > 1:
        raise ConfigError("--name is one name for several files.", "Copy them one by one.")
    found = toolbox.use(chosen, family=family, base=base, prompt=prompt)
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
