"""Two editors of one dataset: what they did apart is joined, what they did to one picture is said, nothing is lost."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorasmith.datasets.history import diff
from lorasmith.datasets.manifest import DatasetVersion, Fate, Item, Operation
from lorasmith.datasets.merging import merge
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import ConflictError, DatasetError
from tests.datasets.test_history import EDIT, StoreWithoutPictures, edited, item, sha

NAMES = [f"{letter}.png" for letter in "abcd"]


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return StoreWithoutPictures(tmp_path / "home")


@pytest.fixture
def base(store: DatasetStore) -> DatasetVersion:
    return store.create("set", [item(name, name) for name in NAMES], Operation(name="import"))


def captioned(version: DatasetVersion, **captions: str) -> list[Item]:
    return [replace(i, caption=captions.get(i.name[0], i.caption)) for i in version.items]


def test_edits_of_different_pictures_are_joined(store: DatasetStore, base: DatasetVersion) -> None:
    store.commit(base, captioned(base, a="mine"), Operation(name="first", arguments={"x": 1}))
    without_c = [*captioned(base, b="theirs")[:2], base.items[3], item("new.png")]
    joined = store.commit(base, without_c, Operation(name="second", arguments={"y": 2}))
    assert [(i.name, i.caption) for i in joined.items] == [
        ("a.png", "mine"),
        ("b.png", "theirs"),
        ("d.png", "d.png"),
        ("new.png", ""),
    ]
    assert (joined.number, joined.parent) == (3, 2)
    assert joined.operation.arguments == {"y": 2, "rebased_from": 1}
    assert store.undo("set").items == tuple(captioned(base, a="mine")), "one undo takes back one edit"


def test_edits_of_the_same_picture_are_a_conflict_that_shows_both(store: DatasetStore, base: DatasetVersion) -> None:
    theirs = store.commit(base, captioned(base, a="theirs", b="theirs too", d="x"), EDIT)
    mine = captioned(base, a="mine", b="mine too", c="only mine")
    with pytest.raises(ConflictError) as error:
        store.commit(base, mine, EDIT)
    assert "'a.png' and 1 more picture:" in error.value.message
    assert 'caption "mine" is yours, "theirs" the other' in error.value.message
    assert "commit_aside" in error.value.hint and "set@2" in error.value.hint
    assert [c.item for c in error.value.conflicts] == ["a.png", "b.png"]
    first = error.value.conflicts[0]
    assert (first.base, first.mine, first.theirs) == (base.items[0], mine[0], theirs.items[0])
    assert store.get("set") == theirs and store.versions("set") == [1, 2], "nothing was written"

    aside = store.commit_aside(base, mine, EDIT)
    assert (aside.number, aside.parent, aside.items) == (3, 1, tuple(mine))
    assert store.get("set") == theirs, "mine is kept, theirs stays the present version"
    assert DatasetStore(store.home).get("set").number == 2
    assert len(diff(theirs, aside).captions) == 4
    assert store.commit(theirs, captioned(theirs, c="after"), EDIT).number == 4
    assert store.restore("set@3").items == tuple(mine)


@pytest.mark.parametrize(
    ("mine", "theirs", "words"),
    [
        ({"a": None}, {"a": "new"}, "you removed it, the other changed it"),
        ({"a": "new"}, {"a": None}, "you changed it, the other removed it"),
    ],
)
def test_removed_here_and_changed_there_is_a_conflict(
    store: DatasetStore, base: DatasetVersion, mine: dict[str, str | None], theirs: dict[str, str | None], words: str
) -> None:
    def made(change: dict[str, str | None]) -> list[Item]:
        return [
            i
            for i in captioned(base, **{k: v or "" for k, v in change.items()})
            if change.get(i.name[0], "") is not None
        ]

    store.commit(base, made(theirs), EDIT)
    with pytest.raises(ConflictError, match=words):
        store.commit(base, made(mine), EDIT)


def test_the_same_edit_twice_is_one_version(store: DatasetStore, base: DatasetVersion) -> None:
    first = store.commit(base, captioned(base, a="same"), EDIT)
    assert store.commit(base, captioned(base, a="same"), EDIT) == first
    assert store.versions("set") == [1, 2]


def test_both_removing_everything_between_them_is_refused(store: DatasetStore, base: DatasetVersion) -> None:
    store.commit(base, base.items[:2], EDIT)
    with pytest.raises(DatasetError, match="at least one"):
        store.commit(base, base.items[2:], EDIT)


def test_order_is_joined_too_and_two_orders_are_a_conflict(store: DatasetStore, base: DatasetVersion) -> None:
    store.commit(base, [*captioned(base, a="theirs"), item("e.png")], EDIT)
    joined = store.commit(base, list(reversed(base.items)), EDIT)
    assert [i.name[0] for i in joined.items] == list("decba")
    assert joined.items[-1].caption == "theirs"
    with pytest.raises(ConflictError, match="another order") as error:
        store.commit(base, [base.items[1], base.items[0], *base.items[2:]], EDIT)
    assert error.value.conflicts == ()


def test_going_on_from_an_older_version_can_be_meant(store: DatasetStore, base: DatasetVersion) -> None:
    second = store.commit(base, captioned(base, a="second"), EDIT)
    third = store.commit(base, captioned(base, a="third"), EDIT, onto="parent")
    assert (third.number, third.parent, store.get("set")) == (3, 1, third)
    assert [e.on_current_line for e in store.history("set")] == [True, False, True]
    assert store.get("set@2") == second


def test_an_edit_of_what_was_undone_is_joined_with_the_undo(store: DatasetStore, base: DatasetVersion) -> None:
    second = store.commit(base, captioned(base, a="second"), EDIT)
    store.undo("set")
    joined = store.commit(second, captioned(second, b="late"), EDIT)
    assert (joined.parent, [i.caption for i in joined.items[:2]]) == (1, ["a.png", "late"])


def test_a_version_that_is_gone_or_another_one_cannot_be_edited(store: DatasetStore, base: DatasetVersion) -> None:
    edited(store, base, "2")
    store.drop("set@1")
    with pytest.raises(DatasetError, match="not in the store any more"):
        store.commit(base, captioned(base, a="x"), EDIT)
    store.drop("set")
    store.create("set", [item("other.png")], EDIT)
    with pytest.raises(DatasetError, match="not the version that was edited"):
        store.commit(base, captioned(base, a="x"), EDIT)


def test_ledgers_that_grew_apart_are_joined(store: DatasetStore, base: DatasetVersion) -> None:
    def fate(path: str) -> Fate:
        return Fate(path=path, fate="taken", rule="image", detail="is taken.", item=path)

    one = store.commit(base, [*base.items, item("e.png")], EDIT, ledger=[*base.ledger, fate("e.png")])
    two = store.commit(base, [*base.items, item("f.png")], EDIT, ledger=[*base.ledger, fate("f.png")])
    assert list(one.ledger) == [fate("e.png")]
    assert list(two.ledger) == [fate("e.png"), fate("f.png")]


SIDES = st.dictionaries(st.sampled_from([*"abcdef"]), st.none() | st.sampled_from("xyz"), max_size=4)


@settings(max_examples=200)
@given(SIDES, SIDES)
def test_merging_loses_and_invents_nothing(mine: dict[str, str | None], theirs: dict[str, str | None]) -> None:
    base = {name: item(name, "base") for name in "abcd"}

    def after(change: dict[str, str | None]) -> dict[str, Item]:
        done = {**base, **{k: item(k, v) for k, v in change.items() if v is not None}}
        return {k: v for k, v in done.items() if change.get(k, "") is not None}

    left, right = after(mine), after(theirs)
    found = merge(list(base.values()), list(left.values()), list(right.values()))
    mirrored = merge(list(base.values()), list(right.values()), list(left.values()))
    assert {c.item for c in found.conflicts} == {c.item for c in mirrored.conflicts}
    expected = {}
    conflicts = set()
    for name in {*base, *left, *right}:
        was, a, b = base.get(name), left.get(name), right.get(name)
        if a != was and b not in (was, a):
            conflicts.add(name)
        expected[name] = a if a != was else b
    assert {c.item for c in found.conflicts} == conflicts
    if not conflicts:
        assert {i.name: i for i in found.items} == {k: v for k, v in expected.items() if v is not None}
        assert {i.name for i in found.items} == {i.name for i in mirrored.items}
        assert len({i.name for i in found.items}) == len(found.items)


COUNTER = """
import sys
from dataclasses import replace
from pathlib import Path
from lorasmith.datasets.manifest import Operation
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import ConflictError
store, own, rounds = DatasetStore(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
DatasetStore.holds = lambda *_: True
for _ in range(rounds):
    while True:
        at = store.get("set")
        up = {own, "shared.png"}
        # Who counted is written beside it: the same caption from both would be no conflict, and rightly so.
        count = lambda i: f"{int(i.caption.split()[0]) + 1} {own}"
        items = [replace(i, caption=count(i)) if i.name in up else i for i in at.items]
        try:
            store.commit(at, items, Operation(name="count", arguments={"by": own}))
            break
        except ConflictError as conflict:
            assert [c.item for c in conflict.conflicts] == ["shared.png"]
"""

STALE = """
import sys
from dataclasses import replace
from pathlib import Path
from lorasmith.datasets.manifest import Operation
from lorasmith.datasets.store import DatasetStore
store, own = DatasetStore(Path(sys.argv[1])), sys.argv[2]
DatasetStore.holds = lambda *_: True
at = store.get("set@1")
for n in range(8):
    items = [replace(i, caption=f"{own} {n}") if i.name == f"{own}{n}.png" else i for i in at.items]
    store.commit(at, items, Operation(name="edit"))
"""


def start(code: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)])


def test_two_processes_that_count_lose_no_update(store: DatasetStore) -> None:
    store.create("set", [item(name, "0") for name in ("one.png", "two.png", "shared.png")], EDIT)
    editors = [start(COUNTER, store.home, name, 12) for name in ("one.png", "two.png")]
    assert [editor.wait(60) for editor in editors] == [0, 0]
    assert [i.caption.split()[0] for i in store.get("set").items] == ["12", "12", "24"]
    assert store.versions("set") == list(range(1, 26))


def test_processes_that_never_look_lose_no_update_either(store: DatasetStore) -> None:
    store.create("set", [item(f"{own}{n}.png", "old") for own in "pqr" for n in range(8)], EDIT)
    editors = [start(STALE, store.home, own) for own in "pqr"]
    assert [editor.wait(60) for editor in editors] == [0, 0, 0]
    assert [i.caption for i in store.get("set").items] == [f"{own} {n}" for own in "pqr" for n in range(8)]
    assert all(store.get(f"set@{n}").root for n in store.versions("set"))


def test_threads_on_one_store_lose_no_update(store: DatasetStore) -> None:
    base = store.create("set", [item(f"{n}.png") for n in range(16)], EDIT)

    def edit(number: int) -> None:
        items = [replace(i, mask=sha("m")) if i.name == f"{number}.png" else i for i in base.items]
        store.commit(base, items, EDIT)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(edit, range(16)))
    assert all(i.mask for i in store.get("set").items)
