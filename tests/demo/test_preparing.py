"""The way from the ZIP to the version that is trained, with the real tagger."""

from __future__ import annotations

import pytest

from lorasmith.datasets.manifest import Operation
from lorasmith.demo import recipe as numbers
from lorasmith.demo.preparing import Prepared, _words, prepare
from lorasmith.demo.watch import Stopwatch
from lorasmith.studio import Studio


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Prepared]:
    """Two tours in one home."""
    folder = tmp_path_factory.mktemp("preparing")
    studio, recipe = Studio(folder / "home"), numbers.recipe_for(style=True)
    first, second = (prepare(studio, recipe, folder / "set.zip", Stopwatch(), lambda line: None) for _ in range(2))
    return first, second


def test_a_second_tour_begins_with_what_came(twice: tuple[Prepared, Prepared]) -> None:
    first, second = (prepared.curation for prepared in twice)
    assert twice[0].trained.number < twice[1].trained.number
    assert [row.words for row in first.versions] == [row.words for row in second.versions]
    assert [row.fingerprint for row in first.versions] == [row.fingerprint for row in second.versions]
    assert [group.left_out for group in first.groups] == [group.left_out for group in second.groups]
    assert first.before.score == second.before.score < first.after.score == second.after.score


def test_every_change_is_a_version_and_the_last_one_is_trained(twice: tuple[Prepared, Prepared]) -> None:
    versions = twice[0].curation.versions
    assert [row.pictures for row in versions] == [43, 42, 41, 40, 40, 40, 40]
    assert [row.is_trained for row in versions] == [False] * 6 + [True]
    assert len({row.fingerprint for row in versions}) == len(versions)
    assert versions[-1].fingerprint == twice[0].trained.fingerprint
    assert [row.words for row in versions[1:4]] == [
        "left out: IMG_0042.png (P8)",
        "left out: Screenshot 0001.jpg (D3)",
        "left out: selfie.jpg (D5)",
    ]


def test_an_edit_shows_what_it_then_does(twice: tuple[Prepared, Prepared]) -> None:
    prepared = twice[0]
    trained = {item.name: item.caption for item in prepared.trained.items}
    removed, added = prepared.curation.edits
    assert (removed.changed, removed.unchanged, added.changed) == (40, 0, 40)
    assert ("duskline", 0, 40) in added.tags
    for example in added.examples:
        assert "".join(text for kind, text in example.steps if kind != "removed") == trained[example.name]
        assert ("added", "duskline, ") in example.steps
    assert all(kind != "added" for example in removed.examples for kind, _ in example.steps)


def test_other_trainers_lay_the_turned_picture_on_its_side(twice: tuple[Prepared, Prepared]) -> None:
    eye = twice[0].curation.eye
    assert eye is not None
    assert eye.name == "phone upright.jpg"
    assert eye.meant.tobytes() != eye.seen.tobytes()
    assert "sd-scripts (kohya)" in eye.trainers
    assert "lorasmith" in eye.others


def test_a_repair_is_told_by_what_went() -> None:
    gone = Operation(name="leave_out", arguments={"items": ["a", "b"], "keep": ["a"], "finding": "D3"})
    assert _words(gone) == "left out: b (D3)"
    assert _words(Operation(name="add_trigger_word", arguments={"word": "zib"})) == "trigger word 'zib'"
