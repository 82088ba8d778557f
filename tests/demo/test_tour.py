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
    before_training = ["Import", "Check", "Leave out", "Caption", "Edit captions", "Check again"]
    assert [*figures["stations"]] == [*before_training, "Train and certify", "Generate", "Measure"]


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
    assert "had to be" not in page  # every fate and finding is the one that the maker of the ZIP knows
    for fate in version.ledger:
        assert fate.path.rpartition("/")[2].replace("&", "&amp;").replace("'", "&#x27;") in page


def test_the_figures_tell_what_was_done_to_the_dataset(tour: tuple[Path, Studio, list[str]]) -> None:
    report, studio, _ = tour
    figures = json.loads((report.parent / "tour.json").read_text(encoding="utf-8"))["dataset"]
    assert figures["health"]["after"] > figures["health"]["before"] + 20
    assert {"C1", "C5", "D3", "D5", "P8"} <= {*figures["findings"]["before"]}
    assert not {"C1", "C5", "D5", "P8"} & {*figures["findings"]["after"]}
    assert [edit["changed"] for edit in figures["edits"]] == [20, 20]
    assert "sd-scripts (kohya)" in figures["seen_on_its_side_by"]
    assert [version["pictures"] for version in figures["versions"]] == [23, 22, 21, 20, 20, 20, 20]
    assert figures["undo_is_exact"] is True
    assert figures["versions"][-1]["fingerprint"] == studio.dataset("zib").fingerprint


def test_copies_go_and_pictures_of_other_colours_are_none(tour: tuple[Path, Studio, list[str]]) -> None:
    report, studio, _ = tour
    groups = json.loads((report.parent / "tour.json").read_text(encoding="utf-8"))["dataset"]["groups"]
    gone = [name for group in groups for name in group["left_out"]]
    assert sorted(gone) == ["Screenshot 0001.jpg", "selfie.jpg"]
    names = {item.name for item in studio.dataset("zib").items}
    assert not names & {*gone, "IMG_0042.png"}
    assert all(group["left_out"] for group in groups)  # one shape on other grounds makes no group any more
    assert len(names) == 20


def test_few_processes_do_the_work(tour: tuple[Path, Studio, list[str]]) -> None:
    _, studio, _ = tour
    assert sorted(job.record().kind for job in studio.jobs()) == ["caption", "generate", "train"]
