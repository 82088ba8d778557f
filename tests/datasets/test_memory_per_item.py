"""What a hundred thousand items need of memory is decided by what one needs: bounds that no machine's mood can move.

``bench/datasets/journey.py`` measures the whole; these keep the parts from growing back.
"""

from __future__ import annotations

import sys
import tracemalloc
from dataclasses import fields
from pathlib import Path

import pytest

from lorasmith.datasets.accounting import Caption, Mask, Picture
from lorasmith.datasets.images import Prepared
from lorasmith.datasets.ledger import Staged
from lorasmith.datasets.manifest import Fate, Item, Operation
from lorasmith.datasets.sidecars import Heard, Sidecar, Statement
from lorasmith.datasets.source import Entry, FolderSource, Limits
from lorasmith.datasets.store import DatasetStore

HELD_BY_THE_THOUSAND = (Item, Fate, Entry, Staged, Prepared, Picture, Mask, Caption, Statement, Heard, Sidecar)


@pytest.mark.parametrize("kind", HELD_BY_THE_THOUSAND, ids=lambda kind: kind.__name__)
def test_what_is_held_for_every_file_has_slots(kind: type) -> None:
    assert all("__dict__" not in vars(base) for base in kind.__mro__)
    assert set(kind.__slots__) >= {each.name for each in fields(kind)}  # type: ignore[attr-defined,arg-type]


def test_a_line_of_the_ledger_is_small() -> None:
    fate = Fate(path="a.png", fate="taken", rule="image", detail="is taken as it came.", item="a.png")
    assert sys.getsizeof(fate) <= 40 + 8 * len(fields(Fate))


def test_a_ledger_that_was_looked_into_is_not_kept(tmp_path: Path) -> None:
    class WithoutPictures(DatasetStore):
        def holds(self, sha256: str) -> bool:
            return True

    sha = "0" * 64
    lines = [
        Fate(path=f"{n}.txt", fate="left_out", rule="orphan_caption", detail=f"has no picture {n}.")
        for n in range(3_000)
    ]
    WithoutPictures(tmp_path).create("set", [Item("a.png", sha, sha, 8, 8)], Operation(name="import"), lines)
    version = WithoutPictures(tmp_path).get("set")
    assert sum(1 for _ in version.ledger) == len(lines)  # modules and tables are there now
    tracemalloc.start()
    try:
        assert list(version.ledger) == lines
        held, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < most / 4, "what was read stays in memory"


def test_a_file_of_a_folder_holds_its_path_once(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "猫.png").write_bytes(b"bytes")
    source = FolderSource(tmp_path, Limits())
    (entry,), _ = source.scan()
    assert entry.handle is None
    with source.open(entry) as stream:
        assert stream.read() == b"bytes"
