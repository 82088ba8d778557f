"""The page of a job: what it said is shown, what it painted is sent, and nothing else of its folder."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lorasmith.events import Finished, Metric, Notice, Phase, Progress, Sample
from lorasmith.jobfolder import JobFolder, Result
from lorasmith.queue.observing import COLLECTED
from lorasmith.studio import Studio
from tests.web.conftest import Door, Server, expect

PAYLOAD = "<img src=x onerror=alert(1)>"


def told(studio: Studio, *, ended: bool = True, rank: int = 8) -> JobFolder:
    """A train job that has said something."""
    config = {"base": "sandbox", "output_name": f"ada {PAYLOAD}", "adapter": {"rank": rank}}
    folder = studio._jobs.submit("train", {"config": config, "fingerprint": "x"}, name="ada").folder
    for step in range(1, 6):
        folder.emit(Phase("training"))
        folder.emit(Metric(step, {"loss": 1 / step, "smoothed_loss": 1 / step, "rss_bytes": 5e8}))
        folder.emit(Progress(step, 10, "steps", 3.0, 2.0))
    (folder.path / "samples").mkdir()
    for step in (0, 5):
        Image.new("RGB", (16, 16), (step * 20, 0, 0)).save(folder.path / "samples" / f"{step}.png")
        folder.emit(Sample(step, f"samples/{step}.png", f"a cat {PAYLOAD}", 7))
    folder.emit(Notice(f"Look at {PAYLOAD}.", "Then go on."))
    (folder.path / "log.txt").write_text(f"one\nwarning: two {PAYLOAD}\n")
    if ended:
        (folder.path / "start.json").write_text("{}")
        folder.emit(Finished("failed", "no", "do"))
        folder.set_result(Result(outcome="failed", message=f"It failed {PAYLOAD}.", hint="Try less."))
    return folder


def test_everything_it_said_is_on_its_page(door: Door) -> None:
    folder = told(door.studio)
    text = door.client.get(f"/jobs/{folder.path.name}").text
    assert "a cat" in text and "step 5" in text and "Try less." in text and "warning: two" in text
    assert PAYLOAD not in text and "&lt;img" in text
    for verb in ("pause", "stop", "save", "sample"):
        assert f'value="{verb}"' not in text
    assert 'value="continue"' in text


def test_a_finished_run_leads_to_its_lora(door: Door) -> None:
    folder = told(door.studio, ended=False)
    assert "Generate with it" not in door.client.get(f"/jobs/{folder.path.name}").text
    (folder.path / "start.json").write_text("{}")
    folder.emit(Finished("succeeded"))
    folder.set_result(Result(outcome="succeeded"))
    (folder.path / COLLECTED).write_text(json.dumps({"adapter": "ada & co"}))
    door.studio.rebuild_queue()
    text = door.client.get(f"/jobs/{folder.path.name}").text
    assert 'href="/generate?adapter=ada%20%26%20co"' in text and 'href="/models/ada%20%26%20co"' in text


def test_figures_for_the_charts(door: Door) -> None:
    folder = told(door.studio)
    found = door.client.get(f"/jobs/{folder.path.name}/chronicle").json()
    assert found["steps"] == [1, 2, 3, 4, 5] and found["figures"]["steps_per_second"] == [3.0] * 5
    assert found["offset"] == (folder.path / "events.jsonl").stat().st_size


def test_the_config_is_held_against_the_run_before(door: Door) -> None:
    told(door.studio, rank=4)
    text = door.client.get(f"/jobs/{told(door.studio, rank=16).path.name}").text
    assert "adapter.rank" in text and "<del>4</del>" in text and "<ins>16</ins>" in text


@pytest.mark.parametrize(
    "path",
    [
        "lock",
        "../job.json",
        "checkpoints/5/state.json",
        "samples/%2e%2e/job.json",
        "samples/9.png",
        "owner.json",
        "start.json",
        "",
    ],
)
def test_only_what_it_made_is_sent(door: Door, path: str) -> None:
    folder = told(door.studio)
    assert door.client.get(f"/jobs/{folder.path.name}/files/{path}").status_code == 404


def test_a_link_out_of_the_folder_is_not_followed(door: Door, tmp_path: Path) -> None:
    folder = told(door.studio)
    Image.new("RGB", (8, 8)).save(tmp_path / "elsewhere.png")
    (folder.path / "samples" / "link.png").symlink_to(tmp_path / "elsewhere.png")
    folder.emit(Sample(6, "samples/link.png", "x", 1))
    folder.emit(Sample(6, "../../../etc/passwd", "x", 1))
    assert door.client.get(f"/jobs/{folder.path.name}/files/samples/link.png").status_code == 404
    picture = door.client.get(f"/jobs/{folder.path.name}/files/samples/5.png")
    assert picture.status_code == 200 and picture.headers["content-type"] == "image/png"
    assert (
        door.client.get(f"/jobs/{folder.path.name}/files/job.json")
        .headers["content-disposition"]
        .startswith("attachment")
    )


def test_a_log_is_filtered(door: Door) -> None:
    folder = told(door.studio)
    text = door.client.get(f"/jobs/{folder.path.name}/log", params={"find": "WARNING"}).text
    assert "warning: two" in text and "one\n" not in text


def test_a_verb_that_cannot_be_is_a_sentence(door: Door) -> None:
    folder = told(door.studio)
    assert door.client.post(f"/jobs/{folder.path.name}/do", data={"verb": "save"}).status_code == 409
    assert door.client.post(f"/jobs/{folder.path.name}/do", data={"verb": "explode"}).status_code == 422
    assert door.client.get("/jobs/nothing").status_code == 404


def stream(server: Server, cookie: str, path: str, after: int | None) -> list[tuple[int, str]]:
    """Ids and kinds of a stream until it says that the job has ended."""
    request = urllib.request.Request(server.address + path)
    request.add_header("Cookie", cookie)
    if after is not None:
        request.add_header("Last-Event-ID", str(after))
    found, number = [], -1
    with urllib.request.urlopen(request, timeout=90) as answer:
        for raw in answer:
            line = raw.decode().rstrip("\n")
            if line.startswith("id: "):
                number = int(line[4:])
            elif line == "event: ended":
                break
            elif line.startswith("data: ") and line != "data: {}":
                found.append((number, json.loads(line[6:])["kind"]))
    return found


def test_a_stream_goes_on_where_it_was_cut(server: Server) -> None:
    folder = told(server.studio)
    cookie = f"lorasmith_session={server.sessions.accept(server.sessions.invite())}"
    path = f"/jobs/{folder.path.name}/events"
    whole = stream(server, cookie, path, None)
    assert [kind for _, kind in whole][-2:] == ["notice", "finished"] and len(whole) == 19
    for cut in (0, 7, 18):
        assert stream(server, cookie, path, whole[cut][0]) == whole[cut + 1 :]


def test_charts_grow_in_the_browser(browser_page: Any, server: Server) -> None:
    folder = told(server.studio)
    page = browser_page
    page.goto(f"{server.address}/jobs/{folder.path.name}")
    page.wait_for_selector("[data-plot=loss] canvas")
    expect(page.locator("[data-figures=loss]")).to_contain_text("loss 0.2000")
    page.click(".sample >> nth=1")
    page.wait_for_selector("#viewer[open]")
    page.select_option("#viewer-with", index=1)
    page.locator("#viewer-b").wait_for(state="visible")
