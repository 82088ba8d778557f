"""Sentences that name a command, for people before a page: what to open or press instead.

Errors and hints are written once, for whoever meets them, and many name the command that comes next. Each command that
has a place in the web app is here with it; the few that have none are said to belong into a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from markupsafe import Markup

from lorasmith.markup import visible


@dataclass(frozen=True)
class Way:
    """Where on the web something is done."""

    words: str
    address: str = ""
    """Empty where it depends on what is looked at; ``{}`` stands for the command's first argument."""
    press: bool = False
    """Whether it is a button, and not a page."""


_RESUME: Final = Way("“Continue” on the job's page", "/jobs/{}", press=True)
_JOB: Final = Way("the job's page", "/jobs/{}")
_QUEUE: Final = Way("the queue", "/queue")
_BASES: Final = Way("the page of bases", "/bases")
_FILES: Final = Way("the page of LoRA files", "/loras")
_PEOPLE: Final = Way("the page of people", "/people")
_DATASETS: Final = Way("the page of datasets", "/datasets")
_CAPTIONING: Final = Way("Captioning on the dataset's page")
WAYS: Final[Mapping[str, Way]] = {
    "bases add": Way("“Add a base” on the page of bases", "/bases?link={}", press=True),
    "bases answer": Way("the page of that base", "/bases"),
    "bases catalogue": Way("the catalogue of bases", "/bases/catalogue"),
    "bases forget": Way("“Forget” on the page of that base", "/bases/{}", press=True),
    "bases": _BASES,
    "calculate": Way("the calculator", "/calculator"),
    "caption": _CAPTIONING,
    "captions": Way("the captions on the dataset's page"),
    "check": Way("the checks on the dataset's page"),
    "dataset references": Way("“References” on the dataset's page", "/datasets/{}/references"),
    "dataset": _DATASETS,
    "datasets": _DATASETS,
    "doctor": Way("the settings, under “This machine”", "/settings#machine"),
    "families": Way("the catalogue of bases", "/bases/catalogue"),
    "generate": Way("the page Generate", "/generate"),
    "import": Way("the page that imports", "/datasets/new"),
    "inspect": _FILES,
    "jobs show": _JOB,
    "jobs": _QUEUE,
    "lora convert": Way("the tool Convert", "/loras/convert"),
    "lora": _FILES,
    "queue clone": Way("“Clone” on the job's page", "/jobs/{}", press=True),
    "queue pause": Way("“Pause” on the job's page", "/jobs/{}", press=True),
    "queue release": Way("“Release” on the job's page", "/jobs/{}", press=True),
    "queue resume": _RESUME,
    "queue show": _JOB,
    "queue": _QUEUE,
    "resume": _RESUME,
    "secrets": Way("the settings, under “Secrets”", "/settings#secrets"),
    "sources unfinished": Way("the page that imports", "/datasets/new"),
    "sources": Way("the page that imports", "/datasets/new"),
    "train": Way("the workspace", "/"),
    "users": _PEOPLE,
}
"""By the first words of a command, the longest that fits counts."""
TERMINAL: Final = frozenset({"bases convert", "bases scan", "queue fsck", "queue run", "web", ""})
"""Commands that whoever sits at the server's machine types; the empty one starts it."""
_COMMAND: Final = re.compile(r"(?P<verb>\b(?:Run|run|Use|use|With|with|by)\s+)?`lorasmith(?P<rest>(?: [^`]*)?)`")
_PRESSED: Final = {"Run": "Press", "run": "press", "Use": "Press", "use": "press", "with": "by", "With": "By"}


@dataclass(frozen=True)
class Piece:
    """A piece of a sentence, and where it leads; empty: nowhere."""

    text: str
    address: str = ""


def way_of(command: str) -> tuple[Way | None, str]:
    """The way of a command without its first word, and its first argument.

    ``None`` stands for a command that only a terminal has, or that nobody knows.
    """
    words = command.split()
    for length in range(min(3, len(words)), 0, -1):
        name = " ".join(words[:length])
        if name in TERMINAL:
            return None, ""
        if (way := WAYS.get(name)) is not None:
            rest = words[length:]
            return way, rest[0] if rest and not rest[0].startswith("-") else ""
    return None, ""


def pieces(text: str) -> list[Piece]:
    """A sentence with the pages and buttons of the web app in place of commands."""
    found: list[Piece] = []
    end = 0
    for hit in _COMMAND.finditer(text):
        before = text[end : hit.start()]
        found.append(Piece(before))
        verb = (hit["verb"] or "").strip()
        way, argument = way_of(hit["rest"])
        starts = not verb and not before.strip() and not "".join(one.text for one in found).strip()
        starts = starts or (not verb and before.rstrip().endswith((".", "!", "?")))
        if way is None:
            found.append(Piece(f"{verb + ' ' if verb else ''}`lorasmith{hit['rest']}` in a terminal of its machine"))
        else:
            lead = _PRESSED.get(verb, verb) if way.press else {"Run": "Open", "run": "open"}.get(verb, verb)
            found.append(Piece(f"{lead} " if lead else ""))
            words = way.words[:1].upper() + way.words[1:] if starts else way.words
            address = _address(way, argument)
            found.append(Piece(words, address))
        end = hit.end()
    found.append(Piece(text[end:]))
    return [one for one in found if one.text]


def plainly(text: str) -> str:
    """The same as text, for where no link can stand."""
    return "".join(one.text for one in pieces(text))


def guided(text: object) -> Markup:
    """The same for a page, with links; everything of it is escaped."""
    link = Markup('<a href="{}">{}</a>')
    return Markup("").join(
        link.format(one.address, visible(one.text)) if one.address else visible(one.text) for one in pieces(str(text))
    )


def _address(way: Way, argument: str) -> str:
    """With the command's argument in it; a word in capitals stands for whatever is meant."""
    if "{}" not in way.address:
        return way.address
    if argument and not argument.isupper():
        return way.address.format(quote(argument, safe=""))
    address, query, _ = way.address.partition("?")
    return address if query else ""
