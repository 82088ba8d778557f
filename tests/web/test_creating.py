"""The wizard: pictures and a few answers become a dataset and an ordinary training."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lorasmith.config import TrainConfig
from tests.web.conftest import Door, Server
from tests.web.trainable import dots

ANSWERS = {"name": "My Zib", "kind": "object", "difficulty": "beginner", "epochs": "1", "base": "native:sandbox"}


def picture(seed: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (128, 128, 3), dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def create(door: Door, files: list[tuple[str, bytes]], **changes: str) -> Any:
    sent = [("pictures", (name, data, "image/png")) for name, data in files]
    return door.client.post("/models/new", data={**ANSWERS, **changes}, files=sent or None)


def config_of(door: Door, answer: Any) -> TrainConfig:
    job = answer.headers["location"].rpartition("/")[2]
    return TrainConfig.model_validate(door.studio.queue.job(job).record().payload["config"])


def test_the_questions_are_those_that_were_promised(door: Door) -> None:
    text = door.client.get("/models/new").text
    for word in ("Person/Character", "Style", "Object", "Beginner", "Standard", "Expert", "30–40 min", "60–120 min",
                 "512 × 512", "768 × 768", "1024 × 1024", "Public", "Private", "SDXL 1.0 (recommended)",
                 "Stable Diffusion 1.5", "FLUX.1 dev", "not on this machine", "not measured yet"):  # fmt: skip
        assert word in text, word
    assert 'value="native:sandbox" checked' in text.replace("  ", " ")


def test_pictures_become_a_dataset_and_a_run(door: Door) -> None:
    names = ["a.png", "a.png", "../../b c.png", "猫.png"]
    answer = create(door, [(name, picture(n)) for n, name in enumerate(names)], description="A mascot.", public="yes")
    assert answer.status_code == 303
    config = config_of(door, answer)
    assert (config.output_name, config.trigger_word, config.max_train_steps) == ("My Zib", "myzib", 4 * 20)
    assert config.adapter.rank == 8 and config.sample.prompts == (
        "a photo of [trigger] on a table", "a photo of [trigger] in a garden",
    )  # fmt: skip
    items = door.studio.dataset(config.dataset).items
    assert len(items) == 4 and all(item.caption == "myzib" for item in items)
    job = door.studio.queue.list()[0]
    about = json.loads((door.studio.queue.job(job.id).folder.path / "about.json").read_text())
    assert about == {"name": "My Zib", "description": "A mascot.", "public": True, "kind": "object"}
    assert not list((door.studio.home / "arriving").iterdir())
    create(door, [("a.png", picture(9))])  # the same name again: nothing is replaced
    assert len(door.studio.datasets()) == 2 and len(items) == 4


def uploaded(door: Door, files: list[tuple[str, bytes]]) -> str:
    uploads = door.studio.uploads
    actor = door.sessions.actor(next(iter(door.client.cookies.values())))
    assert actor is not None
    ids = []
    for name, data in files:
        id = uploads.create(name, len(data), owner=actor.name, path=name)
        uploads.append(id, 0, io.BytesIO(data))
        ids.append(id)
    return json.dumps(ids)


def test_pictures_that_were_sent_before_become_a_dataset_too(door: Door) -> None:
    sent = uploaded(door, [(f"{n}.png", picture(n)) for n in range(3)])
    answer = create(door, [], uploads=sent)
    assert answer.status_code == 303
    assert len(door.studio.dataset(config_of(door, answer).dataset).items) == 3
    left = [path.name for path in door.studio.uploads.folder.iterdir() if path.is_dir()]
    assert left == []


@pytest.mark.parametrize("text", ["nonsense", "[1]", '["unknown"]', '{"a": 1}'])
def test_uploads_that_are_none_are_refused_beside_the_answers(door: Door, text: str) -> None:
    answer = create(door, [], uploads=text)
    assert answer.status_code == 422 and "My Zib" in answer.text
    assert not door.studio.datasets()


def test_captions_come_first_and_the_training_follows(door: Door, tmp_path: Path) -> None:
    dots(door.studio, tmp_path / "pictures", "set")
    job = create(door, [], dataset="set", captioner="wd_tagger").headers["location"].rpartition("/")[2]
    row = door.studio.queue.get(job)
    assert row.kind == "caption"
    assert door.studio.enqueue.sequel(door.studio.queue.job(job)) == ["its captions edited", "the training"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": " "}, "has no name"),
        ({"base": "native:black-forest-labs/FLUX.1-dev"}, "not on this machine"),
        ({"base": "native:HiDream-ai/HiDream-I1-Full"}, "cannot be trained here yet"),
        ({"base": "nothing"}, "No base model is chosen"),
        ({"captioner": "nobody"}, "is no captioner that is ready"),
        ({}, "There are no pictures"),
        ({"dataset": "nothing"}, "There is no dataset"),
        ({"name": "<img src=x onerror=alert(1)>", "dataset": "nothing"}, "There is no dataset"),
    ],
)
def test_what_cannot_be_is_said_beside_the_answers(door: Door, changes: dict[str, str], said: str) -> None:
    answer = create(door, [], **changes)
    assert answer.status_code == 422 and said in answer.text and 'id="create"' in answer.text
    assert "<img src=x" not in answer.text and door.studio.queue.list() == ()


def test_files_that_are_no_pictures_leave_nothing_behind(door: Door) -> None:
    answer = create(door, [("a.png", b"<svg onload=alert(1)>"), ("b.html", b"<script>")])
    assert answer.status_code == 422 and door.studio.datasets() == {}
    assert not list((door.studio.home / "arriving").iterdir())
    assert create(door, [], epochs="0").status_code == 422


def test_estimates_follow_the_answers(door: Door) -> None:
    text = door.client.post("/models/new/estimate", data={**ANSWERS, "count": "10", "epochs": "2"}).text
    assert "400" in text and "500" in text and "600" in text


def test_the_browsers_own_way_back_loses_nothing(browser_page: Any, server: Server) -> None:
    page = browser_page
    page.goto(f"{server.address}/models/new")
    page.fill("#name", "Walked")
    page.click("#step-next")
    page.wait_for_selector("#steps [aria-current=step]:has-text('Pictures')")
    page.evaluate("history.back()")
    page.wait_for_selector("#steps [aria-current=step]:has-text('About it')")
    assert page.input_value("#name") == "Walked"
    page.evaluate("history.forward()")
    page.wait_for_selector("#steps [aria-current=step]:has-text('Pictures')")
    page.click("#step-back")
    page.wait_for_selector("#steps [aria-current=step]:has-text('About it')")
    assert page.input_value("#name") == "Walked"
