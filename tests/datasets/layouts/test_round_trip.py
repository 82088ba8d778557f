"""Every layout, out and in again: what comes back is what went out, except for what its losses announced."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorasmith.datasets import layouts
from lorasmith.datasets.layouts import Layout, Loss
from lorasmith.datasets.layouts.imagefolder import ImageFolder
from lorasmith.datasets.layouts.losing import plain_text
from lorasmith.datasets.manifest import DatasetVersion, Item
from lorasmith.datasets.store import DatasetStore
from tests.datasets.layouts.harness import Files, Seen, expected, item_of, version_of

pytest.importorskip("pyarrow")
ALL = [*layouts.available().values(), ImageFolder("csv"), ImageFolder("parquet")]
every_layout = pytest.mark.parametrize(
    "layout", [pytest.param(one, id=f"{one.name}{getattr(one, 'metadata', '')}") for one in ALL]
)
WHAT = {"masks": "mask", "repeats": "repeats", "concept": "concept", "role": "role", "characters": "caption"}


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "home")


def rich(store: DatasetStore) -> DatasetVersion:
    """Everything an item can be, in one version."""
    return version_of(
        [
            item_of(store, "a.png", 1, caption="zib, red hat", concept="zib", repeats=10),
            item_of(store, "b.jpg", 2, kind="JPEG", caption="a zib\nzib, drawing", concept="zib", repeats=10),
            item_of(store, "deep/a.webp", 3, kind="WEBP", caption="été, 猫", concept="zib", repeats=10, mask=True),
            item_of(store, "deep/c.tif", 4, kind="TIFF", caption="", concept="zib", repeats=10),
            item_of(store, "deep/d.gif", 5, kind="GIF", caption="plain", concept="other zib"),
            item_of(store, "class one.png", 6, caption="a thing", role="regularisation", concept="thing", repeats=2),
            item_of(store, "kept.png", 7, caption="seen rarely", role="validation", concept="zib"),
            item_of(store, "kept2.png", 8, caption="seen", role="validation", concept="zib", mask=True),
            item_of(store, "x-masklabel.png", 9, caption="# not a comment\n---\nkey: value", mask=True),
            item_of(store, "a.bmp", 10, kind="BMP", caption='"quoted", [tag], {a|b} \\(c\\)'),
        ]
    )


def plain_tags(caption: str) -> str:
    """A caption as a tag editor knows it."""
    return ", ".join(word for word in caption.replace("\n", ", ").split(", ") if word)


def forgive(items: list[Seen], losses: tuple[Loss, ...], version: DatasetVersion) -> list[Seen]:
    """Items with every field that a loss announced set to what a loss makes of it."""
    blank: dict[str, object] = {"mask": None, "repeats": 1, "concept": "", "role": "train"}
    named = {item.name: index for index, item in enumerate(version.items)}
    edited = list(items)
    for loss in losses:
        field = WHAT.get(loss.what)
        for name in loss.items if field else ():
            index = named[name]
            value = plain_text(edited[index].caption) if field == "caption" else blank[str(field)]
            edited[index] = replace(edited[index], **{str(field): value})
    return edited


def announced(back: list[Seen], want: list[Seen], losses: tuple[Loss, ...], version: DatasetVersion) -> list[Seen]:
    """What came back, with the announced fields of each picture blanked as in ``want``."""
    order = {seen.pixels: index for index, seen in enumerate(want)}
    return forgive(sorted(back, key=lambda seen: order.get(seen.pixels, -1)), losses, version)


@every_layout
def test_what_goes_out_comes_back(layout: Layout, store: DatasetStore, tmp_path: Path) -> None:
    version = rich(store)
    if layout.name == "taggui":
        version = version_of(replace(item, caption=plain_tags(item.caption)) for item in version.items)
    exported = layout.write(version, store, tmp_path / "out für dich")
    files = Files(tmp_path / "out für dich")
    reading = files.read(layout)
    assert reading is not None and reading.evidence
    want = expected(version, store)
    back = files.items(reading)
    assert sorted(seen.pixels for seen in back) == sorted(seen.pixels for seen in want)
    assert announced(back, want, exported.losses, version) == forgive(want, exported.losses, version)
    assert {path for path in exported.files if not (exported.folder / path).is_file()} == set()
    files.close()


@every_layout
def test_the_highest_rank_recognises_its_own_export(layout: Layout, store: DatasetStore, tmp_path: Path) -> None:
    layout.write(rich(store), store, tmp_path / "out")
    files = Files(tmp_path / "out")
    reading = layouts.recognise(sorted(files.entries), files.bytes_of)
    assert reading is not None
    assert reading.layout == ("plain" if layout.name == "taggui" else layout.name)
    files.close()


@every_layout
def test_a_second_export_writes_nothing(layout: Layout, store: DatasetStore, tmp_path: Path) -> None:
    version = rich(store)
    first = layout.write(version, store, tmp_path / "out")
    times = {path: (tmp_path / "out" / path).stat().st_mtime_ns for path in first.files}
    again = layout.write(version, store, tmp_path / "out")
    assert (first.unchanged, again.unchanged) == (0, len(again.files))
    assert {path: (tmp_path / "out" / path).stat().st_mtime_ns for path in again.files} == times


@every_layout
def test_losses_are_told_without_writing(layout: Layout, store: DatasetStore, tmp_path: Path) -> None:
    version = rich(store)
    told = layout.losses(version)
    assert not (tmp_path / "out").exists()
    assert list(layout.write(version, store, tmp_path / "out").losses) == told
    names = {item.name for item in version.items}
    assert all(loss.items and set(loss.items) <= names and loss.sentence.endswith(".") for loss in told)


CAPTIONS = st.one_of(
    st.sampled_from(
        ["#", "---", "- a\n- b", "[[datasets]]", '"', "'''", "a,b,,c", " lead", "trail ", "\ta", "= x", "\\"]
    ),
    st.lists(
        st.sampled_from(["a", "b,", ", ", '"', "'", "\n", "#", "é", "猫", "\u2028", "\x85", "{a|b}", "\r"]), max_size=8
    ).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def shared() -> Iterator[DatasetStore]:
    with tempfile.TemporaryDirectory() as folder:
        yield DatasetStore(Path(folder) / "home")


@every_layout
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(captions=st.lists(CAPTIONS, min_size=3, max_size=3), names=st.lists(NAMES, min_size=3, max_size=3, unique=True),
       concept=st.one_of(st.just(""), NAMES))  # fmt: skip
def test_any_text_comes_back(
    layout: Layout, shared: DatasetStore, captions: list[str], names: list[str], concept: str
) -> None:
    items: list[Item] = [
        item_of(shared, f"{name}.png", seed, caption=caption, concept=concept)
        for seed, (name, caption) in enumerate(zip(names, captions, strict=True))
    ]
    version = version_of(items)
    with tempfile.TemporaryDirectory() as folder:
        exported = layout.write(version, shared, Path(folder) / "out")
        files = Files(Path(folder) / "out")
        reading = files.read(layout)
        want = expected(version, shared)
        if reading is None:
            assert layout.name == "taggui"  # prose is no list of tags
        else:
            back = announced(files.items(reading), want, exported.losses, version)
            assert back == forgive(want, exported.losses, version)
        files.close()
