"""An export touches what it wrote itself and nothing else, and says what stands in its way."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lorasmith.datasets import layouts
from lorasmith.datasets.layouts.record import RECORD_NAME
from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import ConfigError, DatasetError, OutOfDisk
from lorasmith.files import file_digest
from tests.datasets.dataset_pictures import snapshot
from tests.datasets.layouts.harness import item_of, version_of


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "home")


@pytest.fixture
def version(store: DatasetStore) -> DatasetVersion:
    return version_of([item_of(store, f"{n}.png", n, caption=f"zib {n}", concept="zib", repeats=3) for n in range(3)])


def edited(version: DatasetVersion, index: int, **fields: object) -> DatasetVersion:
    items = list(version.items)
    items[index] = replace(items[index], **fields)
    return version.model_copy(update={"items": tuple(items), "number": version.number + 1})


def times(folder: Path) -> dict[str, int]:
    return {
        name: mtime
        for name, (mtime, _) in snapshot(folder).items()
        if (folder / name).is_file() and name != RECORD_NAME
    }


def test_only_what_changed_is_written(version: DatasetVersion, store: DatasetStore, tmp_path: Path) -> None:
    out = tmp_path / "out"
    layouts.export(version, store, "kohya", out)
    before = times(out)
    exported = layouts.export(edited(version, 1, caption="another zib"), store, "kohya", out)
    after = times(out)
    assert {name for name in after if after[name] != before[name]} == {"train/3_zib/1.txt"}
    assert exported.unchanged == len(exported.files) - 1
    assert (out / "train/3_zib/1.txt").read_bytes() == b"another zib"


def test_what_went_is_removed_with_its_empty_folder(
    version: DatasetVersion, store: DatasetStore, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    layouts.export(edited(version, 0, concept="hat"), store, "kohya", out)
    assert (out / "train/3_hat/0.png").is_file()
    (out / "note.md").write_text("mine")
    layouts.export(version, store, "kohya", out)
    assert not (out / "train/3_hat").exists()
    assert (out / "note.md").read_text() == "mine"


def test_a_file_that_went_but_was_edited_stays(version: DatasetVersion, store: DatasetStore, tmp_path: Path) -> None:
    out = tmp_path / "out"
    layouts.export(version, store, "plain", out)
    (out / "2.txt").write_text("edited by hand")
    layouts.export(version.model_copy(update={"items": version.items[:2]}), store, "plain", out)
    assert (out / "2.txt").read_text() == "edited by hand"
    assert not (out / "2.png").exists()


def test_a_file_of_someone_else_stops_it_before_anything_is_written(
    version: DatasetVersion, store: DatasetStore, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "1.txt").write_text("mine")
    before = snapshot(out)
    with pytest.raises(DatasetError, match=r"'1\.txt' in .* is not as this program wrote it"):
        layouts.export(version, store, "plain", out)
    assert snapshot(out) == before
    layouts.export(version, store, "plain", out, force=True)
    assert (out / "1.txt").read_text() == "zib 1"


def test_an_edit_made_since_is_kept(version: DatasetVersion, store: DatasetStore, tmp_path: Path) -> None:
    out = tmp_path / "out"
    layouts.export(version, store, "plain", out)
    (out / "0.txt").write_text("edited by hand")
    with pytest.raises(DatasetError, match=r"'0\.txt'"):
        layouts.export(version, store, "plain", out)
    (out / "0.txt").unlink()  # a file that is gone is simply written again
    assert layouts.export(version, store, "plain", out).unchanged == 5


def test_files_that_happen_to_be_right_are_taken_over(
    version: DatasetVersion, store: DatasetStore, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    layouts.export(version, store, "kohya", out)
    (out / RECORD_NAME).unlink()
    assert layouts.export(version, store, "kohya", out).unchanged == 7


def test_another_layout_needs_another_folder(version: DatasetVersion, store: DatasetStore, tmp_path: Path) -> None:
    out = tmp_path / "out"
    layouts.export(version, store, "kohya", out)
    with pytest.raises(DatasetError, match="holds an export as 'kohya', not as 'plain'"):
        layouts.export(version, store, "plain", out)
    layouts.export(version, store, "plain", out, force=True)
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [RECORD_NAME, *(f"{n}.{kind}" for n in range(3) for kind in ("png", "txt"))]
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is damaged"),
        (
            b'{"layout": "plain", "dataset": "a@1", "fingerprint": "", "names": {"a": "../../x"}}',
            "outside of its folder",
        ),
    ],
)
def test_a_bad_record_is_refused(
    content: bytes, message: str, version: DatasetVersion, store: DatasetStore, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / RECORD_NAME).write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        layouts.export(version, store, "plain", tmp_path / "out")
    assert layouts.export(version, store, "plain", tmp_path / "out", force=True).unchanged == 0


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_lead_nowhere(version: DatasetVersion, store: DatasetStore, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "train").symlink_to(elsewhere)
    with pytest.raises(DatasetError, match="is a link"):
        layouts.export(version, store, "kohya", out, force=True)
    (elsewhere / "0.txt").write_text("mine")
    (out / "0.txt").symlink_to(elsewhere / "0.txt")
    with pytest.raises(DatasetError, match=r"0\.txt"):
        layouts.export(version, store, "plain", out)
    layouts.export(version, store, "plain", out, force=True)
    assert (elsewhere / "0.txt").read_text() == "mine" and (out / "0.txt").read_text() == "zib 0"


def test_pictures_are_copies_and_captions_plain(version: DatasetVersion, store: DatasetStore, tmp_path: Path) -> None:
    out = tmp_path / "out"
    layouts.export(edited(version, 0, caption="\ufeffé\r\nb\n"), store, "plain", out)
    blob = store.blob_path(version.items[0].image)
    assert not (out / "0.png").samefile(blob) and file_digest(out / "0.png") == version.items[0].image
    assert (out / "0.txt").read_bytes() == "é\nb".encode()


def test_an_export_that_was_cut_off_goes_on(version: DatasetVersion, store: DatasetStore, tmp_path: Path) -> None:
    def stop(done: int, total: int, name: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        layouts.export(version, store, "plain", out, progress=stop)
    assert sorted(path.name for path in out.iterdir()) == [RECORD_NAME, "0.png", "0.txt", "1.png"]
    (out / ".lorasmith-1.tmp").write_bytes(b"half")  # as a killed one leaves it
    assert layouts.export(edited(version, 0, caption="new"), store, "plain", out).unchanged == 2
    assert not (out / ".lorasmith-1.tmp").exists()


def test_progress_counts_pictures(version: DatasetVersion, store: DatasetStore, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    layouts.export(version, store, "onetrainer", tmp_path / "out", progress=lambda *step: seen.append(step))
    assert seen == [(1, 3, "0.png"), (2, 3, "1.png"), (3, 3, "2.png")]


def test_a_full_disk_is_seen_before(
    version: DatasetVersion, store: DatasetStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1))  # type: ignore[attr-defined]
    with pytest.raises(OutOfDisk, match="needs"):
        layouts.export(version, store, "plain", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_names_stay_when_pictures_come_and_go(store: DatasetStore, tmp_path: Path) -> None:
    second = item_of(store, "b/x.png", 2, caption="second")
    layouts.export(version_of([second]), store, "kohya", tmp_path / "out")
    first = item_of(store, "a/x.png", 1, caption="first")
    layouts.export(version_of([first, second]), store, "kohya", tmp_path / "out")
    record = json.loads((tmp_path / "out" / RECORD_NAME).read_bytes())
    assert record["names"] == {"a/x.png": "train/1_images/a_x.png", "b/x.png": "train/1_images/x.png"}


@pytest.mark.parametrize("place", ["file", "store"])
def test_impossible_places(place: str, version: DatasetVersion, store: DatasetStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" if place == "file" else store.home / "blobs" / "out"
    with pytest.raises(DatasetError, match="is a file" if place == "file" else "lies in the store"):
        layouts.export(version, store, "plain", folder)


def test_a_missing_blob_is_named(version: DatasetVersion, store: DatasetStore, tmp_path: Path) -> None:
    store.blob_path(version.items[2].image).unlink()
    with pytest.raises(DatasetError, match=r"picture of '2\.png' is missing"):
        layouts.export(version, store, "plain", tmp_path / "out")


def test_an_unknown_layout_hints_at_the_nearest(version: DatasetVersion, store: DatasetStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'kohya'"):
        layouts.export(version, store, "kohia", tmp_path / "out")


Losing = Callable[[DatasetStore], DatasetVersion]


@pytest.mark.parametrize(
    ("layout", "fields", "what"),
    [
        ("plain", {"repeats": 2}, "repeats"),
        ("plain", {"concept": "x"}, "concept"),
        ("plain", {"role": "regularisation"}, "role"),
        ("plain", {"mask": True}, "masks"),
        ("plain", {"caption": "a\r\nb"}, "characters"),
        ("kohya", {"caption": "a\nb"}, "lines"),
        ("kohya", {"caption": "{a|b}\nb"}, "wildcards"),
        ("kohya", {"role": "validation"}, "role"),
        ("kohya", {"caption": " a"}, "space"),
        ("kohya", {"kind": "GIF"}, "formats"),
        ("musubi", {"mask": True}, "masks"),
        ("musubi", {"role": "regularisation"}, "role"),
        ("musubi", {"concept": "a/b"}, "concept"),
        ("ai_toolkit", {"kind": "BMP"}, "formats"),
        ("ai_toolkit", {"caption": "a, b"}, "commas"),
        ("ai_toolkit", {"caption": "[trigger]"}, "placeholders"),
        ("ai_toolkit", {"role": "validation"}, "role"),
        ("onetrainer", {"role": "regularisation"}, "regularisation"),
        ("simpletuner", {"concept": "images"}, "concept"),
        ("simpletuner", {"mask": True, "kind": "JPEG"}, "formats"),
        ("diffusion_pipe", {"role": "regularisation"}, "role"),
        ("diffusion_pipe", {"caption": "a\nb"}, "lines"),
        ("taggui", {"caption": "a,b"}, "space"),
        ("webdataset", {"kind": "WEBP"}, "formats"),
        ("bundle", {"mask": True}, "masks"),
    ],
)
def test_what_is_lost_is_told(layout: str, fields: dict[str, object], what: str, store: DatasetStore) -> None:
    one = layouts.available()[layout]
    harmless = version_of([item_of(store, "a.png", 1, caption="zib")])
    assert what not in [loss.what for loss in one.losses(harmless)]
    version = version_of([item_of(store, "a.png", 1, **{"caption": "zib", **fields}), *(harmless.items[:0])])
    told = [loss for loss in one.losses(version) if loss.what == what]
    assert [loss.items for loss in told] == [("a.png",)]
    assert told[0].sentence.startswith("1 picture: ")


@pytest.mark.parametrize("layout", sorted(layouts.available()))
def test_no_name_leads_out_or_meets_another(layout: str, store: DatasetStore, tmp_path: Path) -> None:
    if layout == "parquet":
        pytest.importorskip("pyarrow")
    names = [
        "../x.png",
        "/x.png",
        "a\\b.png",
        "CON.png",
        "X.png",
        "x.jpg",
        "x.png",
        ".hidden.png",
        "é.png",
        "e\u0301.png",
    ]
    names += [
        "a b/#1.png",
        "trail. .png",
        "a.b.png",
        "a_b.png",
        "noext",
        "x-masklabel.png",
        "[1].png",
        "n" * 190 + ".png",
    ]
    items = [item_of(store, name, seed, caption=name, concept="../c:") for seed, name in enumerate(names)]
    exported = layouts.export(version_of(items), store, layout, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"home", "out"}
    folded = [path.casefold() for path in exported.files]
    assert len(set(folded)) == len(folded)
    assert all((tmp_path / "out" / path).is_file() for path in exported.files)
    assert not any(part.startswith(".") for path in exported.files for part in path.split("/"))
