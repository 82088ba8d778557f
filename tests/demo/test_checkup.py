"""What the tour finds in the sample archives, without any worker."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lorasmith.datasets.store import DatasetStore
from lorasmith.demo import recipe as numbers
from lorasmith.demo.checkup import check_up, find_copies, surprises
from lorasmith.demo.record import FindingRow
from lorasmith.studio import Studio


@pytest.mark.parametrize("style", [False, True])
def test_the_checks_find_what_was_put_into_the_archive_and_nothing_else_goes(style: bool, tmp_path: Path) -> None:
    recipe = numbers.recipe_for(style=style)
    archive = tmp_path / f"{recipe.name}.zip"
    members = recipe.write_zip(archive)
    studio = Studio(tmp_path / "home")
    came = studio.import_dataset(archive)
    lens = studio.curate.lens(base="sandbox", goal=recipe.goal)
    store = DatasetStore(studio.home)
    report, checkup = check_up(studio, came, lens, store.open_image)
    assert checkup.score == pytest.approx(sum(part.points for part in checkup.parts), abs=1)
    named = {finding.id: finding.items for finding in report.findings}
    for member in members:
        if member.finding:
            assert member.path.rpartition("/")[2] in named[member.finding]
    sharp = studio.curate.leave_out(came, named["P8"])
    copies = [name for group in find_copies(studio, sharp, store.open_image) for name in group.left_out]
    assert sorted(copies) == ["Screenshot 0001.jpg", "selfie.jpg"]
    clean = studio.curate.leave_out(sharp, copies)
    assert surprises(members, came, report.findings, clean) == []


def test_what_was_not_foreseen_is_an_error(tmp_path: Path) -> None:
    recipe = numbers.recipe_for(style=False)
    archive = tmp_path / "zib.zip"
    members = recipe.write_zip(archive)
    came = Studio(tmp_path / "home").import_dataset(archive)
    wrong = [replace(members[0], fate="left_out", rule="damaged"), *members[1:-1], replace(members[-1], finding="P9")]
    rows = surprises(wrong, came, (), came)
    assert all(isinstance(row, FindingRow) and row.severity == "error" for row in rows)
    said = " ".join(row.message for row in rows)
    assert "had to be left_out (damaged)" in said
    assert "had to be named by P9" in said
    assert "23 pictures are trained, and there had to be 19." in said
