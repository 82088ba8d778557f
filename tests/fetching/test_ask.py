"""One question, and whatever a server says to it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lorasmith.errors import AddressRefused, FetchError, NoAnswer
from lorasmith.fetching import Fetcher
from tests.fetching.loopback import LOCAL, FakeTime, Loopback, Shelf, chunked, redirects, says


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as made:
        yield made


@pytest.mark.parametrize("status", [200, 400, 401, 404, 413, 429, 500, 503])
def test_refusals_are_answers(server: Loopback, status: int) -> None:
    time = FakeTime()
    url = server.at("/v1", says(status, {"error": "so"}, {"X-Said": "yes"}))
    with Fetcher(LOCAL, clock=time.clock()) as fetcher:
        reply = fetcher.ask(url, {"question": "猫?"})
    assert (reply.status, json.loads(reply.body), reply.headers["x-said"]) == (status, {"error": "so"}, "yes")
    assert [seen.method for seen in server.seen] == ["POST"] and not time.waits  # once, whatever comes
    assert json.loads(server.seen[0].body) == {"question": "猫?"}


def test_without_a_document_it_only_asks(server: Loopback) -> None:
    with Fetcher(LOCAL) as fetcher:
        assert fetcher.ask(server.at("/models", says(200, {}))).status == 200
    assert server.seen[0].method == "GET" and "content-type" not in server.seen[0].headers


def test_what_a_server_asks_for_holds_for_the_next_question(server: Loopback) -> None:
    time = FakeTime()
    url = server.at("/v1", says(429, {}, {"Retry-After": "30"}))
    with Fetcher(LOCAL, clock=time.clock()) as fetcher:
        fetcher.ask(url, {})
        assert time.waited == 0
        fetcher.ask(url, {})
        assert time.waited == pytest.approx(30)
    patient = FakeTime()
    with Fetcher(dataclasses.replace(LOCAL, longest_wait=10), clock=patient.clock()) as fetcher:
        fetcher.ask(url, {})
        fetcher.ask(url, {})  # longer than it may ask for: whoever asks decides
    assert patient.waited == 0


def test_no_answer_is_told_from_a_wrong_one(server: Loopback) -> None:
    with Fetcher(LOCAL, clock=FakeTime().clock()) as fetcher:
        with pytest.raises(NoAnswer, match="broke off"):
            fetcher.ask(server.at("/cut", chunked([b"{"], ends=False)))
        with Loopback() as other, pytest.raises(FetchError, match="pass what was sent on") as caught:
            fetcher.ask(server.at("/away", redirects(other.url("/"))), {})
        assert not isinstance(caught.value, NoAnswer)
        with pytest.raises(AddressRefused):
            fetcher.ask("http://192.168.0.1/v1", {})
    with (
        Fetcher(dataclasses.replace(LOCAL, max_answer_bytes=10)) as fetcher,
        pytest.raises(FetchError, match="more than"),
    ):
        fetcher.ask(server.at("/long", says(200, b"x" * 11)))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html><title>Please log in</title></html>", "sent a web page instead of a file: “Please log in”"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "Git LFS pointer"),
        (b"", "an empty file"),
    ],
)
def test_data_is_anything_but_a_page(server: Loopback, tmp_path: Path, content: bytes, words: str) -> None:
    with Fetcher(LOCAL, clock=FakeTime().clock()) as fetcher:
        with pytest.raises(FetchError, match=words):
            fetcher.download(server.at("/bad", Shelf(content)), tmp_path, name="m.onnx", expected="data")
        assert not (tmp_path / "m.onnx").exists()
        for number, good in enumerate((b'{"a": 1}', b"tag_id,name\n1,cat\n", b"\x08\x09onnx")):
            name = f"{number}.bin"
            fetcher.download(server.at(f"/{number}", Shelf(good)), tmp_path, name=name, expected="data")
            assert (tmp_path / name).read_bytes() == good
