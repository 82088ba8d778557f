"""Previews on a query that measures pixels: they answer at once, say how far it is, and complete by themselves."""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lorasmith.errors import Stopped
from tests.web.conftest import Door, Server, expect
from tests.web.test_dataset_pages import HERE, ended, fill_with_copies

EDIT = ("preview", {"operation": "add_trigger_word", "o.word": "zib"})
TOOL = ("tools/preview", {"tool": "flip"})
PART = {"hx-request": "true"}


@dataclass
class Measuring:
    """Holds the measuring of pictures up after the second of six, until it may go on."""

    go: threading.Event = field(default_factory=threading.Event)
    said: threading.Event = field(default_factory=threading.Event)
    """Set when the page could know how far it is."""

    def hold(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from lorasmith.curation.looking import measure

        def slow(home: Any, store: Any, items: Any, progress: Any = None) -> Any:
            while not self.go.is_set():
                if progress is not None:
                    progress(2, 6, "b.png")
                    self.said.set()
                self.go.wait(0.02)
            return measure(home, store, items, progress)

        monkeypatch.setattr("lorasmith.curation.asking.measure", slow)


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch) -> Iterator[Measuring]:
    made = Measuring()
    made.hold(monkeypatch)
    yield made
    made.go.set()  # whatever happened, no thread waits on


@pytest.fixture
def cats(door: Door, tmp_path: Path) -> Door:
    """Six pictures, on a server that waits for no look."""
    fill_with_copies(door.studio, tmp_path / "pictures")
    door.client.app.state.looks.patience = 0.0  # type: ignore[attr-defined]
    return door


@pytest.mark.parametrize("q", ["blur:>0", "dup:any", "@kept"])
@pytest.mark.parametrize(("path", "form"), [EDIT, TOOL])
def test_a_preview_says_how_far_it_is_and_then_what_would_change(
    cats: Door, measuring: Measuring, path: str, form: dict[str, str], q: str
) -> None:
    door = cats
    door.client.app.state.looks.patience = 0.0  # type: ignore[attr-defined]
    if q == "@kept":
        door.studio.curate.save_selection("cats", "kept", "blur:>0")
    sent, address = {**form, "q": q}, f"{HERE}/{path}"
    first = door.client.post(address, data=sent, headers=PART)
    assert first.status_code == 200 and "Measuring pictures" in first.text and "<html" not in first.text
    assert measuring.said.wait(30)
    again = door.client.post(address, data=sent, headers=PART).text
    assert "2 of 6" in " ".join(again.split()) and f'hx-post="{address}"' in again and "load delay" in again
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', again))
    assert {name: html.unescape(value) for name, value in hidden.items()} == sent
    assert "would change" not in again and "/apply" not in again and "/tools/use" not in again
    whole = door.client.post(address, data=sent).text
    assert "Measuring pictures" in whole and "<noscript><button" in whole and "<html" in whole
    assert len(door.client.app.state.looks.running()) == 1  # type: ignore[attr-defined]
    measuring.go.set()
    ended(door)
    names = door.studio.curate.select("cats", q)
    shown = door.client.post(address, data=sent, headers=PART).text
    assert names and "Measuring" not in shown and ("would change" in shown or "Do it on" in shown)
    everywhere = door.client.post(address, data={**form, "q": " OR ".join(f'name:"{n}"' for n in names)}, headers=PART)
    scope = re.compile(r"<strong class=\"numbers\">.*?</strong>|Do it on[^<]*")
    assert scope.findall(shown) == scope.findall(everywhere.text) != []


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("preview", {"operation": "add_trigger_word", "q": "blur:>0"}),
        ("preview", {"operation": "nothing", "q": "blur:>0"}),
        ("tools/preview", {"tool": "resize", "o.side": "-4", "q": "blur:>0"}),
        ("preview", {**EDIT[1], "q": "blur:>"}),
        ("tools/preview", {**TOOL[1], "q": "@nobody"}),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_measured(
    cats: Door, measuring: Measuring, path: str, form: dict[str, str]
) -> None:
    door = cats
    assert door.client.post(f"{HERE}/{path}", data=form, headers=PART).status_code == 422
    assert door.client.app.state.looks.running() == []  # type: ignore[attr-defined]


def test_a_preview_whose_measuring_was_stopped_says_so_and_begins_anew(cats: Door, measuring: Measuring) -> None:
    door = cats
    door.client.app.state.looks.patience = 0.0  # type: ignore[attr-defined]
    sent, address = {**EDIT[1], "q": "blur:>0"}, f"{HERE}/preview"
    asked = door.client.post(address, data=sent, headers=PART).text
    (look,) = door.client.app.state.looks.running()  # type: ignore[attr-defined]
    assert f"/looks/{look.id}/cancel" in asked
    door.client.post(f"{HERE}/looks/{look.id}/cancel", headers=PART)
    with pytest.raises(Stopped):
        look.result()
    assert "cancelled" in door.client.post(address, data=sent, headers=PART).text
    measuring.go.set()
    door.client.post(address, data=sent, headers=PART)
    ended(door)
    assert "would change" in door.client.post(address, data=sent, headers=PART).text


@pytest.mark.parametrize("tool", [False, True])
def test_previews_complete_by_themselves_in_the_browser(
    browser_page: Any, server: Server, tmp_path: Path, measuring: Measuring, tool: bool
) -> None:
    fill_with_copies(server.studio, tmp_path / "pictures")
    page = browser_page
    page.goto(f"{server.address}{HERE}/" + ("tools?tool=flip" if tool else "edit?operation=add_trigger_word"))
    if not tool:
        page.fill('[name="o.word"]', "zib")
    page.fill("#where", "blur:>0")
    page.click("button:text-is('Preview')")
    outcome = page.locator("#outcome")
    expect(outcome).to_contain_text("Measuring pictures")
    expect(outcome).to_contain_text("2 of 6")
    page.click("#outcome >> text=Stop")
    expect(outcome).to_contain_text("cancelled")
    page.click("button:text-is('Preview')")
    expect(outcome).to_contain_text("2 of 6")
    measuring.go.set()
    button = page.locator("#outcome button.btn-primary")
    expect(button).to_be_visible(timeout=60_000)  # nobody pressed anything
    expect(outcome).not_to_contain_text("Measuring")
    if not tool:
        button.click()
        page.wait_for_selector("#gallery")
        assert all("zib" in item.caption for item in server.studio.dataset("cats").items)
