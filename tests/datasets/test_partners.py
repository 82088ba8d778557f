"""References given to pictures that are in a dataset already: by a folder, by hand, by swapping."""

from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lorasmith.curation import Curation
from lorasmith.curation.pairs import Pairs
from lorasmith.datasets import decoding_ahead, images, partners
from lorasmith.datasets.images import Prepared
from lorasmith.datasets.manifest import REFERENCE_ORIGINALS, DatasetVersion, Item
from lorasmith.datasets.partners import MOST_REFERENCES
from lorasmith.errors import ConfigError, ConflictError, DatasetError, InputError, Stopped
from tests.datasets.dataset_pictures import gradient
from tests.datasets.test_pairs import pixels, put, seen


@pytest.fixture
def curate(tmp_path: Path) -> Curation:
    return Curation(tmp_path / "home")


@pytest.fixture
def made(tmp_path: Path, curate: Curation) -> DatasetVersion:
    """Three pictures without references."""
    put(tmp_path / "in", a=1, b=2, c=3)
    return curate._store.import_source(tmp_path / "in", name="rooms")


def items(version: DatasetVersion) -> dict[str, Item]:
    return {item.name: item for item in version.items}


def test_a_folder_gives_references_by_name_and_undo_takes_them(
    tmp_path: Path, curate: Curation, made: DatasetVersion
) -> None:
    put(tmp_path / "before", a=11, b_0=20, b_1=21, stray=30)
    (tmp_path / "before" / "a.txt").write_text("a caption that is not asked for")
    shown = curate.pairs.preview("rooms", tmp_path / "before")
    assert curate.version("rooms").number == made.number, "a look changes nothing"
    assert shown.matched == {"a.png": ("a.png",), "b.png": ("b_0.png", "b_1.png")}
    assert shown.unmatched == ("c.png",)
    assert set(shown.left_out) == {"a.txt", "stray.png"} and "no picture of that name" in shown.left_out["stray.png"]
    given = curate.pairs.give("rooms", tmp_path / "before")
    assert given.proposal == shown
    assert seen(curate._store, given.version) == {"a.png": pixels(11), "b.png": pixels(20, 21), "c.png": []}
    assert items(given.version)["b.png"].provenance["references"] == ["b_0.png", "b_1.png"]
    assert curate.history("rooms")[-1].words == "references for 2 pictures"
    assert given.version.fingerprint != made.fingerprint, "training sees the difference"
    assert curate.undo("rooms").items == made.items


def test_a_second_folder_replaces_or_stands_behind(tmp_path: Path, curate: Curation, made: DatasetVersion) -> None:
    put(tmp_path / "one", a=11)
    put(tmp_path / "two", a=12)
    curate.pairs.give("rooms", tmp_path / "one")
    assert curate.pairs.preview("rooms", tmp_path / "two").replaced == ("a.png",)
    behind = curate.pairs.give("rooms", tmp_path / "two", mode="append").version
    assert seen(curate._store, behind)["a.png"] == pixels(11, 12)
    instead = curate.pairs.give("rooms", tmp_path / "two").version
    assert seen(curate._store, instead)["a.png"] == pixels(12)


def test_a_zip_and_suffixes_pair_too(tmp_path: Path, curate: Curation, made: DatasetVersion) -> None:
    put(tmp_path / "befores", a_before=11, a_before2=12, b_BEFORE=13, c=14)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as packed:
        for path in sorted((tmp_path / "befores").iterdir()):
            packed.write(path, f"inside/{path.name}")
    given = curate.pairs.give("rooms", tmp_path / "b.zip", suffix="_before")
    assert seen(curate._store, given.version) == {"a.png": pixels(11, 12), "b.png": pixels(13), "c.png": []}
    assert given.proposal.left_out == {"inside/c.png": "is not called NAME_before."}


def test_names_that_end_in_a_word_of_their_own(tmp_path: Path, curate: Curation) -> None:
    put(tmp_path / "in", a_end=1, b_end=2)
    (tmp_path / "in" / "a_end.txt").write_text("one")
    curate._store.import_source(tmp_path / "in", name="ends", layout="plain")
    put(tmp_path / "starts", a_start=11, b_start=12)
    given = curate.pairs.give("ends", tmp_path / "starts", suffix="_start:_end")
    assert seen(curate._store, given.version) == {"a_end.png": pixels(11), "b_end.png": pixels(12)}


def broken(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:90])


def enormous(path: Path) -> None:
    Image.new("1", (10_000, 9_000)).save(path)


def a_web_page(path: Path) -> None:
    path.write_text("<html>404</html>")


def the_same(path: Path) -> None:
    gradient(seed=1).save(path, compress_level=9)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(broken, "damaged"), (enormous, "million"), (a_web_page, "web page"), (the_same, "the same picture")],
)
def test_one_bad_file_costs_its_picture_and_no_other(
    tmp_path: Path, curate: Curation, made: DatasetVersion, spoil: Callable[[Path], None], said: str
) -> None:
    put(tmp_path / "before", a_0=10, a_1=11, b=12)
    spoil(tmp_path / "before" / "a_1.png")
    given = curate.pairs.give("rooms", tmp_path / "before")
    assert seen(curate._store, given.version) == {"a.png": [], "b.png": pixels(12), "c.png": []}
    assert set(given.proposal.left_out) == {"a_0.png", "a_1.png"} and said in given.proposal.left_out["a_0.png"]
    (tmp_path / "before" / "b.png").unlink()
    with pytest.raises(DatasetError, match=said):
        curate.pairs.give("rooms", tmp_path / "before")
    assert curate.version("rooms") == given.version


def test_what_could_be_of_two_is_of_none(tmp_path: Path, curate: Curation) -> None:
    put(tmp_path / "in", one__a=1, two__a=2, b=3)
    curate._store.import_source(tmp_path / "in", name="rooms")
    put(tmp_path / "before", a=11, b=12)
    gradient(seed=13).convert("RGB").save(tmp_path / "before" / "b.jpg")
    with pytest.raises(DatasetError, match="is a reference"):
        curate.pairs.give("rooms", tmp_path / "before")
    put(tmp_path / "before", one__a=14, c=15)
    shown = curate.pairs.preview("rooms", tmp_path / "before")
    assert shown.matched == {"one/a.png": ("one/a.png",)}
    assert "several pictures" in shown.left_out["a.png"]
    assert "claim the same place" in shown.left_out["b.png"] and "claim the same place" in shown.left_out["b.jpg"]


def test_a_folder_without_anything(tmp_path: Path, curate: Curation, made: DatasetVersion) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.md").write_text("nothing")
    with pytest.raises(InputError, match="no picture"):
        curate.pairs.give("rooms", tmp_path / "empty")
    with pytest.raises(InputError):
        curate.pairs.give("rooms", tmp_path / "nowhere")
    put(tmp_path / "others", x=5)
    with pytest.raises(DatasetError, match="Nothing in others is a reference"):
        curate.pairs.give("rooms", tmp_path / "others")
    with pytest.raises(ConfigError):
        curate.pairs.give("rooms", tmp_path / "others", suffix="a/b")
    assert curate.version("rooms") == made


def test_forty_references_are_too_many(tmp_path: Path, curate: Curation, made: DatasetVersion) -> None:
    put(tmp_path / "before", b=90, **{f"a_{number:02}": 100 + number for number in range(40)})
    given = curate.pairs.give("rooms", tmp_path / "before")
    assert [len(item.references) for item in given.version.items] == [0, 1, 0]
    assert f"more than {MOST_REFERENCES}" in given.proposal.left_out["a_00.png"]
    with pytest.raises(DatasetError, match="are the most"):
        curate.pairs.set("rooms", "a.png", sorted((tmp_path / "before").iterdir()))


def test_by_hand_they_are_added_moved_replaced_and_removed(
    tmp_path: Path, curate: Curation, made: DatasetVersion
) -> None:
    put(tmp_path / "files", x=21, y=22, z=23)
    x, y, z = (tmp_path / "files" / f"{name}.png" for name in "xyz")
    one = curate.pairs.set("rooms", "a.png", [x, y])
    assert seen(curate._store, one)["a.png"] == pixels(21, 22)
    first, second = items(one)["a.png"].references
    moved = curate.pairs.set("rooms", "a.png", [second, first])
    assert items(moved)["a.png"].provenance["references"] == ["y.png", "x.png"]
    replaced = curate.pairs.set("rooms", "a.png", [z, first])
    assert seen(curate._store, replaced)["a.png"] == pixels(23, 21)
    assert curate.pairs.set("rooms", "a.png", list(items(replaced)["a.png"].references)) == replaced
    none = curate.pairs.set("rooms", "a.png", [])
    assert items(none)["a.png"].references == () and "references" not in items(none)["a.png"].provenance
    assert curate.history("rooms")[-1].words == "no reference for a.png"


def test_by_hand_a_picture_of_the_dataset_but_never_itself(curate: Curation, made: DatasetVersion) -> None:
    a, b, _ = made.items
    given = curate.pairs.set("rooms", "a.png", [b.image])
    assert items(given)["a.png"].references == (b.image,)
    for wrong, said in ((a.image, "its own reference"), ("f" * 64, "no picture of rooms"), ("../x", "no picture of")):
        with pytest.raises(DatasetError, match=said):
            curate.pairs.set("rooms", "a.png", [wrong])


def test_by_hand_what_is_no_picture_is_refused(tmp_path: Path, curate: Curation, made: DatasetVersion) -> None:
    put(tmp_path / "files", same=1, broken=5)
    (tmp_path / "files" / "page.png").write_text("<html>")
    broken(tmp_path / "files" / "broken.png")
    for name, said in (("same", "the same picture"), ("broken", "damaged"), ("page", "web page"), ("gone", "read")):
        with pytest.raises(DatasetError, match=said):
            curate.pairs.set("rooms", "a.png", [tmp_path / "files" / f"{name}.png"])
    with pytest.raises(DatasetError, match=r"no picture 'd\.png'"):
        curate.pairs.set("rooms", "d.png", [])
    assert curate.version("rooms") == made


def test_pairs_that_came_the_wrong_way_round_are_swapped(
    tmp_path: Path, curate: Curation, made: DatasetVersion
) -> None:
    wide = tmp_path / "wide.png"
    Image.fromarray(np.full((40, 90, 3), 80, np.uint8)).save(wide)
    before = curate.pairs.set("rooms", "a.png", [wide])
    done = curate.pairs.swap("rooms")
    assert done.swapped == ("a.png",) and not done.refused
    now, was = items(done.version)["a.png"], items(before)["a.png"]
    assert (now.image, now.references, now.width, now.height) == (was.references[0], (was.image,), 90, 40)
    assert now.provenance["source"] == "wide.png" and now.provenance["references"] == ["a.png"]
    back = items(curate.pairs.swap("rooms", ["a.png"]).version)["a.png"]
    assert (back.image, back.references, back.width, back.height) == (was.image, was.references, was.width, was.height)


def came(curate: Curation, item: Item) -> bytes:
    """The bytes that the picture of an item came as."""
    return curate._store.blob_path(item.original).read_bytes()


def half_seen(path: Path, seed: int) -> bytes:
    """A picture whose pixels have to change to be trained."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = gradient(seed=seed).convert("RGBA")
    image.putalpha(128)
    image.save(path)
    return path.read_bytes()


def test_bytes_and_provenance_go_through_swaps_and_back(tmp_path: Path, curate: Curation) -> None:
    picture, reference = half_seen(tmp_path / "in" / "a.png", 1), half_seen(tmp_path / "before" / "a.png", 11)
    curate._store.import_source(tmp_path / "in", name="rooms")
    given = items(curate.pairs.give("rooms", tmp_path / "before").version)["a.png"]
    assert given.original != given.image and came(curate, given) == picture
    swapped = items(curate.pairs.swap("rooms").version)["a.png"]
    assert came(curate, swapped) == reference and swapped.image == given.references[0] != swapped.original
    for key in ("transforms", "format"):
        assert swapped.provenance[key] == given.provenance[key], key
    assert swapped.provenance["pixels"] != given.provenance["pixels"], "it speaks of the picture that is there now"
    back = items(curate.pairs.swap("rooms").version)["a.png"]
    assert back.provenance.pop("tools") == ["swap:1", "swap:1"]
    assert back == given, "nothing was lost on the way"
    curate.undo("rooms")
    assert items(curate.undo("rooms"))["a.png"] == given


def test_bytes_go_through_setting_moving_and_removing(tmp_path: Path, curate: Curation, made: DatasetVersion) -> None:
    one, two = half_seen(tmp_path / "f" / "one.png", 21), half_seen(tmp_path / "f" / "two.png", 22)
    curate.pairs.set("rooms", "a.png", [tmp_path / "f" / "one.png", tmp_path / "f" / "two.png"])
    first, second = items(curate.version("rooms"))["a.png"].references
    curate.pairs.set("rooms", "a.png", [second, first])
    assert came(curate, items(curate.pairs.swap("rooms", ["a.png"]).version)["a.png"]) == two
    curate.undo("rooms")
    curate.pairs.set("rooms", "b.png", [first])  # of another picture of the version
    assert came(curate, items(curate.pairs.swap("rooms", ["b.png"]).version)["b.png"]) == one
    gone = items(curate.pairs.remove("rooms", ["a.png", "b.png"]))
    assert not {"references", REFERENCE_ORIGINALS} & {key for item in gone.values() for key in item.provenance}
    assert came(curate, items(curate.undo("rooms"))["b.png"]) == one


def test_bytes_that_a_reference_came_as_are_no_garbage(tmp_path: Path, curate: Curation, made: DatasetVersion) -> None:
    given = half_seen(tmp_path / "before" / "a.png", 11)
    curate.pairs.give("rooms", tmp_path / "before")
    curate.collect(curate.garbage())
    (named,) = items(curate.version("rooms"))["a.png"].provenance[REFERENCE_ORIGINALS].values()
    assert curate._store.blob_path(named["original"]).read_bytes() == given


def test_bytes_come_with_an_import_and_through_tools(tmp_path: Path, curate: Curation) -> None:
    put(tmp_path / "in", a=1)
    given = half_seen(tmp_path / "in" / "control" / "a.png", 11)
    made = curate._store.import_source(tmp_path / "in", name="rooms", references="control")
    curate.use_tool(made, "flip", {"direction": "horizontal"})
    item = items(curate.version("rooms"))["a.png"]
    assert item.references != made.items[0].references, "the tool took them along"
    assert came(curate, items(curate.pairs.swap("rooms").version)["a.png"]) == given


def test_a_look_is_told_of_and_can_be_stopped(tmp_path: Path, curate: Curation, made: DatasetVersion) -> None:
    put(tmp_path / "before", a=11, b=12, c=13)
    told: list[tuple[int, int, str]] = []
    curate.pairs.preview("rooms", tmp_path / "before", progress=lambda *step: told.append(step))
    assert told == [(1, 3, "a.png"), (2, 3, "b.png"), (3, 3, "c.png")], "in order, whoever was decoded first"
    asked = iter([False, False, True])
    with pytest.raises(Stopped, match="the dataset was not changed"):
        curate.pairs.give("rooms", tmp_path / "before", cancel=lambda: next(asked))
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        curate.pairs.preview("rooms", tmp_path / "before", cancel=stop)
    assert curate.version("rooms").number == made.number
    assert not [one for one in threading.enumerate() if one.name.startswith("decode")], "its threads have ended"


def test_files_are_decoded_side_by_side(
    tmp_path: Path, curate: Curation, made: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two decoders wait for each other, which one after the other never could."""
    monkeypatch.setattr(decoding_ahead, "_THREADS", 2)
    put(tmp_path / "before", a=11, b=12)
    both, really = threading.Barrier(2, timeout=60), images.prepare

    def meeting(*given: Any, **options: Any) -> Prepared:
        both.wait()
        return really(*given, **options)

    monkeypatch.setattr(partners, "prepare", meeting)
    assert set(curate.pairs.preview("rooms", tmp_path / "before").matched) == {"a.png", "b.png"}


def test_what_cannot_be_swapped_says_why(tmp_path: Path, curate: Curation, made: DatasetVersion) -> None:
    with pytest.raises(DatasetError, match="No picture of rooms@1 has a reference"):
        curate.pairs.swap("rooms")
    with pytest.raises(DatasetError, match="has no reference"):
        curate.pairs.swap("rooms", ["a.png"])
    put(tmp_path / "before", a=11, b=12)
    curate.pairs.give("rooms", tmp_path / "before")
    masked = curate.set_mask(
        "rooms", "a.png", Image.linear_gradient("L").resize((made.items[0].width, made.items[0].height))
    )
    done = curate.pairs.swap("rooms")
    assert done.swapped == ("b.png",) and "has a mask" in done.refused["a.png"]
    assert items(done.version)["a.png"] == items(masked)["a.png"]
    with pytest.raises(DatasetError, match="has no reference 2"):
        curate.pairs.swap("rooms", ["b.png"], number=2)
    for sha256 in items(done.version)["b.png"].references:
        curate._store.blob_path(sha256).unlink()
    with pytest.raises(DatasetError, match="missing from the store"):
        curate.pairs.swap("rooms", ["b.png"])


def test_references_are_taken_away(tmp_path: Path, curate: Curation, made: DatasetVersion) -> None:
    put(tmp_path / "before", a=11, b=12)
    curate.pairs.give("rooms", tmp_path / "before")
    gone = curate.pairs.remove("rooms", ["a.png", "c.png"])
    assert [len(item.references) for item in gone.items] == [0, 1, 0]
    with pytest.raises(DatasetError, match="None of these"):
        curate.pairs.remove("rooms", ["a.png"])


def test_two_people_at_once_are_joined_or_told(tmp_path: Path, curate: Curation, made: DatasetVersion) -> None:
    put(tmp_path / "files", x=21, y=22)
    curate.pairs.set(made, "a.png", [tmp_path / "files" / "x.png"])
    both = curate.pairs.set(made, "b.png", [tmp_path / "files" / "x.png"])
    assert [len(item.references) for item in both.items] == [1, 1, 0], "one joins the other"
    with pytest.raises(ConflictError):
        curate.pairs.set(made, "a.png", [tmp_path / "files" / "y.png"])


def test_what_was_given_is_no_garbage(tmp_path: Path, curate: Curation, made: DatasetVersion) -> None:
    put(tmp_path / "before", a=11)
    given = curate.pairs.give("rooms", tmp_path / "before").version
    curate.collect(curate.garbage())
    assert seen(curate._store, given)["a.png"] == pixels(11)
    assert isinstance(curate.pairs, Pairs) and json.dumps(given.operation.arguments)
