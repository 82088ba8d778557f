from __future__ import annotations

import os
from pathlib import Path

import pytest

from lorasmith.datasets.captions.files import write_captions
from lorasmith.datasets.manifest import Item
from lorasmith.errors import DatasetError


def item(name: str, caption: str) -> Item:
    return Item(name=name, image="0" * 64, original="0" * 64, width=64, height=64, caption=caption)


def test_only_changed_files_are_written(tmp_path: Path) -> None:
    items = [item("猫.png", "a\r\nb"), item("sub dir/x.jpg", "c, d"), item("none.png", "")]
    first = write_captions(items, tmp_path)
    assert set(first.written) == {"猫.txt", "sub dir/x.txt"}
    assert (tmp_path / "猫.txt").read_bytes() == b"a\r\nb"
    assert not (tmp_path / "none.txt").exists()
    before = (tmp_path / "猫.txt").stat().st_mtime_ns
    second = write_captions([items[0], item("sub dir/x.jpg", "c")], tmp_path, previous=first.hashes)
    assert (second.written, second.unchanged, second.conflicts) == (("sub dir/x.txt",), ("猫.txt",), ())
    assert (tmp_path / "猫.txt").stat().st_mtime_ns == before
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["x.txt", "猫.txt"]


def test_someone_elses_edit_is_never_overwritten(tmp_path: Path) -> None:
    first = write_captions([item("a.png", "one"), item("b.png", "one")], tmp_path)
    (tmp_path / "a.txt").write_text("edited by hand")
    (tmp_path / "new.txt").write_text("was here before us")
    items = [item("a.png", "two"), item("b.png", "two"), item("new.png", "two")]
    second = write_captions(items, tmp_path, previous=first.hashes)
    assert (second.written, second.conflicts) == (("b.txt",), ("a.txt", "new.txt"))
    assert (tmp_path / "a.txt").read_text() == "edited by hand"
    again = write_captions(items, tmp_path, previous=second.hashes)
    assert again.conflicts == ("a.txt", "new.txt")
    forced = write_captions(items, tmp_path, previous=again.hashes, force=True)
    assert (forced.written, forced.conflicts) == (("a.txt", "new.txt"), ())
    assert (tmp_path / "a.txt").read_text() == "two"


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    done = write_captions([item("a.png", "x")], tmp_path, dry_run=True)
    assert (done.written, dict(done.hashes), list(tmp_path.iterdir())) == (("a.txt",), {}, [])


def test_an_emptied_caption_empties_its_file(tmp_path: Path) -> None:
    first = write_captions([item("a.png", "x")], tmp_path)
    write_captions([item("a.png", "")], tmp_path, previous=first.hashes)
    assert (tmp_path / "a.txt").read_bytes() == b""


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([item("a.png", "x"), item("A.jpg", "y")], "share the caption file"),
        ([item("../a.png", "x")], "climbs out"),
        ([item("a.png", "\ud800")], "half a character"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is(tmp_path: Path, items: list[Item], said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        write_captions([item("0.png", "fine"), *items], tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_does_not_lead_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "sub").symlink_to(outside)
    with pytest.raises(DatasetError, match="by a link"):
        write_captions([item("sub/a.png", "x")], folder)
    (folder / "b.txt").symlink_to(outside / "b.txt")
    write_captions([item("b.png", "x")], folder)
    assert list(outside.iterdir()) == []


def test_a_disk_that_refuses_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_captions([item("a.png", "old")], tmp_path)

    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as stream:
            stream.write(content[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(Exception, match="full"):
        write_captions([item("a.png", "new text")], tmp_path, previous=first.hashes)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "old")]
