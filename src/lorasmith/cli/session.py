"""What every command shares: where the home is, and how answers, notes and refusals are said.

The answer goes to stdout, everything else to stderr. With ``--json`` the answer is one JSON document.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from lorasmith.errors import ConsentNeeded, LorasmithError
from lorasmith.files import bytes_in_words

if TYPE_CHECKING:
    from lorasmith.events import Event
    from lorasmith.studio import Studio

_CONFLICTS: Final = 5  # shown to people; --json has all
_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Session:
    """One call of the command line."""

    json: bool = False
    json_events: bool = False
    debug: bool = False
    home: Path | None = None
    accept: tuple[str, ...] = ()
    """Ids of notices that the user agrees to with this call."""
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

    def exclaim(self, text: str) -> None:
        """A note from the handler of a signal, which may have come while another line was being written: the streams of
        Python refuse to be entered twice, the descriptor below them does not."""
        if self.json:
            return
        try:
            descriptor = sys.stderr.fileno()
        except (OSError, ValueError):  # it is something in memory, which nothing interrupts in the middle
            self.note(text)
            return
        os.write(descriptor, f"{self.said(text)}\n".encode(errors="replace"))

    def event(self, event: Event) -> None:
        """An event as a JSON line, for programs that follow along."""
        click.echo(self.said(event.to_json()), err=True)

    def refuse(self, error: LorasmithError) -> None:
        """An error: a sentence and the next thing to do; a document with ``--json``.

        An error that points at a place of a query shows it, and one of two edits shows both.
        """
        column, conflicts = getattr(error, "column", None), getattr(error, "conflicts", ())
        if self.json:
            facts = {"type": type(error).__name__, "message": error.message, "hint": error.hint}
            facts |= {"column": column} if column is not None else {}
            facts |= {"notice": error.notice} if isinstance(error, ConsentNeeded) else {}
            facts |= {"conflicts": plain(conflicts)} if conflicts else {}
            click.echo(self.said(_json({"error": facts | {"exit_code": error.exit_code}})))
            return
        click.echo(f"{click.style('Error:', fg='red', bold=True)} {self.said(error.message)}", err=True)
        for line in str(getattr(error, "picture", "")).splitlines():
            click.echo(f"  {self.said(line)}", err=True)
        for conflict in conflicts[:_CONFLICTS]:
            for side, item in (("yours", conflict.mine), ("theirs", conflict.theirs)):
                words = "left out" if item is None else f"'{visible(item.caption)}'"
                click.echo(self.said(f"  {visible(conflict.item)}, {side}: {words}"), err=True)
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

    @property
    def coloured(self) -> bool:
        """Whether the answer goes to a terminal that shows colours."""
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and not self.json


_pass_session = click.make_pass_decorator(Session, ensure=True)


def shared_options(command: F) -> F:
    """The options that every command takes, and that may as well stand before the command's name."""

    def keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value:
            session, name = context.ensure_object(Session), str(parameter.name)
            setattr(session, name, (*session.accept, *value) if name == "accept" else value)

    common: dict[str, Any] = {"expose_value": False, "callback": keep, "is_eager": True}
    for option in (
        click.option("--debug", is_flag=True, help="Show where an error came from.", **common),
        click.option(
            "--json-events", is_flag=True, help="Write what a job says to stderr, one JSON line each.", **common
        ),
        click.option(
            "--accept",
            multiple=True,
            metavar="NOTICE",
            help="Agree to a notice, such as send-to:HOST or the terms of a site; kept until `consents withdraw`.",
            **common,
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


def verb(name: str, cls: type[click.Command] = click.Command) -> Callable[[Callable[..., Any]], click.Command]:
    """A command that takes the shared options and is handed the session first."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        settings: dict[str, Any] = {"help_option_names": ["-h", "--help"]}
        willing = shared_options(_pass_session(_with_consent(function)))
        return click.command(name, cls, context_settings=settings)(willing)

    return decorate


def _with_consent(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command that is done over when it stopped for a consent which is given with ``--accept``, or by a person who
    is asked. Nothing was done before it: whoever needs a consent looks for it first."""

    @functools.wraps(function)
    def willing(session: Session, *arguments: Any, **options: Any) -> Any:
        while True:
            try:
                return function(session, *arguments, **options)
            except ConsentNeeded as needed:
                if needed.notice not in session.accept and not _agreed(session, needed):
                    raise
                _give(session, needed)

    return willing


def _agreed(session: Session, needed: ConsentNeeded) -> bool:
    return (
        session.live and sys.stdin.isatty() and click.confirm(f"{session.said(needed.message)} Do you agree?", err=True)
    )


def _give(session: Session, needed: ConsentNeeded) -> None:
    from lorasmith.fetching import Consents, Notice

    Consents(session.studio.home).give(Notice(needed.notice, needed.title, needed.text))


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
    widths = [max(_columns(row[i]) for row in (list(headers), *texts)) for i in range(len(headers))]
    right = [bool(rows) and all(isinstance(row[i], int | float) for row in rows) for i in range(len(headers))]

    def line(cells: Sequence[str]) -> str:
        fills = (" " * (width - _columns(cell)) for cell, width in zip(cells, widths, strict=True))
        padded = (fill + cell if r else cell + fill for cell, fill, r in zip(cells, fills, right, strict=True))
        return "  ".join(padded).rstrip()

    return [line(headers), *(line(row) for row in texts)]


def visible(text: str) -> str:
    """A name or caption on one line, in which nothing can move the cursor or turn the direction of what follows."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else _ESCAPES.get(sign) or f"\\u{ord(sign):04x}" for sign in text)


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(map(visible, names[:most]))
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown


def _columns(text: str) -> int:
    """How wide a text is on a terminal: ideographs take two columns, accents that combine take none."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(sign) in "WF" for sign in text)
    return len(text) + wide - sum(unicodedata.combining(sign) > 0 for sign in text)


def size(count: float) -> str:
    """Bytes for people."""
    return bytes_in_words(count)


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

    # What a console cannot write is escaped as JSON escapes it, so that a program can read the answer anywhere.
    can_write_all = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return json.dumps(plain(document), ensure_ascii=not can_write_all, indent=2)
