"""The command line of ``import``: paths, addresses, or a source and what it shall look for, with the source's options.

A word that begins with a dash and is no option is left alone, for ``-solo`` excludes a tag. A long option that is none
of the command's belongs to a source; its type comes from the source's ``Options``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from lorasmith.cli.sections import values_for
from lorasmith.errors import ConfigError, InputError
from lorasmith.fields import unwrapped

if TYPE_CHECKING:
    from lorasmith.gathering import Gathering

_LOCAL: Final = ("folder", "zip")
_GIVEN: Final = "options of sources"
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w-]*/[A-Za-z0-9][\w-]*", re.ASCII)


@dataclass(frozen=True)
class Asked:
    """What a command line means: paths, or a location and who goes there."""

    paths: tuple[Path, ...] = ()
    source: str = ""
    location: str = ""


class ImportCommand(click.Command):
    """Takes the options of sources out of the command line before click reads it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {name: option for option in self.params for name in (*option.opts, *option.secondary_opts)}
        help_names = ctx.help_option_names
        ours: list[str] = []
        words: list[str] = []
        given: list[tuple[str, str | None]] = []
        rest = list(args)
        while rest:
            word = rest.pop(0)
            name, sign, value = word.partition("=")
            if word == "--":
                words += rest
                break
            if name in help_names:
                ours.append(word)
            elif (option := own.get(name)) is not None and name.startswith("-"):
                ours.append(word)
                if not sign and isinstance(option, click.Option) and not option.is_flag and rest:
                    ours.append(rest.pop(0))
            elif word.startswith("--") and len(word) > 2:
                follows = None if sign or not rest or rest[0].startswith("--") else rest[0]
                takes = _takes_value(name, sorted(own), flag_only=follows is None and not sign)
                given.append((name, value if sign else follows if takes else None))
                if takes and not sign:
                    rest.pop(0)
            else:
                words.append(word)
        ctx.meta[_GIVEN] = tuple(given)
        return super().parse_args(ctx, [*ours, "--", *words] if words else ours)


def given_options(context: click.Context) -> tuple[tuple[str, str | None], ...]:
    """The options that are none of the command's own, as they were written; None: without a value."""
    found: tuple[tuple[str, str | None], ...] = context.meta.get(_GIVEN, ())
    return found


def _every_option() -> dict[str, Any]:
    """Every option of every source as it is written, and its type; of two of one name either."""
    from lorasmith.studio import Studio

    sources = Studio().sources
    fields = {}
    for name in sources.names():
        for key, field in sources.about(name).options.model_fields.items():
            fields[f"--{key.replace('_', '-')}"] = unwrapped(field.annotation)
    return fields


def _takes_value(name: str, own: Sequence[str], *, flag_only: bool) -> bool:
    """Whether the next word is this option's value.

    Raises:
        ConfigError: no source has such an option, or its value is missing.
    """
    known = _every_option()
    plain = name.replace("_", "-")
    if plain not in known and plain.replace("--no-", "--", 1) in known and plain.startswith("--no-"):
        return False
    if plain not in known:
        near = difflib.get_close_matches(plain, [*own, *known], n=1)
        hint = f"Did you mean '{near[0]}'?" if near else "`lorasmith import --help` and `lorasmith sources` list them."
        raise ConfigError(f"There is no option '{name}'.", hint)
    if known[plain] is bool:
        return False
    if flag_only:
        raise ConfigError(f"Option '{name}' needs a value.", "Write it behind the option.")
    return True


def options_for(sources: Gathering, source: str, given: Sequence[tuple[str, str | None]]) -> dict[str, Any]:
    """What was written as the options of a source.

    Raises:
        ConfigError: an option is given twice.
    """
    values: dict[str, str] = {}
    for name, value in given:
        key = name[2:].replace("-", "_")
        text = value if value is not None else "true"
        if value is None and key.startswith("no_"):
            key, text = key[3:], "false"
        if key in values:
            raise ConfigError(f"Option '{name}' is given twice.", "Keep one.")
        values[key] = text
    return values_for(sources.about(source).options, [f"{key}={text}" for key, text in values.items()])


def understood(sources: Gathering, words: Sequence[str], named: str | None) -> Asked:
    """What the words of a command line mean. A path that is there is meant before a source of the same name.

    Raises:
        ConfigError: no such source, paths and addresses together, or a name that means two things.
        InputError: there is nothing of that name.
    """
    known = sources.names()
    if named is not None:
        return _for_source(known, _spelled(named, known), words)
    there = [_is_there(word) for word in words]
    first = words[0].replace("-", "_")
    if first in known and len(words) > 1:
        if there[0] and all(there):
            return Asked(paths=tuple(map(_path, words)))
        if there[0]:
            raise ConfigError(
                f"'{words[0]}' is a path here and the name of a source.",
                f"Write ./{words[0]} for the path, or --source {first} for the source.",
            )
        return _for_source(known, first, words[1:])
    if first in known and not there[0]:
        example = sources.about(first).commands[0]
        raise ConfigError(f"{words[0]} was told nothing to look for.", f"For example: {example}")
    if all(there):
        return Asked(paths=tuple(map(_path, words)))
    return _elsewhere(sources, words, there, known)


def _elsewhere(sources: Gathering, words: Sequence[str], there: Sequence[bool], known: Mapping[str, str]) -> Asked:
    takers = [None if here else sources.source_of(word) for word, here in zip(words, there, strict=True)]
    for word, here, taker in zip(words, there, takers, strict=True):
        if not here and taker is None:
            near = difflib.get_close_matches(words[0].replace("-", "_"), known, n=1)
            hint = f"Did you mean the source '{near[0]}'?" if near and word == words[0] else "Check the path."
            if not near and _HUB_ID.fullmatch(word):
                hint = f"Check the path; a dataset of Hugging Face is `lorasmith import huggingface {word}`."
            raise InputError(f"There is no file or folder at {word}.", hint)
    if any(there):
        raise ConfigError("Paths and addresses cannot be imported together.", "Import one, then the other with --into.")
    if len(set(takers)) > 1 or (len(words) > 1 and takers[0] != "url"):
        raise ConfigError(
            "Several places cannot be imported together.", "Import one, then the others with --into its dataset."
        )
    return Asked(source=str(takers[0]), location=" ".join(words))


def _for_source(known: Mapping[str, str], source: str, words: Sequence[str]) -> Asked:
    if source not in known:
        near = difflib.get_close_matches(source, known, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(known)}."
        raise ConfigError(f"There is no source called '{source}'.", hint)
    if source in _LOCAL:
        return Asked(paths=tuple(map(_path, words)))
    return Asked(source=source, location=" ".join(words))


def _spelled(name: str, known: Mapping[str, str]) -> str:
    return name if name in known else name.replace("-", "_")


def _path(word: str) -> Path:
    return Path(word).expanduser()


def _is_there(word: str) -> bool:
    try:
        return bool(word) and _path(word).exists()
    except (OSError, ValueError):  # what no path can be
        return False
