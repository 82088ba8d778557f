"""Where pictures are from is kept by versions, edits, exports and back; a stranger's word is held to its form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lorasmith.curation import Curation
from lorasmith.datasets.layouts import available, export
from lorasmith.datasets.manifest import DatasetVersion, Fate
from lorasmith.datasets.origins import Origin, origin_in, origin_of
from lorasmith.datasets.store import DatasetStore
from tests.sources.errands import packed, picture

KEEPING = ("bundle", "imagefolder", "parquet", "webdataset")
TOLD = {
    "from": "gelbooru", "address": "https://img.example.org/1.png", "page": "https://example.org/1", "post": 1,
    "author": "Änn", "license": "CC-BY-4.0", "rating": "general", "score": 7, "retrieved": "2026-01-01T00:00:00+00:00",
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "home")


@pytest.fixture
def version(store: DatasetStore, tmp_path: Path) -> DatasetVersion:
    folder = tmp_path / "pets"
    folder.mkdir()
    for number in (1, 2):
        (folder / f"{number}.png").write_bytes(picture(number, size=(64, 64)))
        (folder / f"{number}.txt").write_text(f"pet {number}, gray", encoding="utf-8")
    missed = (Fate(path="3.png", fate="left_out", rule="not_fetched", detail="could not be had."),)
    origin = Origin("gelbooru", "pets", {"from": "gelbooru"}, {"1.png": TOLD}, missed, ("Two of three came.",))
    return store.import_source(folder, name="pets", origin=origin)


def told(version: DatasetVersion) -> dict[str, dict[str, Any]]:
    return {item.caption.split(",")[0]: origin_of(item) for item in version.items}


def test_every_item_knows_and_the_ledger_and_the_operation_too(version: DatasetVersion) -> None:
    assert told(version) == {"pet 1": TOLD, "pet 2": {"from": "gelbooru"}}
    assert [fate.path for fate in version.ledger if fate.rule == "not_fetched"] == ["3.png"]
    assert version.operation.arguments["location"] == "pets"
    assert version.operation.arguments["said"] == ["Two of three came."]


def test_edits_of_captions_and_pictures_keep_it(version: DatasetVersion, store: DatasetStore) -> None:
    curate = Curation(store.home, store)
    edited = curate.edit(version, "remove_tags", {"tags": ["gray"]})
    assert told(edited) == told(version)
    smaller = curate.use_tool(edited, "resize", {"mode": "long_side", "size": 32}).version
    assert smaller.items[0].width == 32
    assert told(store.restore(smaller.reference)) == told(version)
    assert told(store.branch(edited.reference, "other")) == told(version)


@pytest.mark.parametrize("layout", KEEPING)
def test_an_export_keeps_it_and_the_import_reads_it(
    layout: str, version: DatasetVersion, store: DatasetStore, tmp_path: Path
) -> None:
    if layout == "parquet":
        pytest.importorskip("pyarrow")
    export(version, store, layout, tmp_path / "out")
    again = store.import_source(tmp_path / "out", name="again")
    assert told(again) == told(version)
    brought = Origin("url", "https://example.org/set", {"address": "https://example.org/set.zip", "license": "MIT"})
    third = store.import_source(tmp_path / "out", name="third", origin=brought)
    first, second = told(third)["pet 1"], told(third)["pet 2"]
    assert first == {**TOLD, "via": "https://example.org/set.zip"}
    assert second == {"from": "gelbooru", "address": "https://example.org/set.zip", "license": "MIT"}


def test_a_layout_without_a_place_for_it_says_so(version: DatasetVersion) -> None:
    for name, layout in available().items():
        said = {loss.what: loss for loss in layout.losses(version)}
        assert ("origin" in said) == (name not in KEEPING), name
        assert name in KEEPING or len(said["origin"].items) == 2


@pytest.mark.parametrize(
    "row",
    [
        {"provenance": "{broken"},
        {"provenance": "[1]"},
        {"provenance": 7},
        {"provenance": {"address": "x" * 5000, "license": "\x00", "score": float("nan"), "post": True, "evil": "y"}},
        {"provenance": {"author": "\ud800", "rating": ["a"], "page": ""}},
        {},
    ],
)
def test_what_a_stranger_wrote_is_held_to_its_form(row: dict[str, Any]) -> None:
    assert origin_in(row) == {}


def test_the_nearest_file_counts_and_what_the_picture_says_itself_goes_first() -> None:
    by_path = {"a.zip": {"address": "https://x/a.zip"}, "b/1.png": {"address": "https://x/1"}}
    origin = Origin("url", "x", {"license": "MIT", "author": ""}, by_path)
    assert origin.of("a.zip/deep/1.png", {}) == {"license": "MIT", "address": "https://x/a.zip"}
    assert origin.of("b/1.png", {"license": "CC0"}) == {"address": "https://x/1"}
    assert origin.of("c.png", {}) == {"license": "MIT"}


def test_a_limit_takes_the_first_by_name(store: DatasetStore, tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    path.write_bytes(packed({f"{n}.png": picture(n) for n in range(12)} | {f"{n}.txt": b"c" for n in range(12)}))
    version = store.import_source(path, limit=3)
    assert [item.name for item in version.items] == ["0.png", "1.png", "2.png"]
    assert sum(fate.rule == "not_wanted" for fate in version.ledger) == 9 and len(version.ledger) == 24
