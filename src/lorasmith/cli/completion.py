"""Completion of commands, options, jobs, datasets and the names of what can be done, by bash, zsh and fish."""

from __future__ import annotations

import click

from lorasmith.cli.session import Session, verb

SHELLS = ("bash", "zsh", "fish")


@verb("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, session: Session, shell: str) -> None:
    """Print the completion script of a shell.

    \b
      bash  lorasmith completion bash > ~/.local/share/bash-completion/completions/lorasmith
      zsh   lorasmith completion zsh > a file named _lorasmith in a folder of $fpath
      fish  lorasmith completion fish > ~/.config/fish/completions/lorasmith.fish
    """
    from click.shell_completion import get_completion_class

    known = get_completion_class(shell)
    if known is None:
        raise click.UsageError(f"click knows no completion for {shell}.")
    script = known(context.find_root().command, {}, "lorasmith", "_LORASMITH_COMPLETE").source()
    session.answer({"shell": shell, "script": script}, script)


def complete_job(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The ids of jobs that hold what was typed; read from folder names, since a shell waits."""
    del parameter
    from lorasmith.studio import default_home

    home = context.ensure_object(Session).home or default_home()
    ids = sorted((path.parent.name for path in (home / "jobs").glob("*/job.json")), reverse=True)
    return [name for name in ids if incomplete in name]


def complete_dataset(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of datasets that begin as was typed; after an ``@``, their versions. Read from file names."""
    del parameter
    from lorasmith.studio import default_home

    folder = (context.ensure_object(Session).home or default_home()) / "datasets"
    name, at, _ = incomplete.partition("@")
    if at:
        numbers = sorted(int(path.stem) for path in (folder / name).glob("*.json") if path.stem.isdecimal())
        known = [f"{name}@{number}" for number in numbers]
    else:
        known = sorted({path.parent.name for path in folder.glob("*/*.json") if path.stem.isdecimal()})
    return [each for each in known if each.startswith(incomplete)]


def complete_operation(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Caption operations."""
    from lorasmith.datasets.captions.operations import OPERATIONS

    return [name for name in OPERATIONS if name.startswith(incomplete)]


def complete_tool(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Image tools."""
    from lorasmith.datasets.pictures import TOOLS

    return [name for name in TOOLS if name.startswith(incomplete)]


def complete_layout(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Layouts."""
    from lorasmith.datasets.layouts import available

    return [name for name in available() if name.startswith(incomplete)]


def complete_trainer(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Trainers whose way of reading is known."""
    from lorasmith.datasets.eyes import eyes

    return [name for name in eyes() if name.startswith(incomplete)]
