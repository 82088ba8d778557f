"""Adding to a dataset, importing again, and stopping: what is there stays as it is."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from lorasmith.datasets import importing
from lorasmith.datasets.importing import Pace
from lorasmith.datasets.ledger import filter_fates, totals
from lorasmith.datasets.manifest import DatasetVersion, Operation
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import ConfigError, DatasetError, Stopped
from tests.datasets.dataset_pictures import encode, gradient, jpeg, png, snapshot, write_folder


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "home")


@pytest.fixture
def first(tmp_path: Path, store: DatasetStore) -> DatasetVersion:
    return store.import_source(write_folder(tmp_path / "first", {"a.png": png(1), "b.png": png(2), "a.txt": b"one"}))


def test_new_pictures_follow_the_old_ones(tmp_path: Path, store: DatasetStore, first: DatasetVersion) -> None:
    more = write_folder(tmp_path / "more", {"A.png": png(3), "c.png": png(4), "c.txt": b"new", "broken.png": b"x"})
    second = store.import_source(more, into="first")
    assert second.items[:2] == first.items
    assert [(item.name, item.caption) for item in second.items[2:]] == [("A (2).png", ""), ("c.png", "new")]
    assert (second.dataset, second.number, second.parent) == ("first", 2, 1)
    assert second.operation.name == "add"
    assert store.get("first@1") == first
    assert [line.source for line in second.ledger] == ["first"] * 3 + ["more"] * 4
    assert second.ledger[:3] == first.ledger
    assert totals(filter_fates(second, source="more")).left_out == 1


def test_what_is_there_already_is_a_duplicate_and_keeps_its_caption(
    tmp_path: Path, store: DatasetStore, first: DatasetVersion
) -> None:
    files = {
        "same.png": png(1), "same.txt": b"another caption", "pixels.bmp": encode(gradient(seed=2), "BMP"),
        "new.png": png(9), "twice.png": png(9), "twice.txt": b"with text",
    }  # fmt: skip
    second = store.import_source(write_folder(tmp_path / "more", files), into="first")
    lines = {line.path: line for line in filter_fates(second, source="more")}
    assert second.items[:2] == first.items
    assert [(item.name, item.caption) for item in second.items[2:]] == [("twice.png", "with text")]
    assert (lines["same.png"].rule, lines["same.png"].item) == ("duplicate", "a.png")
    assert "same bytes as a.png, which is in the dataset already" in lines["same.png"].detail
    assert "same pixels as b.png" in lines["pixels.bmp"].detail
    assert (lines["same.txt"].rule, lines["same.txt"].item) == ("kept_caption", "a.png")
    assert "was not touched" in lines["same.txt"].detail
    assert (lines["new.png"].rule, lines["new.png"].item) == ("duplicate", "twice.png")
    assert len(lines) == len(files)


def test_adding_nothing_new_changes_nothing(tmp_path: Path, store: DatasetStore, first: DatasetVersion) -> None:
    before = snapshot(store.home)
    again = store.import_source(write_folder(tmp_path / "more", {"z.png": png(1), "z.txt": b"x"}), into="first")
    assert again == first
    assert {p: c for p, c in snapshot(store.home).items() if ".lock" not in p and p != "incoming"} == {
        p: c for p, c in before.items() if ".lock" not in p and p != "incoming"
    }


def test_edits_stay_when_pictures_are_added(tmp_path: Path, store: DatasetStore, first: DatasetVersion) -> None:
    edited = store.commit(
        first, [replace(item, caption="edited", repeats=5) for item in first.items], Operation(name="edit")
    )
    added = store.import_source(write_folder(tmp_path / "more", {"n.png": png(7), "x.png": png(1)}), into="first")
    assert added.items[:2] == edited.items
    assert [item.name for item in added.items] == ["a.png", "b.png", "n.png"]


def test_pictures_added_twice_at_once_are_added_once(
    tmp_path: Path, store: DatasetStore, first: DatasetVersion
) -> None:
    sources = [write_folder(tmp_path / f"m{n}", {"n.png": png(7), f"own{n}.png": png(20 + n)}) for n in range(3)]
    threads = [threading.Thread(target=lambda s=s: store.import_source(s, into="first")) for s in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = store.get("first")
    assert sorted(item.name for item in last.items) == ["a.png", "b.png", "n.png", "own0.png", "own1.png", "own2.png"]
    assert len(filter_fates(last, rule="duplicate")) == 2


def test_where_to_add_must_exist_and_be_meant(tmp_path: Path, store: DatasetStore, first: DatasetVersion) -> None:
    with pytest.raises(DatasetError, match="no dataset 'frist'"):
        store.import_source(tmp_path / "first", into="frist")
    with pytest.raises(ConfigError, match="not both"):
        store.import_source(tmp_path / "first", into="first", name="x")


def test_importing_again_writes_nothing(tmp_path: Path, store: DatasetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_folder(tmp_path / "s", {"a.jpg": jpeg(1), "b.gif": encode(gradient(), "GIF"), "a.txt": b"x"})
    first = store.import_source(source)
    before = snapshot(store.home / "blobs")

    def never(*_: object) -> None:
        raise AssertionError("a file was flushed that is there already")

    monkeypatch.setattr(importing, "_flush", never)
    assert store.import_source(source) == first
    assert snapshot(store.home / "blobs") == before


@pytest.mark.parametrize("kind", ["event", "function"])
@pytest.mark.parametrize("after", [0, 3])
def test_stopping_leaves_the_old_state(tmp_path: Path, store: DatasetStore, kind: str, after: int) -> None:
    store.import_source(write_folder(tmp_path / "first", {"a.png": png(1)}))
    before = snapshot(store.home / "blobs"), snapshot(store.home / "datasets")
    source = write_folder(tmp_path / "more", {f"{n}.png": png(n) for n in range(2, 40)})
    event = threading.Event()
    seen: list[int] = []

    def progress(done: int, _total: int, _path: str) -> None:
        seen.append(done)
        if done == after:
            event.set()

    if not after:
        event.set()
    with pytest.raises(Stopped, match="no dataset was changed") as error:
        cancel = event if kind == "event" else event.is_set
        store.import_source(source, into="first", progress=progress, cancel=cancel)
    assert error.value.exit_code == 130
    assert len(seen) == after
    assert (snapshot(store.home / "blobs"), snapshot(store.home / "datasets")) == before
    assert list((store.home / "incoming").iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("decode", "flush"))]


def test_a_watch_hears_now_and_then_with_an_estimate(
    tmp_path: Path, store: DatasetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(step / 10 for step in range(10_000))  # every look at the clock finds it a tenth of a second later
    monkeypatch.setattr(importing.time, "monotonic", lambda: next(now))
    paces: list[Pace] = []
    source = write_folder(tmp_path / "s", {f"{n:02}.png": png(n) for n in range(12)})
    store.import_source(source, watch=paces.append)
    assert (paces[0].done, paces[-1].done, paces[-1].total, paces[-1].path) == (1, 12, 12, "11.png")
    assert 4 <= len(paces) < 12
    assert paces[-1].seconds_left == 0
    middle = paces[len(paces) // 2]
    assert middle.seconds_left == pytest.approx(0.1 * (12 - middle.done), abs=0.2)


def test_a_source_that_shrinks_reduces_and_keeps_the_original(tmp_path: Path, store: DatasetStore) -> None:
    content = encode(gradient(400, 300, 1), "JPEG", quality=95)
    source = write_folder(tmp_path / "s", {"a.jpg": content, "small.png": png(2)})
    version = store.import_source(source, max_side=100)
    large, small = version.items
    assert (large.width, large.height) == (100, 75) == store.open_image(large).size
    assert store.blob_path(large.original).read_bytes() == content
    assert large.provenance["transforms"] == ["reduced:400x300"]
    assert (small.image, version.operation.arguments["max_side"]) == (small.original, 100)
    with pytest.raises(ConfigError, match="no size"):
        store.import_source(source, max_side=0)
    with pytest.raises(ConfigError, match="transparency"):
        store.import_source(source, alpha="none")  # type: ignore[arg-type]
