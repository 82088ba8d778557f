"""The journey: the whole tour on the sandbox with real workers, quick."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lorasmith.demo.tour import run
from lorasmith.studio import Studio


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Studio, list[str]]:
    folder = tmp_path_factory.mktemp("tour ü")
    said: list[str] = []
    studio = Studio(folder / "home")
    return run(studio, folder / "out", quick=True, say=said.append), studio, said


def test_the_page_and_the_figures_are_there(tour: tuple[Path, Studio, list[str]]) -> None:
    report, _, _ = tour
    page = report.read_text(encoding="utf-8")
    figures = json.loads((report.parent / "tour.json").read_text(encoding="utf-8"))
    assert "Load certificate" in page
    assert figures["certificate_passed"] is True
    assert figures["verdict"]["base"]["total"] == figures["verdict"]["with_trigger"]["total"] > 0
    assert figures["peak_memory_bytes"] > 0
    assert [*figures["stations"]] == ["Import", "Caption", "Check", "Train and certify", "Generate", "Measure"]


def test_the_worker_was_killed_and_went_on(tour: tuple[Path, Studio, list[str]]) -> None:
    report, studio, said = tour
    figures = json.loads((report.parent / "tour.json").read_text(encoding="utf-8"))
    assert "killed (SIGKILL), resumed from step" in figures["marks"][0][1]
    assert any("killed the worker" in line for line in said)
    job = next(job for job in studio.jobs() if job.record().kind == "train")
    assert job.state() == "succeeded"


def test_every_file_of_the_zip_is_in_the_page(tour: tuple[Path, Studio, list[str]]) -> None:
    report, studio, _ = tour
    page = report.read_text(encoding="utf-8")
    version = studio.dataset("zib")
    assert version.parent is not None
    assert all(item.caption.startswith("zib") for item in version.items)
    assert {fate.fate for fate in version.ledger} == {"taken", "converted", "left_out"}
    assert "had to be" not in page  # every fate is the one that the maker of the ZIP knows
    for fate in version.ledger:
        assert fate.path.rpartition("/")[2].replace("&", "&amp;").replace("'", "&#x27;") in page


def test_few_processes_do_the_work(tour: tuple[Path, Studio, list[str]]) -> None:
    _, studio, _ = tour
    assert sorted(job.record().kind for job in studio.jobs()) == ["caption", "generate", "train"]
