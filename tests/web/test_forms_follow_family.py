"""Workspace and wizard ask for what the chosen base needs, hide what means nothing to it, and show a way forward."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorasmith.config import TrainConfig
from tests.datasets.test_pairs import put
from tests.families.conftest import *  # noqa: F403 (the tiny bases)
from tests.web.conftest import Door, Server, expect
from tests.web.test_axe import faults

Tiny = Callable[[str], Path]


@pytest.fixture
def rooms(door: Door, tmp_path: Path) -> Door:
    put(tmp_path / "in", a=1, b=2)
    door.studio.import_dataset(tmp_path / "in", "rooms")
    return door


def names(door: Door, base: str, form: str = "") -> str:
    return door.client.get("/", params={"model": f"native:{base}", "dataset": "rooms", "form": form}).text


def test_what_a_family_takes(door: Door) -> None:
    workbench = door.studio.workbench
    assert workbench.takes("flux_kontext").most_references == 1 and workbench.takes("wan").clips
    assert not workbench.takes("flux").most_references and not workbench.takes("nobody knows it").clips


def test_a_base_that_edits_asks_for_pairs_and_says_where_they_are_given(
    rooms: Door, tiny: Tiny, tmp_path: Path
) -> None:
    shutil.copytree(tiny("flux_kontext"), tmp_path / "kontext")
    rooms.studio.bases.add(str(tmp_path / "kontext"), name="kontext")
    base = "kontext"
    page = names(rooms, base)
    assert 'name="data.reference_resolution"' in page and 'name="data.frames"' not in page
    assert "it takes one reference for each" in page and "/datasets/rooms/references" in page and "2 have none" in page
    form = {"model": f"native:{base}", "dataset": "rooms", "max_train_steps": "2"}
    ready = rooms.client.post("/workspace/readiness", data=form).text
    assert "no reference picture" in ready and "“References” on the dataset" in ready
    assert "/datasets/rooms/references" in ready and "disabled" in ready
    put(tmp_path / "before", a=11, b=12)
    rooms.studio.curate.pairs.give("rooms", tmp_path / "before")
    assert "All have theirs" in names(rooms, base)
    ready = rooms.client.post("/workspace/readiness", data=form).text
    assert "no reference picture" not in ready and "What will happen" in ready


def test_a_base_of_pictures_hides_what_others_need(rooms: Door) -> None:
    page = names(rooms, "sandbox", "expert")
    for key in ("data.reference_resolution", "data.frames", "data.fps", "data.cut", "data.first_frame_conditioning"):
        assert f'name="{key}"' not in page, key
    assert 'name="data.caption_dropout"' in page and "takes one reference" not in page


@pytest.fixture
def bases(rooms: Door, tiny: Tiny, tmp_path: Path) -> Door:
    for name in ("flux_kontext", "wan", "flux", "flux schnell"):
        shutil.copytree(tiny(name), tmp_path / name)
        rooms.studio.bases.add(str(tmp_path / name), name=name.replace(" ", "-"))
    return rooms


ASKED = {"name": "Zib", "difficulty": "beginner", "epochs": "1"}


def options(door: Door, base: str, **answers: str) -> str:
    return door.client.post("/models/new/options", data={**ASKED, "base": f"native:{base}", **answers}).text


def test_the_wizard_asks_what_the_model_has_and_nothing_else(bases: Door) -> None:
    """The options are those that the workspace shows as the model's own, with the same defaults."""
    workbench = bases.studio.workbench
    for base in ("sandbox", "flux", "flux-schnell", "wan", "flux_kontext"):
        choice = workbench.offer().get(base)
        assert choice is not None
        lacks, own = workbench.particular(choice)
        part = options(bases, base)
        assert own and all(f'name="{key}"' in part for key in own), base
        assert not any(f'name="{key}"' in part for key in lacks), base
        assert all(f'name="{key}"' in names(bases, base) for key in own), base
    assert 'name="objective.guidance"' in options(bases, "flux") and 'name="data.frames"' in options(bases, "wan")
    assert 'placeholder="33"' not in options(bases, "flux") and "512 × 512" in options(bases, "wan")
    page = bases.client.get("/models/new").text
    assert 'name="objective.min_snr_gamma"' in page and 'name="objective.timestep_shift"' not in page
    assert options(bases, "nothing like it").strip() == ""


def test_what_is_set_of_a_model_reaches_its_run(bases: Door) -> None:
    asked = {**ASKED, "dataset": "rooms", "base": "native:flux"}
    answer = bases.client.post(
        "/models/new", data={**asked, "objective.guidance": "2.5", "objective.timestep_shift": ""}
    )
    assert answer.status_code == 303
    job = answer.headers["location"].rpartition("/")[2]
    config = TrainConfig.model_validate(bases.studio.queue.job(job).record().payload["config"])
    assert config.objective.guidance == 2.5 and config.objective.timestep_shift is None


def test_options_of_another_model_are_not_passed_over(bases: Door) -> None:
    """Without scripts the form still holds the options of the model that was chosen before."""
    asked = {**ASKED, "dataset": "rooms", "base": "native:sandbox", "objective.guidance": "2.5"}
    answer = bases.client.post("/models/new", data=asked)
    assert answer.status_code == 422 and "does not ask objective.guidance of Sandbox" in answer.text
    assert 'name="objective.min_snr_gamma"' in answer.text and 'name="objective.guidance"' not in answer.text
    assert bases.studio.queue.list() == ()
    again = bases.client.post("/models/new/again", data={**asked, "name": "<b>Zib"})
    assert again.status_code == 200 and "&lt;b&gt;Zib" in again.text and 'name="objective.guidance"' not in again.text
    wrong = bases.client.post("/models/new", data={**asked, "base": "native:flux", "objective.guidance": "<i>x"})
    assert wrong.status_code == 422 and 'value="&lt;i&gt;x"' in wrong.text and bases.studio.queue.list() == ()
    for key in ("adapter.rank", "export.dtype"):  # asked elsewhere, or not at all
        answer = bases.client.post("/models/new", data={**ASKED, "dataset": "rooms", "base": "native:flux", key: "1"})
        assert answer.status_code == 422 and key in answer.text


def test_the_wizard_says_where_a_model_that_edits_is_given_its_references(bases: Door, tmp_path: Path) -> None:
    assert "reference" not in options(bases, "flux", dataset="rooms").replace("data.reference_resolution", "")
    assert "Import the pictures as a dataset" in options(bases, "flux_kontext")
    told = options(bases, "flux_kontext", dataset="rooms")
    assert "it takes one reference for each" in told and "/datasets/rooms/references?show=none" in told
    asked = {**ASKED, "base": "native:flux_kontext"}
    files = [("pictures", ("a.png", (tmp_path / "in" / "a.png").read_bytes(), "image/png"))]
    answer = bases.client.post("/models/new", data=asked, files=files)
    assert answer.status_code == 422 and "no reference picture" in answer.text
    assert "/datasets/Zib/references?show=none" in answer.text  # the pictures are kept, and are given them there
    put(tmp_path / "before", a=11, b=12)
    bases.studio.curate.pairs.give("rooms", tmp_path / "before")
    assert "All have theirs" in options(bases, "flux_kontext", dataset="rooms")
    assert bases.client.post("/models/new", data={**asked, "dataset": "rooms"}).status_code == 303


def test_another_model_changes_the_wizards_options(
    browser_page: Any, server: Server, tiny: Tiny, tmp_path: Path
) -> None:
    """In a browser: options follow the choice, the review says what was set, and nothing is too wide for a phone."""
    shutil.copytree(tiny("flux_kontext"), tmp_path / "kontext")
    server.studio.bases.add(str(tmp_path / "kontext"), name="kontext")
    page = browser_page
    page.set_viewport_size({"width": 380, "height": 800})
    page.goto(f"{server.address}/models/new")
    page.fill("#name", "Walked")
    page.click("#step-next")
    page.click("#step-next")
    expect(page.locator("#objective-min_snr_gamma")).to_have_count(1)
    page.check('input[value="native:kontext"]')
    expect(page.locator("#objective-guidance")).to_have_count(1)
    expect(page.locator("#objective-min_snr_gamma")).to_have_count(0)
    expect(page.locator("#options")).to_contain_text("it takes one reference for each")
    expect(page.locator("#resolution option").first).to_contain_text("1024 × 1024")
    expect(page.locator("#objective-guidance")).to_be_hidden()  # folded away until somebody wants it
    page.click("#particular summary")
    page.fill("#objective-timestep_shift", "2.5")
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    page.click("#step-next")
    expect(page.locator("#review")).to_contain_text("Timestep shift")
    expect(page.locator("#review")).to_contain_text("2.5")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_the_wizards_options(
    chromium: Any, server: Server, tiny: Tiny, tmp_path: Path, theme: str
) -> None:
    shutil.copytree(tiny("flux_kontext"), tmp_path / "kontext")
    server.studio.bases.add(str(tmp_path / "kontext"), name="kontext")
    context = chromium.new_context(color_scheme=theme, viewport={"width": 380, "height": 800}, bypass_csp=True)
    page = context.new_page()
    page.goto(server.way_in())
    page.goto(f"{server.address}/models/new")
    page.fill("#name", "Walked")
    page.click("#step-next")
    page.click("#step-next")
    page.check('input[value="native:kontext"]')
    expect(page.locator("#objective-guidance")).to_have_count(1)
    page.click("#particular summary")
    assert faults(page) == []
    context.close()
