"""Finds plugins: one file each, in the folder of their room or in an installed package's entry points.

A duplicate name is an error, and so is a file that does not import: a plugin is named when it is broken,
never skipped.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import pkgutil
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from lorasmith.errors import ConfigError, EnvironmentProblem

T = TypeVar("T")


def discover(package: ModuleType, kind: type[T]) -> dict[str, T]:
    """All plugins of a room, by name.

    A plugin module of ``package`` holds a module-level ``plugin`` that is an instance of ``kind`` with a
    ``name``; modules without one are part of the room. Third parties register the same object under the entry
    point group ``lorasmith.<room>``.

    Raises:
        EnvironmentProblem: a plugin cannot be imported.
        ConfigError: two plugins carry one name, or an entry point is not a plugin of this kind.
    """
    room = package.__name__.rpartition(".")[2]
    found: dict[str, T] = {}
    origin: dict[str, str] = {}

    def add(candidate: object, where: str) -> None:
        if not isinstance(candidate, kind):
            raise ConfigError(f"The plugin at {where} is not a {kind.__name__}.", "Remove it or correct its 'plugin'.")
        name = str(getattr(candidate, "name", ""))
        if name in found:
            raise ConfigError(f"Two plugins of {room} are called '{name}': {origin[name]} and {where}.", "Rename one.")
        found[name], origin[name] = candidate, where

    for module_info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        try:
            module = importlib.import_module(module_info.name)
        except ImportError as cause:
            raise EnvironmentProblem(
                f"{module_info.name} does not import: {cause}.", "Run `lorasmith doctor` to see what is missing."
            ) from cause
        if hasattr(module, "plugin"):
            add(module.plugin, module_info.name)
    for point in entry_points(group=f"lorasmith.{room}"):
        try:
            candidate = point.load()
        except ImportError as cause:
            raise EnvironmentProblem(
                f"The {room} plugin '{point.name}' does not import: {cause}.", f"Reinstall or remove {point.value}."
            ) from cause
        add(candidate, point.value)
    return dict(sorted(found.items()))


def entry_points(group: str) -> Sequence[EntryPoint]:
    """What installed packages register in a group. Reading it of all packages takes 20 ms, so it is read again only
    when a folder of the module path has changed, as it does when a package is installed or removed."""
    return _registered(group, tuple((folder, _changed(folder)) for folder in sys.path))


@lru_cache(maxsize=32)
def _registered(group: str, folders: tuple[tuple[str, int], ...]) -> Sequence[EntryPoint]:
    return tuple(importlib.metadata.entry_points(group=group))


def _changed(folder: str) -> int:
    try:
        return Path(folder or ".").stat().st_mtime_ns
    except OSError:
        return 0  # there is none; once it is there, it has another time


def choose(plugins: dict[str, T], name: str, what: str) -> T:
    """The plugin of that name, or a ``ConfigError`` that names the nearest ones."""
    if name in plugins:
        return plugins[name]
    near = difflib.get_close_matches(name, plugins, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(plugins) or 'none'}."
    raise ConfigError(f"There is no {what} called '{name}'.", hint)
