"""What every command shares: where the home is, and how answers, notes and refusals are said.

The answer goes to stdout, everything else to stderr. With ``--json`` the answer is one JSON document.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lorasmith.errors import LorasmithError

if TYPE_CHECKING:
    from lorasmith.events import Event
    from lorasmith.studio import Studio

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Session:
    """One call of the command line."""

    json: bool = False
    json_events: bool = False
    debug: bool = False
    home: Path | None = None
    _secrets_known: bool = field(default=False, init=False, repr=False)

    @property
    def studio(self) -> Studio:
        from lorasmith.studio import Studio

        return Studio(self.home)

    def said(self, text: str) -> str:
        """A text as it may be shown: without secrets."""
        from lorasmith.credentials import Credentials, redact

        if not self._secrets_known:
            from lorasmith.studio import default_home

            self._secrets_known = True
            Credentials(self.home or default_home()).remember_all()
        return redact(text)

    def answer(self, document: Mapping[str, Any], *lines: str) -> None:
        """The one answer of a command: the document with ``--json``, else the lines for people."""
        if self.json:
            click.echo(self.said(_json(document)))
            return
        for line in lines:
            click.echo(self.said(line))

    def note(self, text: str) -> None:
        """Something said on the way, for people only."""
        if not self.json:
            click.echo(self.said(text), err=True)

    def event(self, event: Event) -> None:
        """An event as a JSON line, for programs that follow along."""
        click.echo(self.said(event.to_json()), err=True)

    def refuse(self, error: LorasmithError) -> None:
        """An error: a sentence and the next thing to do; a document with ``--json``."""
        if self.json:
            facts = {"type": type(error).__name__, "message": error.message, "hint": error.hint}
            click.echo(self.said(_json({"error": facts | {"exit_code": error.exit_code}})))
            return
        click.echo(f"{click.style('Error:', fg='red', bold=True)} {self.said(error.message)}", err=True)
        if error.hint:
            click.echo(f"  {self.said(error.hint)}", err=True)

    def interrupted(self) -> None:
        """Ctrl-C, where nothing else was said about it."""
        if self.json:
            click.echo(
                _json({"error": {"type": "Interrupted", "message": "Interrupted.", "hint": "", "exit_code": 130}})
            )
        else:
            click.echo("Interrupted.", err=True)

    @property
    def live(self) -> bool:
        """Whether somebody looks at a terminal on which lines can be redrawn."""
        return sys.stderr.isatty() and not self.json and not self.json_events


_pass_session = click.make_pass_decorator(Session, ensure=True)


def shared_options(command: F) -> F:
    """The options that every command takes, and that may as well stand before the command's name."""

    def keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value:
            setattr(context.ensure_object(Session), str(parameter.name), value)

    common: dict[str, Any] = {"expose_value": False, "callback": keep, "is_eager": True}
    for option in (
        click.option("--debug", is_flag=True, help="Show where an error came from.", **common),
        click.option(
            "--json-events", is_flag=True, help="Write what a job says to stderr, one JSON line each.", **common
        ),
        click.option("--json", is_flag=True, help="Answer with one JSON document on stdout.", **common),
        click.option(
            "--home",
            type=click.Path(file_okay=False, path_type=Path),
            metavar="FOLDER",
            help="Where datasets, jobs and adapters lie; otherwise LORASMITH_HOME, or the system's place for data.",
            **common,
        ),
    ):
        command = option(command)
    return command


def verb(name: str) -> Callable[[Callable[..., Any]], click.Command]:
    """A command that takes the shared options and is handed the session first."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        settings: dict[str, Any] = {"help_option_names": ["-h", "--help"]}
        return click.command(name, context_settings=settings)(shared_options(_pass_session(function)))

    return decorate


def plain(value: Any) -> Any:
    """Value types as JSON values."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json")
    elif hasattr(value, "to_dict"):
        value = value.to_dict()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [plain(entry) for entry in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines of columns as wide as what they hold; figures to the right."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in (list(headers), *texts)) for i in range(len(headers))]
    right = [bool(rows) and all(isinstance(row[i], int | float) for row in rows) for i in range(len(headers))]

    def line(cells: Sequence[str]) -> str:
        padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
        return "  ".join(padded).rstrip()

    return [line(headers), *(line(row) for row in texts)]


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds for people, in two units at most."""
    total = max(0, round(seconds))
    if total < 60:
        return f"{total} s" if seconds >= 10 or total == seconds else f"{seconds:.1f} s"
    minutes, rest = divmod(total, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def count(number: int, word: str, several: str = "") -> str:
    """``1 picture``, ``2 pictures``."""
    return f"{number} {word if number == 1 else several or word + 's'}"


def _json(document: Mapping[str, Any]) -> str:
    import json

    return json.dumps(plain(document), ensure_ascii=False, indent=2)
