"""Options that say what a dataset is looked at for, and which pictures are meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from lorasmith.cli.completion import complete_dataset, complete_trainer
from lorasmith.errors import ConfigError

if TYPE_CHECKING:
    from lorasmith.cli.session import Session
    from lorasmith.datasets.lens import Lens

F = TypeVar("F", bound=Callable[..., Any])

GOALS: Final = ("character", "style", "concept", "object")
_OPTIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "base": click.option("--base", default="", help="The base it is meant for: tells the family and the resolution."),
    "family": click.option("--family", default="", help="The family it is meant for, in place of a base."),
    "resolution": click.option(
        "--resolution", type=click.IntRange(64, 4096), help="Side in pixels of the square that is trained."
    ),
    "tokenizer": click.option(
        "--tokenizer",
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        help="The family's tokenizer, for exact counts where none ships with lorasmith.",
    ),
    "trigger_word": click.option("--trigger-word", default="", help="The word that shall call up what is learned."),
    "goal": click.option("--goal", type=click.Choice(GOALS), help="What shall be learned."),
    "trainer": click.option(
        "--trainer",
        default="lorasmith",
        show_default=True,
        shell_complete=complete_trainer,
        help="Who shall read the files: lorasmith, sd_scripts, ai_toolkit ...",
    ),
    "batch_size": click.option(
        "--batch-size", type=click.IntRange(1), default=1, show_default=True, help="Pictures per batch."
    ),
    "epochs": click.option("--epochs", type=click.IntRange(1), help="Length of the run."),
}
_TEXT: Final = ("base", "family", "resolution", "tokenizer", "trigger_word")


def lens_options(*names: str) -> Callable[[F], F]:
    """The options of a lens; those of queries and captions, and the named ones of ``goal``, ``trainer``, ``batch_size``
    and ``epochs``. They reach the command as ``**lens``."""

    def decorate(command: F) -> F:
        for name in reversed((*_TEXT, *names)):
            command = _OPTIONS[name](command)
        return command

    return decorate


def lens_of(session: Session, given: Mapping[str, Any], **more: Any) -> Lens:
    """The lens that the options ask for.

    Raises:
        ConfigError: a base and a family were given, or one that is none.
    """
    if given.get("base") and given.get("family"):
        raise ConfigError("A base tells its family, so --base and --family are one too many.", "Leave out one of them.")
    values = {name: value for name, value in given.items() if value is not None} | more
    if "trainer" in values:
        values["trainer"] = reader_name(values["trainer"])
    return session.studio.curate.lens(**values)


def reader_name(trainer: str) -> str:
    """A trainer as the checks call it; eyes and layouts write ``_`` where these write ``-``, and one has two names."""
    name = trainer.strip().lower().replace("_", "-")
    return "kohya" if name in ("sd-scripts", "kohya-ss") else name


def eye_name(trainer: str) -> str:
    """A trainer as its eye is called."""
    name = trainer.strip().lower().replace("-", "_")
    return "sd_scripts" if name in ("kohya", "kohya_ss") else name


def dataset_argument(command: F) -> F:
    """DATASET, completed by the shell."""
    return click.argument("reference", metavar="DATASET", shell_complete=complete_dataset)(command)


def where_option(*, required: bool = False) -> Callable[[F], F]:
    """--where, which says of which pictures; left out, it is empty and means all."""
    text = "The pictures that are meant: a query, or @NAME of a saved selection."
    return click.option("--where", required=required, metavar="QUERY", callback=_not_blank, help=text)


def _not_blank(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    """A script whose variable is empty must not edit every picture."""
    if value is not None and not value.strip():
        raise ConfigError("The query is empty, which would mean every picture.", "--where 'name:*' means all of them.")
    return value or ""
