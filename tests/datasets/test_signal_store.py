"""What was measured is kept, by whom and however the work was stopped."""

from __future__ import annotations

import dataclasses
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from lorasmith.datasets.manifest import Item
from lorasmith.datasets.signals import SignalStore, measure, memory
from lorasmith.errors import DatasetError, EnvironmentProblem
from tests.datasets.dataset_pictures import encode, gradient

NAMES = [f"{i:02d}" for i in range(40)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a space and an umlaut, and pictures 00 to 39 beside it."""
    folder = tmp_path / "mein höme"
    folder.mkdir()
    for i, name in enumerate(NAMES):
        (folder / name).write_bytes(encode(gradient(seed=i), "JPEG", quality=90))
    return folder


def test_a_picture_is_measured_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = SignalStore(home).of(NAMES, home.joinpath)
    assert list(first) == NAMES and first["03"] == measure(home / "03")

    def refuse(path: Path) -> None:
        raise AssertionError(f"{path} was measured again")

    monkeypatch.setattr(memory, "measure", refuse)
    assert SignalStore(home).of(reversed(NAMES), home.joinpath) == first
    assert SignalStore(home).known() == len(NAMES)


def test_the_database_can_be_deleted_or_damaged(home: Path) -> None:
    store = SignalStore(home)
    first = store.of(NAMES[:5], home.joinpath)
    store.path.write_bytes(b"not a database, but long enough to look at" * 50)
    assert SignalStore(home).of(NAMES[:5], home.joinpath) == first
    store.path.unlink()
    assert SignalStore(home).of(NAMES[:5], home.joinpath) == first


def test_a_database_of_other_columns_is_made_anew(home: Path) -> None:
    store = SignalStore(home)
    with sqlite3.connect(store.path) as database:
        database.execute("CREATE TABLE signals (sha256 TEXT, algorithm INTEGER, mood TEXT)")
    database.close()
    assert list(store.of(NAMES[:3], home.joinpath)) == NAMES[:3]


def test_another_algorithm_measures_anew(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SignalStore(home).of(NAMES[:3], home.joinpath)
    monkeypatch.setattr(memory, "ALGORITHM", 999)
    assert SignalStore(home).known() == 0
    assert len(SignalStore(home).of(NAMES[:3], home.joinpath)) == 3


def test_progress_counts_known_pictures_as_done(home: Path) -> None:
    SignalStore(home).of(NAMES[:10], home.joinpath)
    said: list[tuple[int, int, str]] = []
    SignalStore(home).of(NAMES, home.joinpath, progress=lambda *what: said.append(what))
    assert said == [(i + 1, 40, NAMES[i]) for i in range(10, 40)]


def test_what_was_done_before_a_stop_is_kept(home: Path) -> None:
    def stop(done: int, total: int, name: str) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SignalStore(home).of(NAMES, home.joinpath, progress=stop)
    assert SignalStore(home).known() == 7


def test_an_unreadable_picture_is_named_after_the_others_are_kept(home: Path) -> None:
    (home / "05").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="05"):
        SignalStore(home).of(NAMES, home.joinpath)
    assert SignalStore(home).known() == 39
    (home / "06").unlink()
    SignalStore(home).forget(["06"])
    told: list[str] = []
    found = SignalStore(home).of(NAMES, home.joinpath, unreadable=lambda sha, error: told.append(f"{sha}: {error}"))
    assert len(found) == 38 and [line[:2] for line in told] == ["05", "06"]


def test_two_processes_measure_into_one_home(home: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from lorasmith.datasets.signals import SignalStore;"
        "home = Path(sys.argv[1]);"
        "print(len(SignalStore(home).of(sys.argv[2:], home.joinpath, workers=1)))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, str(home), *names], stdout=subprocess.PIPE, text=True)
        for names in (NAMES, NAMES[::-1])
    ]
    said = [process.communicate()[0].strip() for process in started]
    assert said == ["40", "40"] and SignalStore(home).known() == 40


def test_items_get_the_quality_of_the_file_as_it_came(home: Path) -> None:
    (home / "png").write_bytes(encode(gradient(seed=1)))
    (home / "jpeg").write_bytes(encode(gradient(seed=1), "JPEG", quality=42))
    turned = Item(name="a.jpg", image="png", original="jpeg", width=40, height=24)
    plain = dataclasses.replace(turned, name="b.png", original="png")
    lost = dataclasses.replace(turned, name="c.png", original="gone")
    found = SignalStore(home).of_items([turned, plain, lost], home.joinpath)
    assert [found[name].jpeg_quality for name in ("a.jpg", "b.png", "c.png")] == [42, None, None]


def test_a_home_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    (tmp_path / "signals.db").mkdir()
    with pytest.raises(EnvironmentProblem, match=r"signals\.db cannot be used"):
        SignalStore(tmp_path).known()
