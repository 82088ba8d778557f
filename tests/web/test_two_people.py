"""Two browsers editing one set: what each does reaches the other, and nothing either wrote is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.web.conftest import Server, expect, patient_context
from tests.web.trainable import dots


@pytest.fixture
def two(chromium: Any, server: Server, tmp_path: Path) -> Iterator[tuple[Any, Any]]:
    """Two people, each in a browser of their own, before the same set."""
    dots(server.studio, tmp_path / "pictures")
    contexts, pages, said = [], [], []
    for _ in range(2):
        context = patient_context(chromium)
        page = context.new_page()
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(server.way_in())
        page.goto(f"{server.address}/datasets/dots")
        contexts.append(context)
        pages.append(page)
    yield pages[0], pages[1]
    for context in contexts:
        context.close()
    assert said == []


def open_picture(page: Any, name: str) -> None:
    page.click(f'.card-picture[data-item="{name}"]')
    page.wait_for_selector(f'.item-view[data-item="{name}"]')


def write(page: Any, caption: str) -> None:
    page.fill("#caption", caption)
    page.click("#item button:has-text('Save') >> nth=0")


def captions(server: Server) -> dict[str, str]:
    return {item.name: item.caption for item in server.studio.dataset("dots").items}


def test_different_pictures_are_joined_and_the_same_one_is_asked_about(two: tuple[Any, Any], server: Server) -> None:
    one, other = two
    open_picture(one, "0.png")
    open_picture(other, "0.png")
    write(one, "zib, red dots")
    one.wait_for_selector("#item [role=status]:has-text('Saved')")
    # The other has not seen it, and writes the same caption differently.
    write(other, "zib, blue dots")
    other.wait_for_selector("#item .refusal:has-text('Somebody else changed this caption meanwhile')")
    expect(other.locator("#item .refusal")).to_contain_text("Theirs: zib, red dots")
    expect(other.locator("#caption")).to_have_value("zib, blue dots")
    assert captions(server)["0.png"] == "zib, red dots"
    other.click("#item button:has-text('Save') >> nth=0")  # having seen theirs
    other.wait_for_selector("#item [role=status]:has-text('Saved')")
    assert captions(server)["0.png"] == "zib, blue dots"
    # Another picture, from the page as it was loaded before all this: joined without a question.
    open_picture(one, "1.png")
    write(one, "zib, green dots")
    one.wait_for_selector("#item [role=status]:has-text('Saved')")
    assert captions(server) == {
        "0.png": "zib, blue dots",
        "1.png": "zib, green dots",
        "2.png": "zib, dots",
        "3.png": "zib, dots",
    }


def test_an_undo_of_one_is_seen_by_the_other(two: tuple[Any, Any], server: Server) -> None:
    one, other = two
    open_picture(one, "2.png")
    write(one, "zib, many dots")
    one.wait_for_selector("#item [role=status]:has-text('Saved')")
    other.reload()
    other.wait_for_selector('.card-picture[data-item="2.png"]:has-text("many dots")')
    other.click("button:has-text('Undo')")
    other.wait_for_selector('.card-picture[data-item="2.png"]:has-text("zib, dots")')
    assert captions(server)["2.png"] == "zib, dots"
    # What the first one has before them was undone meanwhile: they are asked, and lose nothing of what they wrote.
    write(one, "zib, many round dots")
    one.wait_for_selector("#item .refusal:has-text('Theirs: zib, dots')")
    expect(one.locator("#caption")).to_have_value("zib, many round dots")
    one.click("#item button:has-text('Save') >> nth=0")
    one.wait_for_selector("#item [role=status]:has-text('Saved')")
    other.reload()
    other.wait_for_selector('.card-picture[data-item="2.png"]:has-text("many round dots")')
    assert captions(server)["2.png"] == "zib, many round dots"
