"""Versions are immutable and numbered once; a killed import leaves what was there before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorasmith.datasets.manifest import DatasetVersion, Operation
from lorasmith.datasets.names import make_unique, natural_key, safe_dataset_name, safe_item_name, why_unsafe
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import DatasetError, EnvironmentProblem, OutOfDisk
from tests.datasets.dataset_pictures import encode, gradient, png, snapshot, write_folder

EDIT = Operation(name="edit")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "zib pictures", {f"{n}.png": png(n) for n in range(4)} | {"0.txt": b"zero"})


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "home")


def recaptioned(version: DatasetVersion, caption: str) -> list:
    return [replace(item, caption=caption) for item in version.items]


def test_versions_know_their_parent_and_never_change(store: DatasetStore, source: Path) -> None:
    first = store.import_source(source)
    assert (first.reference, first.parent, first.operation.name) == ("zib-pictures@1", None, "import")
    second = store.commit(first, recaptioned(first, "new"), EDIT)
    assert (second.number, second.parent, second.ledger) == (2, 1, first.ledger)
    assert second.fingerprint != first.fingerprint
    other = store.commit(first, recaptioned(first, "other"), EDIT, onto="parent")
    assert (other.number, other.parent) == (3, 1)
    assert store.get("zib-pictures@1") == first
    assert store.get("zib-pictures") == other
    assert store.versions("zib-pictures") == [1, 2, 3]
    assert store.names() == ["zib-pictures"]


def test_an_edit_without_effect_makes_no_version(store: DatasetStore, source: Path) -> None:
    first = store.import_source(source)
    assert store.commit(first, first.items, EDIT) is first


def test_importing_the_same_again_does_nothing(store: DatasetStore, source: Path) -> None:
    first = store.import_source(source)
    store.commit(first, recaptioned(first, "new"), EDIT)
    before = snapshot(store.home)
    assert store.import_source(source) == first
    after = snapshot(store.home)
    assert {k: v[1] for k, v in after.items()} == {k: v[1] for k, v in before.items()}


def test_importing_other_content_makes_the_next_version(store: DatasetStore, source: Path) -> None:
    first = store.import_source(source)
    (source / "9.png").write_bytes(png(9))
    second = store.import_source(source)
    assert (second.number, second.parent, len(second.items)) == (2, 1, 5)
    assert store.get(first.reference) == first


def test_a_lost_blob_is_brought_back_by_importing_again(store: DatasetStore, source: Path) -> None:
    first = store.import_source(source)
    store.blob_path(first.items[0].image).unlink()
    with pytest.raises(DatasetError, match="missing from the store"):
        store.open_image(first.items[0])
    again = store.import_source(source)
    assert again.fingerprint == first.fingerprint
    assert store.open_image(first.items[0]).size == (40, 24)


def test_the_same_import_twice_at_once_is_one_version(store: DatasetStore, source: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        versions = list(pool.map(lambda _: store.import_source(source), range(4)))
    assert {version.reference for version in versions} == {"zib-pictures@1"}
    assert store.versions("zib-pictures") == [1]
    assert all(store.open_image(item) for item in versions[0].items)


def test_references_that_name_nothing(store: DatasetStore, source: Path) -> None:
    with pytest.raises(DatasetError, match="no dataset 'zib'") as error:
        store.get("zib")
    assert "Import one" in error.value.hint
    store.import_source(source, name="zib")
    with pytest.raises(DatasetError) as error:
        store.get("zip")
    assert error.value.hint == "Did you mean 'zib'?"
    with pytest.raises(DatasetError, match="no version 2"):
        store.get("zib@2")
    for reference in ("zib@", "zib@x", "zib@0", "zib@1@2"):
        with pytest.raises(DatasetError):
            store.get(reference)
    for reference in ("", "..", "../zib", "zib/../zib", "/"):
        with pytest.raises(DatasetError, match="There is no dataset"):
            store.get(reference)


def test_names_that_differ_in_case_are_one_dataset(store: DatasetStore, source: Path) -> None:
    first = store.import_source(source, name="Zib")
    assert store.get("ZIB") == first
    (source / "9.png").write_bytes(png(9))
    assert store.import_source(source, name="zib").reference == "Zib@2"


def test_a_damaged_header_is_said_and_an_older_version_offered(store: DatasetStore, source: Path) -> None:
    first = store.import_source(source, name="zib")
    store.commit(first, recaptioned(first, "new"), EDIT)
    path = store.home / "datasets" / "zib" / "2.json"
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        flipped = bytearray(whole)
        flipped[position] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(DatasetError, match="zib@2") as error:
            DatasetStore(store.home).get("zib")
        assert "zib@1" in error.value.hint
    for content in (whole[:-20], b"", b"[]", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match="zib@2"):
            store.get("zib@2")
    path.write_bytes((store.home / "datasets" / "zib" / "1.json").read_bytes())
    with pytest.raises(DatasetError, match="holds zib@1"):
        store.get("zib")
    path.write_bytes(whole.replace(b'"format": 2', b'"format": 3'))
    with pytest.raises(DatasetError, match="format 3"):
        store.get("zib")


def test_a_flipped_byte_of_a_piece_is_said(store: DatasetStore, source: Path) -> None:
    first = store.import_source(source, name="zib")
    second = store.commit(first, recaptioned(first, "new"), EDIT)
    (piece,) = {p.sha256 for p in second.pieces}
    path = store.home / "pieces" / piece[:2] / piece[2:]
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"new", b"nev", 1))
    with pytest.raises(DatasetError, match="zib@2 holds other bytes") as error:
        DatasetStore(store.home).get("zib")
    assert "zib@1" in error.value.hint
    path.unlink()
    with pytest.raises(DatasetError, match="zib@2 is missing"):
        DatasetStore(store.home).get("zib")
    again = DatasetStore(store.home)
    restored = again.restore("zib@1")
    assert (restored.root, again.get("zib").fingerprint) == (first.root, first.fingerprint)
    healed = again.commit(restored, recaptioned(restored, "new"), EDIT)
    assert path.read_bytes() == whole
    assert healed.root == second.root


def test_a_damaged_blob_is_said(store: DatasetStore, source: Path) -> None:
    item = store.import_source(source).items[0]
    store.blob_path(item.image).write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(DatasetError, match="damaged"):
        store.open_image(item)
    with pytest.raises(DatasetError):
        store.blob_path("../../etc/passwd")


def test_items_that_cannot_be_committed(store: DatasetStore, source: Path) -> None:
    first = store.import_source(source)
    one, two, *_ = first.items
    with pytest.raises(DatasetError, match="at least one"):
        store.commit(first, [], EDIT)
    with pytest.raises(DatasetError, match="Two pictures"):
        store.commit(first, [one, replace(two, name=one.name)], EDIT)
    with pytest.raises(DatasetError, match="not in the store"):
        store.commit(first, [replace(one, image="0" * 64)], EDIT)
    assert store.versions(first.dataset) == [1]


def test_same_picture_is_stored_once(store: DatasetStore, tmp_path: Path) -> None:
    store.import_source(write_folder(tmp_path / "a", {"x.png": png(1), "y.png": png(2)}))
    store.import_source(write_folder(tmp_path / "b", {"z.png": png(1)}))
    assert len([p for p in (store.home / "blobs").rglob("*") if p.is_file()]) == 2


def test_writers_in_threads_never_share_a_number(store: DatasetStore, source: Path) -> None:
    first = store.import_source(source)
    with ThreadPoolExecutor(8) as pool:
        made = list(
            pool.map(lambda n: store.commit(first, recaptioned(first, f"c{n}"), EDIT, onto="parent"), range(24))
        )
    assert sorted(version.number for version in made) == list(range(2, 26))
    for version in made:
        assert store.get(version.reference) == version


WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from lorasmith.datasets.manifest import Operation
from lorasmith.datasets.store import DatasetStore
store = DatasetStore(Path(sys.argv[1]))
first = store.get("zib@1")
for n in range(10):
    items = [replace(item, caption=f"{sys.argv[2]} {n}") for item in first.items]
    store.commit(first, items, Operation(name="edit"), onto="parent")
"""


def test_writers_in_processes_never_share_a_number(store: DatasetStore, source: Path) -> None:
    store.import_source(source, name="zib")
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(store.home), str(n)]) for n in range(2)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert store.versions("zib") == list(range(1, 22))
    captions = {store.get(f"zib@{n}").items[0].caption for n in range(2, 22)}
    assert len(captions) == 20


KILLED = """
import os, signal, sys
from pathlib import Path
from lorasmith.datasets.store import DatasetStore
home, source, moment = sys.argv[1:]
die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
if moment == "decoding":
    DatasetStore(Path(home)).import_source(Path(source), name="zib", progress=lambda done, *_: done == 2 and die())
DatasetStore._write = die
DatasetStore(Path(home)).import_source(Path(source), name="zib")
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
@pytest.mark.parametrize("moment", ["decoding", "writing"])
def test_a_killed_import_leaves_the_old_state(store: DatasetStore, source: Path, moment: str) -> None:
    first = store.import_source(source, name="zib")
    (source / "9.gif").write_bytes(encode(gradient(seed=9), "GIF"))
    ended = subprocess.run([sys.executable, "-c", KILLED, str(store.home), str(source), moment], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert store.versions("zib") == [1]
    assert store.get("zib") == first
    assert any((store.home / "incoming").iterdir())
    second = store.import_source(source, name="zib")
    assert (second.number, len(second.items)) == (2, 5)
    assert list((store.home / "incoming").iterdir()) == []


def test_a_full_disk_changes_nothing(store: DatasetStore, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutOfDisk, match="is full"):
        store.import_source(source)
    assert store.names() == []
    assert list((store.home / "incoming").iterdir()) == []


def test_a_home_that_cannot_be_written_is_said(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        DatasetStore(tmp_path / "home").import_source(source)


@given(st.text(max_size=60))
def test_any_text_gives_a_safe_dataset_name(text: str) -> None:
    name = safe_dataset_name(text)
    assert safe_dataset_name(name) == name
    assert name and not set(name) & set('/\\:*?"<>|@ \n\t\0')
    assert name.strip(".- ") == name
    assert len(name.encode()) <= 81


@given(st.text(min_size=1, max_size=60))
def test_any_path_gives_a_safe_item_name(path: str) -> None:
    name = safe_item_name(path)
    parts = name.split("/")
    assert all(part and part not in (".", "..") and part == part.rstrip(". ") for part in parts)
    assert not set(name) & set('\\:*?"<>|\n\0')
    assert safe_item_name(name) == name


@given(
    st.lists(st.sampled_from(["a.png", "A.png", "a (2).png", "b/a.png", "straße.png", "STRASSE.png", "x"]), max_size=12)
)
def test_unique_names_stay_apart_on_every_file_system(names: list[str]) -> None:
    taken: set[str] = set()
    made = [make_unique(name, taken) for name in names]
    assert len({name.casefold() for name in made}) == len(names)


@given(st.lists(st.text(max_size=8)))
def test_natural_order_is_total(names: list[str]) -> None:
    assert sorted(names, key=natural_key) == sorted(sorted(names), key=natural_key)


def test_dataset_names_keep_letters_of_every_script() -> None:
    assert safe_dataset_name("猫 フォト") == "猫-フォト"
    assert safe_dataset_name("Été à Köln") == "Été-à-Köln"
    assert safe_dataset_name("con") == "con_"
    assert safe_dataset_name("///") == "dataset"
    assert why_unsafe("a/b.png") is None
