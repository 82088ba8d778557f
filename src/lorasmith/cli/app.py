"""The ``lorasmith`` command: its table of commands, and the door where every error becomes a sentence."""

from __future__ import annotations

import difflib
import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, NoReturn

import click

from lorasmith import __version__
from lorasmith.cli.session import Session, shared_options, verb
from lorasmith.errors import ConfigError, EnvironmentProblem, LorasmithError

INTERRUPTED = 130
_LONGEST_NAME = 200  # of a file, in letters; systems refuse to look for longer ones
EXIT_CODES = (
    (0, "done"),
    (1, "an error nobody foresaw; --debug shows where"),
    (2, "a value, option or command line that cannot be used"),
    (3, "a file, picture or dataset that cannot be used; `check` found errors"),
    (4, "base weights that are missing, damaged or of another family"),
    (5, "a LoRA file that is damaged, foreign or fails its certificate"),
    (6, "something this machine lacks: an extra, disk, memory, a device"),
    (7, "a job that is running elsewhere, unknown, damaged or failed"),
    (INTERRUPTED, "interrupted by you"),
)

Table = dict[str, dict[str, tuple[str, str, str]]]
"""By section and name: (module, attribute, one line for the list). The line stands here so that the list needs no
module."""

COMMANDS: Table = {
    "Prepare": {
        "import": ("importing", "import_", "Take in pictures: ZIPs, folders, files, addresses, sources."),
        "sources": ("sources", "sources", "List where pictures can come from, with examples."),
        "datasets": ("prepare", "datasets", "List the datasets and their versions."),
        "dataset": ("dataset", "dataset", "Look into datasets, edit them, undo, export."),
        "check": ("checking", "check", "Find what would spoil a training."),
        "caption": ("prepare", "caption", "Let a captioner describe the pictures."),
        "captions": ("prepare", "captions", "Show captions, add a trigger word, remove tags."),
        "bases": ("bases", "bases", "Find, add and look at base weights."),
        "families": ("families", "families", "List the families of bases that can be trained, or say all of one."),
    },
    "Train": {
        "train": ("train", "train", "Train a LoRA on a dataset."),
        "calculate": (
            "calculate",
            "calculate",
            "Work out how often a run shows each picture, in epochs, steps and time.",
        ),
        "resume": ("train", "resume", "Go on with a job that ended early."),
        "queue": ("queue", "queue", "List, order, pause and retry jobs that take turns."),
        "jobs": ("jobs", "jobs", "List, watch, pause and stop jobs."),
    },
    "Use": {
        "generate": ("use", "generate", "Paint pictures with a base and adapters."),
        "inspect": ("use", "inspect", "Say what is in a LoRA file."),
        "certify": ("use", "certify", "Prove that a LoRA file loads and counts."),
        "lora": ("lora", "lora", "Look into LoRA files, convert, resize, merge and use them."),
    },
    "Look": {
        "web": ("serving", "web", "Start the studio and open it in the browser."),
        "users": ("users", "users", "Make accounts, so that others may use the web app."),
        "secrets": ("secrets", "secrets", "Keep the keys of sites where nobody reads them."),
        "consents": ("consents", "consents", "See what you agreed to, and take it back."),
        "demo": ("look", "demo", "See the whole way at work, on this machine."),
        "doctor": ("look", "doctor", "Say what this machine can do and what it lacks."),
        "completion": ("completion", "completion", "Print the completion script of a shell."),
    },
}


class Group(click.Group):
    """Suggests the nearest command for one it does not know."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            raise unknown_command(args[0], self.list_commands(ctx), ctx.command_path)
        return super().resolve_command(ctx, args)

    def verb(self, name: str) -> Callable[[Callable[..., Any]], click.Command]:
        """A command of this group; see ``session.verb``."""

        def decorate(function: Callable[..., Any]) -> click.Command:
            made = verb(name)(function)
            self.add_command(made)
            return made

        return decorate


class Commands(Group):
    """Loads a command's module when the command is called."""

    sections: ClassVar[Table] = COMMANDS

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for section in self.sections.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for section in self.sections.values():
            if cmd_name in section:
                module, attribute, _ = section[cmd_name]
                command: click.Command = getattr(importlib.import_module(f"lorasmith.cli.{module}"), attribute)
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, section in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(name, line) for name, (_, _, line) in section.items()])


class AllCommands(Commands):
    """The commands of the program, with what its exit codes mean."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES])


def unknown_command(name: str, known: Sequence[str], path: str) -> ConfigError:
    """The refusal of a command, with the nearest known one."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"Did you mean '{path} {near[0]}'?" if near else f"`{path} --help` lists them."
    return ConfigError(f"There is no command '{path} {name}'.", hint)


@click.group(cls=AllCommands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lorasmith", message="%(prog)s %(version)s")
@shared_options
@click.pass_context
def cli(context: click.Context) -> None:
    """From a folder of pictures to a LoRA that demonstrably works. Without a command, the studio opens in the browser.

    \b
      lorasmith import photos.zip
      lorasmith caption photos --trigger-word ohwx
      lorasmith train photos --base sandbox --trigger-word ohwx
      lorasmith generate "ohwx on red" --base sandbox --adapter photos
    """
    context.ensure_object(Session)
    if context.invoked_subcommand is None:
        from lorasmith.cli.serving import start

        start(context.find_object(Session) or Session())


def main() -> NoReturn:
    """The console script."""
    arguments = sys.argv[1:]
    sys.excepthook = _show_unforeseen if "--debug" in arguments else _say_unforeseen
    for stream in (sys.stdout, sys.stderr):  # a name that the console cannot write is escaped; it ends nothing
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(arguments))


def run(arguments: Sequence[str]) -> int:
    """Run a command line; the exit code. Errors that were foreseen are said, others pass through."""
    # Looked for by hand: a command line that cannot be parsed is still answered the way it asks for.
    session = Session(json="--json" in arguments, debug="--debug" in arguments)
    try:
        answer: Any = cli.main(list(arguments), prog_name="lorasmith", standalone_mode=False, obj=session)
    except (click.exceptions.Abort, KeyboardInterrupt):
        session.interrupted()
        return INTERRUPTED
    except BrokenPipeError:  # whoever read us has heard enough
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  the flush at exit needs somewhere to go
        return 0
    except LorasmithError as error:
        return _refuse(session, error)
    except click.ClickException as error:
        return _refuse(session, _from_click(error))
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        problem = EnvironmentProblem(
            f"{error.strerror or error}{where}.", "Check the path, its permissions and the disk."
        )
        problem.__cause__ = error
        return _refuse(session, problem)
    return answer if isinstance(answer, int) else 0


def _refuse(session: Session, error: LorasmithError) -> int:
    if session.debug:
        import traceback

        click.echo(session.said("".join(traceback.format_exception(error))), err=True, nl=False)
    session.refuse(error)
    return error.exit_code


def _from_click(error: click.ClickException) -> LorasmithError:
    """click's words for a command line that cannot be used, in our form."""
    if isinstance(error, click.exceptions.NoSuchOption):
        name = error.option_name
        if len(name) < _LONGEST_NAME and Path(name).exists():
            return ConfigError(f"There is no option '{name}', but a file of that name.", f"Write ./{name} for it.")
    if isinstance(error, click.exceptions.NoSuchOption) and error.possibilities:
        near = difflib.get_close_matches(error.option_name, error.possibilities, n=1, cutoff=0.0)
        return ConfigError(f"There is no option '{error.option_name}'.", f"Did you mean '{near[0]}'?")
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "lorasmith"
    message = error.format_message().rstrip(".") + "."
    return ConfigError(message, f"`{path} --help` lists what there is.")


def _say_unforeseen(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """One sentence for an error nobody foresaw: Python's exit code for it is 1."""
    text = Session().said(" ".join(str(error).split()))
    click.echo(f"Error: an unforeseen {kind.__name__}: {text}. This is a fault in lorasmith.", err=True)
    click.echo("  --debug shows where it happened; please report it with that.", err=True)


def _show_unforeseen(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The whole story of it, without secrets."""
    import traceback

    click.echo(Session().said("".join(traceback.format_exception(kind, error, trace))), err=True, nl=False)
