"""Completion of commands, options and job ids by bash, zsh and fish."""

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
