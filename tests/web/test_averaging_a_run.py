"""A run's own checkpoints are averaged from its page, over the API and by command, with where they came from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from lorasmith.adapters.tools.averaging import power_weights
from lorasmith.cli.app import run as command
from lorasmith.client import connect
from lorasmith.events import Finished
from lorasmith.jobfolder import Result
from lorasmith.sandbox import sandbox_weights
from lorasmith.studio import Studio
from lorasmith.training.checkpoint import Checkpoints, Snapshot
from tests.adapters.files import deltas_of
from tests.web.conftest import NAME, Door, Server, expect
from tests.web.test_client import Through
from tests.web.test_imports import work
from tests.web.test_loras import whole

RANK, ALPHA = 3, 6.0
STEPS = (10, 20, 40)


def checkpointed(studio: Studio, *, steps: tuple[int, ...] = STEPS, **adapter: Any) -> tuple[Path, dict[int, Any]]:
    """A training that failed at its end, with checkpoints as the trainer writes them; and ΔW of every one."""
    settings = {"rank": RANK, "alpha": ALPHA, "use_dora": False, "use_rslora": False, **adapter}
    config = {"base": "sandbox", "dataset": "d@1", "adapter": settings, "max_train_steps": 40}
    folder = studio._jobs.submit("train", {"config": config, "fingerprint": "x"}, name="ada").folder
    (weights,) = (sandbox_weights() / "base" / "unet").glob("*.safetensors")
    layers = {key: value.shape for key, value in load_file(weights).items() if key.endswith("attn2.to_q.weight")}
    deltas: dict[int, Any] = {}
    for step in steps:
        numbers = np.random.default_rng(step)
        state, deltas[step] = {}, {}
        for key, (rows, columns) in layers.items():
            up, down = (numbers.normal(0, 0.3, shape).astype(np.float32) for shape in ((rows, RANK), (RANK, columns)))
            name = key.removesuffix(".weight")
            state[f"unet.{name}.lora_A.default.weight"] = torch.from_numpy(down)
            state[f"unet.{name}.lora_B.default.weight"] = torch.from_numpy(up)
            deltas[step][name] = ALPHA / RANK * up @ down
        Checkpoints(folder.path / "checkpoints", 10).save(Snapshot(step, state, {}, {}))
    (folder.path / "start.json").write_text("{}")
    folder.emit(Finished("failed", "no", "do"))
    folder.set_result(Result(outcome="failed", message="It failed.", hint="Try less."))
    studio.rebuild_queue()
    return folder.path, deltas


@pytest.fixture
def run(door: Door) -> Iterator[tuple[Door, Path, dict[int, Any]]]:
    yield door, *checkpointed(door.studio)


def mean(deltas: dict[int, Any], steps: tuple[int, ...], sigma_rel: float | None) -> dict[str, np.ndarray]:
    """What the average is, worked out on whole matrices."""
    weights = power_weights(steps, sigma_rel)
    return {n: sum(w * deltas[s][n] for w, s in zip(weights, steps, strict=True)) for n in deltas[steps[0]]}


def alike(file: Path, wanted: dict[str, np.ndarray]) -> float:
    """The least cosine of a file's layers with what they shall be."""
    made = deltas_of(file, "sd")
    assert made.keys() == wanted.keys()
    return min(float((made[n] * wanted[n]).sum() / np.linalg.norm(made[n]) / np.linalg.norm(wanted[n])) for n in wanted)


def test_a_run_is_averaged_over_the_api_with_its_origin(run: tuple[Door, Path, dict[int, Any]]) -> None:
    door, folder, deltas = run
    far = connect(f"http://{NAME}", (door.studio.home / "web-key").read_text(), transport=Through(door))
    row = far.toolbox.average(run=folder.name, rank=9, sigma_rel=0.2, dtype="fp32", name="smooth", certify="sandbox")
    far.close()
    work(door.studio)
    job = door.studio.queue.get(row.id)
    assert job.state == "succeeded" and job.output is not None and job.output["adapter"] == "smooth", job.reason
    made = door.studio.adapter("smooth")
    wanted = mean(deltas, STEPS, 0.2)
    assert alike(made, wanted) > 0.9999
    found = deltas_of(made, "sd")
    assert all(np.allclose(found[name], wanted[name], atol=1e-4) for name in wanted), "the scale is alpha / rank"
    says = door.studio.inspect("smooth").metadata
    origin = json.loads(says["lorasmith.operations"])[-1]
    assert [one["file"] for one in origin["arguments"]["ingredients"]] == [
        f"step {step} of {folder.name}" for step in STEPS
    ]
    assert json.loads(says["lorasmith.config"])["base"] == "sandbox" and says["ss_steps"] == "40"
    assert str(door.studio.home) not in json.dumps(dict(says))
    report = door.studio.job(row.id).output()["report"]
    assert report["run"] == folder.name and str(door.studio.home) not in json.dumps(report)
    assert door.studio.library.certificate("smooth")["passed"] is True  # type: ignore[index]


def test_the_page_of_a_run_leads_to_its_average(run: tuple[Door, Path, dict[int, Any]]) -> None:
    door, folder, deltas = run
    page = door.client.get(f"/jobs/{folder.name}").text
    assert "Average its checkpoints" in page and f'href="/loras/average?run={folder.name}"' in page
    form = door.client.get(f"/loras/average?run={folder.name}").text
    assert form.count('name="step"') == 3 and form.count(" checked") == 3 and 'value="sandbox" selected' in form
    preview = whole(door, f"/loras/preview/average?run={folder.name}&chosen=1&step=20&step=40&alike=on")
    assert preview.count("50.0 %") == 2 and f"step 20 of {folder.name}" in preview
    none = door.client.post("/loras/average", data={"run": folder.name, "chosen": "1"})
    assert none.status_code == 422 and "No checkpoint is chosen" in none.text and " checked" not in none.text
    one = door.client.post("/loras/average", data={"run": folder.name, "chosen": "1", "step": "20"})
    work(door.studio)
    assert one.status_code == 422 and "two checkpoints or more" in one.text
    sent = door.client.post(
        "/loras/average", data={"run": folder.name, "chosen": "1", "step": ["10", "40"], "alike": "on", "rank": "6"}
    )
    assert sent.status_code == 303, sent.text
    work(door.studio)
    job = door.studio.queue.get(str(sent.headers["location"]).removeprefix("/jobs/"))
    assert job.state == "succeeded", job.reason
    assert alike(door.studio.adapter(f"{folder.name}-average"), mean(deltas, (10, 40), None)) > 0.9999
    assert f"step 40 of {folder.name}" in door.client.get(f"/jobs/{job.id}").text


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"steps": [15]}, "no checkpoint of step 15"),
        ({"steps": [10]}, "two checkpoints or more"),
        ({"loras": ["a", "b"]}, "or one 'run' and no files"),
        ({"run": "nobody"}, "nobody"),
        ({"run": "../../etc"}, "etc"),
        ({"sigma_rel": 3}, "less than or equal"),
    ],
)
def test_what_cannot_be_averaged_is_a_sentence(
    run: tuple[Door, Path, dict[int, Any]], request_: dict[str, Any], said: str
) -> None:
    door, folder, _ = run
    answer = door.client.post("/api/toolbox/average", json={"request": {"run": folder.name} | request_})
    assert answer.status_code in (404, 409, 422) and said in answer.text, answer.text


def test_a_damaged_checkpoint_a_dora_and_a_run_without_any_are_refused(door: Door) -> None:
    folder, _ = checkpointed(door.studio)
    file = folder / "checkpoints" / "20" / "adapter.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\1\2\3\4")
    asked = {"request": {"run": folder.name}}
    assert "of step 20 is damaged" in door.client.post("/api/toolbox/average", json=asked).text
    asked["request"] |= {"steps": [10, 40]}  # type: ignore[dict-item]
    assert door.client.post("/api/toolbox/average", json=asked).status_code == 202
    dora, _ = checkpointed(door.studio, use_dora=True)
    assert "a DoRA" in door.client.post("/api/toolbox/average", json={"request": {"run": dora.name}}).text
    bare, _ = checkpointed(door.studio, steps=(10,))
    assert "Average its checkpoints" not in door.client.get(f"/jobs/{bare.name}").text
    assert "takes two checkpoints or more" in door.client.get(f"/loras/average?run={bare.name}").text


def test_the_command_line_averages_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    studio = Studio(tmp_path / "home")
    folder, deltas = checkpointed(studio)
    words = ["--home", str(studio.home), "lora", "average", "--out", str(tmp_path / "mean.safetensors")]
    assert command([*words, "--run", folder.name, "--steps", "10,40", "--rank", "6", "--equal"]) == 0
    assert "step 40" in capsys.readouterr().out
    assert alike(tmp_path / "mean.safetensors", mean(deltas, (10, 40), None)) > 0.999
    assert command(words) == 2 and "--run last" in capsys.readouterr().err


def test_checkpoints_are_chosen_and_averaged_in_the_browser(server: Server, browser_page: Any) -> None:
    folder, _ = checkpointed(server.studio)
    page = browser_page
    page.goto(f"{server.address}/jobs/{folder.name}")
    page.click("text=Average them")
    page.wait_for_selector(f"#preview >> text=step 10 of {folder.name}")
    page.uncheck("#step-10")
    expect(page.locator("#preview")).not_to_contain_text(f"step 10 of {folder.name}")
    page.wait_for_selector(f"#preview >> text=step 20 of {folder.name}")
    page.fill("#name", "mean")
    page.click("button:text-is('Average')")
    page.wait_for_url("**/jobs/*-tool-*")
    expect(page.locator("h1")).to_be_visible()
