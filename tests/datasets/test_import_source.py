"""What an import makes of sources, honest and hostile: one fate for every file, in words."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from lorasmith.datasets.manifest import DatasetVersion, Fate
from lorasmith.datasets.source import Limits
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import ConfigError, DatasetError, InputError, OutOfDisk
from tests.datasets.dataset_pictures import (
    encode,
    gradient,
    jpeg,
    png,
    snapshot,
    with_orientation,
    write_folder,
    write_zip,
)


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "my home ü")


def fates(version: DatasetVersion) -> dict[str, Fate]:
    found = {fate.path: fate for fate in version.ledger}
    assert len(found) == len(version.ledger)
    return found


def names(version: DatasetVersion) -> list[str]:
    return [item.name for item in version.items]


def zipped(tmp_path: Path, files: dict[str, bytes], name: str = "set.zip") -> Path:
    return write_zip(tmp_path / name, list(files.items()))


def test_folder_and_zip_give_the_same_version(tmp_path: Path, store: DatasetStore) -> None:
    files = {"a.Jpg": jpeg(1), "b/c.PNG": png(2), "a.txt": b"one\n", "b/c.TXT": b"two", "notes.md": b"x"}
    folder = store.import_source(write_folder(tmp_path / "pictures", files), name="one")
    archive = store.import_source(zipped(tmp_path, files), name="two")
    assert folder.fingerprint == archive.fingerprint
    assert {item.name: item.caption for item in folder.items} == {"a.Jpg": "one", "b/c.PNG": "two"}
    assert [(f.path, f.fate, f.rule) for f in folder.ledger] == [(f.path, f.fate, f.rule) for f in archive.ledger]
    assert len(folder.ledger) == len(files)


def test_content_and_not_suffix_tells_a_zip(tmp_path: Path, store: DatasetStore) -> None:
    assert store.import_source(zipped(tmp_path, {"a.png": png()}, "photos.backup")).dataset == "photos"
    lying = tmp_path / "photos.zip"
    lying.write_bytes(jpeg())
    assert names(store.import_source(lying, name="lying")) == ["photos.zip.jpg"]


def test_pictures_that_need_nothing_keep_their_bytes(tmp_path: Path, store: DatasetStore) -> None:
    turned = with_orientation(gradient(), 6)
    source = write_folder(tmp_path / "s", {"plain.jpg": jpeg(1), "turned.jpg": turned})
    plain, upright = store.import_source(source).items
    assert plain.image == plain.original
    assert store.blob_path(plain.image).read_bytes() == jpeg(1)
    assert upright.image != upright.original
    assert store.blob_path(upright.original).read_bytes() == turned
    assert (upright.width, upright.height) == (24, 40) == store.open_image(upright).size


def test_names_in_any_script_stay_apart(tmp_path: Path, store: DatasetStore) -> None:
    version = store.import_source(zipped(tmp_path, {"猫.png": png(1), "犬.png": png(2), "été/ñ.png": png(3)}))
    assert sorted(names(version)) == ["été/ñ.png", "犬.png", "猫.png"]


def test_composed_and_decomposed_names_are_one_caption(tmp_path: Path, store: DatasetStore) -> None:
    version = store.import_source(zipped(tmp_path, {"cafe\u0301.png": png(1), "caf\u00e9.txt": b"coffee"}))
    assert [(item.name, item.caption) for item in version.items] == [("caf\u00e9.png", "coffee")]


def test_names_that_collide_get_distinct_ones(tmp_path: Path, store: DatasetStore) -> None:
    version = store.import_source(zipped(tmp_path, {"Img.PNG": png(1), "img.png": png(2), "IMG.png": png(3)}))
    assert len({name.casefold() for name in names(version)}) == 3
    assert any("called" in fate.detail for fate in version.ledger)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_in_one_zip_is_two_files(tmp_path: Path, store: DatasetStore) -> None:
    version = store.import_source(write_zip(tmp_path / "s.zip", [("a.png", png(1)), ("a.png", png(2))]))
    assert names(version) == ["a.png", "a (2).png"]
    assert version.items[0].image != version.items[1].image


def test_names_windows_cannot_store_are_changed(tmp_path: Path, store: DatasetStore) -> None:
    files = {"con.png": png(1), "trail. /x.png": png(2), "a:b?.png": png(3), "back\\slash.png": png(4)}
    version = store.import_source(zipped(tmp_path, files))
    assert sorted(names(version)) == ["a_b_.png", "back/slash.png", "con_.png", "trail/x.png"]


def test_one_common_root_goes_and_repeat_folders_stay(tmp_path: Path, store: DatasetStore) -> None:
    rooted = {"photos/a.png": png(1), "photos/b/c.png": png(2), "photos/a.txt": b"x", "__MACOSX/photos/._a.png": b"j"}
    assert names(store.import_source(zipped(tmp_path, rooted))) == ["a.png", "b/c.png"]
    assert names(store.import_source(zipped(tmp_path, {"10_cat/a.png": png(1)}, "k.zip"))) == ["10_cat/a.png"]


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("../up.png", "unsafe_path"),
        ("a/../../up.png", "unsafe_path"),
        ("..\\up.png", "unsafe_path"),
        ("/etc/passwd.png", "unsafe_path"),
        ("C:\\win\\x.png", "unsafe_path"),
        ("\\\\server\\share\\x.png", "unsafe_path"),
        ("__MACOSX/._a.png", "system_file"),
        (".DS_Store", "system_file"),
        ("Thumbs.db", "system_file"),
        (".git/x.png", "hidden"),
        ("inner.zip", "nested_archive"),
        ("photo.jxl", "unsupported_format"),
        ("readme.md", "not_an_image"),
        ("page.png", "not_an_image"),
        ("readme.txt", "orphan_caption"),
    ],
)
def test_what_is_left_out_and_why(tmp_path: Path, store: DatasetStore, name: str, rule: str) -> None:
    content = b"<html>not found</html>"
    version = store.import_source(write_zip(tmp_path / "s.zip", [("a.png", png()), (name, content)]))
    assert names(version) == ["a.png"]
    (other,) = [fate for fate in version.ledger if fate.path != "a.png"]
    assert (other.fate, other.rule) == ("left_out", rule)


def test_links_special_and_encrypted_members(tmp_path: Path, store: DatasetStore) -> None:
    link, fifo = zipfile.ZipInfo("link.png"), zipfile.ZipInfo("pipe.png")
    link.external_attr, fifo.external_attr = 0o120777 << 16, 0o010644 << 16
    path = write_zip(
        tmp_path / "s.zip", [("a.png", png()), (link, b"/etc/passwd"), (fifo, b""), ("secret.png", png(2))]
    )
    raw = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = raw.rindex(signature)  # the last member: secret.png
        raw[at + flags] |= 1
    path.write_bytes(raw)
    found = fates(store.import_source(path))
    assert {p: f.rule for p, f in found.items()} == {
        "a.png": "image", "link.png": "link", "pipe.png": "special_file", "secret.png": "encrypted",
    }  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_links_in_a_folder_are_listed_and_not_followed(tmp_path: Path, store: DatasetStore) -> None:
    outside = write_folder(tmp_path / "outside", {"x.png": png(9)})
    source = write_folder(tmp_path / "s", {"sub/a.png": png()})
    (source / "loop").symlink_to(source)
    (source / "out.png").symlink_to(outside / "x.png")
    (source / "dangling.png").symlink_to(source / "nothing")
    os.mkfifo(source / "pipe.png")
    found = fates(store.import_source(source))
    assert {p: f.rule for p, f in found.items()} == {
        "sub/a.png": "image", "loop": "link", "out.png": "link", "dangling.png": "link", "pipe.png": "special_file",
    }  # fmt: skip


def test_bombs_stop_while_reading(tmp_path: Path, store: DatasetStore) -> None:
    limits = Limits(ratio=20, ratio_from_bytes=10_000, file_bytes=400_000)
    noise = os.urandom(500_000)
    files = {"a.png": png(), "bomb.png": b"\0" * 300_000, "large.png": noise}
    found = fates(store.import_source(zipped(tmp_path, files), limits=limits))
    assert {p: f.rule for p, f in found.items()} == {"a.png": "image", "bomb.png": "bomb", "large.png": "too_large"}


def test_a_member_that_lies_about_its_size_is_damaged(tmp_path: Path, store: DatasetStore) -> None:
    path = zipped(tmp_path, {"a.png": png(), "liar.png": b"\0" * 5000})
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\x01\x02")
    raw[at + 24 : at + 28] = (100).to_bytes(4, "little")  # the declared size
    path.write_bytes(raw)
    assert fates(store.import_source(path))["liar.png"].rule == "damaged"


def test_a_flipped_byte_is_damage(tmp_path: Path, store: DatasetStore) -> None:
    path = write_zip(tmp_path / "s.zip", [("a.png", png()), ("b.bmp", encode(gradient(seed=3), "BMP"))])
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("b.bmp").header_offset
    raw = bytearray(path.read_bytes())
    raw[start + 60] ^= 0xFF
    path.write_bytes(raw)
    assert fates(store.import_source(path))["b.bmp"].rule == "damaged"


def test_sources_beyond_the_limits_are_refused_whole(tmp_path: Path, store: DatasetStore) -> None:
    source = zipped(tmp_path, {f"{n}.png": png(n) for n in range(5)})
    with pytest.raises(InputError, match="more than 4 files"):
        store.import_source(source, limits=Limits(members=4))
    with pytest.raises(InputError, match="unpacks to"):
        store.import_source(source, limits=Limits(total_bytes=1000))
    with pytest.raises(OutOfDisk):
        store.import_source(source, limits=Limits(free_disk_share=1e-12))
    assert store.names() == []
    assert not (store.home / "blobs").exists()


def test_a_folder_may_hold_more_files_than_an_archive(tmp_path: Path, store: DatasetStore) -> None:
    files = {f"{n}.png": png(n) for n in range(5)}
    limits = Limits(members=3, files=5)
    with pytest.raises(InputError, match="more than 3 files") as refused:
        store.import_source(zipped(tmp_path, files), limits=limits)
    assert "Unpack it and import the folder, which may hold 5" in refused.value.hint
    folder = write_folder(tmp_path / "folder", files)
    assert len(store.import_source(folder, limits=limits).items) == 5
    (folder / "more.png").write_bytes(png(9))
    with pytest.raises(InputError, match="more than 5 files"):
        store.import_source(folder, limits=limits)
    assert Limits().files >= 2 * 100_000, "a hundred thousand pictures with a caption each come in by themselves"


def test_duplicates_name_the_one_that_is_kept(tmp_path: Path, store: DatasetStore) -> None:
    files = {"a.png": png(1), "b.png": png(1), "c.bmp": encode(gradient(seed=1), "BMP"), "d.png": png(2)}
    version = store.import_source(zipped(tmp_path, files))
    found = fates(version)
    assert names(version) == ["a.png", "d.png"]
    assert (found["b.png"].rule, found["b.png"].item) == ("duplicate", "a.png")
    assert "same bytes as a.png" in found["b.png"].detail
    assert "same pixels as a.png" in found["c.bmp"].detail


def test_of_duplicates_the_captioned_one_is_kept(tmp_path: Path, store: DatasetStore) -> None:
    version = store.import_source(zipped(tmp_path, {"a.png": png(1), "b.png": png(1), "b.txt": b"a red star"}))
    assert [(item.name, item.caption) for item in version.items] == [("b.png", "a red star")]


def test_captions_are_matched_by_path_and_never_by_position(tmp_path: Path, store: DatasetStore) -> None:
    files = {f"{n}.png": png(n) for n in range(6)} | {f"{n}.txt": f"number {n}".encode() for n in (1, 3, 5)}
    files |= {"other/1.txt": b"stranger", "1.jpg.txt": b"sidecar"}
    version = store.import_source(write_folder(tmp_path / "s", files))
    assert [item.caption for item in version.items] == ["", "number 1", "", "number 3", "", "number 5"]
    assert fates(version)["other/1.txt"].rule == "orphan_caption"
    assert "has no picture" in fates(version)["1.jpg.txt"].detail


def test_one_caption_for_two_pictures_is_said(tmp_path: Path, store: DatasetStore) -> None:
    version = store.import_source(zipped(tmp_path, {"a.jpg": jpeg(1), "a.png": png(2), "a.txt": b"both"}))
    assert [item.caption for item in version.items] == ["both", "both"]
    assert "a.jpg and a.png" in fates(version)["a.txt"].detail


@pytest.mark.parametrize(
    ("content", "caption", "said"),
    [
        (b"plain\n", "plain", ""),
        ("\ufeffmark é".encode(), "mark é", "byte order mark"),
        ("wide é".encode("utf-16"), "wide é", "UTF-16"),
        ("wide é".encode("utf-16-le"), "wide é", "UTF-16"),
        (b"caf\xe9", "café", "Windows-1252"),
        (b"two\r\nlines\r\n\r\n", "two\r\nlines", ""),
        (b"  spaces stay  \n", "  spaces stay  ", ""),
        (b"", "", "empty"),
    ],
)
def test_caption_encodings(tmp_path: Path, store: DatasetStore, content: bytes, caption: str, said: str) -> None:
    version = store.import_source(write_folder(tmp_path / "s", {"a.png": png(), "a.txt": content}))
    assert version.items[0].caption == caption
    assert said in fates(version)["a.txt"].detail


def test_captions_that_are_no_text(tmp_path: Path, store: DatasetStore) -> None:
    files = {
        "a.png": png(1),
        "a.txt": b"odd\0",
        "b.png": png(2),
        "b.txt": b"\x81\x8d",
        "c.png": png(3),
        "c.txt": b"x" * 99,
    }
    found = fates(store.import_source(write_folder(tmp_path / "s", files), limits=Limits(caption_bytes=50)))
    assert [found[p].rule for p in ("a.txt", "b.txt", "c.txt")] == [
        "unreadable_caption",
        "unreadable_caption",
        "too_large",
    ]


def test_caption_of_a_damaged_picture_says_so(tmp_path: Path, store: DatasetStore) -> None:
    files = {"a.png": png(1), "b.jpg": jpeg(2)[:300], "b.txt": b"lost"}
    found = fates(store.import_source(write_folder(tmp_path / "s", files)))
    assert found["b.jpg"].rule == "damaged"
    assert "belongs to b.jpg, which was left out" in found["b.txt"].detail


@pytest.mark.parametrize(("encoding", "name"), [("cp932", "猫の写真.png"), ("cp437", "Köln.png"), ("utf-8", "дом.png")])
def test_names_without_declared_encoding_are_repaired(
    tmp_path: Path, store: DatasetStore, encoding: str, name: str
) -> None:
    raw = name.encode(encoding)
    stand_in = "x" * (len(raw) - 4) + ".png"
    path = zipped(tmp_path, {stand_in: png()})
    path.write_bytes(path.read_bytes().replace(stand_in.encode(), raw))
    assert names(store.import_source(path)) == [name]


def test_no_images_says_what_was_found_instead(tmp_path: Path, store: DatasetStore) -> None:
    files = {"a.txt": b"x", "b.jpg": jpeg()[:200], "c.pdf": b"%PDF"}
    with pytest.raises(DatasetError, match="No images found in ZIP") as error:
        store.import_source(zipped(tmp_path, files))
    assert "1 damaged" in error.value.message
    assert "1 caption" in error.value.message
    assert "root or a folder" in error.value.hint
    with pytest.raises(DatasetError, match="No images found in folder"):
        store.import_source(write_folder(tmp_path / "s", files))
    with pytest.raises(DatasetError, match=r"No images found in ZIP.*no file at all"):
        store.import_source(zipped(tmp_path, {}, "empty.zip"))
    assert store.names() == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"Rar!\x1a\x07\x00", "RAR archive"),
        (b"7z\xbc\xaf\x27\x1c", "7z archive"),
        (b"<!doctype html>", "web page"),
        (b"hello", "neither a picture nor a ZIP nor a folder"),
    ],
)
def test_what_is_no_zip_is_named(tmp_path: Path, store: DatasetStore, content: bytes, words: str) -> None:
    path = tmp_path / "photos.zip"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        store.import_source(path)


def test_a_zip_cut_short_and_a_missing_one(tmp_path: Path, store: DatasetStore) -> None:
    path = zipped(tmp_path, {"a.png": png()})
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="damaged ZIP"):
        store.import_source(path)
    with pytest.raises(InputError, match="There is no file"):
        store.import_source(tmp_path / "nowhere.zip")


def test_bad_arguments(tmp_path: Path, store: DatasetStore) -> None:
    source = zipped(tmp_path, {"a.png": png()})
    with pytest.raises(ConfigError):
        store.import_source(source, background="whitish")
    with pytest.raises(DatasetError, match="cannot be the name"):
        store.import_source(source, name="a/b")
    with pytest.raises(InputError, match="in each other"):
        DatasetStore(tmp_path / "s" / "home").import_source(write_folder(tmp_path / "s", {"a.png": png()}))


def test_order_is_natural_and_progress_counts(tmp_path: Path, store: DatasetStore) -> None:
    files = {f"img{n}.png": png(n) for n in (10, 9, 2, 1)}
    said: list[tuple[int, int, str]] = []
    version = store.import_source(zipped(tmp_path, files), progress=lambda *step: said.append(step))
    assert names(version) == ["img1.png", "img2.png", "img9.png", "img10.png"]
    assert said == [(n, 4, name) for n, name in enumerate(names(version), start=1)]


def test_the_source_is_not_touched(tmp_path: Path, store: DatasetStore) -> None:
    source = write_folder(tmp_path / "s", {"a.png": png(), "sub/b.jpg": jpeg()[:90], "a.txt": b"x"})
    before = snapshot(source)
    store.import_source(source)
    assert snapshot(source) == before


def test_gif_is_taken_with_its_first_frame_and_said(tmp_path: Path, store: DatasetStore) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(stream, "GIF", save_all=True, append_images=[Image.new("RGB", (9, 9), "blue")])
    version = store.import_source(write_folder(tmp_path / "s", {"a.gif": stream.getvalue(), "b.jpg": png(2)}))
    assert fates(version)["a.gif"].fate == "converted"
    assert "first of 2 frames" in fates(version)["a.gif"].detail
    assert "PNG whatever its name says" in fates(version)["b.jpg"].detail
