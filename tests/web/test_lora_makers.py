"""Extract, bake and average in the browser and over the API, and what a merge is foreseen to be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lorasmith.adapters.tools.requests import request_of
from lorasmith.client import RemoteStudio, connect
from lorasmith.errors import AdapterError, BaseError, ConfigError
from lorasmith.queue.records import QueuedJob
from lorasmith.sandbox import sandbox_weights
from lorasmith.sequels import collect_ended
from lorasmith.studio import Studio
from lorasmith.web.people import Actor, acting
from tests.adapters.files import save_lora
from tests.web.conftest import NAME, Door, Server, expect
from tests.web.security.team import make_team
from tests.web.test_client import Through
from tests.web.test_imports import work
from tests.web.test_loras import PART, whole
from tests.web.test_runs import PAYLOAD
from tests.web.tiny_lora import write_lora


def fill(studio: Studio) -> None:
    """Three checkpoints of one run on the sandbox, and one LoRA of FLUX."""
    for step in (500, 1000, 1500):
        file = write_lora(studio.home / "tmp" / f"{step}.safetensors", seed=step, ss_steps=str(step))
        studio.library.add(file, None, name=f"run-{step}")
    save_lora(studio.home / "tmp" / "bird.safetensors", "flux")
    studio.library.add(studio.home / "tmp" / "bird.safetensors", None, name="bird")


@pytest.fixture
def makers(door: Door) -> Door:
    fill(door.studio)
    return door


def made(door: Door, verb: str, **form: Any) -> QueuedJob:
    answer = door.client.post(f"/loras/{verb}", data=form)
    assert answer.status_code == 303, answer.text
    work(door.studio)
    return door.studio.queue.get(str(answer.headers["location"]).removeprefix("/jobs/"))


def test_checkpoints_are_averaged_and_certified(makers: Door) -> None:
    text = makers.client.get("/loras/average?lora=run-500&lora=run-1000").text
    assert 'value="500"' in text and 'value="1000"' in text and 'value="sd" selected' not in text
    assert "<option selected>sd</option>" in text  # the base that the files name is here, and says so
    preview = whole(makers, "/loras/preview/average?lora=run-500&lora=run-1000&family=sd")
    assert "99.6 %" in preview and "0.4 %" in preview and "of the average" in preview
    alike = whole(makers, "/loras/preview/average?lora=run-500&lora=run-1000&family=sd&alike=on")
    assert alike.count("50.0 %") == 2
    job = made(makers, "average", lora=["run-500", "run-1000", "run-1500"], step=["", "", ""], family="sd",
               sigma_rel="0.2", name="smooth", certify="sandbox")  # fmt: skip
    assert job.state == "succeeded" and job.output is not None and job.output["adapter"] == "smooth", job.reason
    proof = makers.studio.queue.get(str(job.output["next"]))
    assert proof.kind == "certify" and proof.parent == job.id
    again = collect_ended(makers.studio, makers.studio.job(job.id))
    assert again == job.output  # asked twice, one certificate
    page = makers.client.get(f"/jobs/{job.id}").text
    assert "What was made" in page and "passed" in page and f"/jobs/{proof.id}" in page
    assert makers.studio.library.certificate("smooth")["passed"] is True  # type: ignore[index]
    report = makers.studio.job(job.id).output()["report"]
    assert str(makers.studio.home) not in json.dumps(report)


@pytest.fixture(scope="module")
def baked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Studio, QueuedJob]]:
    """A home in which one LoRA was baked into the sandbox."""
    studio = Studio(tmp_path_factory.mktemp("baked") / "home")
    fill(studio)
    row = studio.enqueue.tool("bake", {"base": "sandbox", "loras": [{"lora": "run-500", "weight": 0.5}]})
    work(studio)
    yield studio, studio.queue.get(row.id)


def test_what_is_baked_is_a_base(baked: tuple[Studio, QueuedJob]) -> None:
    studio, job = baked
    assert job.state == "succeeded" and job.output == {"base": "sandbox-with-run-500"}, job.reason
    base = studio.bases.get("sandbox-with-run-500")
    assert base.family == "sd" and base.owned and base.present()
    before, after = sandbox_weights() / "base", Path(base.path)
    here = sorted(path.relative_to(before) for path in before.rglob("*") if path.is_file())
    assert here == sorted(path.relative_to(after) for path in after.rglob("*") if path.is_file())
    weights = "unet/diffusion_pytorch_model.safetensors"
    old, new = load_file(before / weights), load_file(after / weights)
    changed = {key for key in old if not np.array_equal(old[key], new[key])}
    assert changed and all(key.endswith("attn2.to_q.weight") for key in changed)
    assert (before / "vae/diffusion_pytorch_model.safetensors").read_bytes() == (
        after / "vae/diffusion_pytorch_model.safetensors"
    ).read_bytes()
    assert collect_ended(studio, studio.job(job.id)) == job.output  # asked again, it says the same
    assert not (studio.job(job.id).folder.path / "base").exists()
    assert not [path.name for path in (studio.home / "bases").iterdir() if path.name[0] == "."]


def test_what_was_baked_in_is_extracted(baked: tuple[Studio, QueuedJob]) -> None:
    studio, _ = baked
    row = studio.enqueue.tool("extract", {"base": "sandbox", "tuned": "sandbox-with-run-500", "rank": 2})
    work(studio)
    job = studio.queue.get(row.id)
    assert job.state == "succeeded" and job.output == {"adapter": "sandbox-with-run-500-extract"}, job.reason
    measured = studio.toolbox.products(["run-500", "sandbox-with-run-500-extract"], family="sd")
    found = studio.toolbox.foresee(request_of("merge", {"loras": [{"lora": "a"}, {"lora": "b"}]}), measured)  # type: ignore[arg-type]
    assert found.pairs[0].cosine == pytest.approx(1, abs=1e-4)
    assert found.shares[1].norm == pytest.approx(found.shares[0].norm / 2, rel=1e-2)
    report = studio.job(row.id).output()["report"]
    assert report["rest"]["differing"] == [] and report["rest"]["compared"] > 100 and report["left_out"] == []
    assert report["whole"] == pytest.approx(report["kept"], abs=1e-6)


def test_what_changed_beside_the_matrices_is_shown_and_kept_when_it_is_asked_for(makers: Door, tmp_path: Path) -> None:
    studio = makers.studio
    shutil.copytree(sandbox_weights() / "base", tmp_path / "fine")
    path = tmp_path / "fine/unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    for key in ("conv_norm_out.weight", "conv_out.bias"):
        tensors[key] = (tensors[key] * 1.5).astype(tensors[key].dtype)
    save_file(tensors, path)
    studio.bases.add(str(tmp_path / "fine"), name="fine")
    ends = "base=sandbox&tuned=fine"
    assert "differ in no matrix" in whole(makers, f"/loras/preview/extract?{ends}")
    asked = whole(makers, f"/loras/preview/extract?{ends}&keep_rest=on")
    assert "the field Only for comfyui" in asked
    text = whole(makers, f"/loras/preview/extract?{ends}&keep_rest=on&only_for=comfyui")
    assert '<strong class="numbers">2</strong> of' in text and "2 of them kept" in text and "50.00 %" in text
    assert "denoiser.conv_norm_out.weight" in text and "100.00 %" in text
    job = made(makers, "extract", base="sandbox", tuned="fine", keep_rest="on", only_for="comfyui", name="norms")
    assert job.state == "succeeded" and job.output == {"adapter": "norms"}, job.reason
    held = load_file(studio.adapter("norms"))
    assert set(held) == {f"lora_unet_conv_{piece}" for piece in ("norm_out.w_norm", "norm_out.b_norm", "out.diff_b")}
    answer = makers.client.post(
        "/api/toolbox/extract", json={"request": {"base": "sandbox", "tuned": "fine", "keep_rest": True}}
    )
    assert answer.status_code == 422 and "diffusers reads no differences" in answer.text


def test_a_base_is_chosen_among_those_that_fit(makers: Door) -> None:
    text = makers.client.get("/loras/bake?lora=run-500").text
    assert '<option value="sandbox" selected>sandbox</option>' in text and "Of another family" not in text
    text = makers.client.get("/loras/bake?lora=bird").text
    assert "Of another family" in text and "sandbox (sd)" in text
    preview = whole(makers, "/loras/preview/bake?lora=run-500&base=sandbox")
    assert "7 of its 362 tensors change" in preview
    assert "Add a LoRA first" in makers.client.get("/loras/bake").text
    text = makers.client.get("/loras/extract").text
    assert "It takes two bases of one family" in text
    assert makers.client.get("/loras/preview/extract?base=sandbox&tuned=sandbox").status_code == 422


@pytest.mark.parametrize(
    ("verb", "form", "said"),
    [
        ("average", {"lora": "run-500"}, "takes two checkpoints or more"),
        ("average", {"lora": ["run-500", "bird"]}, "LoRA of"),
        ("average", {"lora": ["run-500", "run-500"], "family": "sd"}, "Two files are of step 500"),
        ("average", {"lora": ["run-500", "bird"], "step": ["5", "x"]}, "valid integer"),
        ("average", {"lora": ["run-500", "run-1000"], "sigma_rel": "3"}, "less than or equal to 0.288"),
        ("average", {"lora": ["run-500", "run-1000"]}, "the field Family"),
        ("extract", {}, "is not chosen"),
        ("extract", {"base": "sandbox", "tuned": "sandbox"}, "one base twice"),
        ("extract", {"base": "sandbox", "tuned": "nowhere"}, "There is no base"),
        ("extract", {"base": "sandbox", "tuned": "sandbox", "rank": "0"}, "greater than or equal to 1"),
        ("bake", {"base": "sandbox"}, "nothing to bake in"),
        ("bake", {"lora": "run-500"}, "No base is chosen"),
        ("bake", {"lora": "run-500", "weight": "0", "base": "sandbox"}, "All weights are zero"),
        ("bake", {"lora": "bird", "base": "sandbox"}, "is a LoRA of flux"),
        ("bake", {"lora": "run-500", "base": "sandbox", "blocks": "nowhere = 1"}, "No layer is called"),
        ("bake", {"lora": "run-500", "base": PAYLOAD}, "There is no base"),
        ("merge", {"lora": ["run-500", "run-1000"], "family": "sd", "certify": "nowhere"}, "There is no base"),
    ],
)
def test_what_cannot_be_is_said_beside_the_form(makers: Door, verb: str, form: dict[str, Any], said: str) -> None:
    before = makers.studio.library.names()
    answer = makers.client.post(f"/loras/{verb}", data=form)
    assert answer.status_code == 422 and said in answer.text, answer.text
    assert PAYLOAD not in answer.text and '<form method="post"' in answer.text.replace('class="panel" ', "")
    assert makers.studio.library.names() == before and makers.studio.jobs() == ()
    elsewhere = makers.client.post(f"/loras/{verb}", data={"lora": "../../etc/passwd", "base": "sandbox"})
    assert elsewhere.status_code == 422 and (verb == "extract" or "There is no adapter" in elsewhere.text)
    part = makers.client.get(f"/loras/preview/{verb}", params=form, headers=PART)
    assert part.status_code == 200 and "<html" not in part.text and PAYLOAD not in part.text


def test_members_bake_nothing_and_name_no_paths(tmp_path: Path) -> None:
    team = make_team(tmp_path / "home")
    token = acting.set(Actor("bob", "member"))
    team["bob"].app.state.studio.library.add(write_lora(tmp_path / "l.safetensors"), None, name="l")  # type: ignore[attr-defined]
    acting.reset(token)
    page = {"accept": "text/html"}
    assert "only an admin may bake" in team["bob"].get("/loras/bake?lora=l", headers=page).text
    assert "Only an admin" in team["bob"].post("/loras/bake", data={"lora": "l", "base": "sandbox"}, headers=page).text
    for verb, form in (
        ("bake", {"loras": [{"lora": "l"}], "base": "sandbox"}),
        ("extract", {"base": "sandbox", "tuned": str(tmp_path)}),
        ("average", {"loras": ["l", "x"]}),
    ):
        answer = team["bob"].post(f"/api/toolbox/{verb}", json={"request": form})
        assert answer.status_code == 422, answer.text
    assert "There is no base" in team["bob"].get(f"/loras/deep?lora=l&base={tmp_path}", headers=page).text
    assert (
        team["ann"]
        .post("/api/toolbox/bake", json={"request": {"loras": [{"lora": "l"}], "base": "sandbox"}})
        .status_code
        == 202
    )


def test_what_weights_make_is_told_before(makers: Door) -> None:
    query = "lora=run-500&lora=run-500&weight=1&weight={}&family=sd"
    text = whole(makers, "/loras/foresee?" + query.format("1"))
    assert "push the same way" in text and "200 %" in text and "weight=0.71&amp;blocks=&amp;lora=run-500" in text
    assert "Cancels out" in whole(makers, "/loras/foresee?" + query.format("-0.5"))
    assert "thins its entries" in whole(makers, "/loras/foresee?" + query.format("1") + "&method=ties&rank=2")
    assert "which keeps" in whole(makers, "/loras/preview/merge?" + query.format("1") + "&rank=1")
    assert "LoRA of" in whole(makers, "/loras/foresee?lora=run-500&lora=bird")
    alone = makers.client.get("/loras/foresee?" + query.format("1"))
    assert alone.status_code == 200 and "<html" in alone.text and "/loras/merge?" in alone.text


@pytest.fixture
def far(makers: Door) -> Iterator[RemoteStudio]:
    studio = connect(f"http://{NAME}", (makers.studio.home / "web-key").read_text(), transport=Through(makers))
    yield studio
    studio.close()


def test_the_client_has_the_same_verbs(far: RemoteStudio, makers: Door) -> None:
    loras = [("run-500", 1.0), ("run-1000", 0.5)]
    told = far.toolbox.foresee(loras, family="sd")
    parts = {"loras": [{"lora": name, "weight": weight} for name, weight in loras], "family": "sd"}
    assert told == makers.studio.toolbox.foresee(request_of("merge", parts))  # type: ignore[arg-type]
    assert far.toolbox.preview("bake", base="sandbox", loras=[{"lora": "run-500"}])["changed"] == 7
    row = far.toolbox.average(["run-500", "run-1000"], name="mean", family="sd", certify="sandbox")
    assert makers.studio.job(row.id).record().payload["certify"] == "sandbox"
    assert far.toolbox.bake("sandbox", [("run-500", 1.0)]).kind == "tool"
    for ask, kind in (
        (lambda: far.toolbox.extract("sandbox", "nowhere"), BaseError),
        (lambda: far.toolbox.average(["run-500"]), ConfigError),
        (lambda: far.toolbox.bake("sandbox", [("bird", 1.0)]), AdapterError),
    ):
        with pytest.raises(kind):
            ask()


def test_sliders_show_what_they_do(server: Server, browser_page: Any) -> None:
    fill(server.studio)
    page = browser_page
    page.goto(f"{server.address}/loras/merge?lora=run-500&lora=run-1000")
    page.wait_for_selector("#foresight >> text=apart from each other")
    page.fill("#weight-2", "0")
    page.wait_for_selector("#foresight >> text=left out")
    page.goto(f"{server.address}/loras/merge?lora=run-500&lora=run-500&weight=1&weight=1")
    page.wait_for_selector("#foresight >> text=push the same way")
    page.click("text=as strong as unrelated ones")
    for field in ("#weight-1", "#weight-2"):
        expect(page.locator(field)).to_have_value("0.71")
    page.wait_for_selector("#foresight >> text=unrelated")
