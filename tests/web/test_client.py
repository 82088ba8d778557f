"""The studio with an address: the same answers and the same errors as the studio itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from lorasmith.client import RemoteStudio, TextConflict, connect
from lorasmith.errors import ConfigError, DatasetError, JobError, LorasmithError, NoAnswer
from lorasmith.queue.verbs import Placement
from tests.web.conftest import NAME, Door

CONFIG = {"base": "sandbox", "trigger_word": "ohwx", "max_train_steps": 4}


class Through(httpx2.BaseTransport):
    """Requests into the app itself; the first of each may be lost on its way back."""

    def __init__(self, door: Door, losing: bool = False) -> None:
        self._client, self._losing, self._lost = door.client, losing, set[str]()
        self.asked: list[str] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self._client.cookies.clear()
        for name in ("origin", "sec-fetch-site"):
            self._client.headers.pop(name, None)
        sent: dict[str, Any] = {"headers": dict(request.headers), "content": request.read()}
        self.asked.append(f"{request.method} {request.url.path}")
        answer = self._client.request(request.method, str(request.url), **sent)
        key = request.headers.get("idempotency-key", "")
        if self._losing and key and key not in self._lost:
            self._lost.add(key)
            raise httpx2.ReadError("the line broke")
        return httpx2.Response(answer.status_code, headers=dict(answer.headers), content=answer.content)


@pytest.fixture
def far(door: Door, tmp_path: Path) -> Iterator[RemoteStudio]:
    folder = tmp_path / "cats"
    folder.mkdir()
    for number in range(6):
        Image.new("RGB", (64, 64 + number), (40 * number, 90, 20)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"cat, number {number}")
    door.studio.import_dataset(folder, "cats")
    studio = connect(f"http://{NAME}", (door.studio.home / "web-key").read_text(), transport=Through(door))
    yield studio
    studio.close()


def test_versions_are_the_same_values(far: RemoteStudio, door: Door) -> None:
    here = door.studio.dataset("cats")
    there = far.dataset("cats")
    assert (
        there.items == here.items and there.fingerprint == here.fingerprint and list(there.ledger) == list(here.ledger)
    )
    assert far.datasets() == door.studio.datasets()
    edited = far.add_trigger_word("cats", "ohwx")
    assert edited.items == door.studio.dataset("cats").items and edited.number == 2
    assert far.curate.diff("cats@1", "cats@2") == door.studio.curate.diff("cats@1", "cats@2")
    assert far.curate.history("cats") == door.studio.curate.history("cats")
    assert far.curate.undo("cats").number == 1 and far.curate.redo("cats").number == 2


def test_looking_gives_the_same_values(far: RemoteStudio, door: Door) -> None:
    curate = door.studio.curate
    assert far.curate.statistics("cats") == curate.statistics("cats")
    assert far.curate.duplicates("cats") == curate.duplicates("cats")
    assert far.curate.buckets("cats") == curate.buckets("cats")
    assert far.curate.inspect("cats").findings == curate.inspect("cats").findings
    assert far.curate.select("cats", "number") == curate.select("cats", "number")
    assert far.plan("cats", CONFIG) == door.studio.plan("cats", CONFIG)
    assert far.bases.catalogue() == door.studio.bases.catalogue()
    assert [one["item"] for one in far.curate.see("cats", "lorasmith")] == [i.name for i in far.dataset("cats").items]


def test_errors_are_the_same_classes(far: RemoteStudio, door: Door) -> None:
    for ask, kind in (
        (lambda studio: studio.dataset("dogs"), DatasetError),
        (lambda studio: studio.curate.edit("cats", "nothing", {}), ConfigError),
        (lambda studio: studio.queue.get("nothing"), JobError),
        (lambda studio: studio.plan("cats", {"base": "nowhere"}), LorasmithError),
    ):
        with pytest.raises(kind) as far_away:
            ask(far)
        with pytest.raises(kind) as here:
            ask(door.studio)
        assert type(far_away.value) is type(here.value)
        assert (far_away.value.message, far_away.value.hint) == (here.value.message, here.value.hint)


def test_two_who_write_one_caption_both_keep_their_text(far: RemoteStudio) -> None:
    name = far.dataset("cats").items[0].name
    text, etag = far.curate.caption("cats", name)
    mine = far.curate.set_caption("cats", name, "mine", etag)
    with pytest.raises(TextConflict) as conflict:
        far.curate.set_caption("cats", name, "theirs", etag)
    assert (conflict.value.mine, conflict.value.theirs, conflict.value.etag) == ("theirs", "mine", mine)
    far.curate.set_caption("cats", name, "both", conflict.value.etag)
    assert text != "both" == far.curate.caption("cats", name)[0]


def test_jobs_are_written_down_once_though_the_line_breaks(door: Door, far: RemoteStudio) -> None:
    broken = connect(f"http://{NAME}", (door.studio.home / "web-key").read_text(), transport=Through(door, losing=True))
    row = broken.enqueue.train("cats", CONFIG, Placement(held=True))
    assert row.state == "held" and [one.id for one in door.studio.queue.list()] == [row.id]
    assert far.queue.prioritise(row.id, 7).priority == 7
    assert far.queue.release(row.id).state == "queued"
    twin = far.enqueue.clone(row.id, {"max_train_steps": 5}, Placement(held=True))
    assert twin.parent == row.id and twin.output_name != row.output_name
    assert far.queue.cancel(row.id).state == "cancelled"
    assert {one.id for one in far.jobs()} == {row.id, twin.id}
    assert far.queue.journal() == door.studio.queue.journal()


def test_a_wrong_key_or_place_is_said(door: Door) -> None:
    with pytest.raises(LorasmithError, match="not signed in"):
        connect(f"http://{NAME}", "wrong", transport=Through(door))

    def broken(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    with pytest.raises(NoAnswer, match="does not answer"):
        connect(f"http://{NAME}", "key", transport=httpx2.MockTransport(broken))
    page = httpx2.MockTransport(lambda request: httpx2.Response(502, text="<html>"))
    with pytest.raises(LorasmithError, match="502"):
        connect(f"http://{NAME}", "key", transport=page)
