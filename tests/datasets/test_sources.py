"""What may be imported: one picture, several files and folders, names that say nothing, layouts of other programs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lorasmith import plugins
from lorasmith.datasets import images
from lorasmith.datasets.layouts import Described, Exported, Layout, Loss, Reading
from lorasmith.datasets.ledger import totals
from lorasmith.datasets.magic import SUFFIX_OF, picture_format
from lorasmith.datasets.manifest import DatasetVersion, Fate
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import ConfigError, DatasetError, InputError
from tests.datasets.dataset_pictures import encode, gradient, heic, jpeg, png, write_folder, write_zip


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "home")


def fates(version: DatasetVersion) -> dict[str, Fate]:
    found = {fate.path: fate for fate in version.ledger}
    assert len(found) == len(version.ledger)
    counted = totals(version.ledger)
    assert counted.inputs == counted.taken + counted.left_out
    return found


def names(version: DatasetVersion) -> list[str]:
    return [item.name for item in version.items]


# Several sources


def test_a_single_picture(tmp_path: Path, store: DatasetStore) -> None:
    source = write_folder(tmp_path / "s", {"zib one.png": png(1), "zib one.txt": b"not named"})
    version = store.import_source(source / "zib one.png")
    assert (version.dataset, names(version)) == ("zib-one", ["zib one.png"])
    assert version.items[0].caption == ""
    assert [fate.source for fate in version.ledger] == ["zib one.png"]


def test_single_files_with_their_captions(tmp_path: Path, store: DatasetStore) -> None:
    source = write_folder(tmp_path / "s", {"10.png": png(1), "10.txt": b"ten", "9.png": png(2), "no.png": png(3)})
    version = store.import_source([source / "10.png", source / "10.txt", source / "9.png"], name="some")
    assert [(item.name, item.caption) for item in version.items] == [("9.png", ""), ("10.png", "ten")]
    assert version.operation.arguments["source"] == ["10.png", "10.txt", "9.png"]


def test_folders_zips_and_files_as_one(tmp_path: Path, store: DatasetStore) -> None:
    one = write_folder(tmp_path / "1" / "set", {"a.png": png(1), "a.txt": b"one"})
    two = write_folder(tmp_path / "2" / "set", {"a.png": png(2), "a.txt": b"two"})
    archive = write_zip(tmp_path / "p.zip", [("root/a.png", png(3)), ("root/a.txt", b"three"), ("x.png", b"<html>")])
    loose = write_folder(tmp_path / "3", {"a.png": png(4)})
    version = store.import_source([one, two, archive, loose / "a.png"], name="all")
    assert {item.name: item.caption for item in version.items} == {
        "set/a.png": "one", "set (2)/a.png": "two", "p/a.png": "three", "3/a.png": "",
    }  # fmt: skip
    assert set(fates(version)) >= {"set/a.txt", "set (2)/a.txt", "p/x.png", "3/a.png"}


def test_captions_of_equal_names_in_two_folders_stay_apart(tmp_path: Path, store: DatasetStore) -> None:
    source = write_folder(
        tmp_path, {"x/a.png": png(1), "x/a.txt": b"x", "y/a.png": png(2), "y/a.txt": b"y", "y/b.png": png(3)}
    )
    files = [source / path for path in ("x/a.png", "x/a.txt", "y/a.png", "y/a.txt", "y/b.png")]
    version = store.import_source(files, name="all")
    assert {item.name: item.caption for item in version.items} == {"x/a.png": "x", "y/a.png": "y", "y/b.png": ""}


def test_one_of_several_sources_that_is_missing_or_nothing(tmp_path: Path, store: DatasetStore) -> None:
    good = write_folder(tmp_path / "s", {"a.png": png(1)})
    with pytest.raises(InputError, match="There is no file"):
        store.import_source([good, tmp_path / "nowhere"])
    with pytest.raises(InputError, match="No source"):
        store.import_source([])
    assert store.names() == []


def test_the_same_source_twice_is_read_once(tmp_path: Path, store: DatasetStore) -> None:
    source = write_folder(tmp_path / "s", {"a.png": png(1)})
    assert len(store.import_source([source, source]).ledger) == 1


# Names that say nothing


def test_pictures_without_or_with_a_strange_suffix(tmp_path: Path, store: DatasetStore) -> None:
    files = {
        "photo": jpeg(1), "photo.txt": b"a photo", "x.jpg_large": jpeg(2), "scan": encode(gradient(seed=3), "TIFF"),
        "readme": b"BM, words", "raw.orf": encode(gradient(seed=4), "TIFF"), "y.xyz": encode(gradient(seed=5), "TIFF"),
    }  # fmt: skip
    version = store.import_source(write_folder(tmp_path / "s", files))
    assert {item.name: item.caption for item in version.items} == {
        "photo.jpg": "a photo", "scan.tif": "", "x.jpg_large.jpg": "",
    }  # fmt: skip
    found = fates(version)
    assert "JPEG by its bytes" in found["photo"].detail
    assert {found[path].rule for path in ("readme", "y.xyz")} == {"not_an_image"}
    assert found["raw.orf"].rule == "unsupported_format"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF"])
def test_first_bytes_of_every_format(kind: str) -> None:
    assert picture_format(encode(gradient(), kind)[:32]) == kind
    assert picture_format(heic()[:32]) == "HEIF"
    assert set(SUFFIX_OF) == {*images.FORMATS, "HEIF"}


@pytest.mark.parametrize("content", [b"", b"BM", b"BM of the text", b"RIFF....WAVE", b"....ftypmp42....isom", b"GIF8"])
def test_first_bytes_of_what_is_no_picture(content: bytes) -> None:
    assert picture_format(content) is None


# HEIC


def test_heic_with_the_extra(tmp_path: Path, store: DatasetStore) -> None:
    pytest.importorskip("pi_heif")
    version = store.import_source(write_folder(tmp_path / "s", {"a.HEIC": heic(), "b.jpg": heic()[:400]}))
    (item,) = version.items
    assert (item.name, item.width, item.height, item.provenance["format"]) == ("a.HEIC", 48, 32, "HEIF")
    assert store.blob_path(item.original).read_bytes() == heic()
    assert picture_format(store.blob_path(item.image).read_bytes()[:32]) == "PNG"  # read without the extra
    corners = np.asarray(store.open_image(item)).astype(int)[[4, 4, 27, 27], [4, 43, 4, 43]]
    expected = np.array([(200, 30, 40), (40, 180, 60), (30, 60, 190), (230, 220, 50)])
    assert np.abs(corners - expected).max() < 30
    assert fates(version)["b.jpg"].rule == "damaged"


def test_heic_without_the_extra(tmp_path: Path, store: DatasetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images.importlib.util, "find_spec", lambda name: None)
    version = store.import_source(write_folder(tmp_path / "s", {"a.heic": heic(), "b.png": png(1)}))
    assert fates(version)["a.heic"].rule == "needs_extra"
    assert "lorasmith[heif]" in fates(version)["a.heic"].detail


# Repeats, and layouts


def test_folders_with_repeats(tmp_path: Path, store: DatasetStore) -> None:
    files = {
        "10_cat/a.png": png(1), "10_cat/sub/b.png": png(2), "3_big dog/c.png": png(3), "d.png": png(4),
        "2024_summer/e.png": png(5), "0_none/f.png": png(6), "7_/g.png": png(7),
    }  # fmt: skip
    version = store.import_source(write_folder(tmp_path / "s", files), layout="plain")
    assert {item.name: (item.repeats, item.concept) for item in version.items} == {
        "10_cat/a.png": (10, "cat"), "10_cat/sub/b.png": (10, "cat"), "3_big dog/c.png": (3, "big dog"),
        "d.png": (1, ""), "2024_summer/e.png": (1, ""), "0_none/f.png": (1, ""), "7_/g.png": (7, ""),
    }  # fmt: skip
    assert "10 repeats of cat" in fates(version)["10_cat/a.png"].detail
    assert "no number of repeats" in fates(version)["2024_summer/e.png"].detail


class Listed(Layout):
    """A stand-in layout: ``list.cfg`` with lines ``picture|caption|mask``."""

    title = "List"

    def __init__(self, name: str = "listed", rank: int = 50) -> None:
        self.name = name  # type: ignore[misc]
        self.rank = rank

    def read(self, paths: Sequence[str], open_bytes: Callable[[str], bytes]) -> Reading | None:
        if "list.cfg" not in paths:
            return None
        described: dict[str, Described] = {}
        used = {"list.cfg": "is the list of this layout."}
        for line in open_bytes("list.cfg").decode().split("\n"):
            if line == "broken":
                raise DatasetError("list.cfg is broken.", "Mend it.")
            path, caption, mask = line.split("|")
            described[path] = Described(
                caption or None,
                repeats=4,
                role="regularisation",
                concept="c",
                mask=mask or None,
                provenance={"by": "l"},
            )
            if mask and mask != path:
                used[mask] = "is a mask."
        return Reading(self.name, "there is a list.cfg.", described, used, ["A setting was not followed."])

    def losses(self, version: DatasetVersion) -> list[Loss]:
        return []

    def write(self, *_: object, **__: object) -> Exported:
        raise NotImplementedError


@pytest.fixture
def with_layouts(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def install(*layouts: Layout) -> None:
        def discover(package: ModuleType, kind: type[Layout]) -> Mapping[str, Layout]:
            assert package.__name__ == "lorasmith.datasets.layouts"
            return {layout.name: layout for layout in layouts}

        monkeypatch.setattr(plugins, "discover", discover)

    return install


def test_a_layout_is_applied(tmp_path: Path, store: DatasetStore, with_layouts: Callable[..., None]) -> None:
    with_layouts(Listed())
    files = {
        "list.cfg": b"a.png|told|m/a.png\nb.png||m/b.png\ngone.png|x|m/gone.png", "a.png": png(1), "a.txt": b"beside",
        "b.png": png(2), "b.txt": b"its own", "m/a.png": encode(gradient(seed=3).convert("L")),
        "m/b.png": encode(gradient(9, 9, 4)), "m/gone.png": png(5), "c.png": png(6),
    }  # fmt: skip
    version = store.import_source(write_folder(tmp_path / "s", files))
    a, b, c = version.items
    assert (a.caption, a.repeats, a.role, a.concept) == ("told", 4, "regularisation", "c")
    assert (a.provenance["by"], a.provenance["caption"]) == ("l", "layout listed")
    assert (b.caption, b.mask) == ("its own", None)
    assert (c.repeats, c.role) == (1, "train")
    assert a.mask is not None
    mask = images.prepare_mask(store.blob_path(a.mask), pixel_limit=10**6)
    assert (mask.mode, mask.size) == ("L", (40, 24))
    assert {path: fate.rule for path, fate in fates(version).items()} == {
        "list.cfg": "layout", "a.png": "image", "a.txt": "duplicate_caption", "b.png": "image", "b.txt": "caption",
        "c.png": "image", "m/a.png": "mask", "m/b.png": "mask_size", "m/gone.png": "orphan_mask",
    }  # fmt: skip
    assert len(version.ledger) == len(files)
    assert version.operation.arguments["layout"] == "listed"
    assert "A setting was not followed." in version.operation.arguments["said"]


def test_of_two_layouts_the_more_specific_speaks(
    tmp_path: Path, store: DatasetStore, with_layouts: Callable[..., None]
) -> None:
    with_layouts(Listed("aaa", 10), Listed("zzz", 60), Listed("mmm", 10))
    source = write_folder(tmp_path / "s", {"list.cfg": b"a.png|told|", "a.png": png(1)})
    arguments = store.import_source(source).operation.arguments
    assert arguments["layout"] == "zzz"
    assert [said.split()[2] for said in arguments["said"] if "not used" in said] == ["aaa", "mmm"]
    assert store.import_source(source, name="b", layout="mmm").operation.arguments["layout"] == "mmm"


def test_choosing_a_layout(tmp_path: Path, store: DatasetStore, with_layouts: Callable[..., None]) -> None:
    with_layouts(Listed())
    source = write_folder(tmp_path / "s", {"list.cfg": b"broken", "a.png": png(1)})
    with pytest.raises(DatasetError, match="is broken"):
        store.import_source(source, layout="listed")
    assert store.names() == []
    found_out = store.import_source(source, name="found-out")
    assert found_out.operation.arguments["said"] == ["The layout listed was not followed: list.cfg is broken."]
    plain = store.import_source(source, layout="plain")
    assert "said" not in plain.operation.arguments
    for version in (plain, found_out):
        assert fates(version)["list.cfg"].rule == "not_an_image"
    with pytest.raises(ConfigError, match="no layout called 'lsted'"):
        store.import_source(source, layout="lsted")
    with pytest.raises(DatasetError, match="does not lie in the layout"):
        store.import_source(write_folder(tmp_path / "t", {"a.png": png(1)}), layout="listed")


def test_the_same_pictures_with_other_repeats_are_another_version(
    tmp_path: Path, store: DatasetStore, with_layouts: Callable[..., None]
) -> None:
    with_layouts(Listed())
    source = write_folder(tmp_path / "s", {"list.cfg": b"a.png||", "a.png": png(1)})
    first, second = store.import_source(source), store.import_source(source, layout="plain")
    assert [first.items[0].repeats, second.items[0].repeats] == [4, 1]
    assert [first.number, second.number] == [1, 2]
    assert store.import_source(source) == first


def test_a_picture_whose_alpha_is_its_mask(
    tmp_path: Path, store: DatasetStore, with_layouts: Callable[..., None]
) -> None:
    with_layouts(Listed())
    picture = gradient(seed=1).convert("RGBA")
    picture.putalpha(90)
    files = {"list.cfg": b"a.png|told|a.png", "a.png": encode(picture)}
    (item,) = store.import_source(write_folder(tmp_path / "s", files)).items
    assert np.array_equal(np.asarray(store.open_image(item)), np.asarray(gradient(seed=1)))
    assert item.mask is not None
    assert images.prepare_mask(store.blob_path(item.mask), pixel_limit=10**6).getextrema() == (90, 90)


# Transparency, and what Pillow has to say


@pytest.mark.parametrize(("alpha", "color", "masked"), [("fill", 255, 0), ("mask", 9, 1), ("both", 255, 1)])
def test_what_becomes_of_transparency(
    tmp_path: Path, store: DatasetStore, alpha: images.Alpha, color: int, masked: int
) -> None:
    picture = gradient(seed=1).convert("RGBA")
    picture.paste((9, 9, 9, 0), (0, 0, 20, 24))
    files = {"a.png": encode(picture), "opaque.png": encode(gradient(seed=2).convert("RGBA")), "b.jpg": jpeg(3)}
    version = store.import_source(write_folder(tmp_path / "s", files), alpha=alpha)
    item, b, opaque = version.items
    assert np.asarray(store.open_image(item))[0, 0].tolist() == [color] * 3
    assert (b.mask, opaque.mask) == (None, None)
    assert (item.mask is not None) == bool(masked)
    if item.mask:
        values = np.asarray(images.prepare_mask(store.blob_path(item.mask), pixel_limit=10**6))
        assert (values[:, :20].max(), values[:, 20:].min()) == (0, 255)
        assert "became its mask" in fates(version)["a.png"].detail


def test_warnings_of_pillow_stay_inside(tmp_path: Path, store: DatasetStore) -> None:
    odd = jpeg(1, exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0")
    source = write_folder(tmp_path / "s", {"a.jpg": odd, "b.tif": encode(gradient(), "TIFF")[:-9] + b"\xff" * 9})
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        store.import_source(source)
    assert [str(one.message) for one in heard] == []


@pytest.mark.skipif(os.name == "nt", reason="permissions are POSIX")
def test_a_file_that_may_not_be_read(tmp_path: Path, store: DatasetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_folder(tmp_path / "s", {"a.png": png(1), "locked.png": png(2), "locked": b"x"})
    really = os.open

    def refuse(path: object, *rest: int) -> int:
        if isinstance(path, str) and "/locked" in path:
            raise PermissionError(13, "Permission denied")
        return really(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    found = fates(store.import_source(source))
    assert found["locked.png"].rule == "unreadable"
    assert "Permission denied" in found["locked.png"].detail
    assert found["locked"].fate == "left_out"
