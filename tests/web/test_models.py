"""The models dashboard: what is there, words beside a file, taking in, certifying, the trash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lorasmith.errors import AdapterError, ConfigError
from lorasmith.files import file_digest
from lorasmith.jobfolder import Result
from lorasmith.library import Library, adapter_name, lineage
from lorasmith.studio import Studio
from tests.web.conftest import Door, Server
from tests.web.test_runs import PAYLOAD, told
from tests.web.tiny_lora import write_lora


def take_in(studio: Studio, folder: Path, name: str = "cat", *, job: str = "", seed: int = 0) -> str:
    file = write_lora(folder / f"{name}.safetensors", seed=seed)
    certificate = {"passed": True, "sha256": file_digest(file), "base": "sandbox", "findings": []}
    return studio.library.add(file, certificate, name=name, job=job).stem


def test_everything_about_a_model_is_on_its_page(door: Door, tmp_path: Path) -> None:
    folder = told(door.studio)
    take_in(door.studio, tmp_path, job=folder.path.name)
    listed = door.client.get("/models").text
    assert "/models/cat" in listed and "ohwx" in listed and "certified" in listed and "/samples/5.png" in listed
    text = door.client.get("/models/cat").text
    for said in ("ohwx", "sandbox", "light &lt;lora:cat:1&gt;", "models/Lora", "0.8 to 1.2", "load_lora_weights",
                 "ComfyUI/models/loras/cat.safetensors", f"/jobs/{folder.path.name}", "certified to load"):  # fmt: skip
        assert said in text, said
    assert PAYLOAD not in text  # the run's prompts and config hold it
    sent = door.client.get("/models/cat/download")
    assert sent.content == door.studio.library.path("cat").read_bytes()
    assert sent.headers["content-disposition"] == 'attachment; filename="cat.safetensors"'


def test_words_beside_it_change_and_the_file_does_not(door: Door, tmp_path: Path) -> None:
    take_in(door.studio, tmp_path)
    before = file_digest(door.studio.library.path("cat"))
    words = {"title": f"Cat {PAYLOAD}", "description": f"Soft. {PAYLOAD}", "visibility": "public", "kind": "object",
             "license": PAYLOAD}  # fmt: skip
    assert door.client.post("/models/cat/about", data=words).headers["location"] == "/models/cat"
    for path in ("/models/cat", "/models", "/models?q=soft", "/models?kind=object", "/generate"):
        text = door.client.get(path).text
        assert PAYLOAD not in text, path
    about = door.studio.library.about("cat")
    assert (about.title, about.visibility, about.kind) == (f"Cat {PAYLOAD}", "public", "object")
    assert file_digest(door.studio.library.path("cat")) == before
    assert "No model fits" in door.client.get("/models?kind=style").text
    for wrong in ({"visibility": "everybody"}, {"kind": "spell"}, {"title": "x" * 201}):
        assert door.client.post("/models/cat/about", data=wrong).status_code == 422
    assert door.studio.library.about("cat") == about


@pytest.mark.parametrize("name", ["nobody", "%2e%2e%2fjobs", "cat%00", "con"])
def test_a_name_that_is_none_leads_nowhere(door: Door, tmp_path: Path, name: str) -> None:
    take_in(door.studio, tmp_path)
    assert door.client.get(f"/models/{name}").status_code in (303, 404, 422)
    for verb in ("delete", "about"):
        assert door.client.post(f"/models/{name}/{verb}").status_code in (404, 405, 422)
    assert door.studio.library.names() == ("cat",)


def test_a_lora_of_somebody_else_is_taken_in(door: Door, tmp_path: Path) -> None:
    file = write_lora(tmp_path / "their löra.safetensors", ss_x=PAYLOAD)
    sent = door.client.post("/models/import", files={"file": (r"C:\x\their löra.safetensors", file.read_bytes())})
    assert sent.status_code == 303 and sent.headers["location"] == "/models/their-l%C3%B6ra"
    text = door.client.get(sent.headers["location"]).text
    assert "not certified" in text and PAYLOAD not in text and "&lt;img" in text
    again = door.client.post("/models/import", files={"file": ("b.safetensors", file.read_bytes())})
    assert again.status_code == 422 and "here already" in again.text
    assert list((door.studio.home / "registering").iterdir()) == []


def test_it_is_certified_when_its_base_is_chosen(door: Door, tmp_path: Path) -> None:
    file = write_lora(tmp_path / "a.safetensors")
    door.client.post("/models/import", files={"file": ("a.safetensors", file.read_bytes())}, data={"base": "sandbox"})
    (row,) = door.studio.queue.list()
    assert (row.kind, row.state) == ("certify", "queued")
    assert f"/jobs/{row.id}" in door.client.get("/models/a").text
    # What the worker would have said is filed beside the adapter, if it is about these bytes.
    job = door.studio.job(row.id)
    for digest, filed in (("0" * 64, ""), (file_digest(file), "a")):
        job.folder.set_result(Result(outcome="succeeded", output={"passed": True, "sha256": digest}))
        assert door.studio.models.file_certificate(job) == filed
    assert door.studio.models.list()[0].passed is True


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("evil.pt", b"\x80\x04", "is a .safetensors file"),
        ("x.html", b"<script>", "is a .safetensors file"),
        ("empty.safetensors", b"", "empty"),
        ("text.safetensors", b"hello, I am no tensor", "text"),
        ("huge.safetensors", b"\xff" * 64, "huge"),
        ("", b"x", ""),
    ],
)
def test_what_is_no_lora_is_refused_with_the_reason(door: Door, name: str, content: bytes, said: str) -> None:
    answer = door.client.post("/models/import", files={"file": (name, content)})
    assert answer.status_code == 422 and said in answer.text
    assert door.studio.library.names() == ()


def test_a_base_is_no_lora(door: Door, tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save

    content = save({"model.diffusion_model.input_blocks.0.0.weight": np.zeros((4, 4, 3, 3), np.float32)})
    answer = door.client.post("/models/import", files={"file": ("base.safetensors", content)})
    assert answer.status_code == 422 and "is no LoRA" in answer.text


def test_deleted_models_come_back(door: Door, tmp_path: Path) -> None:
    take_in(door.studio, tmp_path)
    door.studio.models.describe("cat", title="Tom")
    digest = file_digest(door.studio.library.path("cat"))
    assert door.client.post("/models/cat/delete").headers["location"] == "/models#trash"
    assert door.studio.library.names() == () and "cat" in door.client.get("/models").text
    take_in(door.studio, tmp_path / "other", seed=1)  # its name is taken meanwhile
    (thing,) = door.studio.library.trash()
    back = door.client.post("/models/trash", data={"verb": "restore", "id": thing.id})
    assert back.headers["location"] == "/models/cat-2"
    assert door.studio.library.about("cat-2").title == "Tom"
    assert file_digest(door.studio.library.path("cat-2")) == digest
    assert door.client.post("/models/trash", data={"verb": "restore", "id": "../../x"}).status_code == 422
    door.client.post("/models/cat-2/delete")
    door.client.post("/models/trash", data={"verb": "empty"})
    assert door.studio.library.trash() == () and door.studio.library.names() == ("cat",)
    assert door.client.post("/models/trash", data={"verb": "burn"}).status_code == 404


def test_what_a_job_needs_is_not_deleted(door: Door, tmp_path: Path) -> None:
    take_in(door.studio, tmp_path)
    door.studio.enqueue.generate(base="sandbox", prompts=["a"], adapters=[{"name": "cat"}])
    refused = door.client.post("/models/cat/delete")
    assert refused.status_code == 409 and "needs" in refused.text and door.studio.library.names() == ("cat",)


def test_versions_share_a_line(tmp_path: Path) -> None:
    studio = Studio(tmp_path / "home")
    for number, name in enumerate(("cat", "cat", "cat", "dog-7")):
        take_in(studio, tmp_path / str(number), name, seed=number)
    assert studio.library.names() == ("cat", "cat-2", "cat-3", "dog-7")
    assert {model.name: model.versions for model in studio.models.list()} == {
        "cat-3": ("cat-3", "cat-2", "cat"),
        "dog-7": ("dog-7",),
    }
    assert lineage("cat-2", frozenset({"cat-2"})) == "cat-2"


def test_a_damaged_file_is_shown_as_such(door: Door, tmp_path: Path) -> None:
    take_in(door.studio, tmp_path)
    door.studio.library.path("cat").write_bytes(b"gone")
    assert "damaged" in door.client.get("/models").text
    page = door.client.get("/models/cat")
    assert page.status_code == 200 and "damaged" in page.text
    (door.studio.home / "adapters" / "cat.about.json").write_text("[")
    (door.studio.home / "adapters" / "cat.certificate.json").write_text("{}")
    assert door.client.get("/models/cat").status_code == 200


def test_the_run_is_found_by_its_bytes_when_nobody_noted_it(tmp_path: Path) -> None:
    studio = Studio(tmp_path / "home")
    folder = told(studio, ended=False)
    name = take_in(studio, tmp_path)
    (studio.home / "adapters" / "cat.about.json").unlink()
    assert studio.models.get(name).run is None
    folder.set_result(Result(outcome="succeeded", output={"sha256": file_digest(studio.library.path(name))}))
    run = studio.models.get(name).run
    assert run is not None and run.job == folder.path.name


def test_what_was_said_before_the_training_is_taken_over_once(tmp_path: Path) -> None:
    studio = Studio(tmp_path / "home")
    name = take_in(studio, tmp_path)
    studio.library.introduce(name, {"name": "Tom", "description": "grey", "kind": "person", "public": True})
    assert studio.library.about(name).title == "Tom" and studio.library.about(name).visibility == "public"
    studio.models.describe(name, title="Tim")
    studio.library.introduce(name, {"name": "Tom", "kind": 7, "public": "yes"})
    assert studio.library.about(name).title == "Tim"


@pytest.mark.parametrize(
    ("given", "name"),
    [("my <lora:x>", "my-lora-x"), ("../../etc", "etc"), ("CON", "CON-lora"), ("import", "import-lora"), ("", "lora"),
     ("猫 2", "猫-2"), ("a" * 300, "a" * 100)],
)  # fmt: skip
def test_names_can_be_written_into_prompts_and_disks(given: str, name: str) -> None:
    assert adapter_name(given) == name


def test_a_certificate_of_other_bytes_is_refused(tmp_path: Path) -> None:
    studio = Studio(tmp_path / "home")
    name = take_in(studio, tmp_path)
    with pytest.raises(AdapterError, match="as it is now"):
        Library(studio.home).set_certificate(name, {"sha256": "0"})
    with pytest.raises(ConfigError, match="has no colour"):
        studio.models.describe(name, colour="red")
    assert json.loads((studio.home / "adapters" / "cat.certificate.json").read_text())["passed"] is True


def test_text_is_copied_and_files_are_dropped(server: Server, browser_page: Any, tmp_path: Path) -> None:
    page = browser_page
    take_in(server.studio, tmp_path)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{server.address}/models/cat")
    page.click("summary:has-text('A1111')")
    page.click("[data-copy=usage-2]")
    page.wait_for_selector(".toast-line")
    assert page.evaluate("navigator.clipboard.readText()").startswith("ohwx, a portrait")
    page.goto(f"{server.address}/models/import")
    page.evaluate(
        """() => { const data = new DataTransfer(); data.items.add(new File(["x"], "dropped.safetensors"));
        const drop = new DragEvent("drop", { dataTransfer: data, bubbles: true });
        document.querySelector("[data-drop]").dispatchEvent(drop); }"""
    )
    assert page.evaluate("document.getElementById('file').files[0]?.name") == "dropped.safetensors"
