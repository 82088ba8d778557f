"""The pages of captioners and sources say what the plugins say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from lorasmith import pages
from lorasmith.config import Section

DOCS = Path(__file__).parents[1] / "docs"
PAGES = pages.pages()
PLUGINS = [(room, plugin) for room in pages.rooms() for plugin in room.plugins().values()]


@pytest.mark.parametrize("path", PAGES)
def test_no_page_is_stale(path: str) -> None:
    page = DOCS / path
    assert page.is_file() and page.read_text(encoding="utf-8") == PAGES[path], "run: python -m lorasmith.pages docs"


def test_no_page_is_left_of_a_plugin_that_is_gone() -> None:
    there = {f"{room.name}/{page.name}" for room in pages.rooms() for page in (DOCS / room.name).glob("*.md")}
    assert there == set(PAGES)


@pytest.mark.parametrize(("room", "plugin"), PLUGINS)
def test_every_option_has_a_row_with_its_meaning(room: pages.Room, plugin: object) -> None:
    page = PAGES[f"{room.name}/{plugin.name}.md"]  # type: ignore[attr-defined]
    options: type[Section] = plugin.Options  # type: ignore[attr-defined]
    rows = {line.split("|")[1].strip(): line for line in page.splitlines() if line.startswith("| `")}
    for name, field in options.model_fields.items():
        cells = rows[f"`{name}`"].replace("\\|", "").split("|")
        assert len(cells) == 7 and cells[2].strip() and cells[3].strip()
        assert field.description and cells[5].strip()
    told = page.split("## How to use it")[0].split("\n\n", 2)[2]
    assert len(told) > 40, f"{plugin} says nothing of itself in its module's docstring"


def test_types_bounds_and_defaults_are_read_from_the_fields(tmp_path: Path) -> None:
    class Options(Section):
        """Many kinds."""

        count: Annotated[int, Field(ge=1, lt=9)] | None = None
        """How many | of `a`."""
        share: Annotated[float, Field(gt=0, le=0.5)] = 0.25
        """A share."""
        kind: Literal["one", "two"] = "one"
        """Which."""
        words: tuple[Annotated[str, Field(min_length=1)], ...] = ()
        """Some <b>words</b>."""
        needed: bool
        """Whether."""

    assert pages._options(Options)[2:] == [
        "| `count` | whole number | left out | at least 1; below 9 | How many \\| of `a`. |",
        "| `share` | number | `0.25` | above 0; at most 0.5 | A share. |",
        "| `kind` | `one`, `two` | `one` |  | Which. |",
        "| `words` | list of text | empty |  | Some &lt;b>words&lt;/b>. |",
        "| `needed` | `true` or `false` | needed |  | Whether. |",
    ]


def test_writing_makes_what_is_there_and_removes_what_is_gone(tmp_path: Path) -> None:
    old = tmp_path / "captioners" / "gone.md"
    old.parent.mkdir()
    old.write_text("old", encoding="utf-8")
    written = pages.write(tmp_path)
    assert not old.exists() and {path.relative_to(tmp_path).as_posix() for path in written} == set(PAGES)
