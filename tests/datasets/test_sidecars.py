"""Captions in every kind of file beside the pictures: matched by name, in a fixed order, each file accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorasmith.datasets.ledger import totals
from lorasmith.datasets.manifest import DatasetVersion, Fate
from lorasmith.datasets.sidecars import NotReadableError, PictureNames, Sidecar, hear
from lorasmith.datasets.source import Limits
from lorasmith.datasets.store import DatasetStore
from tests.datasets.dataset_pictures import png, write_folder

POST: dict[str, Any] = {
    "category": "danbooru",
    "subcategory": "post",
    "id": 42,
    "rating": "g",
    "score": 17,
    "source": "https://example.org/work",
    "file_url": "https://cdn.example.org/42.png",
    "tags": ["1girl", "zib_(series)", "highres", "zib", "someone", "red_star"],
    "tags_artist": ["someone"],
    "tags_character": ["zib"],
    "tags_copyright": ["zib_(series)"],
    "tags_general": ["1girl", "red_star"],
    "tags_meta": ["highres"],
}


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "home")


def imported(tmp_path: Path, store: DatasetStore, files: dict[str, bytes | str | object]) -> DatasetVersion:
    content = {
        name: value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value)).encode()
        for name, value in files.items()
    }
    version = store.import_source(write_folder(tmp_path / "s", content))
    counted = totals(version.ledger)
    assert counted.inputs == len(files) == counted.taken + counted.left_out
    return version


def captions(version: DatasetVersion) -> dict[str, str]:
    return {item.name: item.caption for item in version.items}


def fate(version: DatasetVersion, path: str) -> Fate:
    (found,) = [line for line in version.ledger if line.path == path]
    return found


@pytest.mark.parametrize(
    ("content", "caption"),
    [
        ({"caption": "a red star"}, "a red star"),
        ({"text": "a red star\n"}, "a red star"),
        ({"prompt": "a red star", "seed": 3}, "a red star"),
        ({"tags": ["red star", "sky"]}, "red star, sky"),
        ({"tags": "red star, sky"}, "red star, sky"),
        ({"caption": "a red star", "tags": ["sky", "night"]}, "a red star, sky, night"),
        ({"caption": ["one", "two"]}, "one\ntwo"),
        ({"caption": ""}, ""),
        ([{"caption": "a red star"}], "a red star"),
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a.png.json", "A.JSON"])
def test_one_picture_in_json(tmp_path: Path, store: DatasetStore, content: object, caption: str, name: str) -> None:
    version = imported(tmp_path, store, {"a.png": png(1), "b.png": png(2), name: content})
    assert captions(version) == {"a.png": caption, "b.png": ""}
    assert (fate(version, name).rule, fate(version, name).item) == ("caption", "a.png")


def test_dot_caption_files(tmp_path: Path, store: DatasetStore) -> None:
    version = imported(tmp_path, store, {"a.png": png(1), "a.caption": "prose", "b.png": png(2), "c.caption": "x"})
    assert captions(version) == {"a.png": "prose", "b.png": ""}
    assert fate(version, "c.caption").rule == "orphan_caption"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("meta.json", {"/home/u/img/a.png": {"caption": "one", "tags": ""}, "sub/b.png": {"tags": "two"}}),
        ("meta.json", {"a": {"caption": "one"}, "b": {"caption": "two"}}),
        ("meta.json", {"a.png": "one", "sub/b.png": "two"}),
        ("meta.json", {"captions": {"a.png": {"caption": "one"}, "b.png": {"caption": "two"}}, "metadata": {}}),
        ("meta.json", [{"file_name": "a.png", "text": "one"}, {"file_name": "sub/b.png", "text": "two"}]),
        ("meta.jsonl", '{"file_name": "a.png", "text": "one"}\n\n{"file_name": "sub/b.png", "text": "two"}\n'),
        ("meta.csv", "file_name,caption\r\na.png,one\r\nsub/b.png,two\r\n"),
        ("meta.csv", '"image";"id";"text"\na.png;7;one\nsub\\b.png;8;two\n'),
        ("meta.tsv", "file\tprompt\nsub/b.png\ttwo\na.png\tone"),
        ("meta.csv", "a.png|one\nsub/b.png|two\n"),
        ("meta.csv", "\ufefffile_name,caption\na.png,one\nb.png,two\n"),
        ("meta.csv", "file_name,caption\na.png,one\nb.png,two\n".encode("utf-16")),
    ],
)
def test_tables_of_many_pictures(tmp_path: Path, store: DatasetStore, name: str, content: object) -> None:
    version = imported(tmp_path, store, {"a.png": png(1), "sub/b.png": png(2), "c.png": png(3), name: content})
    assert captions(version) == {"a.png": "one", "sub/b.png": "two", "c.png": ""}
    assert "captions of a.png and sub/b.png" in fate(version, name).detail


def test_commas_in_captions_survive_with_quotes_and_in_the_last_column_without(
    tmp_path: Path, store: DatasetStore
) -> None:
    table = 'file_name,caption\na.png,"one, ""two"", three"\nb.png,four, five\n'
    version = imported(tmp_path, store, {"a.png": png(1), "b.png": png(2), "t.csv": table})
    assert captions(version) == {"a.png": 'one, "two", three', "b.png": "four, five"}
    broken = imported(tmp_path / "2", store, {"a.png": png(1), "t.csv": "caption,file_name\none, two,a.png\n"})
    assert fate(broken, "t.csv").rule == "unreadable_caption"
    assert "quote its caption" in fate(broken, "t.csv").detail


def test_the_second_short_caption_of_ai_toolkit_is_kept(tmp_path: Path, store: DatasetStore) -> None:
    content = {"a.png": {"caption": "long", "caption_short": "short"}}
    (item,) = imported(tmp_path, store, {"a.png": png(1), "d.json": content}).items
    assert (item.caption, item.provenance["caption_short"]) == ("long", "short")


def test_rows_are_matched_by_name_and_never_by_position(tmp_path: Path, store: DatasetStore) -> None:
    rows = "file_name,caption\n" + "".join(f"{n}.png,number {n}\n" for n in (5, 3, 99, 1, 3))
    version = imported(tmp_path, store, {f"{n}.png": png(n) for n in range(6)} | {"t.csv": rows})
    assert [item.caption for item in version.items] == ["", "number 1", "", "number 3", "", "number 5"]
    detail = fate(version, "t.csv").detail
    assert "1 of its rows names no picture of the source (99.png)" in detail
    assert "1 of its rows names a picture named before" in detail


def test_an_ambiguous_name_is_nobodys(tmp_path: Path, store: DatasetStore) -> None:
    version = imported(tmp_path, store, {"x/a.png": png(1), "y/a.png": png(2), "t.csv": "file,text\na.png,which\n"})
    assert captions(version) == {"x/a.png": "", "y/a.png": ""}
    assert fate(version, "t.csv").rule == "orphan_caption"


def test_the_order_of_precedence(tmp_path: Path, store: DatasetStore) -> None:
    files: dict[str, object] = {
        "a.txt": "from txt",
        "a.caption": "from caption",
        "a.json": {"caption": "from json"},
        "a.png.txt": "tag_one\ntag_two",
        "table.csv": "file,text\na.png,from table\n",
    }
    expected = ["from txt", "from caption", "from json", "tag_one, tag_two", "from table"]
    for count, caption in enumerate(expected):
        version = imported(tmp_path / str(count), store, {"a.png": png(1), **dict(list(files.items())[count:])})
        assert captions(version) == {"a.png": caption}
        others = [line for line in version.ledger if line.path not in ("a.png", list(files)[count])]
        assert {line.rule for line in others} <= {"duplicate_caption"}
        assert all(list(files)[count] in line.detail for line in others)


def test_an_empty_text_file_gives_way_to_one_that_says_something(tmp_path: Path, store: DatasetStore) -> None:
    version = imported(tmp_path, store, {"a.png": png(1), "a.txt": " \n", "a.json": {"caption": "said"}})
    assert captions(version) == {"a.png": "said"}
    assert fate(version, "a.txt").rule == "duplicate_caption"


def test_gallery_dl_metadata(tmp_path: Path, store: DatasetStore) -> None:
    version = imported(tmp_path, store, {"42.png": png(1), "42.png.json": POST})
    (item,) = version.items
    assert item.caption == "zib, zib_(series), someone, 1girl, red_star"
    kept = {key: item.provenance[key] for key in ("site", "post", "rating", "score", "artist", "origin", "url")}
    assert kept == {
        "site": "danbooru", "post": 42, "rating": "g", "score": 17, "artist": "someone",
        "origin": "https://example.org/work", "url": "https://cdn.example.org/42.png",
    }  # fmt: skip
    assert item.provenance["source"] == "42.png"
    assert "gallery-dl metadata of danbooru" in fate(version, "42.png.json").detail


@pytest.mark.parametrize(
    ("tags", "caption"),
    [
        ({"tags": "solo red_star"}, "solo, red_star"),
        ({"tags": "red_star zib 2020", "tags_character": "zib", "tags_metadata": "2020"}, "zib, red_star"),
        ({"tags": {"general": ["sky"], "artist": ["someone"], "species": ["cat"]}}, "cat, someone, sky"),
        ({"tag_string": "sky zib", "tag_string_character": "zib"}, "zib, sky"),
        ({"tags": ["with space", "sky"]}, "with space, sky"),
    ],
)
def test_tags_as_sites_write_them(tmp_path: Path, store: DatasetStore, tags: dict[str, object], caption: str) -> None:
    post = {"category": "site", "subcategory": "tag", "id": 1} | tags
    assert captions(imported(tmp_path, store, {"a.png": png(1), "a.png.json": post})) == {"a.png": caption}


def test_metadata_without_tags_gives_provenance_only(tmp_path: Path, store: DatasetStore) -> None:
    post = {"category": "pixiv", "subcategory": "user", "id": 9, "caption": "<b>not a caption</b>", "tags": []}
    version = imported(tmp_path, store, {"a.png": png(1), "a.png.json": post, "b.png": png(2)})
    assert captions(version) == {"a.png": "", "b.png": ""}
    assert version.items[0].provenance["post"] == 9
    assert fate(version, "a.png.json").rule == "metadata"


def test_metadata_beside_a_caption_still_tells_the_origin(tmp_path: Path, store: DatasetStore) -> None:
    version = imported(tmp_path, store, {"42.png": png(1), "42.txt": "mine", "42.png.json": POST})
    assert captions(version) == {"42.png": "mine"}
    assert version.items[0].provenance["post"] == 42
    assert fate(version, "42.png.json").rule == "metadata"


@pytest.mark.parametrize(
    ("content", "caption"),
    [
        ("long_hair\n1girl\n", "long_hair, 1girl"),
        ("a sentence about it\nand another", ""),
        ("one, two\nthree", ""),
        ("single", ""),
        ("", ""),
    ],
)
def test_tags_one_a_line_only_when_unmistakable(
    tmp_path: Path, store: DatasetStore, content: str, caption: str
) -> None:
    version = imported(tmp_path, store, {"a.png": png(1), "a.png.txt": content})
    assert captions(version) == {"a.png": caption}
    line = fate(version, "a.png.txt")
    assert line.rule == ("caption" if caption else "orphan_caption")
    assert ("one a line" if caption else "name it like the picture") in line.detail


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("a.json", b"{", "unreadable_caption"),
        ("a.json", b"[" * 100_000, "unreadable_caption"),
        ("a.json", b'{"caption": "odd\\u0000"}', "unknown_sidecar"),
        ("a.json", b'{"caption": "odd\\ud800"}', "unknown_sidecar"),
        ("a.json", b'{"caption": 5}', "unknown_sidecar"),
        ("a.json", b"null", "unknown_sidecar"),
        ("a.json", b"1" * 5000, "unreadable_caption"),
        ("package.json", b'{"name": "x", "version": "1.0"}', "unknown_sidecar"),
        ("t.jsonl", b'{"file_name": "a.png", "text": "x"}\nbroken', "unreadable_caption"),
        ("t.jsonl", b'[1]\n"x"\n', "unknown_sidecar"),
        ("t.csv", b"alpha,beta\n1,2\n", "unknown_sidecar"),
        ("t.csv", b"", "unknown_sidecar"),
        ("t.csv", b'file_name,caption\na.png,"never closed', "unknown_sidecar"),
        ("t.csv", b"file_name,caption\nz.png,x\n", "orphan_caption"),
        ("t.csv", b"a.png\0,x", "unreadable_caption"),
        ("z.png.json", json.dumps(POST).encode(), "orphan_caption"),
    ],
)
def test_files_that_say_nothing_usable(
    tmp_path: Path, store: DatasetStore, name: str, content: bytes, rule: str
) -> None:
    version = imported(tmp_path, store, {"a.png": png(1), name: content})
    assert captions(version) == {"a.png": ""}
    assert (fate(version, name).fate, fate(version, name).rule) == ("left_out", rule)


def test_a_table_larger_than_the_limit(tmp_path: Path, store: DatasetStore) -> None:
    source = write_folder(tmp_path / "s", {"a.png": png(1), "t.csv": b"file,text\na.png," + b"x" * 500})
    version = store.import_source(source, limits=Limits(table_bytes=400))
    assert fate(version, "t.csv").rule == "too_large"


def test_metadata_of_a_picture_that_was_left_out(tmp_path: Path, store: DatasetStore) -> None:
    version = imported(tmp_path, store, {"a.png": png(1), "b.png": png(2)[:60], "b.png.json": POST})
    assert "belongs to b.png, which was left out" in fate(version, "b.png.json").detail


words = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["caption", "tags", "text", "file_name", "a.png", "category", "subcategory", "id", "captions"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=200, deadline=None, derandomize=True)
@given(values, st.sampled_from(["a.json", "a.png.json", "t.json", "t.jsonl", "t.csv", "a.txt", "a.png.txt"]))
def test_any_content_is_heard_or_refused_in_words(content: object, name: str) -> None:
    names = PictureNames(["a.png", "sub/b.png"])
    text = content if isinstance(content, str) else json.dumps(content)
    try:
        heard = hear(0, Sidecar(name, text, ""), names)
    except NotReadableError as refusal:
        assert str(refusal)
    else:
        assert set(heard.about) <= {0, 1}
        for statement in heard.about.values():
            assert statement.caption is None or "\0" not in statement.caption or name.endswith(".txt")
            json.dumps(dict(statement.provenance), allow_nan=False)
