"""Undo, redo, restore and branches; whatever was done before, they give back the same bytes."""

from __future__ import annotations

import copy
import errno
import hashlib
import itertools
import os
import pickle
import shutil
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from lorasmith.datasets.history import CaptionChange, SettingChange, diff, in_words
from lorasmith.datasets.manifest import DatasetVersion, Fate, Item, Operation
from lorasmith.datasets.pieces import cut_items, merkle_root
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import DatasetError, OutOfDisk

EDIT = Operation(name="edit")


class StoreWithoutPictures(DatasetStore):
    """A store that takes every blob to be there, for versions only ask whether one is."""

    def holds(self, sha256: str) -> bool:
        return True


def sha(text: object) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()


def item(name: str, caption: str = "", picture: object = None, **more: object) -> Item:
    image = sha(picture if picture is not None else name)
    return Item(name=name, image=image, original=image, width=8, height=8, caption=caption, **more)  # type: ignore[arg-type]


def many(count: int) -> list[Item]:
    return [
        item(f"{n:05}.png", f"caption {n}", provenance={"source": f"{n}.png", "format": "PNG"}) for n in range(count)
    ]


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return StoreWithoutPictures(tmp_path / "my home ü")


@pytest.fixture
def first(store: DatasetStore) -> DatasetVersion:
    return store.create("猫", [item("a.png", "a"), item("b.png", "b"), item("c.png", "c")], Operation(name="import"))


def edited(store: DatasetStore, version: DatasetVersion, caption: str) -> DatasetVersion:
    return store.commit(version, [replace(version.items[0], caption=caption), *version.items[1:]], EDIT)


def state(version: DatasetVersion) -> tuple[str, str, tuple[Item, ...]]:
    return version.root, version.fingerprint, version.items


def test_undo_and_redo_walk_the_line(store: DatasetStore, first: DatasetVersion) -> None:
    second = edited(store, first, "2")
    third = edited(store, second, "3")
    assert state(store.undo("猫")) == state(second)
    assert store.get("猫") == second
    assert store.undo("猫") == first
    with pytest.raises(DatasetError, match="nothing to undo"):
        store.undo("猫")
    assert store.redo("猫", 2) == third
    with pytest.raises(DatasetError, match="No steps"):
        store.redo("猫")
    assert store.undo("猫", 2) == first
    with pytest.raises(DatasetError, match="2 steps"):
        store.redo("猫", 3)
    with pytest.raises(DatasetError, match="Only 1 step"):
        store.redo("猫")
        store.undo("猫", 2)
    assert store.get("猫") == second, "a refused undo moves nothing"
    assert store.undo("猫", 0) == store.redo("猫", 0) == second
    assert store.versions("猫") == [1, 2, 3], "nothing is written by going back and forth"


def test_an_edit_after_an_undo_begins_a_line_and_keeps_the_other(store: DatasetStore, first: DatasetVersion) -> None:
    second = edited(store, first, "2")
    store.undo("猫")
    third = edited(store, first, "3")
    assert (third.number, third.parent) == (3, 1)
    with pytest.raises(DatasetError, match="No steps"):
        store.redo("猫")
    tree = [(e.number, e.parent, e.is_head, e.on_current_line, e.redo) for e in store.history("猫")]
    assert tree == [(1, None, False, True, False), (2, 1, False, False, False), (3, 1, True, True, False)]
    restored = store.restore("猫@2")
    assert (restored.number, restored.parent) == (4, 3)
    assert state(restored) == state(second)
    assert store.history("猫")[-1].words == "restore of version 2"
    assert store.restore("猫@2") == restored, "what is there already is not restored again"


def test_a_lost_head_is_the_newest_version(store: DatasetStore, first: DatasetVersion) -> None:
    second = edited(store, first, "2")
    store.undo("猫")
    path = store.home / "datasets" / "猫" / "head.json"
    for content in (b"", b"{}", path.read_bytes()[:-3]):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match="damaged") as error:
            store.get("猫")
        assert "Delete it" in error.value.hint
    path.unlink()
    assert store.get("猫") == second


def test_one_damaged_version_spoils_no_other(store: DatasetStore, first: DatasetVersion) -> None:
    second = edited(store, first, "2")
    third = edited(store, second, "3")
    path = store.home / "datasets" / "猫" / "1.json"
    path.write_bytes(path.read_bytes()[:-1])
    assert [(e.number, e.parent, e.on_current_line) for e in store.history("猫")] == [
        (1, None, True),
        (2, 1, True),
        (3, 2, True),
    ]
    assert "猫@1 is damaged" in store.history("猫")[0].words
    assert store.undo("猫") == second
    with pytest.raises(DatasetError, match="猫@1 is damaged"):
        store.undo("猫")
    assert store.redo("猫") == third, "a refused undo moves nothing"


@pytest.mark.parametrize("fails_at", [1, 8, 12, 20])
def test_a_full_disk_changes_nothing(store: DatasetStore, monkeypatch: pytest.MonkeyPatch, fails_at: int) -> None:
    big = store.create("big", many(2000), EDIT)
    calls = itertools.count(1)

    def full(descriptor: int) -> None:
        if next(calls) >= fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")

    before = {path for path in store.home.rglob("*") if path.is_file()}
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutOfDisk, match="is full"):
            store.commit(big, [replace(i, caption="new") for i in big.items], EDIT)
    assert store.versions("big") == [1]
    assert not list(store.home.rglob("*.tmp")), "the half that was written is given back"
    store.collect(store.garbage())
    assert {path for path in store.home.rglob("*") if path.is_file()} == before
    assert store.commit(big, [replace(i, caption="new") for i in big.items], EDIT).number == 2


def test_a_branch_shares_everything_and_remembers(store: DatasetStore, first: DatasetVersion) -> None:
    before = {p for p in (store.home / "pieces").rglob("*") if p.is_file()}
    branch = store.branch("猫@1", "dogs")
    assert {p for p in (store.home / "pieces").rglob("*") if p.is_file()} == before
    assert (branch.reference, branch.parent, branch.operation.arguments) == ("dogs@1", None, {"source": "猫@1"})
    assert state(branch) == state(first)
    changed = edited(store, branch, "other")
    assert store.get("猫") == first
    assert store.undo("dogs").root == first.root != changed.root
    with pytest.raises(DatasetError, match="already"):
        store.branch("猫", "DOGS")
    with pytest.raises(DatasetError, match="cannot be the name"):
        store.branch("猫", "../x")


def test_the_ledger_is_shared_and_read_when_asked_for(store: DatasetStore) -> None:
    fates = tuple(Fate(path=f"{n}.png", fate="taken", rule="image", detail="is taken.", item=None) for n in range(900))
    first = store.create("set", [item("a.png")], EDIT, fates)
    again = DatasetStore(store.home).get("set")
    shutil.move(store.home / "pieces", store.home / "away")
    assert len(again.ledger) == 900
    with pytest.raises(DatasetError, match="set@1 is missing"):
        list(again.ledger)
    shutil.move(store.home / "away", store.home / "pieces")
    assert again.ledger == fates and tuple(again.ledger) == fates and again.ledger[7:9] == fates[7:9]
    assert again.ledger != fates[:-1] and again.ledger != [*fates[:-1], fates[0]]
    assert copy.deepcopy(again) == pickle.loads(pickle.dumps(again)) == again
    assert again.model_dump(mode="json")["ledger"][7] == asdict(fates[7])
    assert edited(store, first, "x").ledger == again.ledger == store.branch("set", "two").ledger


def test_an_edit_of_one_caption_writes_one_piece(store: DatasetStore) -> None:
    items = many(5000)
    first = store.create("set", items, EDIT)
    assert len(first.pieces) > 20
    pieces = store.home / "pieces"
    before = {p for p in pieces.rglob("*") if p.is_file()}
    items[2500] = replace(items[2500], caption="new")
    second = store.commit(first, items, EDIT)
    assert len({p for p in pieces.rglob("*") if p.is_file()} - before) == 2, "the piece and the list of pieces"
    del items[100]
    items.insert(4000, item("new.png"))
    third = store.commit(second, items, EDIT)
    assert len({p for p in pieces.rglob("*") if p.is_file()} - before) <= 7
    fresh = DatasetStore(store.home).get("set")
    assert fresh.items == tuple(items) and fresh.root == third.root
    assert fresh.items[0].original is fresh.items[0].image


CAPTIONS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30)
PROVENANCE = st.dictionaries(
    st.text("abü", max_size=3), st.none() | st.integers() | st.text("x\n\r\u2028é"), max_size=3
)
ITEMS = st.lists(
    st.builds(
        lambda name, caption, mask, role, repeats, concept, provenance: replace(
            item(f"{name}.png", caption), mask=mask, role=role, repeats=repeats, concept=concept, provenance=provenance
        ),
        st.integers(0, 100_000),
        CAPTIONS,
        st.none() | st.just(sha("mask")),
        st.sampled_from(["train", "validation", "regularisation"]),
        st.integers(1, 10_000),
        st.sampled_from(["", "cat", "猫"]),
        PROVENANCE,
    ),
    min_size=1,
    max_size=600,
    unique_by=lambda made: made.name,
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(ITEMS, st.randoms())
def test_pieces_of_equal_lists_are_equal_however_they_came_about(items: list[Item], random: object) -> None:
    whole, _ = cut_items(items)
    changed = [replace(i, caption="x") if n % 7 == 0 else i for n, i in enumerate(items)]
    random.shuffle(changed)  # type: ignore[attr-defined]
    between, _ = cut_items(changed, whole)
    assert [p.sha256 for p in between] == [p.sha256 for p in cut_items(changed)[0]]
    assert [p.sha256 for p in cut_items(items, between)[0]] == [p.sha256 for p in whole]
    for half in (items[: len(items) // 2], items[len(items) // 2 :]):
        assert [p.sha256 for p in cut_items(half, whole)[0]] == [p.sha256 for p in cut_items(half)[0]]
    with tempfile.TemporaryDirectory() as home:
        store = StoreWithoutPictures(Path(home))
        made = store.create("set", items, EDIT)
        assert made.root == merkle_root(p.sha256 for p in whole)
        assert StoreWithoutPictures(Path(home)).get("set") == made


def test_what_is_no_json_is_refused_whole(store: DatasetStore, first: DatasetVersion) -> None:
    one, *rest = first.items
    for bad in (
        replace(one, caption="\ud800"),
        replace(one, provenance={"x": float("nan")}),
        replace(one, provenance={"x": object()}),
    ):
        with pytest.raises(DatasetError, match=r"a\.png"):
            store.commit(first, [bad, *rest], EDIT)
    changed = [replace(one, caption="y"), *rest]
    for value in ("\ud800", float("inf"), object()):
        with pytest.raises(DatasetError, match="operation 'edit'"):
            store.commit(first, changed, Operation(name="edit", arguments={"x": value}))
    assert store.versions("猫") == [1]


def test_diff_names_every_kind_of_change(store: DatasetStore) -> None:
    names = ["same", "gone", "old", "pixels", "mask", "caption", "role", "source"]
    items = {n: item(f"{n}.png", n) for n in names}
    first = store.create("set", list(items.values()), EDIT)
    after = [
        item("new.png"),
        items["same"],
        replace(items["old"], name="renamed.png", caption="said anew"),
        replace(items["pixels"], image=sha("other")),
        replace(items["mask"], mask=sha("mask")),
        replace(items["caption"], caption="new words"),
        replace(items["role"], role="validation", repeats=3),
        replace(items["source"], provenance={"caption": "me"}),
    ]
    found = diff(first, store.commit(first, after, EDIT))
    assert [i.name for i in found.added] == ["new.png"]
    assert [i.name for i in found.removed] == ["gone.png"]
    assert found.renamed == (("old.png", "renamed.png"),)
    assert (found.pixels, found.masks, found.provenance) == (("pixels.png",), ("mask.png",), ("source.png",))
    assert set(found.captions) == {
        CaptionChange("caption.png", "caption", "new words"),
        CaptionChange("renamed.png", "old", "said anew"),
    }
    assert found.settings == (
        SettingChange("role.png", "role", "train", "validation"),
        SettingChange("role.png", "repeats", 1, 3),
    )
    assert not found.reordered and not found.is_empty
    assert found.counts()["captions"] == 2 and "reordered" not in found.counts()


def test_diff_of_order_of_twins_and_of_nothing(store: DatasetStore) -> None:
    twins = [item("a.png", picture=1), item("b.png", picture=1), item("c.png")]
    first = store.create("set", twins, EDIT)
    second = store.commit(first, [twins[2], twins[0], twins[1]], EDIT)
    turned = diff(first, second)
    assert turned.reordered and turned.counts() == {} and not turned.is_empty
    third = store.commit(second, [twins[2], item("y.png", picture=1), item("z.png", picture=1)], EDIT)
    assert diff(second, third).renamed == (("a.png", "y.png"), ("b.png", "z.png"))
    assert diff(third, third).is_empty
    assert diff(first, store.restore("set@1")).counts() == {}


@settings(max_examples=30, deadline=None)
@given(ITEMS, ITEMS)
def test_diff_by_shared_pieces_is_diff_by_items(before: list[Item], after: list[Item]) -> None:
    def version(items: list[Item], stored: bool) -> DatasetVersion:
        made = DatasetVersion(dataset="x", number=1, parent=None, operation=EDIT, created="", items=tuple(items))
        return made.stored_as(cut_items(items)[0]) if stored else made

    mixed = before[: len(before) // 2] + [i for i in after if i.name not in {b.name for b in before}]
    if mixed:
        assert diff(version(before, True), version(mixed, True)) == diff(version(before, False), version(mixed, False))


def test_operations_in_words() -> None:
    assert in_words(Operation(name="import", arguments={"source": "cats.zip"})) == "import of cats.zip"
    assert in_words(Operation(name="remove_tags", arguments={"tags": ["a", "b"]})) == "tags removed: a, b"
    assert in_words(Operation(name="crop_all", arguments={"size": 5, "deep": {}})) == "crop all (size: 5)"
    assert in_words(Operation(name="crop", arguments={"in_words": "cropped to 5"})) == "cropped to 5"
    assert in_words(Operation(name="edit", arguments={"rebased_from": 3})) == "edit, joined with later edits"


@dataclass
class Model:
    """What a dataset should be, in plain Python."""

    contents: dict[int, tuple[Item, ...]]
    parents: dict[int, int | None]
    head: int = 1
    newest: int = 1
    redo: list[int] = field(default_factory=list)

    def commit(self, items: tuple[Item, ...]) -> int:
        self.newest += 1
        self.contents[self.newest], self.parents[self.newest] = items, self.head
        self.head, self.redo = self.newest, []
        return self.newest

    def ancestor(self, number: int) -> int | None:
        parent = self.parents[number]
        while parent is not None and parent not in self.contents:
            parent = self.parents[parent]
        return parent


class HistoryMachine(RuleBasedStateMachine):
    """Any sequence of edits, undos, restores, branches, drops and collections against a plain model."""

    names = Bundle("names")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = StoreWithoutPictures(Path(self.folder.name))
        items = tuple(item(f"{n}.png", str(n)) for n in range(4))
        made = self.store.create("main", items, EDIT)
        self.models = {"main": Model({1: made.items}, {1: None})}
        self.roots = {("main", 1): (made.root, made.fingerprint)}
        self.counter = 0

    def teardown(self) -> None:
        self.folder.cleanup()

    def chosen(self, data: st.DataObject) -> tuple[str, Model]:
        name = data.draw(st.sampled_from(sorted(self.models)))
        return name, self.models[name]

    def write(self, name: str, items: tuple[Item, ...]) -> None:
        model = self.models[name]
        made = self.store.commit(self.store.get(name), items, EDIT)
        if items != model.contents[model.head]:
            number = model.commit(items)
            assert made.number == number
            self.roots[name, number] = (made.root, made.fingerprint)

    @rule(data=st.data(), caption=st.sampled_from("xyz"))
    def edit(self, data: st.DataObject, caption: str) -> None:
        name, model = self.chosen(data)
        items = list(model.contents[model.head])
        index = data.draw(st.integers(0, len(items) - 1))
        items[index] = replace(items[index], caption=caption)
        self.write(name, tuple(items))

    @rule(data=st.data())
    def add(self, data: st.DataObject) -> None:
        name, model = self.chosen(data)
        self.counter += 1
        self.write(name, (*model.contents[model.head], item(f"new {self.counter}.png")))

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        name, model = self.chosen(data)
        items = model.contents[model.head]
        if len(items) > 1:
            self.write(name, items[1:])

    @rule(data=st.data(), steps=st.integers(1, 3))
    def undo(self, data: st.DataObject, steps: int) -> None:
        name, model = self.chosen(data)
        at, passed = model.head, []
        for _ in range(steps):
            parent = model.ancestor(at)
            if parent is None:
                with pytest.raises(DatasetError):
                    self.store.undo(name, steps)
                return
            passed.append(at)
            at = parent
        model.redo.extend(passed)
        model.head = at
        assert self.store.undo(name, steps).number == at

    @rule(data=st.data())
    def redo(self, data: st.DataObject) -> None:
        name, model = self.chosen(data)
        if model.redo:
            model.head = model.redo.pop()
            assert self.store.redo(name).number == model.head
        else:
            with pytest.raises(DatasetError):
                self.store.redo(name)

    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        name, model = self.chosen(data)
        number = data.draw(st.sampled_from(sorted(model.contents)))
        made = self.store.restore(f"{name}@{number}")
        if model.contents[number] != model.contents[model.head]:
            model.commit(model.contents[number])
        assert made.number == model.head
        self.roots.setdefault((name, model.head), (made.root, made.fingerprint))
        assert (made.root, made.fingerprint) == self.roots[name, number]

    @precondition(lambda self: len(self.models) < 3)
    @rule(data=st.data())
    def branch(self, data: st.DataObject) -> None:
        name, model = self.chosen(data)
        number = data.draw(st.sampled_from(sorted(model.contents)))
        self.counter += 1
        new = f"branch-{self.counter}"
        made = self.store.branch(f"{name}@{number}", new)
        self.models[new] = Model({1: model.contents[number]}, {1: None})
        self.roots[new, 1] = self.roots[name, number]
        assert (made.root, made.fingerprint) == self.roots[name, number]

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        name, model = self.chosen(data)
        number = data.draw(st.sampled_from(sorted(model.contents)))
        if number == model.head:
            with pytest.raises(DatasetError, match="present version"):
                self.store.drop(f"{name}@{number}")
            return
        self.store.drop(f"{name}@{number}")
        del model.contents[number]
        model.redo = [each for each in model.redo if each != number]

    @rule()
    def collect(self) -> None:
        self.store.collect(self.store.garbage())
        assert self.store.garbage().files == ()

    @rule()
    def restart(self) -> None:
        self.store = StoreWithoutPictures(self.store.home)

    @invariant()
    def everything_is_as_it_was(self) -> None:
        assert self.store.names() == sorted(self.models)
        fresh = StoreWithoutPictures(self.store.home)
        for name, model in self.models.items():
            assert fresh.versions(name) == sorted(model.contents)
            assert fresh.get(name).number == model.head
            assert {e.number: e.parent for e in fresh.history(name)} == {n: model.ancestor(n) for n in model.contents}
            for number, items in model.contents.items():
                version = fresh.get(f"{name}@{number}")
                assert version.items == items
                assert (version.root, version.fingerprint) == self.roots[name, number]


TestHistory = HistoryMachine.TestCase
TestHistory.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
