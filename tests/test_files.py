"""Files on disk: whole or not at all, and their size and digest in words."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from lorasmith.files import bytes_in_words, file_digest, write_atomically, write_json


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"), (12, "12 bytes"), (999, "999 bytes"), (1000, "1 kB"), (1500, "1.5 kB"), (999_499, "999 kB"),
        (999_999, "1 MB"), (2.5e6, "2.5 MB"), (12_345_678, "12.3 MB"), (3e12, "3 TB"), (4.5e15, "4,500 TB"),
    ],
)  # fmt: skip
def test_bytes_in_words(count: float, words: str) -> None:
    assert bytes_in_words(count) == words


def test_what_is_written_is_whole_and_known_by_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "ein Bild 猫.bin"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]
    assert file_digest(path) == hashlib.sha256(b"new").hexdigest()
    write_json(path, {"é": 1})
    assert path.read_text(encoding="utf-8") == '{\n  "é": 1\n}'


def test_a_folder_in_the_way_keeps_its_content(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").touch()
    with pytest.raises(OSError, match="a"):
        write_atomically(tmp_path / "a", b"x")
    assert (tmp_path / "a" / "b").exists()
