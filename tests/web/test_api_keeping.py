"""Secrets go in and never come out; consents; tags that were unsure; files of a run; a dataset as a ZIP."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest

from lorasmith.credentials import Credentials
from lorasmith.events import Sample
from lorasmith.fetching import Consents
from lorasmith.queue.verbs import Placement
from tests.web.conftest import Door
from tests.web.security.team import make_team, pictures

JSON = {"accept": "application/json"}
CANARY = "canary-5e1d0c5a9b7f4e21"


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "CIVITAI_API_TOKEN", "CIVITAI_TOKEN", "CIVITAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_a_secret_goes_in_and_never_comes_out(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = door.client.put("/api/secrets/civitai", json={"secret": CANARY}, headers=JSON)
    assert kept.json() == {"service": "civitai", "where": "file"}
    found = Credentials(door.studio.home).get("civitai")
    assert found is not None and found.reveal() == CANARY
    answers = [
        door.client.get("/api/secrets", headers=JSON),
        door.client.get("/settings"),
        door.client.put("/api/secrets/civitai", json={"secret": [CANARY]}, headers=JSON),
        door.client.put("/api/secrets/civi tai", json={"secret": CANARY}, headers=JSON),
        door.client.put("/api/secrets/civitai", json={"secret": CANARY + "\n\n" + CANARY, "x": 1}, headers=JSON),
        door.client.get("/api/audit", headers=JSON),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 422, 422, 422, 200]
    assert all(CANARY not in answer.text for answer in answers)
    assert answers[0].json() == [{"service": "civitai", "where": "file"}]
    written = [path for path in door.studio.home.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert [path.name for path in written] == ["secrets.json"]
    assert door.client.delete("/api/secrets/civitai").status_code == 204
    assert door.client.delete("/api/secrets/civitai", headers=JSON).status_code == 422
    monkeypatch.setenv("HF_TOKEN", CANARY)
    left = door.client.delete("/api/secrets/huggingface", headers=JSON)
    assert left.status_code == 422 and "HF_TOKEN" in left.json()["error"] and CANARY not in left.text


def test_secrets_and_consents_are_the_admins(tmp_path: Path) -> None:
    team = make_team(tmp_path / "home")
    agreed = {"notice": "x-terms", "title": "Terms", "text": "All of them.", "agree": True}
    for method, path, body in (
        ("GET", "/api/secrets", None),
        ("PUT", "/api/secrets/civitai", {"secret": CANARY}),
        ("DELETE", "/api/secrets/civitai", None),
        ("POST", "/api/consents", agreed),
        ("DELETE", "/api/consents/x-terms", None),
        ("PUT", "/api/users/cyd/password", {"password": "another one of some length"}),
        ("PUT", "/api/bases/sd15/answers/prediction", {"choice": "x"}),
    ):
        assert team["bob"].request(method, path, json=body).status_code == 403, path
        assert team.nobody.request(method, path, json=body).status_code == 401, path
    assert team["ann"].put("/api/users/cyd/password", json={"password": "short"}).status_code == 422
    changed = team["ann"].put("/api/users/cyd/password", json={"password": "another one of some length"})
    assert changed.json()["name"] == "cyd" and team["cyd"].get("/api/me").status_code == 401


def test_a_consent_is_given_to_words_and_taken_back(door: Door) -> None:
    agreed = {"notice": "gelbooru-terms", "title": "Terms of Gelbooru", "text": "Be polite.", "agree": True}
    assert door.client.post("/api/consents", json=agreed | {"agree": False}, headers=JSON).status_code == 422
    assert door.client.get("/api/consents").json() == []
    assert door.client.post("/api/consents", json=agreed).status_code == 201
    assert [one["notice"] for one in door.client.get("/api/consents").json()] == ["gelbooru-terms"]
    assert list(Consents(door.studio.home).all()) == ["gelbooru-terms"]
    assert door.client.delete("/api/consents/gelbooru-terms").status_code == 204
    assert door.client.delete("/api/consents/gelbooru-terms", headers=JSON).status_code == 422


def test_tags_that_are_unsure_are_decided(door: Door, tmp_path: Path) -> None:
    door.studio.import_dataset(pictures(tmp_path / "cats"), "cats")
    refused = door.client.get("/api/datasets/cats/unsure", headers=JSON)
    assert refused.status_code == 422 and refused.json()["hint"]  # nobody has tagged it
    door.studio.caption("cats", "wd_tagger", general_threshold=0.5, character_threshold=0.5)
    found = door.client.get("/api/datasets/cats/unsure?within=0.5&limit=3", headers=JSON).json()
    assert 0 < len(found) <= 3 and {"item", "tag", "probability", "threshold", "present"} <= found[0].keys()
    one = found[0]
    verdict = {"item": one["item"], "tag": one["tag"], "there": not one["present"]}
    made = door.client.post("/api/datasets/cats/decide", json={"verdicts": [verdict]}, headers=JSON)
    assert made.json()["reference"] == "cats@3"
    again = door.client.get("/api/datasets/cats/unsure?within=0.5&limit=1000", headers=JSON).json()
    assert (one["item"], one["tag"]) not in [(each["item"], each["tag"]) for each in again]
    for bad in ({"verdicts": []}, {"verdicts": [verdict | {"item": "nope.png"}]}, {"verdicts": [{"item": "0.png"}]}):
        assert door.client.post("/api/datasets/cats/decide", json=bad, headers=JSON).status_code == 422
    assert door.client.get("/api/datasets/cats/unsure?within=2", headers=JSON).status_code == 422


def test_files_of_a_run_and_nothing_else_of_its_folder(door: Door, tmp_path: Path) -> None:
    door.studio.import_dataset(pictures(tmp_path / "cats"), "cats")
    config = {"base": "sandbox", "max_train_steps": 4}
    row = door.studio.enqueue.train("cats", config, Placement(held=True))
    job = door.studio.job(row.id).folder
    (job.path / "samples").mkdir()
    for name in ("1.png", "2.png", "3.png"):
        (job.path / "samples" / name).write_bytes(b"\x89PNG" + name.encode())
    (job.path / "samples" / "away.png").symlink_to(door.studio.home / "web-key")
    for name in ("1.png", "2.png", "away.png", "gone.png"):
        job.emit(Sample(step=1, path=f"samples/{name}", prompt="a cat", seed=1))
    listed = door.client.get(f"/api/jobs/{row.id}/files", headers=JSON).json()
    names = [one["path"] for one in listed]
    assert names == ["job.json", "events.jsonl", "samples/1.png", "samples/2.png"]  # what it did not paint is not its
    first = door.client.get(f"/api/jobs/{row.id}/files/samples/1.png")
    assert first.content == b"\x89PNG1.png" and first.headers["content-type"] == "image/png"
    assert door.client.get(f"/api/jobs/{row.id}/files/job.json").headers["content-disposition"].startswith("attachment")
    for path in ("samples/3.png", "samples/away.png", "samples/gone.png", "queue.json", "..%2f..%2fweb-key", "lock"):
        assert door.client.get(f"/api/jobs/{row.id}/files/{path}", headers=JSON).status_code == 404, path


def test_a_dataset_as_a_zip(door: Door, tmp_path: Path) -> None:
    door.studio.import_dataset(pictures(tmp_path / "cats"), "cats")
    answer = door.client.get("/api/datasets/cats/archive?layout=kohya", headers=JSON)
    assert (
        answer.headers["content-type"] == "application/zip"
        and "cats-kohya.zip" in answer.headers["content-disposition"]
    )
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        names = packed.namelist()
        assert packed.testzip() is None and all(name.startswith("cats/") and ".." not in name for name in names)
        assert {Path(name).suffix for name in names} >= {".png", ".txt"}
        packed.extractall(tmp_path / "back")
    again = door.studio.import_dataset(tmp_path / "back" / "cats", "again")
    assert sorted(item.caption for item in again.items) == sorted(
        item.caption for item in door.studio.dataset("cats").items
    )
    for bad in ("nope", "../../etc", "kohya%2f..", ""):
        assert door.client.get(f"/api/datasets/cats/archive?layout={bad}", headers=JSON).status_code == 422, bad
    assert door.client.get("/api/datasets/nope/archive", headers=JSON).status_code == 422


def test_a_report_is_saved_and_never_shown(door: Door, tmp_path: Path) -> None:
    door.studio.import_dataset(pictures(tmp_path / "cats"), "cats")
    answer = door.client.get("/api/datasets/cats/report", headers=JSON)
    assert answer.headers["content-disposition"].startswith("attachment") and b"<html" in answer.content[:300]
    assert answer.headers["content-security-policy"] == "sandbox"


def test_archives_of_others_are_not_there(tmp_path: Path) -> None:
    team = make_team(tmp_path / "home")
    team.studio.import_dataset(pictures(tmp_path / "old"), "old")
    for path in ("archive", "report", "unsure"):
        assert team["bob"].get(f"/api/datasets/old/{path}").status_code == 422
        assert team.nobody.get(f"/api/datasets/old/{path}").status_code == 401
    families = team["bob"].get("/api/bases/families").json()
    assert {"sd", "sdxl"} <= {one["name"] for one in families} and json.dumps(families)
