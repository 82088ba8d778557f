"""Named recipes: values that fill the training form, as files that can be shared.

A recipe is a TOML file with ``title``, ``about``, ``advice`` (sentences) and a table ``values`` with keys of
``TrainConfig``, dotted or nested. Those beside this file come with lorasmith; one's own lie in ``<home>/recipes``.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lorasmith.config import TrainConfig, layer, resolve
from lorasmith.datasets.names import safe_dataset_name
from lorasmith.errors import ConfigError, InputError
from lorasmith.fields import fields_of
from lorasmith.files import write_atomically

LARGEST: Final = 100_000  # bytes of a file
_KEYS: Final = frozenset({"title", "about", "advice", "values"})
_OF_ITS_OWN: Final = frozenset({"base", "dataset", "output_name", "device", "threads"})
"""What belongs to a run or a machine and not to a recipe."""


@dataclass(frozen=True)
class NamedRecipe:
    """Values for the training form under a name."""

    name: str
    title: str
    about: str
    advice: tuple[str, ...]
    values: Mapping[str, Any]
    """By dotted keys of ``TrainConfig``."""
    own: bool = False
    """Whether it lies in the home, not beside the program."""


class Recipes:
    """The recipes of a home and those that come along."""

    def __init__(self, home: Path) -> None:
        self._own = home / "recipes"

    def all(self) -> dict[str, NamedRecipe]:
        """By name; those that come along first. An own one of the same name stands in their place.

        Raises:
            InputError: an own one is damaged; the sentence names it.
        """
        found = {}
        for folder, own in ((Path(__file__).parent, False), (self._own, True)):
            for path in sorted(folder.glob("*.toml")):
                found[path.stem] = read_recipe(path.read_bytes(), path.stem, own=own)
        return found

    def get(self, name: str) -> NamedRecipe:
        """One of them.

        Raises:
            InputError: there is none of that name, or it is damaged.
        """
        known = self.all()
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise InputError(
                f"There is no recipe '{name}'.", f"Is '{near[0]}' meant?" if near else f"There are: {', '.join(known)}."
            )
        return known[name]

    def add(self, source: Path | bytes, name: str = "", *, replace: bool = False) -> NamedRecipe:
        """Take in a recipe, somebody's file or its bytes.

        Raises:
            InputError: it is no recipe, has no name, or there is an own one of that name.
            ConfigError: it has a value that training does not.
        """
        if isinstance(source, Path):
            if not source.is_file():
                raise InputError(f"There is no {source}.", "Check the path.")
            name = name or source.stem
            if source.stat().st_size > LARGEST:
                raise InputError(f"{source} is too large for a recipe.", f"One has up to {LARGEST:,} bytes.")
            source = source.read_bytes()
        if not name.strip():
            raise InputError("The recipe has no name.", "Give one.")
        safe = safe_dataset_name(name)
        recipe = read_recipe(source, safe, own=True)
        path = self._own / f"{safe}.toml"
        if path.exists() and not replace:
            raise InputError(f"There is a recipe '{safe}' of your own already.", "Take another name, or replace it.")
        self._own.mkdir(parents=True, exist_ok=True)
        write_atomically(path, recipe_text(recipe).encode())
        return recipe

    def export(self, name: str) -> str:
        """One as the text of its file.

        Raises:
            InputError: there is none of that name.
        """
        return recipe_text(self.get(name))

    def remove(self, name: str) -> None:
        """Remove one of one's own.

        Raises:
            InputError: there is none of one's own of that name.
        """
        if not self.get(name).own:
            raise InputError(f"The recipe '{name}' comes with lorasmith.", "Only your own can be removed.")
        (self._own / f"{name}.toml").unlink(missing_ok=True)


def read_recipe(content: bytes, name: str, *, own: bool = False) -> NamedRecipe:
    """A recipe from the bytes of its file.

    Raises:
        InputError: it is none.
        ConfigError: it has a value that training does not.
    """
    if len(content) > LARGEST:
        raise InputError(f"'{name}' is too large for a recipe.", f"One has up to {LARGEST:,} bytes.")
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as cause:
        raise InputError(f"'{name}' is no recipe: {cause}.", "It is a TOML file with a table [values].") from cause
    values, advice = document.get("values"), document.get("advice", [])
    texts = [document.get("title", name), document.get("about", ""), *(advice if isinstance(advice, list) else [None])]
    if not isinstance(values, dict) or not values or not all(isinstance(text, str) for text in texts):
        raise InputError(f"'{name}' is no recipe.", "It needs a table [values]; title, about and advice are texts.")
    if unknown := sorted(document.keys() - _KEYS):
        raise InputError(f"A recipe has no '{unknown[0]}'.", f"It has: {', '.join(sorted(_KEYS))}.")
    flat = dict(_flat(layer(values)))
    if other := sorted(flat.keys() & _OF_ITS_OWN):
        raise ConfigError(f"'{other[0]}' belongs to a run and not to a recipe.", "Leave it out.")
    resolve(values, {"base": "any", "dataset": "any"})
    return NamedRecipe(name, texts[0], texts[1], tuple(texts[2:]), flat, own)


def recipe_text(recipe: NamedRecipe) -> str:
    """The text of its file."""
    known = {field.key for field in fields_of(TrainConfig)}
    lines = [
        f"title = {_toml(recipe.title)}",
        f"about = {_toml(recipe.about)}",
        f"advice = {_toml(list(recipe.advice))}",
    ]
    lines += ["", "[values]"]
    lines += [f"{json.dumps(key)} = {_toml(value)}" for key, value in recipe.values.items() if key in known]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """A value as TOML, whose strings are written as those of JSON are."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value).lower() if isinstance(value, bool) else repr(value)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Any:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
