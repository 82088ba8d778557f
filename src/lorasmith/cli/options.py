"""``TrainConfig`` as flags: every name, type and help text comes from the config itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lorasmith.errors import ConfigError
from lorasmith.fields import OneField, fields_of

if TYPE_CHECKING:
    from pydantic import BaseModel

F = TypeVar("F", bound=Callable[..., Any])

# The options that most runs set get a flag of their own; --set reaches all of them.
COMMON = {
    "base": "base",
    "output-name": "output_name",
    "trigger-word": "trigger_word",
    "max-train-steps": "max_train_steps",
    "train-batch-size": "train_batch_size",
    "gradient-accumulation-steps": "gradient_accumulation_steps",
    "gradient-checkpointing": "gradient_checkpointing",
    "mixed-precision": "mixed_precision",
    "rank": "adapter.rank",
    "alpha": "adapter.alpha",
    "targets": "adapter.targets",
    "text-encoder": "adapter.text_encoder",
    "optimizer": "optimizer.name",
    "learning-rate": "optimizer.learning_rate",
    "lr-scheduler": "optimizer.lr_scheduler",
    "resolution": "data.resolution",
    "flip": "data.flip",
    "validation-fraction": "data.validation_fraction",
    "sample-prompt": "sample.prompts",
    "seed": "seed",
    "device": "device",
}


def config_options(command: F) -> F:
    """Give a command a flag for each of ``COMMON``; its argument is the dotted key with ``__`` for dots."""
    fields = _train_fields()
    for flag, key in reversed(COMMON.items()):
        command = _flag(flag, fields[key])(command)
    return command


def chosen(arguments: dict[str, Any]) -> dict[str, Any]:
    """The dotted keys that were given on the command line, from what ``config_options`` parsed."""
    given = {name.replace("__", "."): value for name, value in arguments.items()}
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in given.items()
        if value not in (None, ())
    }


def pairs(settings: Sequence[str]) -> dict[str, Any]:
    """``KEY=VALUE`` words as a mapping; lists and mappings are written as JSON, ``null`` is nothing.

    Raises:
        ConfigError: a word without ``=``, a key given twice, or broken JSON.
    """
    return {key: value_of(key, text) for key, text in texts(settings).items()}


def texts(settings: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE`` words as a mapping of texts.

    Raises:
        ConfigError: a word without ``=``, or a key given twice.
    """
    values: dict[str, str] = {}
    for setting in settings:
        key, sign, text = setting.partition("=")
        key = key.strip()
        if not sign or not key:
            raise ConfigError(f"'{setting}' is not KEY=VALUE.", "Write for example --set adapter.rank=8.")
        if key in values:
            raise ConfigError(f"{key} is given twice.", "Keep one.")
        values[key] = text
    return values


def value_of(key: str, text: str) -> Any:
    """The value that a text stands for; see ``pairs``.

    Raises:
        ConfigError: broken JSON.
    """
    if text == "null":
        return None
    if text[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except json.JSONDecodeError as cause:
            raise ConfigError(
                f"The value of {key} is not JSON: {cause.msg}.", 'A list is written ["a", "b"].'
            ) from cause
    return text


def option_lines() -> list[str]:
    """Every option with its type, default and description."""
    lines: list[str] = []
    for row in option_table():
        lines += [f"{row['name']}  ({row['type']}, default {row['default']})", f"    {row['description']}"]
    return lines


def option_table() -> list[dict[str, Any]]:
    """Every option of ``TrainConfig``: ``name``, ``type``, ``default``, ``description``."""
    from lorasmith.config import TrainConfig

    rows = option_rows(TrainConfig)
    return [
        {key: row[key] for key in ("name", "type", "description")}
        | {"default": "none, it is needed" if row["needed"] else row["default"]}
        for row in rows
    ]


def option_rows(section: type[BaseModel]) -> list[dict[str, Any]]:
    """Every field of a section: ``name``, ``type``, ``needed``, ``default``, ``description``."""
    return [
        {
            "name": field.key,
            "type": field.type_words(),
            "needed": field.needed,
            "default": field.default_words(),
            "description": field.description,
        }
        for field in fields_of(section)
    ]


def _flag(flag: str, field: OneField) -> Callable[[F], F]:
    name, about = field.key.replace(".", "__"), field.description
    if field.kind == "switch":
        return click.option(f"--{flag}/--no-{flag}", name, default=None, help=about)
    if field.kind == "choice":
        return click.option(f"--{flag}", name, type=click.Choice([str(word) for word in field.choices]), help=about)
    if field.kind in ("list", "numbers"):
        return click.option(f"--{flag}", name, multiple=True, metavar="TEXT", help=f"{about} Repeatable.")
    metavar = {"whole": "INTEGER", "number": "NUMBER"}.get(field.kind, "TEXT")
    return click.option(f"--{flag}", name, metavar=metavar, help=about)


def _train_fields() -> dict[str, OneField]:
    from lorasmith.config import TrainConfig

    return {field.key: field for field in fields_of(TrainConfig)}
