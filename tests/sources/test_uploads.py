"""Uploads in pieces: gone on after anything, checked, capped, and never mixed up."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorasmith.errors import ConflictError, InputError, OutOfDisk
from lorasmith.sources.uploads import UploadLimits, Uploads
from lorasmith.studio import Studio
from tests.sources.errands import packed, picture

SMALL = UploadLimits(reserve_bytes=0)
CONTENT = bytes(range(256)) * 40


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path / "home", SMALL)


def send(uploads: Uploads, id: str, content: bytes, checksum: bool = True) -> int:
    offset = uploads.offset(id)
    return uploads.append(id, offset, io.BytesIO(content), sha(content) if checksum else None)


class Broken(io.RawIOBase):
    """A connection that breaks after so many bytes."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._content = content

    def read(self, size: int = -1) -> bytes:
        if not self._content:
            raise ConnectionResetError("the browser was closed")
        part, self._content = self._content[:100], self._content[100:]
        return part


def test_a_file_in_pieces_arrives_whole_and_can_be_imported(uploads: Uploads, tmp_path: Path) -> None:
    content = packed({"1.png": picture(1), "1.txt": b"one"})
    id = uploads.create("C:\\fakepath\\my photos.zip", len(content), sha(content))
    for start in range(0, len(content), 500):
        assert send(uploads, id, content[start : start + 500]) == min(start + 500, len(content))
    path = uploads.finish(id)
    assert path.name == "my photos.zip" and path.read_bytes() == content and uploads.finish(id) == path
    version = Studio(tmp_path / "home").import_dataset(path)
    assert version.reference == "my-photos@1" and version.items[0].caption == "one"
    assert uploads.abandon(id) and not path.exists() and not uploads.abandon(id)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.tuples(st.integers(1, 700), st.booleans()), min_size=1, max_size=12))
def test_connections_may_break_anywhere(uploads: Uploads, cuts: list[tuple[int, bool]]) -> None:
    id = uploads.create("x.bin", len(CONTENT))
    for length, breaks in cuts:
        offset = uploads.offset(id)
        piece = CONTENT[offset : offset + length]
        if breaks:
            checksum = sha(piece) if length % 2 else None
            with pytest.raises(ConnectionResetError):
                uploads.append(id, offset, Broken(piece), checksum)  # type: ignore[arg-type]
            assert uploads.offset(id) == offset + (0 if checksum else len(piece))
        else:
            send(uploads, id, piece)
    send(uploads, id, CONTENT[uploads.offset(id) :])
    assert uploads.finish(id).read_bytes() == CONTENT
    uploads.abandon(id)


def test_a_killed_process_leaves_an_upload_that_goes_on(uploads: Uploads, tmp_path: Path) -> None:
    id = uploads.create("x.bin", len(CONTENT))
    send(uploads, id, CONTENT[:1000])
    code = (
        "import sys, os, io\nfrom lorasmith.sources.uploads import *\n"
        "class Slow(io.RawIOBase):\n"
        "    count = 0\n"
        "    def read(self, size=-1):\n"
        "        self.count += 1\n"
        "        if self.count > 3:\n"
        "            print('half', flush=True); sys.stdin.read()\n"
        "        return b'z' * 70000\n"
        f"Uploads({str(tmp_path / 'home')!r}, UploadLimits(reserve_bytes=0))"
        f".append(sys.argv[1], 1000, Slow(), '0' * 64)\n"
    )
    big = uploads.create("big.bin", 10_000_000)
    send(uploads, big, b"a" * 1000)
    child = subprocess.Popen(
        [sys.executable, "-c", code, big], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "src"},
    )  # fmt: skip
    assert child.stdout is not None and child.stdout.readline() == b"half\n"
    with pytest.raises(ConflictError, match="arriving already"):
        send(uploads, big, b"b")
    child.send_signal(signal.SIGKILL) if os.name != "nt" else child.kill()
    child.wait()
    again = Uploads(tmp_path / "home", SMALL)
    assert again.offset(id) == 1000
    assert again.offset(big) == 1000, "what was never checked does not count"
    send(again, id, CONTENT[1000:])
    assert again.finish(id).read_bytes() == CONTENT
    send(again, big, b"b" * 9_999_000)
    assert again.finish(big).read_bytes() == b"a" * 1000 + b"b" * 9_999_000


def test_a_wrong_checksum_offset_or_length_changes_nothing(uploads: Uploads) -> None:
    id = uploads.create("x.bin", 100)
    for offset, content, checksum, said in (
        (0, b"a" * 10, sha(b"b" * 10), "changed on the way"),
        (5, b"a" * 10, None, "begins at byte 5, and 0 are here"),
        (0, b"a" * 101, None, "longer than the 100 bytes"),
        (0, b"a", "abc", "no SHA-256"),
    ):
        with pytest.raises(InputError, match=said) as refused:
            uploads.append(id, offset, io.BytesIO(content), checksum)
        assert uploads.offset(id) == 0 and refused.value.hint
    send(uploads, id, b"a" * 99)
    with pytest.raises(InputError, match="not whole: 99 of 100"):
        uploads.finish(id)
    assert send(uploads, id, b"") == 99
    send(uploads, id, b"a")
    uploads.finish(id)
    with pytest.raises(InputError, match="is finished"):
        send(uploads, id, b"a")


def test_a_file_that_is_not_what_was_announced_is_gone(uploads: Uploads) -> None:
    id = uploads.create("x.bin", 10, sha(b"other"))
    send(uploads, id, b"a" * 10)
    with pytest.raises(InputError, match="not the file that was announced"):
        uploads.finish(id)
    with pytest.raises(InputError, match="no such upload"):
        uploads.status(id)


def test_two_uploads_of_one_name_are_two(uploads: Uploads) -> None:
    one, two = uploads.create("猫.png", 3), uploads.create("猫.png", 3)
    send(uploads, two, b"two")
    send(uploads, one, b"one")
    assert [uploads.finish(id).read_bytes() for id in (one, two)] == [b"one", b"two"]
    assert {path.name for path in map(uploads.finish, (one, two))} == {"猫.png"}


def test_a_crash_between_the_steps_of_finish(uploads: Uploads, tmp_path: Path) -> None:
    id = uploads.create("x.bin", 3)
    send(uploads, id, b"abc")
    place = tmp_path / "home" / "uploads" / id
    (place / "file").mkdir()
    (place / "arriving").replace(place / "file" / "x.bin")
    assert uploads.status(id).offset == 3 and not uploads.status(id).finished
    assert uploads.finish(id).read_bytes() == b"abc" and uploads.status(id).finished


@pytest.mark.parametrize("name", ["", "..", "/", "\\", "...", "\x00"])
def test_names_that_are_none(uploads: Uploads, name: str) -> None:
    with pytest.raises(InputError, match="cannot be the name"):
        uploads.create(name, 1)


@pytest.mark.parametrize(
    ("name", "safe"), [("../../etc/passwd", "passwd"), ("con.zip", "con_.zip"), ("a:b?.zip", "a_b_.zip"), (".x", "x")]
)
def test_names_are_made_safe(uploads: Uploads, name: str, safe: str) -> None:
    assert uploads.status(uploads.create(name, 1)).name == safe


@pytest.mark.parametrize("id", ["", "..", "../jobs", "a" * 32, "A" * 32, "0" * 31, "x/../y", "\x00"])
def test_ids_that_are_none(uploads: Uploads, id: str) -> None:
    calls: list[Any] = [uploads.status, uploads.offset, uploads.finish]
    for call in calls:
        with pytest.raises(InputError, match="no such upload"):
            call(id)
    with pytest.raises(InputError, match="no such upload"):
        uploads.append(id, 0, io.BytesIO(b""))
    assert uploads.abandon(id) is False


def test_caps(tmp_path: Path) -> None:
    caps = UploadLimits(file_bytes=100, piece_bytes=10, open_uploads=2, open_bytes=150, reserve_bytes=0)
    uploads = Uploads(tmp_path, caps)
    with pytest.raises(InputError, match="larger than 100 bytes"):
        uploads.create("x", 101)
    for length in (0, -1, True):
        with pytest.raises(InputError, match="is empty"):
            uploads.create("x", length)
    with pytest.raises(InputError, match="SHA-256"):
        uploads.create("x", 1, "abc")
    id = uploads.create("x", 100)
    with pytest.raises(InputError, match="longer than the 10 bytes"):
        uploads.append(id, 0, io.BytesIO(b"a" * 11))
    with pytest.raises(InputError, match="under way already"):
        uploads.create("y", 51)
    uploads.create("y", 50)
    with pytest.raises(InputError, match="under way already"):
        uploads.create("z", 1)
    with pytest.raises(OutOfDisk, match="free"):
        Uploads(tmp_path / "2", UploadLimits(file_bytes=10**19, open_bytes=10**19)).create("x", 10**18)
    with pytest.raises(OutOfDisk, match="too full"):
        Uploads(tmp_path, UploadLimits(reserve_bytes=10**18)).append(id, 0, io.BytesIO(b"a"))
    assert uploads.offset(id) == 0


def test_what_nobody_goes_on_with_expires(tmp_path: Path) -> None:
    now = [0.0]
    uploads = Uploads(tmp_path, UploadLimits(reserve_bytes=0, expires=100), clock=lambda: now[0])
    old = uploads.create("old", 3)
    now[0] = uploads.status(old).expires - 1
    assert [upload.id for upload in uploads.all()] == [old] and uploads.expire() == 0
    now[0] += 2
    new = uploads.create("new", 3)
    with pytest.raises(InputError, match="expired"):
        uploads.status(old)
    assert not (tmp_path / "uploads" / old).exists() and (tmp_path / "uploads" / new).exists()


def test_pieces_sent_by_two_at_once_never_mix(uploads: Uploads) -> None:
    id = uploads.create("x.bin", 20_000)
    outcomes: list[str] = []

    def run(letter: bytes) -> None:
        for _ in range(200):
            try:
                offset = uploads.offset(id)
                if offset >= 20_000:
                    return
                uploads.append(id, offset, io.BytesIO(letter * 500))
                outcomes.append(letter.decode())
            except (InputError, ConflictError):
                continue

    threads = [threading.Thread(target=run, args=(letter,)) for letter in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while uploads.offset(id) < 20_000:
        send(uploads, id, b"c" * 500)
    content = uploads.finish(id).read_bytes()
    assert len(content) == 20_000
    assert all(len(set(content[at : at + 500])) == 1 for at in range(0, 20_000, 500))
