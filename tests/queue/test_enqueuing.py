"""``Studio.enqueue``: what is written down, under which name, checked when it is submitted; the real worker once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lorasmith.errors import BaseError, ConfigError, DatasetError, EnvironmentProblem, InputError, JobError
from lorasmith.queue.dispatcher import Pace
from lorasmith.queue.records import QueuedJob
from lorasmith.queue.verbs import Placement
from lorasmith.studio import Studio
from tests.chaos.dispatching import command
from tests.stand_in import command as scripted
from tests.stand_in import tell_to_train, write_base, write_pictures

FAST = Pace(look=0.02, search=0.5, report=0.0, grace=60.0)


@pytest.fixture
def studio(home: Path, tmp_path: Path) -> Iterator[Studio]:
    made = Studio(home, worker=scripted)
    made.import_dataset(write_pictures(tmp_path / "pictures"), name="rex")
    yield made
    made.queue.close()


@pytest.fixture
def base(tmp_path: Path) -> str:
    return str(write_base(tmp_path / "tiny"))


def payload(studio: Studio, row: QueuedJob) -> dict[str, Any]:
    return studio.job(row.id).record().payload


def train(studio: Studio, base: str, **values: Any) -> QueuedJob:
    return studio.enqueue.train(
        "rex", {"base": base, "output_name": "rex", "max_train_steps": 8, "device": "cpu"} | values
    )


def run(studio: Studio) -> None:
    with studio.dispatcher(pace=FAST, lanes={"cpu": 1, "light": 2}) as dispatcher:
        dispatcher.run(until_idle=True)


def test_a_queued_training_is_frozen_and_filed_in_the_library(studio: Studio, base: str) -> None:
    tell_to_train(studio.home)
    row = train(studio, base)
    assert (row.state, row.kind, row.wants, row.output_name) == ("queued", "train", "cpu", "rex")
    config = payload(studio, row)["config"]
    assert config["max_train_steps"] == 8 and config["learning_rate" if "learning_rate" in config else "optimizer"]
    run(studio)
    done = studio.queue.get(row.id)
    assert done.state == "succeeded" and done.output == {"adapter": "rex"}
    assert studio.library.names() == ("rex",)


def test_no_two_adapters_ever_share_a_name(studio: Studio, base: str) -> None:
    tell_to_train(studio.home)
    names = [train(studio, base).output_name for _ in range(3)]
    assert names == ["rex", "rex-2", "rex-3"]
    said = [event for _, event in studio.job(studio.queue.list()[1].id).folder.read_events()]
    assert any("will be called 'rex-2'" in getattr(event, "message", "") for event in said)
    assert train(studio, base, output_name="REX").output_name == "REX-4", "a file system may not tell them apart"
    run(studio)
    assert train(studio, base).output_name == "rex-5", "one in the library is as taken as one on its way"


def test_what_would_be_refused_at_the_start_is_refused_now(studio: Studio, base: str, tmp_path: Path) -> None:
    enqueue = studio.enqueue
    with pytest.raises(ConfigError, match="No base"):
        enqueue.train("rex", {})
    with pytest.raises(EnvironmentProblem, match="no cuda device"):
        train(studio, base, device="cuda")
    with pytest.raises(DatasetError):
        enqueue.train("nobody", {"base": base})
    with pytest.raises(InputError, match="There is no"):
        enqueue.import_dataset(tmp_path / "nowhere")
    with pytest.raises(InputError, match="nothing to import"):
        enqueue.import_dataset([])
    with pytest.raises(ConfigError, match="no layout"):
        enqueue.export("rex", "nothing_like_it", tmp_path / "out")
    with pytest.raises(BaseError):
        enqueue.fetch_base("what is this?")
    with pytest.raises(ConfigError):
        enqueue.generate(base=base, prompts=[])
    picture = tmp_path / "picture.png"
    Image.new("RGB", (64, 64)).save(picture)
    with pytest.raises(ConfigError, match="does not edit pictures"):
        enqueue.generate(base=base, prompts=["a fox"], references=[str(picture)])
    with pytest.raises(ConfigError, match="frames is for clips"):
        enqueue.generate(base=base, prompts=["a fox"], frames=9)
    with pytest.raises(ConfigError, match="priority of 1000"):
        enqueue.import_dataset(tmp_path, placement=Placement(priority=1000))
    assert studio.queue.list() == () and studio.jobs() == ()


def test_a_clone_is_a_job_of_its_own_with_other_values(studio: Studio, base: str) -> None:
    first = train(studio, base)
    second = studio.enqueue.clone(first.id, {"max_train_steps": 20})
    assert (second.parent, second.output_name) == (first.id, "rex-2")
    one, other = payload(studio, first)["config"], payload(studio, second)["config"]
    assert {key for key in one if one[key] != other[key]} == {"max_train_steps", "output_name"}
    with pytest.raises(ConfigError):
        studio.enqueue.clone(first.id, {"no_such_key": 1})


def test_going_on_from_a_checkpoint_leaves_the_job_it_came_from_alone(studio: Studio, base: str) -> None:
    first = train(studio, base)
    place = studio.job(first.id).folder.path / "checkpoints" / "8"
    with pytest.raises(JobError, match="no checkpoint"):
        studio.enqueue.continue_from(first.id)
    place.mkdir(parents=True)
    (place / "state.json").write_text("{}")
    with pytest.raises(ConfigError, match="nothing is left to train"):
        studio.enqueue.continue_from(first.id)
    with pytest.raises(JobError, match=r"no checkpoint of step 3.*It has 8"):
        studio.enqueue.continue_from(first.id, 3)
    row = studio.enqueue.continue_from(first.id, changes={"max_train_steps": 16})
    copied = studio.job(row.id).folder.path / "checkpoints" / "8" / "state.json"
    assert copied.read_text() == "{}" and row.parent == first.id
    copied.write_text("changed")
    assert (place / "state.json").read_text() == "{}"


def test_another_kind_of_job_is_cloned_as_it_was(studio: Studio, tmp_path: Path) -> None:
    first = studio.enqueue.export("rex", "kohya", tmp_path / "out")
    second = studio.enqueue.clone(first.id)
    assert payload(studio, first) == payload(studio, second) and second.id != first.id
    with pytest.raises(ConfigError, match="no values to change"):
        studio.enqueue.clone(first.id, {"layout": "plain"})


def test_import_and_export_are_done_by_the_real_worker(home: Path, tmp_path: Path) -> None:
    studio = Studio(home)
    pictures = write_pictures(tmp_path / "mit Leerzeichen 猫")
    imported = studio.enqueue.import_dataset(pictures, "rex")
    run(studio)
    done = studio.queue.get(imported.id)
    assert done.output == {"dataset": "rex@1"}, done
    assert len(studio.dataset("rex").items) == 3
    exported = studio.enqueue.export("rex", "kohya", tmp_path / "out")
    bad = studio.enqueue.fetch_base(str(pictures / "notes.pdf"))
    run(studio)
    assert studio.queue.get(exported.id).output == {"folder": str(tmp_path / "out")}
    assert list((tmp_path / "out").rglob("*.png"))
    failed = studio.queue.get(bad.id)
    assert (failed.state, failed.failure, failed.attempt) == ("failed", "request", 1), failed
    assert studio.queue.examine() == ()
    studio.queue.close()


def test_captions_become_a_version_when_their_job_has_succeeded(studio: Studio, tmp_path: Path) -> None:
    row = studio.queue.submit(
        "caption",
        {"dataset": "rex@1", "captioner": "wd_tagger", "options": {}, "device": "cpu"},
        prepare=lambda folder: (folder / "commit.json").write_text(
            '{"existing": "replace", "onto": "head", "as_line": false}'
        ),
    )
    items = {item.name: {"caption": "a stand-in", "tags": []} for item in studio.dataset("rex").items}
    told = {"caption": {"script": [], "output": {"captions": items, "failures": {}, "complete": True}}}
    (studio.home / "stand_in.json").write_text(json.dumps(told))
    run(studio)
    done = studio.queue.get(row.id)
    assert done.state == "succeeded" and done.output == {"dataset": "rex@2"}, done
    assert {item.caption for item in studio.dataset("rex").items} == {"a stand-in"}


def test_without_the_extra_the_queue_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lorasmith.enqueuing.find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match="SQLAlchemy") as caught:
        _ = Studio(home, worker=command).queue
    assert "lorasmith[web]" in caught.value.hint
