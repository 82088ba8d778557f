"""A download meets everything that goes wrong between a server and a disk, and ends whole or not at all."""

from __future__ import annotations

import random
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from lorasmith.errors import FetchError, OutOfDisk, Stopped
from lorasmith.fetching import Fetcher, Transfer
from tests.fetching.loopback import (
    LOCAL,
    Behaviour,
    FakeTime,
    Loopback,
    Shelf,
    Visit,
    chunked,
    endless,
    gzip_of,
    in_turn,
    redirects,
    safetensors,
    says,
    stalls,
)

MODEL = safetensors(300_000, random.Random(5).randbytes(4096))


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as running:
        yield running


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def fetcher(time: FakeTime) -> Iterator[Fetcher]:
    with Fetcher(LOCAL, clock=time.clock()) as made:
        yield made


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def parts_in(folder: Path) -> list[Path]:
    return list(folder.glob(".*.part"))


# Cut connections


def test_a_hundred_cuts_in_one_download(server: Loopback, fetcher: Fetcher, tmp_path: Path) -> None:
    cuts = sorted(random.Random(1).sample(range(1, len(MODEL)), 100))
    url = server.at("/m.safetensors", Shelf(MODEL, cuts=cuts))
    done = fetcher.download(url, tmp_path, expected="safetensors")
    assert done.path.read_bytes() == MODEL
    assert done.size == len(MODEL)
    assert left_in(tmp_path) == ["m.safetensors"]
    # A peek decides the kind before anything is written: cuts within it begin again.
    asked = [seen.headers.get("range") for seen in server.seen]
    assert len(asked) == 101
    assert asked[1:] == [f"bytes={cut}-" if cut >= 1024 else None for cut in cuts]
    assert all(seen.headers["if-range"] == '"one"' for seen in server.seen if "range" in seen.headers)


@pytest.mark.parametrize("seed", range(4))
def test_cut_anywhere_and_continued_by_another_process(
    server: Loopback, time: FakeTime, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    content = safetensors(3000, chance.randbytes(512))
    for turn in range(25):
        cut = chance.randrange(len(content))
        url = server.at(f"/{turn}.safetensors", Shelf(content, cuts=[cut]))
        with Fetcher(replace(LOCAL, attempts=1), clock=time.clock()) as first, pytest.raises(FetchError) as caught:
            first.download(url, tmp_path, expected="safetensors")
        assert "Try again later" in caught.value.hint
        with Fetcher(LOCAL, clock=time.clock()) as second:
            done = second.download(url, tmp_path, expected="safetensors")
        assert done.path.read_bytes() == content, cut
        continued = server.seen[-1].headers.get("range")
        assert continued == (f"bytes={cut}-" if cut >= 1024 else None), cut
    assert len(left_in(tmp_path)) == 25


def test_a_server_that_gives_out_no_parts(server: Loopback, fetcher: Fetcher, tmp_path: Path) -> None:
    url = server.at("/m.safetensors", Shelf(MODEL, cuts=[200_000], ranges=False))
    done = fetcher.download(url, tmp_path)
    assert done.path.read_bytes() == MODEL
    assert any("begun anew" in note for note in done.notes)


def test_progress_that_is_lost_again_does_not_go_on_for_ever(
    server: Loopback, fetcher: Fetcher, tmp_path: Path
) -> None:
    url = server.at("/m.safetensors", Shelf(MODEL, cuts=[5000] * 50, ranges=False))
    with pytest.raises(FetchError, match=r"ended|broke off"):
        fetcher.download(url, tmp_path)
    assert len(server.seen) == LOCAL.attempts


def test_nobody_is_there(time: FakeTime, tmp_path: Path) -> None:
    with Loopback() as gone:
        url = gone.url("/x")
    with Fetcher(LOCAL, clock=time.clock()) as fetcher, pytest.raises(FetchError, match="no connection") as caught:
        fetcher.download(url, tmp_path)
    assert "connection" in caught.value.hint
    waits = time.waited
    assert 20 < waits < 31  # 1 + 2 + 4 + 8 + 16, each by three quarters


# The file changes


def changing(before: bytes, after: bytes, **manners: bool) -> Behaviour:
    return in_turn(Shelf(before, etag='"1"', cuts=[150_000]), Shelf(after, etag='"2"', **manners))


@pytest.mark.parametrize("obeys", [True, False])
def test_a_file_that_changes_in_the_middle(server: Loopback, fetcher: Fetcher, tmp_path: Path, obeys: bool) -> None:
    other = safetensors(300_000, b"\2")
    url = server.at("/m.safetensors", changing(MODEL, other, obeys_if_range=obeys))
    notes: list[str] = []
    done = fetcher.download(url, tmp_path, progress=lambda moment: notes.append(moment.note))
    assert done.path.read_bytes() == other
    assert any("begun anew" in note for note in done.notes)
    assert any("begun anew" in note for note in notes)


def test_a_file_that_shrinks(server: Loopback, fetcher: Fetcher, tmp_path: Path) -> None:
    other = safetensors(2000)
    url = server.at("/m.safetensors", changing(MODEL, other, obeys_if_range=False))
    assert fetcher.download(url, tmp_path).path.read_bytes() == other


def test_a_part_that_is_whole_already(server: Loopback, fetcher: Fetcher, tmp_path: Path) -> None:
    """The process died between the last byte and the rename: the server answers 416."""
    url = server.at("/m.safetensors", Shelf(MODEL, cuts=[200_000]))
    with Fetcher(replace(LOCAL, attempts=1)) as first, pytest.raises(FetchError):
        first.download(url, tmp_path)
    (part,) = parts_in(tmp_path)
    part.write_bytes(MODEL)
    done = fetcher.download(url, tmp_path)
    assert done.path.name == "m.safetensors" and done.path.read_bytes() == MODEL
    assert server.seen[-1].headers["range"] == f"bytes={len(MODEL)}-"


@pytest.mark.parametrize(
    ("etag", "modified", "continues"),
    [('"x"', "", True), ("", "Sat, 21 Nov 2026 10:00:00 GMT", True), ('W/"x"', "", False), ("", "", False)],
)
def test_only_a_certain_mark_lets_a_download_go_on(
    server: Loopback, fetcher: Fetcher, tmp_path: Path, etag: str, modified: str, continues: bool
) -> None:
    url = server.at("/m.safetensors", Shelf(MODEL, etag=etag, modified=modified, cuts=[200_000]))
    done = fetcher.download(url, tmp_path)
    assert done.path.read_bytes() == MODEL
    assert ("range" in server.seen[1].headers) is continues
    assert server.seen[1].headers.get("if-range") == ((etag or modified) if continues else None)


def test_a_hash_makes_up_for_a_missing_mark(server: Loopback, fetcher: Fetcher, tmp_path: Path) -> None:
    import hashlib

    digest = hashlib.sha256(MODEL).hexdigest()
    url = server.at("/m.safetensors", Shelf(MODEL, etag="", cuts=[200_000]))
    assert fetcher.download(url, tmp_path, sha256=digest.upper()).sha256 == digest
    assert server.seen[1].headers["range"] == "bytes=200000-"


# Lengths and hashes


def test_a_server_that_never_sends_all_it_announces(server: Loopback, fetcher: Fetcher, tmp_path: Path) -> None:
    url = server.at("/m.safetensors", Shelf(MODEL, cuts=[250_000] * 99))
    with pytest.raises(FetchError, match="could not be read") as caught:
        fetcher.download(url, tmp_path)
    assert "250000 bytes are kept" in caught.value.hint
    (part,) = parts_in(tmp_path)
    assert part.read_bytes() == MODEL[:250_000]


def test_a_body_that_ends_early_without_a_length(server: Loopback, fetcher: Fetcher, tmp_path: Path) -> None:
    """HTTP/1.0 manners: the end of the connection is the end of the file, or not. The file itself tells."""

    def close(visit: object) -> None:
        visit.head(200, {"Connection": "close"})  # type: ignore[attr-defined]
        visit.wfile.write(MODEL[:200_000])  # type: ignore[attr-defined]
        visit.break_off()  # type: ignore[attr-defined]

    url = server.at("/m.safetensors", close)
    with pytest.raises(FetchError, match="announces 300") as caught:
        fetcher.download(url, tmp_path, expected="safetensors")
    assert "Try again" in caught.value.hint
    assert left_in(tmp_path) == []


def test_half_a_zip(server: Loopback, fetcher: Fetcher, tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("a.txt", "x" * 5000)
    url = server.at("/a.zip", chunked([archive.read_bytes()[:3000]]))
    with pytest.raises(FetchError, match="table of contents"):
        fetcher.download(url, tmp_path / "in", expected="zip")


def test_a_wrong_hash_leaves_nothing(server: Loopback, fetcher: Fetcher, tmp_path: Path) -> None:
    url = server.at("/m.safetensors", Shelf(MODEL))
    with pytest.raises(FetchError, match="SHA-256") as caught:
        fetcher.download(url, tmp_path, sha256="0" * 64)
    assert "Nothing was kept" in caught.value.hint
    assert left_in(tmp_path) == []
    assert len(server.seen) == 1


def test_a_spoilt_part_is_thrown_away_once(server: Loopback, fetcher: Fetcher, tmp_path: Path) -> None:
    import hashlib

    url = server.at("/m.safetensors", Shelf(MODEL, cuts=[200_000]))
    with Fetcher(replace(LOCAL, attempts=1)) as first, pytest.raises(FetchError):
        first.download(url, tmp_path)
    (part,) = parts_in(tmp_path)
    part.write_bytes(bytes(200_000))
    done = fetcher.download(url, tmp_path, sha256=hashlib.sha256(MODEL).hexdigest())
    assert done.path.read_bytes() == MODEL
    assert any("begun anew" in note for note in done.notes)


# Something else instead

PAGE = "<!DOCTYPE html>\n<html><head><title> Sign in\n &mdash; Models\x1b[2J </title></head>" + "<p>x</p>" * 2000


@pytest.mark.parametrize(
    ("body", "expected", "said"),
    [
        (PAGE, "safetensors", r"a web page instead of a safetensors file: “Sign in — Models \[2J”"),
        (PAGE, "zip", "a web page instead of a ZIP archive"),
        (PAGE, "image", "a web page instead of a picture"),
        ('{"error": {"message": "Token expired"}}', "safetensors", "a JSON answer .*: “Token expired”"),
        ('{"success": false, "detail": ["No access"]}', "image", "“No access”"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:00", "safetensors", "Git LFS pointer"),
        (b"\x80\x02}q\x00", "safetensors", "a Python pickle"),
        (b"PK\x03\x04" + bytes(40), "safetensors", "a ZIP archive instead of a safetensors"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "zip", "a picture instead of a ZIP"),
        (b"", "any", "an empty file"),
        (b"<?xml version='1.0'?><Error/>", "zip", "an XML answer"),
        ("please wait", "zip", "a text instead"),
    ],
)
def test_something_else_than_expected(
    server: Loopback, fetcher: Fetcher, tmp_path: Path, body: str | bytes, expected: str, said: str
) -> None:
    url = server.at("/m.safetensors", says(200, body))
    with pytest.raises(FetchError, match=said) as caught:
        fetcher.download(url, tmp_path, expected=expected)  # type: ignore[arg-type]
    assert caught.value.hint.endswith(".")
    assert caught.value.message.isprintable()
    assert left_in(tmp_path) == []
    assert len(server.seen) == 1


# Servers that are busy


def test_it_waits_as_long_as_it_is_told(server: Loopback, fetcher: Fetcher, time: FakeTime, tmp_path: Path) -> None:
    busy = says(429, "slow down", {"Retry-After": "17"})

    def in_a_minute(visit: Visit) -> None:
        soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
        says(503, b"", {"Retry-After": soon})(visit)

    url = server.at("/a.bin", in_turn(busy, in_a_minute, Shelf(MODEL)))
    assert fetcher.download(url, tmp_path).path.read_bytes() == MODEL
    assert 17 + 55 < time.waited < 17 + 65


def test_it_does_not_wait_for_hours(server: Loopback, fetcher: Fetcher, time: FakeTime, tmp_path: Path) -> None:
    url = server.at("/a.bin", says(429, {"message": "daily quota"}, {"Retry-After": "7200"}))
    with pytest.raises(FetchError, match=r"7200 seconds.*daily quota") as caught:
        fetcher.download(url, tmp_path)
    assert caught.value.status == 429
    assert "Try again after" in caught.value.hint
    assert time.waited == 0


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_it_gives_up_in_the_end(server: Loopback, fetcher: Fetcher, tmp_path: Path, status: int) -> None:
    url = server.at("/a.bin", says(status, "<html><title>Down for repair</title>"))
    with pytest.raises(FetchError, match=rf"answers {status} \(Down for repair\) \(6 times") as caught:
        fetcher.download(url, tmp_path)
    assert caught.value.status == status
    assert len(server.seen) == 6


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 409, 410, 418, 422, 451, 501])
def test_a_refusal_is_not_asked_again(
    server: Loopback, fetcher: Fetcher, time: FakeTime, tmp_path: Path, status: int
) -> None:
    url = server.at("/a.bin", says(status, {"error": "because"}))
    with pytest.raises(FetchError, match=rf"\({status}\).*“because”") as caught:
        fetcher.download(url, tmp_path)
    assert caught.value.status == status and caught.value.hint.endswith(".")
    assert len(server.seen) == 1 and time.waited == 0
    assert left_in(tmp_path) == []


# Slow ones


@pytest.mark.parametrize(("after", "piece", "said"), [(2000, 0, "silent"), (2000, 1, "trickle"), (0, 0, "silent")])
def test_a_body_that_stalls(server: Loopback, tmp_path: Path, after: int, piece: int, said: str) -> None:
    done = threading.Event()
    url = server.at("/m.safetensors", stalls(MODEL, after, done, piece=piece))
    patience = {"silent": (0.3, 60.0), "trickle": (60.0, 0.4)}  # the other one is never the quicker
    silence, slow = patience[said]
    limits = replace(LOCAL, silence_seconds=silence, slow_seconds=slow, slowest=10_000, attempts=1)
    with Fetcher(limits) as fetcher, pytest.raises(FetchError, match=said):
        fetcher.download(url, tmp_path)
    done.set()


def test_a_header_that_never_ends(server: Loopback, tmp_path: Path) -> None:
    done = threading.Event()

    def dribble(visit: object) -> None:
        while not done.wait(0.02):
            visit.wfile.write(b"HTTP/1.1 200 OK\r\nX-A: b\r\n"[:1])  # type: ignore[attr-defined]

    url = server.at("/m", dribble)
    limits = replace(LOCAL, answer_seconds=0.3, attempts=1)
    with Fetcher(limits) as fetcher, pytest.raises(FetchError, match=r"does not answer|broke off"):
        fetcher.download(url, tmp_path)
    done.set()


def test_a_time_cap(server: Loopback, tmp_path: Path) -> None:
    done = threading.Event()
    url = server.at("/m.safetensors", stalls(MODEL, 2000, done, piece=100))
    with Fetcher(replace(LOCAL, max_seconds=0.4)) as fetcher, pytest.raises(FetchError, match="too long") as caught:
        fetcher.download(url, tmp_path)
    done.set()
    assert "are kept" in caught.value.hint


# Too much


def test_a_gzip_bomb(server: Loopback, fetcher: Fetcher, tmp_path: Path) -> None:
    url = server.at("/a.bin", says(200, gzip_of(40 << 20), {"Content-Encoding": "gzip"}))
    with pytest.raises(FetchError, match="200 times its size"):
        fetcher.download(url, tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 20_000_000
    with pytest.raises(FetchError, match="200 times its size"):
        fetcher.json(url)


def test_what_is_packed_unasked_is_unpacked(server: Loopback, fetcher: Fetcher, tmp_path: Path) -> None:
    import gzip

    url = server.at("/m.safetensors", says(200, gzip.compress(MODEL), {"Content-Encoding": "gzip", "ETag": '"z"'}))
    assert fetcher.download(url, tmp_path, expected="safetensors").path.read_bytes() == MODEL
    assert server.seen[0].headers["accept-encoding"] == "identity"
    odd = server.at("/b", says(200, b"....", {"Content-Encoding": "br"}))
    with pytest.raises(FetchError, match="packed as br"):
        fetcher.download(odd, tmp_path)


def test_an_endless_body(server: Loopback, time: FakeTime, tmp_path: Path) -> None:
    url = server.at("/a.bin", endless(b"x" * 65536))
    with Fetcher(replace(LOCAL, max_bytes=2_000_000), clock=time.clock()) as fetcher:
        with pytest.raises(FetchError, match="larger than the limit of 2000000"):
            fetcher.download(url, tmp_path)
        announced = server.at("/b.bin", Shelf(bytes(2_000_001)))
        with pytest.raises(FetchError, match="larger than the limit"):
            fetcher.download(announced, tmp_path)
    assert left_in(tmp_path) == []


def test_an_endless_answer(server: Loopback, time: FakeTime) -> None:
    url = server.at("/a", endless(b"[" * 65536))
    limits = replace(LOCAL, max_answer_bytes=500_000)
    with Fetcher(limits, clock=time.clock()) as fetcher, pytest.raises(FetchError, match="more than 500000 bytes"):
        fetcher.json(url)


def test_chunks_without_a_length(server: Loopback, fetcher: Fetcher, tmp_path: Path) -> None:
    pieces = [MODEL[at : at + 777] for at in range(0, len(MODEL), 777)]
    cut = chunked(pieces[:100], ends=False, headers={"ETag": '"c"'})
    url = server.at("/m.safetensors", in_turn(cut, Shelf(MODEL, etag='"c"')))
    assert fetcher.download(url, tmp_path, expected="safetensors").path.read_bytes() == MODEL
    assert server.seen[1].headers["range"] == f"bytes={77700}-"


# The disk


class Disk:
    def __init__(self, free: int) -> None:
        self.free = free


def test_no_room_before(server: Loopback, time: FakeTime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: Disk(1_000_000))
    url = server.at("/m.safetensors", Shelf(MODEL))
    limits = replace(LOCAL, reserve_bytes=800_000)
    with Fetcher(limits, clock=time.clock()) as fetcher, pytest.raises(OutOfDisk, match="too full") as caught:
        fetcher.download(url, tmp_path)
    assert "Free some space" in caught.value.hint


def test_room_that_goes_away(
    server: Loopback, fetcher: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody announced how much comes; others fill the disk too."""
    monkeypatch.setattr("lorasmith.fetching.download._LOOK_AT_DISK", 100_000)
    free = iter([10_000_000, 10_000_000])
    monkeypatch.setattr("shutil.disk_usage", lambda path: Disk(next(free, -1)))
    url = server.at("/m.safetensors", chunked([MODEL[at : at + 5000] for at in range(0, len(MODEL), 5000)]))
    with pytest.raises(OutOfDisk) as caught:
        fetcher.download(url, tmp_path)
    assert "What has arrived is kept." in caught.value.hint
    assert parts_in(tmp_path)[0].stat().st_size >= 100_000


def test_a_disk_that_is_full(server: Loopback, fetcher: Fetcher, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    url = server.at("/m.safetensors", Shelf(MODEL))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OutOfDisk, match="too full"):
            fetcher.download(url, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert fetcher.download(url, tmp_path).path.read_bytes() == MODEL
    assert server.seen[1].headers["range"] == "bytes=100000-"


# Stopping


def test_a_stop_keeps_what_has_arrived(server: Loopback, time: FakeTime, tmp_path: Path) -> None:
    done, wanted = threading.Event(), threading.Event()
    url = server.at("/m.safetensors", stalls(MODEL, 100_000, done))

    def watch(moment: Transfer) -> None:
        if moment.done:
            wanted.set()

    with Fetcher(LOCAL) as fetcher, pytest.raises(Stopped) as caught:
        fetcher.download(url, tmp_path, progress=watch, cancel=wanted)
    done.set()
    assert "go on" in caught.value.hint
    (part,) = parts_in(tmp_path)
    kept = part.stat().st_size
    assert 0 < kept <= 100_000
    server.at("/m.safetensors", Shelf(MODEL, etag='"slow"'))
    with Fetcher(LOCAL) as again:
        assert again.download(url, tmp_path).path.read_bytes() == MODEL
    assert server.seen[-1].headers["range"] == f"bytes={kept}-"


def test_a_stop_while_it_waits(server: Loopback, fetcher: Fetcher, time: FakeTime, tmp_path: Path) -> None:
    url = server.at("/a.bin", says(503, b"", {"Retry-After": "100"}))
    with pytest.raises(Stopped):
        fetcher.download(url, tmp_path, cancel=lambda: time.waited > 5)
    assert time.waited < 6


# Redirects


def test_circles(server: Loopback, fetcher: Fetcher, tmp_path: Path) -> None:
    url = server.at("/a", redirects("/b", 302))
    server.at("/b", redirects("a", 301))
    with pytest.raises(FetchError, match="in circles"):
        fetcher.download(url, tmp_path)
    assert len(server.seen) == 11
    nowhere = server.at("/c", says(302))
    with pytest.raises(FetchError, match="without saying where"):
        fetcher.download(nowhere, tmp_path)


def test_the_rest_is_asked_for_behind_a_redirect_too(server: Loopback, fetcher: Fetcher, tmp_path: Path) -> None:
    with Loopback() as store:
        url = server.at("/download/7", redirects(store.url("/signed?sig=abc"), 307))
        shelf = Shelf(MODEL, cuts=[200_000], headers={"Content-Disposition": 'attachment; filename="猫.safetensors"'})
        store.at("/signed", shelf)
        shelf.headers = {"Content-Disposition": "attachment; filename*=UTF-8''%E7%8C%AB.safetensors"}
        done = fetcher.download(url, tmp_path)
        assert done.path.name == "猫.safetensors" and done.path.read_bytes() == MODEL
        assert store.seen[1].headers["range"] == "bytes=200000-"
        assert done.url == url
