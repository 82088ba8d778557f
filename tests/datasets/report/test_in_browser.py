"""The page in a real browser: its script runs, no other does, and keys alone reach everything."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lorasmith.datasets.report.page import render
from tests.datasets.report.made_up import HOSTILE, Reading, build_page

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (found := shutil.which(name))), ""
)
pytestmark = pytest.mark.skipif(not BROWSER, reason="there is no Chromium here")

VISIT = """
"use strict";
(async () => {
  const said = {};
  const soon = () => new Promise((done) => setTimeout(done, 300));
  const here = () => document.activeElement.querySelector(".cell-name")?.textContent || document.activeElement.id;
  const press = (key) => {
    document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    return here();
  };
  const shut = () => document.querySelector("#detail .close").click();
  const count = () => document.getElementById("count").textContent;
  const ask = async (text) => {
    const words = document.getElementById("filter-words");
    words.value = text;
    words.dispatchEvent(new Event("input"));
    await soon();
    return count();
  };
  said.count = count();
  said.cells = document.querySelectorAll("#grid .cell").length;
  said.reachable = [...document.querySelectorAll("#grid .cell")].filter((cell) => cell.tabIndex === 0).length;
  document.querySelector("#grid .cell").focus();
  const keys = ["ArrowRight", "ArrowDown", "ArrowUp", "ArrowLeft", "ArrowLeft", "End", "ArrowRight", "PageUp"];
  said.keys = keys.map(press);
  press("ArrowRight");
  document.activeElement.click();
  const dialog = document.getElementById("detail");
  said.opened = [dialog.open, here(), dialog.textContent.includes("mask"), dialog.querySelectorAll("img").length];
  press("ArrowRight");
  said.lines = [...dialog.querySelectorAll(".captions li")].map((line) => line.textContent);
  press("ArrowRight");
  said.hostile = dialog.querySelector(".caption").textContent;
  shut();
  said.closed = [dialog.open, here()];
  said.asked = [await ask("\\"tag 1\\" blue"), await ask("-solo"), await ask("nothing like it"), await ask("")];
  said.none = document.getElementById("none").hidden;
  document.querySelector("[data-show-finding='0']").click();
  said.finding = [count(), document.getElementById("filter-finding").value];
  document.getElementById("filter-clear").click();
  said.cleared = [count(), here()];
  document.querySelector("[data-open]").focus();
  document.querySelector("[data-open]").click();
  shut();
  said.back = document.activeElement.className;
  document.getElementById("filter-sort").value = "short";
  document.getElementById("filter-sort").dispatchEvent(new Event("change"));
  said.first = document.querySelector("#grid .cell").title;
  said.evil = [document.title, typeof window.evil];
  const told = document.createElement("pre");
  told.id = "told";
  told.textContent = JSON.stringify(said);
  document.body.append(told);
})();
"""


def dumped(text: str, folder: Path) -> str:
    """The page as it is after its scripts ran."""
    path = folder / "page.html"
    path.write_text(text, encoding="utf-8")
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions",
        "--disable-background-networking", f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=20000",
        "--window-size=1200,900", "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What somebody finds who goes through the page, in a script that the page's policy is told to allow."""
    allowed = base64.b64encode(hashlib.sha256(VISIT.encode()).digest()).decode()
    text = render(build_page(230)).replace("script-src ", f"script-src 'sha256-{allowed}' ")
    text = text.replace(
        "</body>", f"<script>{VISIT}</script><script>window.evil = 1; document.title = 'evil'</script></body>"
    )
    shown = dumped(text, tmp_path_factory.mktemp("visit"))
    found = re.search(r'<pre id="told">(.*?)</pre>', shown, re.DOTALL)
    assert found is not None
    told: dict[str, Any] = json.loads(html.unescape(found[1]))
    return told


def test_the_script_fills_the_gallery_under_the_pages_own_policy(tmp_path: Path) -> None:
    shown = Reading(dumped(render(build_page(230)), tmp_path))
    cells = [a for a in shown.all("button") if a.get("class") == "cell"]
    assert len(cells) == 100
    images = [a for a in shown.all("img") if a.get("class") == "cell-image"]
    assert len(images) == 99  # one picture has no file
    assert "230 of 230 pictures; here 1 to 100" in "".join(shown.text)


def test_no_other_script_runs(visit: dict[str, Any]) -> None:
    assert visit["evil"] == ["made-up@3: dataset report", "undefined"]
    assert visit["hostile"] == HOSTILE


def test_arrow_keys_go_over_rows_and_pages(visit: dict[str, Any]) -> None:
    assert visit["reachable"] == 1
    right, down, up, left, still, last, over, back = visit["keys"]
    assert right == up == "picture 00001.png"
    assert int(down[8:13]) > 3  # some row further
    assert left == still == "picture 00000.png"
    assert (last, over, back) == ("picture 00099.png", "picture 00100.png", "picture 00000.png")


def test_a_picture_opens_with_its_mask_and_its_captions(visit: dict[str, Any]) -> None:
    assert visit["opened"] == [True, "detail-name", True, 2]
    assert visit["lines"] == ["a red star", "an étoile on blue"]


def test_closing_gives_the_focus_back(visit: dict[str, Any]) -> None:
    assert visit["closed"] == [False, "picture 00003.png"]
    assert visit["back"] == "shot"


def test_words_phrases_and_what_is_not_wanted(visit: dict[str, Any]) -> None:
    page = build_page(230)
    some = sum("tag 1" in row.caption and "blue" in row.caption for row in page.pictures)
    without = sum("solo" not in row.caption for row in page.pictures)
    assert visit["asked"] == [
        f"{some} of 230 pictures", f"{without} of 230 pictures", "0 of 230 pictures",
        "230 of 230 pictures; here 1 to 100",
    ]  # fmt: skip
    assert visit["none"] is True


def test_a_finding_leads_to_its_pictures_and_back(visit: dict[str, Any]) -> None:
    assert visit["finding"] == ["46 of 230 pictures", "0"]
    assert visit["cleared"] == ["230 of 230 pictures; here 1 to 100", "filter-words"]
    assert visit["first"] == "2_dogs/picture 00006.png"  # the one without a caption
