"""Garbage: what a version, a job or somebody who is adding needs is never freed; what nobody needs is."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from lorasmith.datasets.manifest import DatasetVersion, Item, Operation
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import DatasetError, InputError
from lorasmith.files import write_json
from lorasmith.jobfolder import JobFolder, JobRecord, Result
from tests.datasets.dataset_pictures import png, write_folder

EDIT = Operation(name="edit")


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "home ü")


@pytest.fixture
def first(store: DatasetStore, tmp_path: Path) -> DatasetVersion:
    return store.import_source(write_folder(tmp_path / "pictures", {f"{n}.png": png(n) for n in range(3)}), name="set")


def color(value: int) -> Image.Image:
    return Image.new("RGB", (8, 8), (value, 0, 0))


def with_picture(store: DatasetStore, version: DatasetVersion, value: int) -> list[Item]:
    return [replace(version.items[0], image=store.put_image(color(value))), *version.items[1:]]


def job(store: DatasetStore, name: str, kind: str, payload: dict, outcome: str = "") -> JobFolder:
    folder = JobFolder(store.home / "jobs" / name)
    folder.path.mkdir(parents=True)
    record = JobRecord(id=name, kind=kind, created="2026-01-01T00:00:00Z", payload=payload)  # type: ignore[arg-type]
    write_json(folder.path / "job.json", record.model_dump(mode="json"))
    if outcome:
        folder.set_result(Result(outcome=outcome))  # type: ignore[arg-type]
    return folder


def test_nothing_is_garbage_while_versions_need_it(store: DatasetStore, first: DatasetVersion) -> None:
    second = store.commit(first, with_picture(store, first, 1), EDIT)
    store.undo("set")
    assert store.garbage().files == (), "what was undone can be redone"
    store.branch("set@2", "other")
    store.redo("set")
    store.drop("set@1")
    store.collect(store.garbage())
    assert DatasetStore(store.home).get("other").root == second.root
    assert all(store.open_image(item) for item in second.items)


def test_dropping_frees_what_nobody_else_needs(store: DatasetStore, first: DatasetVersion) -> None:
    items = with_picture(store, first, 1)
    store.commit(first, items, EDIT)
    store.commit(store.undo("set"), [replace(i, caption="x") for i in first.items], EDIT)
    store.drop("set@2")
    assert store.versions("set") == [1, 3]
    found = store.garbage()
    assert list(found.blobs) == [store.blob_path(items[0].image)]
    assert len(found.pieces) == 2 and found.bytes > 0 and not found.held_by
    assert store.blob_path(items[0].image).is_file(), "looking frees nothing"
    freed = store.collect(found)
    assert freed.files == found.files and freed.bytes == found.bytes
    assert not store.blob_path(items[0].image).exists()
    assert store.garbage().files == ()
    assert store.commit(store.get("set"), first.items[:2], EDIT).number == 4, "no number is given twice"
    store.drop("set")
    assert store.names() == []
    store.collect(store.garbage())
    assert [p for folder in ("blobs", "pieces") for p in (store.home / folder).rglob("*") if p.is_file()] == []


def test_the_line_holds_when_a_version_in_it_is_dropped(store: DatasetStore, first: DatasetVersion) -> None:
    second = store.commit(first, first.items[:2], EDIT)
    third = store.commit(second, first.items[:1], EDIT)
    with pytest.raises(DatasetError, match="present version"):
        store.drop("set@3")
    store.drop("set@2")
    assert [(e.number, e.parent) for e in store.history("set")] == [(1, None), (3, 1)]
    assert store.undo("set") == first
    assert store.redo("set") == third
    with pytest.raises(DatasetError, match="no version 2"):
        store.drop("set@2")


def test_what_was_put_is_kept_until_it_is_committed_or_given_up(store: DatasetStore, first: DatasetVersion) -> None:
    other = DatasetStore(store.home)
    sha256 = store.put_image(color(1))
    assert other.garbage().files == () and other.collect(other.garbage()).files == ()
    store.commit(first, [replace(first.items[0], image=sha256), *first.items[1:]], EDIT)
    assert list((store.home / "incoming").iterdir()) == []
    given_up = DatasetStore(store.home)
    lost = given_up.put_image(color(2))
    kept = given_up.put_image(color(1))
    assert other.garbage().blobs == ()
    del given_up
    found = other.garbage()
    assert found.blobs == (store.blob_path(lost),)
    assert len(other.collect(found).leftovers) == 2
    assert store.holds(kept) and not store.holds(lost)


def test_what_is_not_committed_yet_stays_leased(store: DatasetStore, first: DatasetVersion) -> None:
    now, later = store.put_image(color(1)), store.put_image(color(2))
    second = store.commit(first, [replace(first.items[0], image=now), *first.items[1:]], EDIT)
    other = DatasetStore(store.home)
    assert other.garbage().files == ()
    store.commit(second, [replace(first.items[0], image=later), *first.items[1:]], EDIT)
    assert list((store.home / "incoming").iterdir()) == []


def test_collecting_looks_again(store: DatasetStore, first: DatasetVersion) -> None:
    giver = DatasetStore(store.home)
    sha256 = giver.put_image(color(1))
    del giver
    found = store.garbage()
    assert found.blobs == (store.blob_path(sha256),)
    taker = DatasetStore(store.home)
    assert taker.put_image(color(1)) == sha256
    assert store.collect(found).blobs == ()
    taker.commit(first, [replace(first.items[0], image=sha256), *first.items[1:]], EDIT)
    assert store.collect(found).blobs == ()
    assert store.holds(sha256)


PUTS_AND_DIES = """
import os, signal, sys
from pathlib import Path
from PIL import Image
from lorasmith.datasets.store import DatasetStore
store = DatasetStore(Path(sys.argv[1]))
sys.stdout.write(store.put_image(Image.new("RGB", (8, 8), (9, 9, 9))) + "\\n")
sys.stdout.flush()
sys.stdin.read(1)
os._exit(1)
"""


def test_what_another_process_puts_is_kept_as_long_as_it_lives(store: DatasetStore, first: DatasetVersion) -> None:
    command = [sys.executable, "-c", PUTS_AND_DIES, str(store.home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin and other.stdout
        sha256 = other.stdout.readline().strip()
        assert store.garbage().files == ()
        other.stdin.write("x")
        other.stdin.close()
        other.wait(30)
    assert store.garbage().blobs == (store.blob_path(sha256),)


def test_an_import_under_way_loses_nothing(store: DatasetStore, first: DatasetVersion, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "more", {f"{n}.png": png(n + 10) for n in range(3)})
    freed = []

    def meanwhile(*_: object) -> None:
        found = DatasetStore(store.home).garbage()
        freed.append(found.files)
        DatasetStore(store.home).collect(found)

    made = store.import_source(source, name="two", progress=meanwhile)
    assert freed == [(), (), ()]
    assert all(store.open_image(item) for item in made.items)


def test_leftovers_of_the_killed_are_freed(store: DatasetStore, first: DatasetVersion) -> None:
    left = [
        store.home / "incoming" / "0123" / "1.original",
        store.home / "blobs" / "ab" / f".{'c' * 62}.{'d' * 32}.tmp",
        store.home / "pieces" / "ab" / f".{'c' * 62}.{'d' * 32}.tmp",
        store.home / "datasets" / "set" / ".2.json.77.tmp",
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    (store.home / "incoming" / "0123.lock").touch()
    found = store.garbage()
    assert (len(found.leftovers), found.bytes) == (5, 16)
    store.collect(found)
    assert not any(path.exists() for path in left)
    assert store.get("set") == first


def test_what_cannot_be_read_needs_everything(store: DatasetStore, first: DatasetVersion) -> None:
    orphan = DatasetStore(store.home).put_image(color(1))
    found = store.garbage()
    assert found.blobs == (store.blob_path(orphan),)
    folder = store.home / "jobs" / "torn"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text("{")
    assert "torn" in store.garbage().held_by[0] and store.garbage().files == ()
    with pytest.raises(DatasetError, match="torn"):
        store.collect(found)
    with pytest.raises(DatasetError, match="torn"):
        store.drop("set")
    (folder / "job.json").unlink()
    header = store.home / "datasets" / "set" / "1.json"
    whole = header.read_bytes()
    header.write_bytes(whole[:-9])
    assert "set@1" in store.garbage().held_by[0]
    with pytest.raises(DatasetError, match="set@1"):
        store.collect(found)
    assert store.holds(orphan)
    header.write_bytes(whole)
    assert store.collect(found).blobs == found.blobs


@pytest.mark.parametrize("outcome", ["", "paused", "failed", "stopped"])
@pytest.mark.parametrize("kind", ["train", "caption"])
def test_what_a_job_may_go_on_with_is_not_dropped(
    store: DatasetStore, first: DatasetVersion, outcome: str, kind: str
) -> None:
    store.commit(first, first.items[:2], EDIT)
    need = {"dataset": "set@1"}
    job(store, "job 1", kind, {"config": need} if kind == "train" else need, outcome)
    for reference in ("set@1", "set"):
        with pytest.raises(DatasetError, match="job 1 needs set@1") as error:
            store.drop(reference)
        assert str(store.home) in error.value.hint
    assert store.versions("set") == [1, 2]


def test_jobs_that_need_nothing_hold_nothing(store: DatasetStore, first: DatasetVersion) -> None:
    second = store.commit(first, first.items[:2], EDIT)
    job(store, "done", "train", {"config": {"dataset": "set@1"}}, "succeeded")
    job(store, "paint", "generate", {"prompts": []})
    job(store, "other", "train", {"config": {"dataset": "set@2"}})
    tagged = job(store, "tag", "caption", {"dataset": "set@1"}, "succeeded")
    with pytest.raises(DatasetError, match="tag needs set@1"):
        store.drop("set@1")  # its captions are not collected yet
    arguments = {"job": tagged.path.name}
    store.commit(second, first.items[:1], Operation(name="caption", arguments=arguments))
    store.drop("set@1")
    assert store.garbage().held_by == ()
    job(store, "lost", "train", {"config": {"dataset": "nowhere@1"}})
    assert "nowhere" in store.garbage().held_by[0]


def test_put_image_stores_pixels_and_nothing_else(store: DatasetStore, first: DatasetVersion) -> None:
    picture = Image.new("RGB", (5, 3), (1, 2, 3))
    picture.info["comment"] = "private"
    sha256 = store.put_image(picture)
    assert store.put_image(Image.new("RGB", (5, 3), (1, 2, 3))) == sha256
    with Image.open(store.blob_path(sha256)) as read:
        assert (read.format, read.mode, read.getpixel((0, 0)), read.info) == ("PNG", "RGB", (1, 2, 3), {})
    mask = store.put_image(Image.new("1", (5, 3), 1), mode="L")
    with Image.open(store.blob_path(mask)) as read:
        assert (read.mode, read.getpixel((0, 0))) == ("L", 255)
    for mode, wanted in (("RGBA", "RGB"), ("P", "RGB"), ("I;16", "L"), ("RGB", "L")):
        with pytest.raises(DatasetError, match="without loss"):
            store.put_image(Image.new(mode, (2, 2)), mode=wanted)  # type: ignore[arg-type]
    masked = store.commit(first, [replace(first.items[0], mask=mask), *first.items[1:]], EDIT)
    assert masked.items[0].mask == mask


def test_put_file_stores_its_bytes(store: DatasetStore, tmp_path: Path) -> None:
    path = tmp_path / "größe 1.bin"
    path.write_bytes(bytes(range(256)) * 9000)
    sha256 = store.put_file(path)
    assert store.blob_path(sha256).read_bytes() == path.read_bytes()
    store.blob_path(sha256).write_bytes(b"torn")
    assert store.put_file(path) == sha256
    assert store.blob_path(sha256).read_bytes() == path.read_bytes(), "a torn blob is mended"
    with pytest.raises(InputError, match="cannot be read"):
        store.put_file(tmp_path / "nowhere")


def test_headers_are_small_and_plain(store: DatasetStore, first: DatasetVersion) -> None:
    record = json.load(io.BytesIO((store.home / "datasets" / "set" / "1.json").read_bytes()))
    assert (record["format"], record["dataset"], record["number"], record["count"]) == (2, "set", 1, 3)
    assert record["root"] == first.root
