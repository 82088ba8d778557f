"""The workspace: what it offers, why it does not start, and that what it starts is what was asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lorasmith.bases.detection import registered_families
from lorasmith.config import TrainConfig
from lorasmith.events import Progress
from lorasmith.families import lacking
from lorasmith.fields import fields_of
from tests.web.conftest import Door
from tests.web.trainable import FORM, dots

PAYLOAD = "<img src=x onerror=alert(1)>"


def ready(door: Door, **changes: str) -> str:
    return door.client.post("/workspace/readiness", data={**FORM, **changes}).text


def queued(door: Door) -> list[dict[str, object]]:
    return [door.studio.queue.job(row.id).record().payload for row in door.studio.queue.list()]


def test_with_nothing_there_the_sandbox_is_one_click_away(door: Door) -> None:
    text = door.client.get("/").text
    assert "Try it with the sandbox" in text and 'action="/sandbox"' in text and "/datasets/new" in text
    assert door.client.post("/sandbox", data={"steps": "3"}).status_code == 303
    job = door.studio.queue.list()[0]
    assert job.kind == "import" and job.state == "queued"
    assert door.studio.enqueue.sequel(door.studio.queue.job(job.id)) == [
        "captions", "its captions edited", "its captions edited", "the training", "pictures with it",
    ]  # fmt: skip
    assert "Try it with the sandbox" not in door.client.get("/").text
    assert door.client.post("/sandbox", data={"steps": "3"}).status_code == 303
    assert [row.title for row in door.studio.queue.list()] == ["sandbox", "sandbox-2"]
    assert door.client.post("/sandbox", data={"steps": "0"}).status_code == 422


def test_an_impossible_number_takes_back_what_was_foreseen(door: Door, tmp_path: Path) -> None:
    dots(door.studio, tmp_path / "dots")
    whole = ready(door, dataset="dots").partition('data-part="plan"')[2]
    assert "<dt>steps</dt>" in whole
    plan = ready(door, dataset="dots", **{"adapter.rank": "5000"}).partition('data-part="plan"')[2]
    assert "Nothing can be foreseen yet" in plan and "<dt>steps</dt>" not in plan and "less than" in plan


def test_reasons_are_a_list_and_each_leads_to_its_cure(door: Door, tmp_path: Path) -> None:
    text = ready(door, dataset="", max_train_steps="0", **{"adapter.rank": "5000"})
    assert text.count("<li>") == 3 and "disabled" in text
    assert "/datasets/new" in text and 'href="#max_train_steps"' in text and 'href="#adapter-rank"' in text
    assert "There is no dataset" in ready(door, dataset="nothing")
    missing = ready(door, model="native:HiDream-ai/HiDream-I1-Full", dataset="")
    assert "cannot be trained here yet" in missing and "/bases" in missing
    dots(door.studio, tmp_path / "pictures")
    text = ready(door)
    assert "disabled" not in text and "What will happen" in text and "Measure two steps" in text
    assert "disabled" in ready(door, **{"sample.prompts": "a [trigger]"}, trigger_word="")
    assert "prodigy finds its own step size" in ready(
        door, **{"optimizer.name": "prodigy", "optimizer.learning_rate": "0.0001"}
    )


def test_what_is_refused_is_not_started(door: Door, tmp_path: Path) -> None:
    answer = door.client.post("/train", data={**FORM})
    assert answer.status_code == 422 and "There is no dataset" in answer.text
    dots(door.studio, tmp_path / "pictures")
    for bad in (
        {"max_train_steps": "many"},
        {"optimizer.learning_rate": "-1"},
        {"output_name": "a/b"},
        {"model": PAYLOAD},
    ):
        answer = door.client.post("/train", data={**FORM, **bad})
        assert answer.status_code == 422 and PAYLOAD not in answer.text, bad
    assert queued(door) == []


def test_a_start_queues_what_the_form_says(door: Door, tmp_path: Path) -> None:
    dots(door.studio, tmp_path / "pictures")
    answer = door.client.post(
        "/train", data={**FORM, "sample.prompts": "a [trigger]\n\nb, c", "data.flip.switch": "1", "data.flip": "on"}
    )
    assert answer.status_code == 303 and answer.headers["location"].startswith("/?dataset=dots&began=")
    (payload,) = queued(door)
    config = TrainConfig.model_validate(payload["config"])
    assert (config.max_train_steps, config.adapter.rank, config.trigger_word) == (4, 2, "zib")
    assert config.sample.prompts == ("a [trigger]", "b, c") and config.data.flip and config.dataset == "dots@1"
    assert (
        config.adapter.targets == "attention" and config.data.resolution == 128
    )  # the base's own, which the form left empty
    assert "dots" in door.client.get("/workspace/jobs").text


def test_the_expert_form_shows_all_that_the_trainer_uses(door: Door) -> None:
    text = door.client.get("/", params={"form": "expert"}).text
    simple = door.client.get("/").text
    means_nothing = lacking(registered_families()["sd"])
    keys = {field.key for field in fields_of(TrainConfig) if field.key not in ("base", "dataset")}
    assert {key for key in keys if f'name="{key}"' not in text} == set(means_nothing)
    assert 'name="optimizer.beta1"' not in simple and 'name="max_train_steps"' in simple
    assert 'placeholder="1500"' in simple  # what the family begins with


@pytest.mark.parametrize(
    ("family", "there", "gone"),
    [
        ("sd", ("adapter.text_encoder", "objective.min_snr_gamma"), ("objective.timestep_shift", "data.frames")),
        ("flux", ("objective.guidance", "objective.timestep_shift"), ("objective.min_snr_gamma", "data.frames")),
        ("wan", ("data.frames", "data.fps", "sample.frames"), ("objective.guidance", "adapter.text_encoder")),
        ("sdxl", ("adapter.text_encoder",), ("data.reference_resolution", "objective.loss_weighting")),
    ],
)
def test_the_form_follows_the_family(door: Door, family: str, there: tuple[str, ...], gone: tuple[str, ...]) -> None:
    """What only some families have is in the usual form of those, and in no form of the others."""
    offer = door.studio.workbench.offer()
    choice = next(one for one in offer.choices if one.family == family)
    for form in ("", "expert"):
        text = door.client.get("/", params={"model": choice.key, "form": form}).text
        assert [key for key in there if f'name="{key}"' not in text] == []
        assert [key for key in gone if f'name="{key}"' in text] == []
    set_anyway = door.client.get("/", params={"model": choice.key, gone[0]: "3"}).text
    assert f'name="{gone[0]}"' in set_anyway, "what was set stays to be seen, and is refused"


def test_a_field_that_the_trainer_ignores_is_not_there(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    from lorasmith.trainers.native import Native

    used = Native().honours() - {"adapter.rank", "optimizer.beta1"}
    monkeypatch.setattr(Native, "honours", lambda self: used)
    text = door.client.get("/", params={"form": "expert"}).text
    assert 'name="adapter.rank"' not in text and 'name="optimizer.beta1"' not in text and 'name="seed"' in text


def test_a_job_can_be_gone_on_from(door: Door, tmp_path: Path) -> None:
    dots(door.studio, tmp_path / "pictures")
    door.client.post("/train", data={**FORM, "adapter.dropout": "0.25"})
    job = door.studio.queue.list()[0]
    text = door.client.get("/", params={"from": job.id, "form": "expert"}).text
    assert 'name="max_train_steps" value="4"' in text and 'name="adapter.dropout" value="0.25"' in text
    assert door.client.get("/", params={"from": "nothing"}).status_code == 404


def test_time_is_what_was_measured_here(door: Door, tmp_path: Path) -> None:
    dots(door.studio, tmp_path / "pictures")
    assert "not measured" in ready(door)
    job = door.studio.train("dots", {"base": "sandbox", "max_train_steps": 9, "adapter.rank": 2}, start=False)
    job.folder.emit(Progress(9, 9, "steps", 0.5))
    (job.folder.path / "start.json").write_text("{}")
    (job.folder.path / "result.json").write_text(json.dumps({"outcome": "succeeded"}))
    door.studio.queue.index(job)
    text = ready(door)
    assert "8 s" in text and "2 s per step" in text and job.id in text  # four steps of two seconds
    assert "with other settings" not in text and "with other settings" in ready(door, train_batch_size="2")


def test_a_rehearsal_is_a_job(door: Door, tmp_path: Path) -> None:
    dots(door.studio, tmp_path / "pictures")
    assert door.client.post("/rehearse", data=FORM).status_code == 303
    assert queued(door)[0]["rehearse"] is True


def test_strangers_text_is_text(door: Door, tmp_path: Path) -> None:
    dots(door.studio, tmp_path / "pictures")
    door.client.post("/train", data={**FORM, "trigger_word": PAYLOAD})
    for path in ("/", f"/?trigger_word={PAYLOAD}&output_name={PAYLOAD}&began={PAYLOAD}&dataset={PAYLOAD}", "/queue"):
        assert PAYLOAD not in door.client.get(path).text
