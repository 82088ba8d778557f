"""No page has a fault that axe-core finds, in either theme, on a screen and on a phone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.bases.test_answers import SD2
from tests.bases.test_opening import write_header
from tests.web.conftest import Server, patient_context
from tests.web.test_datasets import fill
from tests.web.test_generate import painted
from tests.web.test_models import take_in
from tests.web.test_runs import told

PAGES: Final = (
    "/",
    "/datasets",
    "/datasets/cats",
    "/datasets/cats/edit",
    "/datasets/cats/tools",
    "/datasets/cats/references",
    "/datasets/cats/references/item?item=a.png",
    "/datasets/cats/checks?trigger_word=ohwx",
    "/datasets/cats/duplicates",
    "/datasets/cats/arrange?q=tag:1girl",
    "/datasets/cats/arrange/split?amount=1",
    "/datasets/cats/training",
    "/datasets/cats/training/eye?trainer=sd_scripts",
    "/datasets/cats/figures",
    "/datasets/cats/history",
    "/datasets/cats/history/diff?before=1&after=1",
    "/datasets/cats/ledger",
    "/datasets/cats/picture?item=a.png",
    "/datasets/new",
    "/datasets/new?from=huggingface",
    "/datasets/cats/captioning",
    "/datasets/cats/captioning?with=joycaption",
    "/datasets/cats/captioning/tags",
    "/datasets/cats/captioning/review",
    "/datasets/cats/pairs",
    "/captioning",
    "/captioning/cats/downloads",
    "/captioning/train?recipe=portrait&dataset=cats",
    "/datasets/nothing-here",
    "/login",
    "/jobs/train",
    "/models",
    "/models/cat",
    "/models/import",
    "/loras",
    "/loras/inspect?lora=cat",
    "/loras/deep?lora=cat",
    "/loras/resize?lora=cat&rank=1",
    "/loras/resize",
    "/loras/merge?lora=cat&lora=dog&family=sd",
    "/loras/convert?lora=cat&family=sd",
    "/loras/scale?lora=cat",
    "/loras/edit?lora=cat&strip=paths",
    "/loras/compare?first=cat&second=dog",
    "/loras/use?lora=cat",
    "/loras/average?lora=cat&lora=dog&family=sd&step=1&step=2",
    "/loras/extract",
    "/loras/bake?lora=cat&base=sandbox",
    "/calculator?dataset=cats&by=steps&length=100",
    "/generate?job=generate",
    "/generate/history",
    "/bases",
    "/bases/two",
    "/bases/catalogue",
    "/settings",
    "/help?q=trigger",
    "/queue",
    "/models/new",
    "/settings/announcements",
)
"""Every page that people look at; whoever adds one adds it here."""


def faults(page: Any) -> list[str]:
    """What axe-core finds on a page, a line each."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['help']} ({', '.join(str(node['target']) for node in one['nodes'])})" for one in found]


@pytest.fixture
def visit(chromium: Any, server: Server, tmp_path: Path) -> Callable[[str, str, int], Any]:
    fill(server.studio, tmp_path / "pictures")
    told(server.studio)
    take_in(server.studio, tmp_path / "loras")
    take_in(server.studio, tmp_path / "loras", "dog", seed=2)
    server.studio.models.remove(take_in(server.studio, tmp_path / "loras", "gone", seed=1))
    job = painted(server.studio, 1, prompts=["a cat"], adapters=[{"name": "cat"}])
    server.studio.easel.save("good", server.studio.easel.again(job, 0), (job, 0))
    server.studio.queue.cancel(job)
    server.studio.bases.add(str(write_header(tmp_path / "two.safetensors", SD2)))

    def go(path: str, theme: str, width: int) -> Any:
        # The policy of our pages would keep axe out; nothing else is switched off.
        window = {"width": width, "height": 800}
        context = patient_context(chromium, color_scheme=theme, viewport=window, bypass_csp=True)
        page = context.new_page()
        page.goto(server.way_in())
        page.goto(server.address + path)
        return page

    return go


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(visit: Callable[[str, str, int], Any], theme: str) -> None:
    page = visit("/", theme, 1300)
    found = {}
    for path in PAGES:
        page.goto("/".join(page.url.split("/")[:3]) + path)
        if wrong := faults(page):
            found[path] = wrong
    assert found == {}


def test_no_page_is_wider_than_a_phone(visit: Callable[[str, str, int], Any]) -> None:
    page = visit("/", "light", 380)
    widths = {}
    for path in PAGES:
        page.goto("/".join(page.url.split("/")[:3]) + path)
        widths[path] = page.evaluate("document.documentElement.scrollWidth")
    assert {path: width for path, width in widths.items() if width > 380} == {}
