"""What a job has said, gathered: figures by step, also where a job went back."""

from __future__ import annotations

from pathlib import Path

from lorasmith.chronicle import Chronicle, chronicle_of, config_difference, events_after
from lorasmith.events import Finished, Metric, Notice, Phase, Progress, Sample
from lorasmith.jobfolder import JobFolder


def test_figures_are_columns_of_equal_length() -> None:
    told = Chronicle()
    for event in (
        Metric(0, {"validation_loss": 3.0}),
        Metric(1, {"loss": 2.0}),
        Progress(1, 4, "steps", 5.0),
        Metric(2, {"loss": 1.0}),
        Metric(2, {"validation_loss": 2.5}),
    ):
        told.hear(event)
    assert told.steps == [0, 1, 2]
    assert told.figures == {
        "validation_loss": [3.0, None, 2.5],
        "loss": [None, 2.0, 1.0],
        "steps_per_second": [None, 5.0, None],
    }


def test_a_run_that_went_back_is_told_once() -> None:
    told = Chronicle()
    for step in (1, 2, 3, 4):
        told.hear(Metric(step, {"loss": float(step)}))
    told.hear(Metric(3, {"loss": 30.0}))
    assert (told.steps, told.figures["loss"]) == ([1, 2, 3], [1.0, 2.0, 30.0])


def test_phases_pictures_and_the_end(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    said = [
        Phase("loading", time=0.0),
        Phase("training", time=2.0),
        Progress(1, 2, time=3.0),
        Phase("sampling", time=4.0),
        Sample(1, "samples/a.png", "a", 1, time=5.0),
        Sample(1, "samples/b.png", "a", 1, time=5.0),
        Phase("training", time=6.0),
        Notice("look", time=6.5),
        Finished("succeeded", time=9.0),
    ]
    for event in said:
        folder.emit(event)
    told = chronicle_of(folder)
    assert told.seconds_by_phase() == {"loading": 2.0, "training": 5.0, "sampling": 2.0}
    assert told.samples_by_prompt()["a"][1].path == "samples/b.png"
    assert told.finished is not None and told.notices[0].message == "look" and told.phase == "training"
    assert list(events_after(folder, told.offset)) == []
    folder.emit(Phase("loading", time=10.0))
    later = [event for _, event in events_after(folder, told.offset)]
    assert [type(event) for event in later] == [Phase]
    told.hear(later[0])
    assert told.finished is None


def test_differences_are_named_by_their_keys() -> None:
    before, after = {"a": {"b": 1, "c": [1]}, "d": 2}, {"a": {"b": 1, "c": [2]}, "e": None, "f": 0}
    assert config_difference(before, after) == [("a.c", [1], [2]), ("d", 2, None), ("f", None, 0)]
    assert config_difference(before, before) == []
