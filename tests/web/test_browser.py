"""A real browser before a real server."""

from __future__ import annotations

from typing import Any

from tests.web.conftest import Server, expect


def test_the_first_page_has_keys_palette_and_theme(browser_page: Any, server: Server) -> None:
    page = browser_page
    assert page.title() == "Workspace · lorasmith"
    page.keyboard.press("?")
    page.wait_for_selector("#shortcuts[open]")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.locator("#palette-query").fill("datasets")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{server.address}/datasets")
    before = page.locator("html").get_attribute("data-bs-theme")
    page.click("#theme")
    after = "light" if before == "dark" else "dark"
    expect(page.locator("html")).to_have_attribute("data-bs-theme", after)
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", after)
