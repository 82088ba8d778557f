"""What the tensors of a base leave open is asked, and the answer is kept and used."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lorasmith.bases import open_base
from lorasmith.bases.registry import BaseRegistry
from lorasmith.cli import run
from lorasmith.errors import BaseError, ConfigError
from lorasmith.shelf import Shelf
from lorasmith.studio import Studio
from tests.bases.test_opening import PROBE, write_header

SD2 = {PROBE: (320, 1024), "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3)}


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    (tmp_path / "weights").mkdir()
    file = write_header(tmp_path / "weights" / "modèle.safetensors", SD2)
    shelf = Studio(tmp_path / "home").bases
    shelf.add(str(file), name="second")
    return shelf


def test_the_answer_decides_how_the_base_is_opened(shelf: Shelf) -> None:
    record = shelf.get("second")
    assert len(record.questions) == 1
    with pytest.raises(BaseError, match="noise or velocity"):
        open_base("second", home=shelf.home)
    for choice, folder in (("v_prediction", "sd2"), ("epsilon", "sd2_base")):
        answered = shelf.answer("second", "prediction", choice)
        assert answered.questions == () and answered.answers == {"prediction": choice}
        for reference in ("second", record.path):  # a worker is given the path
            opened = open_base(reference, home=shelf.home)
            assert opened.config_folder is not None and opened.config_folder.name == folder
    assert shelf.questions("second")[0].answer == "epsilon"
    assert shelf.answer("second", "prediction", "").questions == record.questions
    with pytest.raises(BaseError, match="noise or velocity"):
        open_base("second", home=shelf.home)


def test_what_the_file_says_counts_before_an_answer(tmp_path: Path) -> None:
    shelf = Studio(tmp_path / "home").bases
    file = write_header(tmp_path / "said.safetensors", SD2, {"modelspec.prediction_type": "v"})
    shelf.add(str(file))
    registry = BaseRegistry(shelf.home)
    registry.answer("said", "prediction", "epsilon", ())
    opened = open_base("said", home=shelf.home)
    assert opened.config_folder is not None and opened.config_folder.name == "sd2"


def test_only_what_is_asked_can_be_answered_and_only_so(shelf: Shelf) -> None:
    with pytest.raises(BaseError, match="does not ask 'colour'") as refused:
        shelf.answer("second", "colour", "red")
    assert "prediction" in refused.value.hint
    with pytest.raises(ConfigError, match="'maybe' is no answer") as no_choice:
        shelf.answer("second", "prediction", "maybe")
    assert "v_prediction" in no_choice.value.hint
    with pytest.raises(BaseError, match="no base 'third'"):
        shelf.answer("third", "prediction", "epsilon")
    assert shelf.get("second").answers == {}


def test_records_without_answers_are_read(shelf: Shelf) -> None:
    file = shelf.home / "bases" / "second.base.json"
    raw = json.loads(file.read_text())
    del raw["answers"]
    file.write_text(json.dumps(raw))
    assert shelf.get("second").answers == {}
    file.write_text(json.dumps(raw | {"answers": ["no"]}))
    with pytest.raises(BaseError, match="damaged"):
        shelf.get("second")


def test_the_command_line_asks_and_answers(shelf: Shelf, capfd: pytest.CaptureFixture[str]) -> None:
    def say(*words: str) -> tuple[int, str]:
        code = run(["bases", *words, "--home", str(shelf.home)])
        return code, capfd.readouterr().out

    code, said = say("answer", "second")
    assert code == 0 and "prediction: " in said and "open (of epsilon, v_prediction)" in said
    code, said = say("answer", "second", "prediction", "v_prediction")
    assert code == 0 and "answered: v_prediction" in said
    assert "answered: prediction is v_prediction" in say("show", "second")[1]
    assert say("answer", "second", "prediction", "x")[0] == 2
    assert say("answer", "second", "prediction")[0] == 2
    assert "open (of" in say("answer", "second", "prediction", "--clear")[1]


def test_a_base_that_changed_is_not_answered_for(shelf: Shelf) -> None:
    record = shelf.get("second")
    shelf.answer("second", "prediction", "epsilon")
    BaseRegistry(shelf.home)._write(replace(record, stamps={"": (1, 1)}))
    with pytest.raises(BaseError, match="no longer what it was"):
        shelf.questions("second")
