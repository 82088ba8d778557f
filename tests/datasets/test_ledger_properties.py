"""The ledger on generated hostile trees: nothing is lost, nothing is written elsewhere, nothing else is raised.

The same tree goes in as a folder and as a ZIP that holds what a folder cannot (paths that climb out, encrypted
members, a name twice).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
import zipfile
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from lorasmith.datasets.ledger import RULES, totals
from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.datasets.source import Limits
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import LorasmithError
from tests.datasets.dataset_pictures import encode, gradient, jpeg, p3_profile, png, snapshot, with_orientation

LIMITS = Limits(members=40, file_bytes=60_000, ratio=30, ratio_from_bytes=5_000, pixels=5_000, caption_bytes=200)
CONTENTS = {
    "png": png(1),
    "other png": png(2),
    "jpeg": jpeg(3),
    "cut jpeg": jpeg(3)[: len(jpeg(3)) // 2],
    "turned": with_orientation(gradient(seed=4), 6),
    "cmyk": encode(gradient(seed=5).convert("CMYK"), "JPEG"),
    "p3": encode(gradient(seed=6), icc_profile=p3_profile()),
    "alpha": encode(gradient(seed=7).convert("RGBA")),
    "too many pixels": encode(gradient(100, 60)),
    "nothing": b"",
    "html": b"<html>404</html>",
    "bomb": b"\0" * 20_000,
    "too large": os.urandom(70_000),
    "garbage": b"\x89PNG\r\n\x1a\n" + b"\x13\x37" * 40,
    "tiff header": b"II*\0\x08\0\0\0\xff\xff" + b"\x01" * 60,
    "text": "猫, a cat\n".encode(),
    "latin": b"caf\xe9",
    "utf16": "wide".encode("utf-16"),
    "nul": b"odd\0text",
    "long text": b"x" * 300,
    "no end mark": jpeg(8)[:-2],
    "caption in json": b'{"caption": "a cat", "tags": ["sky"]}',
    "post": b'{"category": "site", "subcategory": "tag", "id": 1, "tags": "sky cat"}',
    "table": b"file_name,caption\na.png,one\nsub/A.png,two\na,three\n",
    "lines": b'{"file_name": "a.png", "text": "one"}\n{"file_name": "A", "text": "two"}\n',
    "tag lines": b"sky\ncat\n",
}
STEMS = (
    "a",
    "A",
    "猫",
    "e\u0301",
    "\u00e9",
    "con",
    "trail. ",
    ".hidden",
    "._a",
    "x" * 120,
    "a.b",
    "Thumbs",
    "new\nline",
)
SUFFIXES = (
    ".png",
    ".Jpg",
    ".JPEG",
    ".webp",
    ".txt",
    ".TXT",
    ".png.txt",
    ".caption",
    ".json",
    ".png.json",
    ".jsonl",
    ".csv",
    ".zip",
    ".db",
    ".heic",
    ".md",
    "",
)
FOLDERS = ("", "sub/", "sub/deeper/", "10_cat/", "__MACOSX/", ".git/", "猫/")
ESCAPES = ("../", "/", "C:\\", "..\\", "a/../../", "\\\\host\\share\\")

names = st.tuples(st.sampled_from(FOLDERS), st.sampled_from(STEMS), st.sampled_from(SUFFIXES)).map("".join)
files = st.dictionaries(names, st.sampled_from(sorted(CONTENTS)), max_size=12)
TAKING = ("image", "repaired", "caption", "metadata", "layout")
settled = settings(max_examples=40, deadline=None, derandomize=True)


def account(store: DatasetStore, source: Path, inputs: Counter[str]) -> DatasetVersion | None:
    """Import, and hold the ledger against what was really in the source; None when it was refused in words."""
    try:
        version = store.import_source(source, limits=LIMITS)
    except LorasmithError as error:
        assert error.exit_code in (3, 6)
        assert error.message.endswith((".", "?"))
        assert error.hint
        assert store.names() == []
        return None
    fates = Counter(fate.path for fate in version.ledger)
    assert fates == inputs
    item_names = [item.name for item in version.items]
    assert len({name.casefold() for name in item_names}) == len(item_names)
    images = Counter(f.item for f in version.ledger if f.rule in ("image", "repaired") and f.fate != "left_out")
    assert images == Counter(item_names)
    counted = totals(version.ledger)
    assert counted.inputs == inputs.total() == counted.taken + counted.left_out
    for fate in version.ledger:
        assert fate.rule in RULES and fate.detail
        assert (fate.fate == "left_out") == (fate.rule not in TAKING)
    for item in version.items:
        assert store.open_image(item).size == (item.width, item.height)
        assert store.blob_path(item.original).is_file()
    assert store.get(version.reference) == version
    return version


def check_home(root: Path, home: Path, before: dict[str, tuple[int, bytes | str]]) -> None:
    """Nothing but the home has changed, and no staged file is left in it."""
    after = {path: state for path, state in snapshot(root).items() if not path.startswith(home.name)}
    assert after == before
    assert not (home / "incoming").exists() or list((home / "incoming").iterdir()) == []


@settled
@given(files, st.booleans())
def test_a_hostile_folder(tree: dict[str, str], links: bool) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        source = root / "source"
        source.mkdir()
        inputs: Counter[str] = Counter()
        for name, content in tree.items():
            path = source / name
            if path.exists() or any(parent.is_file() for parent in path.parents):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(CONTENTS[content])
            inputs[name] += 1
        if links and os.name != "nt":
            (source / "loop").symlink_to(source)
            (source / "out.png").symlink_to("/etc/passwd")
            inputs.update(["loop", "out.png"])
        before = snapshot(root)
        account(DatasetStore(root / "home"), source, inputs)
        check_home(root, root / "home", before)
    finally:
        shutil.rmtree(root)


member = st.tuples(
    st.sampled_from(("", "", "", *ESCAPES)), names, st.sampled_from(sorted(CONTENTS)),
    st.sampled_from(("plain", "plain", "plain", "link", "encrypted", "stored")),
)  # fmt: skip


@settled
@given(st.lists(member, max_size=12), st.binary(max_size=3))
def test_a_hostile_zip(members: list[tuple[str, str, str, str]], damage: bytes) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        source = root / "source.zip"
        inputs: Counter[str] = Counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a name twice is part of the test
            with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
                for escape, name, content, kind in members:
                    info = zipfile.ZipInfo(escape + name)
                    info.compress_type = zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED
                    info.external_attr = (0o120777 if kind == "link" else 0o100644) << 16
                    archive.writestr(info, CONTENTS[content])
                    if kind == "encrypted":
                        info.flag_bits |= 1  # said in the directory, which is what readers go by
                    inputs[escape + name] += 1
        if damage:  # after the first bytes of the first member's content: its data is broken, the ZIP is not
            raw = bytearray(source.read_bytes())
            raw[60 : 60 + len(damage)] = damage
            source.write_bytes(raw)
        before = snapshot(root)
        store = DatasetStore(root / "home")
        if damage and len(members) > 0:
            count_only(store, source, len(members))
        else:
            account(store, source, inputs)
        check_home(root, root / "home", before)
    finally:
        shutil.rmtree(root)


def count_only(store: DatasetStore, source: Path, members: int) -> None:
    """A damaged ZIP is refused in words, or every member has its fate."""
    try:
        version = store.import_source(source, limits=LIMITS)
    except LorasmithError as error:
        assert error.hint
    else:
        assert len(version.ledger) == members


@settled
@given(
    st.binary(max_size=400), st.sampled_from((b"", b"PK\x03\x04", b"PK\x05\x06", b"\x89PNG\r\n\x1a\n", b"Rar!\x1a\x07"))
)
def test_any_bytes_as_a_source(content: bytes, magic: bytes) -> None:
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / "photos.zip"
        path.write_bytes(magic + content)
        try:
            DatasetStore(Path(root) / "home").import_source(path)
        except LorasmithError as error:
            assert error.exit_code == 3
            assert error.hint
        else:
            raise AssertionError("random bytes hold no picture")


@settled
@given(
    st.sampled_from(["png", "jpeg", "turned", "p3", "alpha", "cmyk"]),
    st.integers(0, 10**6),
    st.binary(min_size=1, max_size=4),
)
def test_a_damaged_picture_is_left_out_or_whole(kind: str, position: int, bytes_: bytes) -> None:
    content = bytearray(CONTENTS[kind])
    position %= len(content)
    content[position : position + len(bytes_)] = bytes_
    with tempfile.TemporaryDirectory() as root:
        source = Path(root) / "s"
        source.mkdir()
        (source / "damaged.png").write_bytes(bytes(content[: max(1, len(content))]))
        (source / "good.png").write_bytes(CONTENTS["other png"])
        store = DatasetStore(Path(root) / "home")
        version = store.import_source(source)
        assert Counter(f.path for f in version.ledger) == Counter(["damaged.png", "good.png"])
        for item in version.items:
            assert store.open_image(item).size == (item.width, item.height)
