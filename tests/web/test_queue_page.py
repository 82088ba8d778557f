"""The queue's page and the journal that keeps it up to date."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lorasmith.queue.verbs import Placement
from lorasmith.web.journal import _behind
from tests.web.conftest import Door, Server
from tests.web.trainable import FORM, dots


@pytest.fixture
def three(door: Door) -> list[str]:
    """Three waiting jobs that nobody starts."""
    submit = door.studio.queue.submit
    return [submit("certify", {"adapter": f"a{n}", "base": "sandbox"}, name=str(n)).id for n in range(3)]


def order(door: Door) -> list[str]:
    return [row.id for row in door.studio.queue.list(("queued", "held", "blocked"), in_turn=True)]


def do(door: Door, job: str, verb: str, back: str = "") -> Any:
    return door.client.post(f"/jobs/{job}/do", data={"verb": verb, "back": back})


def test_order_is_changed_from_the_page(door: Door, three: list[str]) -> None:
    one, two, three_ = three
    assert do(door, three_, "front", "/queue").headers["location"] == "/queue"
    assert order(door) == [three_, one, two]
    do(door, three_, "back")
    assert order(door) == [one, two, three_]
    door.client.post(f"/jobs/{two}/place", data={"priority": "5"})
    assert order(door) == [two, one, three_]
    door.client.post(f"/jobs/{three_}/place", data={"before": one})
    assert order(door) == [two, three_, one]
    assert door.client.post(f"/jobs/{two}/place", data={"priority": "500"}).status_code == 422
    assert door.client.post(f"/jobs/{two}/place", data={}).status_code == 422
    text = door.client.get("/queue").text
    assert [text.index(f'data-job-row="{job}"') for job in order(door)] == sorted(
        text.index(f'data-job-row="{job}"') for job in three
    )


def test_hold_release_cancel_retry_and_clone(door: Door, three: list[str]) -> None:
    job = three[0]
    do(door, job, "hold")
    assert door.studio.queue.get(job).state == "held" and "Held by hand." in door.client.get("/queue/lists").text
    do(door, job, "release")
    do(door, job, "cancel")
    assert door.studio.queue.get(job).state == "cancelled"
    assert do(door, job, "pause").status_code == 409
    do(door, job, "retry")
    assert door.studio.queue.get(job).state == "queued"
    to = do(door, job, "clone").headers["location"]
    assert to.startswith("/jobs/") and door.studio.queue.get(to.rpartition("/")[2]).parent == job
    assert do(door, job, "explode").status_code == 422
    assert do(door, job, "hold", "https://elsewhere.example/").headers["location"] == f"/jobs/{job}"


def test_what_a_job_waits_for_is_said(door: Door, three: list[str]) -> None:
    later = door.studio.queue.submit(
        "certify", {"adapter": "b", "base": "sandbox"}, placement=Placement(after=(three[0],))
    )
    assert later.state == "blocked"
    assert f"It waits for {three[0]}" in door.client.get("/queue").text
    assert three[0] in door.client.get(f"/jobs/{later.id}").text


def test_lanes_are_drained_and_opened(door: Door) -> None:
    with door.studio.dispatcher(lanes={"cpu": 1}):
        assert door.client.post("/queue/lanes", data={"verb": "drain", "lane": "cpu"}).status_code == 303
        assert "drained" in door.client.get("/queue").text
        assert door.client.post("/queue/lanes", data={"verb": "drain", "lane": "none"}).status_code == 422
        door.client.post("/queue/lanes", data={"verb": "open", "lane": "cpu"})
        assert not door.studio.queue.lanes()[0].draining
    assert door.client.post("/queue/lanes", data={"verb": "burn"}).status_code == 422


def test_training_further_from_a_checkpoint(door: Door, tmp_path: Path) -> None:
    dots(door.studio, tmp_path / "pictures")
    door.client.post("/train", data=FORM)
    row = door.studio.queue.list()[0]
    folder = door.studio.queue.job(row.id).folder.path
    answer = door.client.post(f"/jobs/{row.id}/further", data={"steps": "9"})
    assert answer.status_code == 409 and "no checkpoint" in answer.text
    (folder / "checkpoints" / "4").mkdir(parents=True)
    assert door.client.post(f"/jobs/{row.id}/further", data={"steps": "4", "step": "4"}).status_code == 422
    new = door.client.post(f"/jobs/{row.id}/further", data={"steps": "9"}).headers["location"].rpartition("/")[2]
    assert (door.studio.queue.job(new).folder.path / "checkpoints" / "4").is_dir()
    assert door.studio.queue.job(new).record().payload["config"]["max_train_steps"] == 9


def test_where_a_listener_goes_on() -> None:
    assert _behind("", "j", 7) == (7, False)
    assert _behind("j.3", "j", 7) == (3, False)
    assert _behind("other.3", "j", 7) == (7, True)  # the queue was rebuilt
    assert _behind("j.9", "j", 7) == (7, True)
    assert _behind("j.3", "j", 50_000) == (50_000, True)
    for hostile in ("j.", "j.-1", "j.x", "3", "j.٣", "." * 90):
        assert _behind(hostile, "j", 7) == (7, True)


def listen(server: Server, cookie: str, known: str = "") -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Ids, kinds and data of the stream."""
    request = urllib.request.Request(f"{server.address}/api/events")
    request.add_header("Cookie", cookie)
    if known:
        request.add_header("Last-Event-ID", known)
    entry: dict[str, str] = {}
    with urllib.request.urlopen(request, timeout=90) as answer:
        for raw in answer:
            line = raw.decode().rstrip("\n")
            if line:
                key, _, value = line.partition(": ")
                entry[key] = value
            elif "event" in entry:
                yield entry.get("id", ""), entry["event"], json.loads(entry["data"])
                entry = {}


def test_a_stream_goes_on_at_another_server_and_loses_nothing(server: Server) -> None:
    cookie = f"lorasmith_session={server.sessions.accept(server.sessions.invite())}"
    queue = server.studio.queue
    stream = listen(server, cookie)
    known, kind, _ = next(stream)
    assert kind == "hello"
    jobs = [
        queue.submit("certify", {"adapter": "a", "base": "sandbox"}, placement=Placement(held=True)).id
        for _ in range(3)
    ]
    known, kind, data = next(entry for entry in stream if entry[2]["job"] == jobs[0])
    stream.close()  # cut off after the first; two more happened meanwhile, and two will
    queue.hold(jobs[0])
    queue.prioritise(jobs[1], 4)
    queue.cancel(jobs[2])
    heard = []
    for number, kind, data in listen(server, cookie, known):
        if kind not in ("hello", "lane"):
            heard.append((int(number.rpartition(".")[2]), data["job"], kind))
        if data.get("after") == "cancelled":
            break
    assert heard == [
        (entry.id, entry.job, entry.kind)
        for entry in queue.journal(int(known.rpartition(".")[2]))
        if entry.kind != "lane"
    ]
    assert next(listen(server, cookie, "another.5"))[1] == "reset"


def test_without_a_session_there_is_no_stream(server: Server) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        next(listen(server, "lorasmith_session=wrong"))


def test_rows_are_dragged_and_moved_by_keys(server: Server, browser_page: Any) -> None:
    submit = server.studio.queue.submit
    one, two, three = (
        submit("certify", {"adapter": f"a{n}", "base": "sandbox"}, name=str(n), placement=Placement(held=True)).id
        for n in range(3)
    )

    def shown(*jobs: str) -> None:
        """The page shows these in this order, and the queue has them so."""
        browser_page.wait_for_selector(
            "".join(f'.job[data-job-row="{job}"] ~ ' for job in jobs[:-1]) + f'.job[data-job-row="{jobs[-1]}"]'
        )
        waiting = server.studio.queue.list(("queued", "held", "blocked"), in_turn=True)
        assert [row.id for row in waiting] == list(jobs)

    def drag(job: str, onto: str, share: float) -> None:
        """From the sign of a row to a height of another one, in several moves as a hand does it."""
        start, end = (browser_page.locator(f'.job[data-job-row="{one}"]').bounding_box() for one in (job, onto))
        browser_page.mouse.move(start["x"] + 12, start["y"] + 12)
        browser_page.mouse.down()
        browser_page.mouse.move(end["x"] + 60, end["y"] + share * end["height"], steps=5)
        browser_page.mouse.up()

    browser_page.set_viewport_size({"width": 1280, "height": 1400})
    browser_page.goto(f"{server.address}/queue")
    shown(one, two, three)
    drag(three, one, 0.2)
    shown(three, one, two)
    drag(three, two, 0.8)
    shown(one, two, three)
    browser_page.keyboard.press("j")
    browser_page.keyboard.press("Shift+ArrowDown")
    shown(two, one, three)
    browser_page.keyboard.press("Shift+ArrowUp")
    shown(one, two, three)
    drag(two, two, 0.6)
    shown(one, two, three)


def test_a_button_stays_as_long_as_it_is_pressed(server: Server, browser_page: Any) -> None:
    """What is replaced between the two halves of a click would lose it, and the queue changes all the time."""
    job = server.studio.queue.submit("certify", {"adapter": "a", "base": "sandbox"}, placement=Placement(held=True)).id
    page = browser_page
    page.goto(f"{server.address}/queue")
    box = page.locator(f'.job[data-job-row="{job}"]').get_by_role("button", name="Cancel").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    lists = lambda answer: "/queue/lists" in answer.url  # noqa: E731
    with page.expect_response(lists):
        server.studio.queue.prioritise(job, 3)
    with page.expect_response(lists):  # nothing was replaced by the first answer, for it is asked again
        pass
    page.mouse.up()
    page.wait_for_selector(f'.job[data-job-row="{job}"][data-state=cancelled]')
    assert server.studio.queue.get(job).state == "cancelled"
