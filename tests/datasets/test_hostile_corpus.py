"""Everything bad that a source can hold, at once: nothing crashes, each file is listed with its reason, what was there
before is untouched, and nothing is printed."""

from __future__ import annotations

import codecs
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lorasmith.datasets import staging
from lorasmith.datasets.ledger import RULES, totals
from lorasmith.datasets.manifest import DatasetVersion, Fate
from lorasmith.datasets.names import collision_key, make_unique
from lorasmith.datasets.source import Entry, FolderSource, Limits
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import InputError, OutOfDisk
from tests.datasets.dataset_pictures import (
    encode,
    gradient,
    jpeg,
    p3_profile,
    png,
    raw_png,
    snapshot,
    with_orientation,
    write_folder,
)

POSIX = os.name != "nt"


def animated(kind: str) -> bytes:
    frames = [gradient(seed=seed) for seed in (60, 61, 62)]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:])


def corpus() -> dict[str, tuple[bytes, str]]:
    """Content and expected rule, by name. Names that only a ZIP can hold are in ``ZIP_ONLY``."""
    deep = "/".join(["deep"] * 30)
    return {
        "good.png": (png(1), "image"),
        "good.txt": (b"fine", "caption"),
        # damage
        "truncated.jpg": (jpeg(2)[:-60], "damaged"),
        "truncated.png": (png(3)[:-30], "damaged"),
        "truncated.webp": (encode(gradient(seed=4), "WEBP")[:-20], "damaged"),
        "no end mark.jpg": (jpeg(5)[:-2], "repaired"),
        "flipped.png": (png(6)[:60] + b"\x55" * 8 + png(6)[68:], "damaged"),
        "zero.jpg": (b"", "empty_file"),
        "zeros.jpg": (b"\0" * 5000, "damaged"),
        "page.jpg": (b"\xef\xbb\xbf <!DOCTYPE html><html>403</html>", "not_an_image"),
        "error.png": (b'{"error": "unauthorised"}', "not_an_image"),
        "mask.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_format"),
        # odd pixels
        "cmyk.jpg": (encode(gradient(seed=7).convert("CMYK"), "JPEG"), "image"),
        "sixteen.png": (raw_png(4, 2, 0, 16, (b"\0" + bytes(range(8))) * 2), "image"),
        "sixteen rgb.png": (raw_png(2, 1, 2, 16, b"\0" + bytes(range(12))), "image"),
        "decimals.tif": (encode(Image.new("F", (4, 4), 7.5), "TIFF"), "unsupported_pixels"),
        "lzw.tif": (encode(gradient(seed=80), "TIFF", compression="tiff_lzw").replace(b"\x80", b"\xff"), "damaged"),
        "animated.gif": (animated("GIF"), "image"),
        "animated.webp": (animated("WEBP"), "image"),
        "animated.png": (animated("PNG"), "image"),
        "p3.png": (encode(gradient(seed=8), icc_profile=p3_profile()), "image"),
        "broken profile.png": (encode(gradient(seed=9), icc_profile=b"rubbish"), "image"),
        "turned.jpg": (with_orientation(gradient(seed=10), 6), "image"),
        "odd exif.jpg": (jpeg(11, exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0"), "image"),
        "one pixel.png": (encode(Image.new("RGB", (1, 1), "red")), "image"),
        "long strip.png": (encode(Image.new("RGB", (30_000, 1), "blue")), "image"),
        "thirty thousand squared.png": (raw_png(30_000, 30_000, 0, 1, b"\0"), "too_many_pixels"),
        "lies about size.gif": (b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\0;", "too_many_pixels"),
        # names
        "\u202egnp.exe.png": (png(12), "image"),
        "\U0001f600\U0001f468\u200d\U0001f469.png": (png(13), "image"),
        "CON.png": (png(14), "image"),
        "aux": (png(15), "image"),
        "e\u0301.png": (png(16), "image"),
        "\u00c9.png": (png(17), "image"),
        "x" * 240 + ".png": (png(18), "image"),
        f"{deep}/a.png": (png(19), "image"),
        "-rf.png": (png(20), "image"),
        "$(id).png": (png(21), "image"),
        "Photo.PNG": (png(22), "image"),
        "noext": (jpeg(23), "image"),
        ".hidden.png": (png(24), "hidden"),
        "._good.png": (b"\0\x05\x16\x07", "system_file"),
        "Thumbs.db": (b"x", "system_file"),
        "same as good.png": (png(1), "duplicate"),
        "inner.zip": (b"PK\x03\x04", "nested_archive"),
        # captions
        "cmyk.txt": (codecs.BOM_UTF8 + "with a mark é".encode(), "caption"),
        "turned.txt": ("wide é".encode("utf-16"), "caption"),
        "p3.txt": ("wide é".encode("utf-16-be"), "caption"),
        "sixteen.txt": (b"caf\xe9", "caption"),
        "one pixel.txt": (b"x" * 5_000_000, "too_large"),
        "long strip.txt": (b"\0\0\0", "unreadable_caption"),
        "animated.txt": (b"", "caption"),
        "-rf.txt": (jpeg(50), "unreadable_caption"),
        "truncated.txt": (b"of a lost picture", "orphan_caption"),
        "nobody.txt": (b"whose?", "orphan_caption"),
        "deep.json": (b"[" * 200_000, "unreadable_caption"),
        "settings.json": (b'{"a": 1}', "unknown_sidecar"),
        "table.csv": (b"file_name,caption\ngood.png,second\n", "duplicate_caption"),
        "wide.jsonl": ('{"file_name": "noext", "text": "by name"}\n'.encode("utf-16"), "caption"),
        "half.jsonl": (b'{"file_name": "noext", "te', "unreadable_caption"),
    }


ZIP_ONLY: dict[str, tuple[bytes, str]] = {
    "../../up.png": (png(70), "unsafe_path"),
    "/etc/cron.d/x.png": (png(71), "unsafe_path"),
    "C:\\Windows\\x.png": (png(72), "unsafe_path"),
    "a<b>|?.png": (png(73), "image"),
    "bomb.png": (b"\0" * 12_000_000, "bomb"),
    "nul.txt/": (b"", ""),
}


def zip_of(path: Path, files: dict[str, tuple[bytes, str]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (content, _) in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return path


def previous(store: DatasetStore, tmp_path: Path) -> DatasetVersion:
    return store.import_source(write_folder(tmp_path / "old", {"old.png": png(99), "old.txt": b"old"}), name="corpus")


def check(version: DatasetVersion, expected: dict[str, str], store: DatasetStore) -> None:
    assert {line.path: line.rule for line in version.ledger} == expected
    counted = totals(version.ledger)
    assert counted.inputs == len(expected) == counted.taken + counted.left_out
    assert set(expected.values()) <= set(RULES)
    assert all(line.detail.endswith(".") for line in version.ledger)
    for item in version.items:
        assert store.open_image(item).size == (item.width, item.height)
        item.name.encode()
        item.caption.encode()


def test_a_folder_with_everything(tmp_path: Path) -> None:
    files = corpus()
    source = write_folder(tmp_path / "s", {name: content for name, (content, _) in files.items()})
    expected = {name: rule for name, (_, rule) in files.items()}
    if POSIX:
        (source / "loop").symlink_to(source)
        (source / "a").symlink_to(source / "b")
        (source / "b").symlink_to(source / "a")
        (source / "passwd.png").symlink_to("/etc/passwd")
        os.mkfifo(source / "pipe.png")
        expected |= {"loop": "link", "a": "link", "b": "link", "passwd.png": "link", "pipe.png": "special_file"}
    if sys.platform == "linux":
        Path(os.fsdecode(os.fsencode(source) + b"/bytes \xff\xfe.png")).write_bytes(png(40))
        expected["bytes ??.png"] = "image"
    store = DatasetStore(tmp_path / "home")
    old = previous(store, tmp_path)
    before = snapshot(source)
    check(store.import_source(source, name="corpus"), expected, store)
    assert snapshot(source) == before
    assert store.get("corpus@1") == old


def test_a_zip_with_everything(tmp_path: Path) -> None:
    files = corpus() | ZIP_ONLY
    source = zip_of(tmp_path / "s.zip", files)
    store = DatasetStore(tmp_path / "home")
    old = previous(store, tmp_path)
    check(store.import_source(source, name="corpus"), {n: rule for n, (_, rule) in files.items() if rule}, store)
    assert store.get("corpus@1") == old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "old", "s.zip"]


def test_a_zip_name_with_a_nul(tmp_path: Path) -> None:
    source = zip_of(tmp_path / "s.zip", {"good.png": (png(1), ""), "evilX.png": (png(2), "")})
    source.write_bytes(source.read_bytes().replace(b"evilX.png", b"evil\0.png"))
    version = DatasetStore(tmp_path / "home").import_source(source)
    assert [item.name for item in version.items] == ["evil_.png", "good.png"]
    assert "not safe everywhere" in next(line for line in version.ledger if line.item == "evil_.png").detail


@pytest.mark.skipif(not POSIX, reason="permissions are POSIX")
def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_folder(tmp_path / "s", {"a.png": png(1), "locked/b.png": png(2)})
    really = os.scandir

    def refuse(path: object) -> object:  # as root every folder may be read
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return really(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", refuse)
    version = DatasetStore(tmp_path / "home").import_source(source)
    assert {line.path: line.rule for line in version.ledger} == {"a.png": "image", "locked": "unreadable"}


def test_nothing_is_printed(tmp_path: Path) -> None:
    """In a process of its own, since libraries in C print past Python."""
    source = write_folder(tmp_path / "s", {name: content for name, (content, _) in corpus().items()})
    code = (
        "import sys; from pathlib import Path; from lorasmith.datasets.store import DatasetStore;"
        "DatasetStore(Path(sys.argv[1])).import_source(Path(sys.argv[2]))"
    )
    command = [sys.executable, "-W", "always", "-c", code, str(tmp_path / "home"), str(source)]
    ended = subprocess.run(command, capture_output=True, check=False, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


# A disk that fills in the middle


def full_after(count: int, really: Callable[..., object]) -> Callable[..., object]:
    calls: list[int] = []

    def write(*arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) > count:
            raise OSError(28, "No space left on device")
        return really(*arguments, **options)

    return write


@pytest.mark.parametrize("count", [0, 5])
@pytest.mark.parametrize("what", ["original", "converted", "flush", "keep"])
def test_a_disk_that_fills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, count: int) -> None:
    store = DatasetStore(tmp_path / "home")
    previous(store, tmp_path)
    before = snapshot(store.home / "datasets"), snapshot(store.home / "blobs")
    files = {f"{n}.jpg": with_orientation(gradient(seed=n), 6) for n in range(12)}
    source = write_folder(tmp_path / "s", files)
    places: dict[str, tuple[object, str]] = {
        "original": (Path, "write_bytes"),
        "converted": (staging, "png_bytes_to"),
        "flush": (os, "fsync"),
        "keep": (Path, "replace"),
    }
    owner, name = places[what]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, full_after(count, getattr(owner, name)))
        with pytest.raises(OutOfDisk, match="is full") as error:
            store.import_source(source, into="corpus")
    assert "no dataset was changed" in error.value.hint
    assert snapshot(store.home / "datasets") == before[0]
    if what != "keep":  # blobs moved before the disk was full are nobody's, and are there for the next try
        assert snapshot(store.home / "blobs") == before[1]
    assert list((store.home / "incoming").iterdir()) == []
    assert len(store.import_source(source, into="corpus").items) == 13


# What only a ZIP can do


def test_more_members_than_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "s.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(50_001):
            archive.writestr(zipfile.ZipInfo(f"{number}.png"), b"")
    with pytest.raises(InputError, match="more than 50,000 files"):
        DatasetStore(tmp_path / "home").import_source(path)


def test_members_that_share_their_bytes(tmp_path: Path) -> None:
    """Many directory entries over one piece of data: how a small ZIP unpacks to petabytes."""
    path = zip_of(tmp_path / "s.zip", {f"{n}.png": (png(1), "") for n in range(3)})
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\x01\x02")
    while at >= 0:
        raw[at + 42 : at + 46] = b"\0\0\0\0"  # every member is the first
        at = raw.find(b"PK\x01\x02", at + 4)
    path.write_bytes(raw)
    version = DatasetStore(tmp_path / "home").import_source(path)
    assert len(version.ledger) == 3
    assert len(version.items) == 1
    assert {line.rule for line in version.ledger if line.fate == "left_out"} == {"damaged"}


def test_nested_roots_are_one_root(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "s.zip", {"set/set/a.png": (png(1), ""), "set/set/b/c.png": (png(2), "")})
    names = [item.name for item in DatasetStore(tmp_path / "home").import_source(path).items]
    assert names == ["set/a.png", "set/b/c.png"]


def test_one_name_very_often() -> None:
    taken: set[str] = set()
    names = [make_unique("A/a.png" if number % 2 else "a/A.png", taken) for number in range(20_000)]
    assert len({name.casefold() for name in names}) == 20_000
    assert names[:4] == ["a/A.png", "A/a (2).png", "a/A (3).png", "A/a (4).png"]
    assert max(int(name.split("(")[1].split(")")[0]) for name in names[1:]) == 20_000


def test_composed_and_decomposed_names_of_two_pictures(tmp_path: Path) -> None:
    path = zip_of(
        tmp_path / "s.zip", {"e\u0301.png": (png(1), ""), "\u00e9.png": (png(2), ""), "\u00c9.PNG": (png(3), "")}
    )
    names = [item.name for item in DatasetStore(tmp_path / "home").import_source(path).items]
    assert len({collision_key(name) for name in names}) == 3


def test_a_source_that_grows_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_folder(tmp_path / "s", {"a.png": png(1), "b.png": png(2)})
    really = FolderSource.scan

    def scan(self: FolderSource) -> tuple[list[Entry], list[Fate]]:
        found = really(self)
        (source / "b.png").write_bytes(os.urandom(90_000))
        return found

    monkeypatch.setattr(FolderSource, "scan", scan)
    store = DatasetStore(tmp_path / "home")
    with pytest.raises(InputError, match="unpacks to more than 50 kB"):
        store.import_source(source, limits=Limits(total_bytes=50_000))
    assert store.names() == []
    assert list((store.home / "incoming").iterdir()) == []
