"""Saved selections: what was saved is there, whole, under the name it was given."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lorasmith.datasets.manifest import DatasetVersion, Item, Operation
from lorasmith.datasets.query import QueryError
from lorasmith.datasets.selections import Selections
from lorasmith.errors import ConfigError, DatasetError

SHA = "0" * 64


@pytest.fixture
def saved(tmp_path: Path) -> Selections:
    (tmp_path / "datasets" / "zoo").mkdir(parents=True)
    return Selections(tmp_path, "zoo")


def version(*names: str) -> DatasetVersion:
    items = tuple(Item(name, SHA, SHA, 10, 10, name) for name in names)
    operation = Operation(name="import")
    return DatasetVersion(dataset="zoo", number=1, parent=None, operation=operation, created="", items=items)


def test_a_query_is_asked_anew(saved: Selections) -> None:
    made = saved.save_query("Cats & dogs", "cat OR dog")
    assert saved.get("cats & DOGS") == made
    assert made.select(version("cat", "bird")) == ["cat"]
    assert made.select(version("dog", "cat")) == ["dog", "cat"]
    assert made.gone(version("bird")) == []
    with pytest.raises(ConfigError):
        saved.save_query("long", "tokens:>75").select(version("cat"))


def test_a_list_keeps_its_names(saved: Selections) -> None:
    made = saved.save_names("best", ["b.png", "a.png", "b.png", "gone.png"])
    assert made.names == ("b.png", "a.png", "gone.png")
    assert made.select(version("a.png", "b.png", "c.png")) == ["a.png", "b.png"]
    assert made.gone(version("a.png", "b.png")) == ["gone.png"]


def test_list_replace_and_delete(saved: Selections) -> None:
    assert saved.list() == []
    saved.save_query("é", "cat")
    saved.save_query("B", "dog")
    saved.save_query("a", "bird")
    assert [one.name for one in saved.list()] == ["a", "B", "é"]
    with pytest.raises(DatasetError, match="has a selection 'B' already"):
        saved.save_query(" b ", "x")
    with pytest.raises(DatasetError, match="already"):
        saved.save_query("e\u0301", "x")
    assert saved.save_query("b", "x", replace=True).query == "x"
    assert [one.name for one in saved.list()] == ["a", "b", "é"]
    assert saved.delete("A").query == "bird"
    assert [one.name for one in saved.list()] == ["b", "é"]


def test_what_is_not_there_is_named(saved: Selections) -> None:
    with pytest.raises(DatasetError, match="none yet"):
        saved.get("x")
    saved.save_query("blurred", "cat")
    with pytest.raises(DatasetError, match="Did you mean 'blurred'"):
        saved.delete("blured")
    with pytest.raises(DatasetError, match="There are: 'blurred'"):
        saved.get("zzz")


@pytest.mark.parametrize("name", ["", "  ", "x" * 81, "a\nb", "a\x00", "\u202eevil", "\ud800"])
def test_names_that_cannot_be(saved: Selections, name: str) -> None:
    with pytest.raises(DatasetError):
        saved.save_query(name, "cat")
    assert saved.list() == []


def test_nothing_unreadable_is_saved(saved: Selections, tmp_path: Path) -> None:
    with pytest.raises(QueryError):
        saved.save_query("x", "tga:y")
    with pytest.raises(DatasetError, match="at least one"):
        saved.save_names("x", [])
    with pytest.raises(DatasetError, match="no dataset 'nope'"):
        Selections(tmp_path, "nope").save_query("x", "cat")
    with pytest.raises(DatasetError, match="cannot be the name"):
        Selections(tmp_path, "../zoo")
    assert not (tmp_path / "datasets" / "nope").exists()
    assert Selections(tmp_path, "nope").list() == []


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"format": 2, "selections": []}', '{"selections": [{"name": "x", "created": ""}]}', "\ud800", "{" * 9],
)
def test_a_damaged_file_is_an_error_and_stays(saved: Selections, tmp_path: Path, content: str) -> None:
    path = tmp_path / "datasets" / "zoo" / "selections.json"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    for call in (saved.list, lambda: saved.get("x"), lambda: saved.save_query("x", "cat")):
        with pytest.raises(DatasetError, match="damaged or of a newer release"):
            call()
    assert path.read_bytes() == content.encode("utf-8", "surrogatepass")


def test_two_that_save_at_once_lose_nothing(saved: Selections, tmp_path: Path) -> None:
    def save(number: int) -> None:
        Selections(tmp_path, "zoo").save_query(f"s{number}", "cat")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(save, range(16)))
    assert len(saved.list()) == 16
    file = json.loads((tmp_path / "datasets" / "zoo" / "selections.json").read_text(encoding="utf-8"))
    assert file["format"] == 1
