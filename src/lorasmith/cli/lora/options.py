"""The group, the options its commands share, and how these are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lorasmith.cli.app import Group
from lorasmith.cli.session import Session, shared_options, size
from lorasmith.errors import ConfigError
from lorasmith.toolbox import Watch

if TYPE_CHECKING:
    from lorasmith.adapters.tools.merging import Merged

FILE = click.Path(dir_okay=False, path_type=Path)
out_option = click.option("--out", type=FILE, metavar="FILE", help="The file to write; otherwise beside the LoRA.")
needed_out = click.option("--out", type=FILE, metavar="FILE", required=True, help="The file to write.")
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
drop_option = click.option(
    "--drop-others", is_flag=True, help="Leave out norms, biases and the like, which a plain LoRA cannot hold."
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


def watch_of(session: Session) -> Watch:
    if not session.live:
        return Watch()

    def show(done: int, total: int) -> None:
        click.echo(f"\r{done} of {total}".ljust(24) + ("\n" if done == total else ""), err=True, nl=False)

    return Watch(show)


def pairs(texts: Sequence[str], kind: type[int] | type[float], example: str) -> dict[str, Any]:
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


def refuse_idle_options(method: str, names: Mapping[str, Sequence[str]]) -> None:
    """Refuse options that were given and that the method would not look at.

    Args:
        method: the chosen one.
        names: options by their parameters' names, each with the methods that it is for.

    Raises:
        ConfigError: one was.
    """
    context = click.get_current_context()
    for name, methods in names.items():
        if method not in methods and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise ConfigError(
                f"--{name} is for {', '.join(methods)}, and does nothing with {method}.",
                f"Leave it out, or choose --method {methods[0]}.",
            )


def weighted(texts: Sequence[str]) -> list[tuple[str, float]]:
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


def kept(made: Merged, method: str) -> str:
    """What is left of the weighted sum, as the end of a sentence."""
    if method == "sum":
        return f"; {made.kept:.1%} of the sum is kept"
    return f"; a cosine of {made.kept:.3f} with the plain sum, {made.strength:.0%} as strong"


def written(out: Path, dry_run: bool, bytes_: int) -> str:
    return f"{out} would be {size(bytes_)}; nothing was written." if dry_run else f"{out} written, {size(bytes_)}."
