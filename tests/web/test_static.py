"""What is served from the package: libraries as released, templates that escape, and how much a page weighs."""

from __future__ import annotations

import gzip
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lorasmith.errors import EnvironmentProblem
from lorasmith.web import vendoring
from lorasmith.web.rendering import ROOT, ago, duration, environment
from lorasmith.web.serving import hosts_of, refuse_open_address


def test_every_library_is_the_released_one() -> None:
    assert vendoring.check() == []


def test_a_changed_missing_or_further_file_is_found(tmp_path: Path) -> None:
    folder = shutil.copytree(vendoring.FOLDER, tmp_path / "vendor")
    script = folder / vendoring.address("htmx.min.js").removeprefix("vendor/")
    script.write_bytes(script.read_bytes() + b" ")
    (folder / vendoring.address("uPlot.min.css").removeprefix("vendor/")).unlink()
    (folder / "more.js").write_text("")
    wrong = vendoring.check(folder)
    assert len(wrong) == 3
    assert "htmx" in wrong[0] and "uPlot.min.css is missing" in wrong[1] and wrong[2].startswith("more.js")


def test_no_template_switches_escaping_off_or_holds_a_script_or_style() -> None:
    for file in (ROOT / "templates").rglob("*.html"):
        text = file.read_text("utf-8")
        assert "|safe" not in text.replace(" ", "") and "autoescape" not in text, file
        assert not re.search(r"\bon\w+=|\bstyle=|<style|javascript:|hx-on", text), file
        assert not re.search(r"<script(?![^>]*\bsrc=)", text), file
        assert "//" not in re.sub(
            r"https?://[\w.]*(?=[\w/.-]*</|[^\"]*<)", "", " ".join(re.findall(r'(?:src|href)="([^"]*)"', text))
        ), file
        environment().get_template(file.relative_to(ROOT / "templates").as_posix())


def test_no_page_loads_more_than_a_quarter_megabyte() -> None:
    files = [
        *ROOT.glob("static/*.js"),
        *ROOT.glob("static/*.css"),
        *vendoring.FOLDER.rglob("*.js"),
        *vendoring.FOLDER.rglob("*.css"),
    ]
    weight = sum(len(gzip.compress(file.read_bytes(), 9)) for file in files)
    assert weight <= 250_000, f"all scripts and styles together take {weight:,} bytes, packed"


def test_times_in_words() -> None:
    now = datetime(2026, 3, 10, 12, tzinfo=UTC)
    said = [ago(now - timedelta(seconds=s), now) for s in (3, 60, 300, 3500, 4000, 7300, 90_000, 400_000)]
    assert said[:5] == ["just now", "1 minute ago", "5 minutes ago", "58 minutes ago", "1 hour ago"]
    assert said[5:] == ["2 hours ago", "yesterday", "2026-03-05"]
    assert [duration(s) for s in (None, 3, 89, 150, 3600, 7500)] == [
        "–",
        "3 s",
        "89 s",
        "2 min",
        "1 h 0 min",
        "2 h 5 min",
    ]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org"])
def test_an_address_that_others_reach_is_refused(host: str) -> None:
    with pytest.raises(EnvironmentProblem, match="can be reached by others"):
        refuse_open_address(host)


def test_loopback_is_served_under_all_its_names() -> None:
    for host in ("127.0.0.1", "::1", "localhost", "127.0.0.9"):
        refuse_open_address(host)
    assert hosts_of("::1", 7860) == {"127.0.0.1:7860", "localhost:7860", "[::1]:7860"}
