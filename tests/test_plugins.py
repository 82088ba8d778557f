"""Plugins: found by lying in their room's folder, or by an entry point; never guessed, never skipped."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

from lorasmith import plugins
from lorasmith.errors import ConfigError, EnvironmentProblem

MakeRoom = Callable[[dict[str, str]], ModuleType]


@pytest.fixture
def make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeRoom]:
    """Makes an importable package out of file names and sources."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(plugins, "entry_points", lambda group: [])

    def make(files: dict[str, str]) -> ModuleType:
        folder = tmp_path / "a_room"
        folder.mkdir()
        (folder / "__init__.py").write_text("class Thing:\n    def __init__(self, name): self.name = name\n")
        for name, source in files.items():
            (folder / name).write_text(source)
        importlib.invalidate_caches()
        return importlib.import_module("a_room")

    yield make
    for name in [name for name in sys.modules if name.split(".")[0] == "a_room"]:
        del sys.modules[name]


def thing(name: str) -> str:
    return f"from a_room import Thing\nplugin = Thing({name!r})\n"


def test_every_file_with_a_plugin_is_found_in_order_of_names(make_room: MakeRoom) -> None:
    room = make_room({"b.py": thing("zebra"), "c.py": thing("ant"), "drawing.py": "lines = 3\n"})
    assert list(plugins.discover(room, room.Thing)) == ["ant", "zebra"]


def test_two_plugins_of_one_name_are_refused_and_both_named(make_room: MakeRoom) -> None:
    room = make_room({"b.py": thing("ant"), "c.py": thing("ant")})
    with pytest.raises(ConfigError, match=r"called 'ant': a_room\.b and a_room\.c"):
        plugins.discover(room, room.Thing)


def test_a_plugin_of_another_kind_is_refused(make_room: MakeRoom) -> None:
    room = make_room({"b.py": "plugin = 3\n"})
    with pytest.raises(ConfigError, match=r"a_room\.b is not a Thing"):
        plugins.discover(room, room.Thing)


def test_a_file_that_does_not_import_is_not_skipped(make_room: MakeRoom) -> None:
    room = make_room({"b.py": "import a_library_that_is_not_there\n", "c.py": thing("ant")})
    with pytest.raises(EnvironmentProblem, match=r"a_room\.b does not import.*a_library_that_is_not_there"):
        plugins.discover(room, room.Thing)


def test_an_entry_point_adds_a_plugin(make_room: MakeRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    room = make_room({"b.py": thing("ant")})
    sys.modules["a_room.elsewhere"] = ModuleType("a_room.elsewhere")
    sys.modules["a_room.elsewhere"].bee = room.Thing("bee")  # type: ignore[attr-defined]
    point = EntryPoint("bee", "a_room.elsewhere:bee", "lorasmith.a_room")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == point.group else [])
    assert list(plugins.discover(room, room.Thing)) == ["ant", "bee"]


def test_a_broken_entry_point_is_named(make_room: MakeRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    room = make_room({})
    point = EntryPoint("wasp", "a_package_that_is_gone:wasp", "lorasmith.a_room")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    with pytest.raises(EnvironmentProblem, match="'wasp' does not import") as caught:
        plugins.discover(room, room.Thing)
    assert "a_package_that_is_gone:wasp" in caught.value.hint


def test_choose_names_the_nearest(make_room: MakeRoom) -> None:
    known = {"wd_tagger": 1, "blip": 2}
    assert plugins.choose(known, "blip", "captioner") == 2
    with pytest.raises(ConfigError, match="no captioner called 'wd_tager'") as caught:
        plugins.choose(known, "wd_tager", "captioner")
    assert caught.value.hint == "Did you mean 'wd_tagger'?"
    with pytest.raises(ConfigError) as caught:
        plugins.choose(known, "qqqq", "captioner")
    assert caught.value.hint == "There are: wd_tagger, blip."
