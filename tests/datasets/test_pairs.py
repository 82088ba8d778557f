"""Pictures with their references: how they are paired at import, kept, compared, moved by tools and exported."""

from __future__ import annotations

import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lorasmith.datasets import layouts
from lorasmith.datasets.checks import inspect, look_at_pictures
from lorasmith.datasets.checks.context import CheckContext
from lorasmith.datasets.history import diff
from lorasmith.datasets.manifest import DatasetVersion, Item, Operation
from lorasmith.datasets.pairing import suffixes
from lorasmith.datasets.pictures.borders import TrimBorders
from lorasmith.datasets.pictures.contract import PictureTool
from lorasmith.datasets.pictures.geometry import Crop, Flip, Resize, SplitStrips, ToBucket
from lorasmith.datasets.pictures.masks import MaskRectangle
from lorasmith.datasets.pictures.work import preview_tool, use_tool
from lorasmith.datasets.staging import Settings
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import ConfigError, DatasetError
from tests.datasets.dataset_pictures import gradient


def put(folder: Path, **pictures: int) -> None:
    """Pictures by path (``__`` is a slash), each of its own seed."""
    for name, seed in pictures.items():
        path = folder / f"{name.replace('__', '/')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        gradient(seed=seed).save(path)


def seen(store: DatasetStore, version: DatasetVersion) -> dict[str, list[bytes]]:
    return {item.name: [image.tobytes() for image in store.open_references(item)] for item in version.items}


def pixels(*seeds: int) -> list[bytes]:
    return [gradient(seed=seed).convert("RGB").tobytes() for seed in seeds]


def rules(version: DatasetVersion) -> dict[str, str]:
    return {fate.path: fate.rule for fate in version.ledger}


def test_a_folder_of_references_is_paired_by_name(tmp_path: Path) -> None:
    put(tmp_path / "in", a=1, b=2, c=3, control__a=11, control__b_0=20, control__b_1=21, control__stray=30)
    (tmp_path / "in" / "a.txt").write_text("make it red")
    store = DatasetStore(tmp_path / "home")
    version = store.import_source(tmp_path / "in", references="control")
    assert seen(store, version) == {"a.png": pixels(11), "b.png": pixels(20, 21), "c.png": []}
    assert version.items[0].caption == "make it red"
    told = rules(version)
    assert told["control/a.png"] == "reference" and told["control/stray.png"] == "orphan_reference"
    assert len(told) == 8, "every file is accounted for"
    assert next(f for f in version.ledger if f.path == "control/b_1.png").detail == "is reference 2 of b.png."
    assert version.operation.arguments["references"] == "control"
    again = store.import_source(tmp_path / "in", name=version.dataset, references="control")
    assert again.number == version.number


def test_several_folders_are_several_references(tmp_path: Path) -> None:
    put(tmp_path / "in", a=1, first__a=11, second__a=12)
    store = DatasetStore(tmp_path / "home")
    version = store.import_source(tmp_path / "in", references="first, second")
    assert seen(store, version) == {"a.png": pixels(11, 12)}


def test_the_nearest_folder_has_the_picture(tmp_path: Path) -> None:
    put(tmp_path / "in", one__a=1, one__control__a=11, two__a=2, two__control__a=12)
    store = DatasetStore(tmp_path / "home")
    version = store.import_source(tmp_path / "in", references="control")
    assert seen(store, version) == {"one/a.png": pixels(11), "two/a.png": pixels(12)}


def test_a_reference_that_could_be_of_two_is_of_none(tmp_path: Path) -> None:
    put(tmp_path / "in", one__a=1, two__a=2, control__a=11, control__b=12, b=3)
    store = DatasetStore(tmp_path / "home")
    version = store.import_source(tmp_path / "in", references="control")
    assert [len(item.references) for item in version.items] == [1, 0, 0]
    assert rules(version)["control/a.png"] == "orphan_reference"


def test_suffixes_pair_too(tmp_path: Path) -> None:
    put(tmp_path / "in", a=1, a_control=11, a_control2=12, b_control=13)
    store = DatasetStore(tmp_path / "home")
    version = store.import_source(tmp_path / "in", reference_suffix="_control")
    assert seen(store, version) == {"a.png": pixels(11, 12)}
    assert rules(version)["b_control.png"] == "orphan_reference"
    other = store.import_source(tmp_path / "in", name="other", reference_suffix="_control2:_control")
    assert seen(store, other) == {"a.png": [], "a_control.png": pixels(12), "b_control.png": []}


def test_start_and_end_are_found_without_being_asked_for(tmp_path: Path) -> None:
    put(tmp_path / "in", a_start=1, a_end=2, b_start=3, b_start2=4, b_end=5, c_start=6)
    (tmp_path / "in" / "a.txt").write_text("turn it blue")
    store = DatasetStore(tmp_path / "home")
    version = store.import_source(tmp_path / "in")
    assert seen(store, version) == {"a_end.png": pixels(1), "b_end.png": pixels(3, 4)}
    assert version.items[0].caption == "turn it blue"
    assert rules(version)["c_start.png"] == "orphan_reference"
    plain = store.import_source(tmp_path / "in", name="plain", layout="plain")
    assert len(plain.items) == 6 and not any(item.references for item in plain.items)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"references": "nowhere"}, "lies in a folder 'nowhere'"),
        ({"references": "../control"}, "lies in a folder"),
        ({"reference_suffix": "_before"}, "a pair by '_before'"),
    ],
)
def test_what_pairs_nothing_is_refused(tmp_path: Path, options: dict[str, str], said: str) -> None:
    put(tmp_path / "in", a=1, control__a=2)
    with pytest.raises(DatasetError, match=said):
        DatasetStore(tmp_path / "home").import_source(tmp_path / "in", **options)
    assert not (tmp_path / "home" / "datasets" / "in").exists()


@pytest.mark.parametrize("text", ["", ":_end", "_a:_a", "a/b", "_a:_b:_c", "x" * 61])
def test_suffixes_that_say_nothing(text: str) -> None:
    with pytest.raises(ConfigError, match="how references are called"):
        suffixes(text)
    if text:
        with pytest.raises(ConfigError):
            Settings(reference_suffix=text)


def test_a_damaged_reference_leaves_no_half_pair(tmp_path: Path) -> None:
    put(tmp_path / "in", a=1, control__a_0=11, control__a_1=12)
    (tmp_path / "in" / "control" / "a_0.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    version = DatasetStore(tmp_path / "home").import_source(tmp_path / "in", references="control")
    assert version.items[0].references == ()
    assert "none" in next(f for f in version.ledger if f.path == "a.png").detail
    assert rules(version)["control/a_1.png"] == "orphan_reference"


def test_equal_pictures_of_other_references_are_two(tmp_path: Path) -> None:
    put(tmp_path / "in", a=1, b=1, c=1, control__a=11, control__b=12, control__c=11)
    version = DatasetStore(tmp_path / "home").import_source(tmp_path / "in", references="control")
    assert [item.name for item in version.items] == ["a.png", "b.png"]
    assert rules(version)["c.png"] == "duplicate"


def test_adding_to_a_dataset_of_pairs(tmp_path: Path) -> None:
    put(tmp_path / "in", a=1, control__a=11)
    put(tmp_path / "more", a=1, b=2, control__a=11, control__b=12)
    store = DatasetStore(tmp_path / "home")
    store.import_source(tmp_path / "in", name="set", references="control")
    version = store.import_source(tmp_path / "more", into="set", references="control")
    assert seen(store, version) == {"a.png": pixels(11), "b.png": pixels(12)}


@pytest.fixture
def paired(tmp_path: Path) -> tuple[DatasetStore, DatasetVersion]:
    put(tmp_path / "in", a=1, b=2, control__a=11, control__b_0=12, control__b_1=13)
    (tmp_path / "in" / "a.txt").write_text("edit")
    store = DatasetStore(tmp_path / "home")
    return store, store.import_source(tmp_path / "in", name="set", references="control")


def test_versions_know_their_references(paired: tuple[DatasetStore, DatasetVersion]) -> None:
    store, version = paired
    assert store.get("set").items == version.items
    turned = [replace(version.items[0], references=()), version.items[1]]
    after = store.commit(version, turned, Operation(name="test"))
    assert after.fingerprint != version.fingerprint
    assert diff(version, after).references == ("a.png",)
    assert diff(version, after).counts() == {"references": 1}
    reference = version.items[0].references[0]
    garbage = store.garbage()
    assert store.blob_path(reference) not in garbage.blobs, "the older version needs it"


def test_a_version_without_references_keeps_its_fingerprint() -> None:
    item = Item(name="a.png", image="0" * 64, original="0" * 64, width=4, height=4, caption="x")
    version = DatasetVersion(
        dataset="d", number=1, parent=None, operation=Operation(name="import"), created="", items=(item,)
    )
    assert version.fingerprint == "38c8e0ff3901ac9064b5403380f731cecf3a50928d6ecdb50858d2c41d550ce6"


def test_tools_take_references_along_or_refuse(paired: tuple[DatasetStore, DatasetVersion]) -> None:
    store, version = paired
    flipped = use_tool(version, store, Flip()).version
    first = store.open_references(flipped.items[0])[0]
    assert first.tobytes() == gradient(seed=11).convert("RGB").transpose(Image.Transpose.FLIP_LEFT_RIGHT).tobytes()
    cropped = use_tool(flipped, store, Crop(box=(0, 0, 0.5, 1))).version
    assert all(r.size == (i.width, i.height) for i in cropped.items for r in store.open_references(i))
    masked = use_tool(cropped, store, MaskRectangle(box=(0, 0, 0.5, 0.5))).version
    assert [i.references for i in masked.items] == [i.references for i in cropped.items]


CUTTING = (
    Crop(box=(0.1, 0.2, 0.9, 0.7)),
    ToBucket(resolution=64, multiple=16),
    TrimBorders(),
    SplitStrips(longest=1.1, overlap=0.3),
    Resize(mode="fill", width=40, height=24),
    Resize(mode="pad", width=100, height=100, background="#123456"),
)


def alike(store: DatasetStore, seeds: int = 4, scale: int = 1) -> DatasetVersion:
    """A framed picture whose reference shows the same, of the same size or larger by a whole number."""
    items = []
    for seed in range(seeds):
        wide = gradient(96, 60, seed=seed).convert("RGB")
        framed = Image.new("RGB", (120, 80), (9, 9, 9))
        framed.paste(wide, (12, 10))
        larger = framed.resize((120 * scale, 80 * scale), Image.Resampling.NEAREST)
        image = store.put_image(framed)
        item = Item(name=f"{seed}.png", image=image, original=image, width=120, height=80)
        items.append(replace(item, references=(store.put_image(larger),)))
    return store.create(f"alike{scale}", items, Operation(name="test"))


@pytest.mark.parametrize("tool", CUTTING, ids=lambda tool: f"{tool.name}-{getattr(tool, 'mode', '')}")
def test_what_cuts_a_picture_cuts_its_reference_to_the_same_pixel(tool: PictureTool, tmp_path: Path) -> None:
    store = DatasetStore(tmp_path / "home")
    done = use_tool(alike(store), store, tool)
    assert done.changed == 4 and not done.refused
    for item in done.version.items:
        (reference,) = store.open_references(item)
        assert reference.size == (item.width, item.height) and item.image != item.original
        difference = np.abs(np.asarray(reference).astype(int) - np.asarray(store.open_image(item)).astype(int))
        assert difference.max() == 0, f"{item.name} and its reference are the same picture still"


@pytest.mark.parametrize("tool", CUTTING, ids=lambda tool: f"{tool.name}-{getattr(tool, 'mode', '')}")
def test_a_larger_reference_keeps_its_scale(tool: PictureTool, tmp_path: Path) -> None:
    store = DatasetStore(tmp_path / "home")
    done = use_tool(alike(store, 2, scale=3), store, tool)
    for item in done.version.items:
        (reference,) = store.open_references(item)
        assert reference.size == (3 * item.width, 3 * item.height)
        small = np.asarray(reference.resize((item.width, item.height), Image.Resampling.BOX)).astype(int)
        assert np.abs(small - np.asarray(store.open_image(item)).astype(int)).mean() < 4


def test_a_change_of_size_alone_leaves_references(paired: tuple[DatasetStore, DatasetVersion]) -> None:
    store, version = paired
    done = use_tool(version, store, Resize(mode="long_side", size=32))
    assert done.changed == 2 and [i.references for i in done.version.items] == [i.references for i in version.items]


@pytest.mark.parametrize("tool", CUTTING, ids=lambda tool: f"{tool.name}-{getattr(tool, 'mode', '')}")
def test_a_cut_of_unlike_shapes_is_refused(tool: PictureTool, tmp_path: Path) -> None:
    store = DatasetStore(tmp_path / "home")
    version = alike(store, 1)
    square = store.put_image(Image.new("RGB", (30, 30)))
    odd = store.commit(version, [replace(version.items[0], references=(square,))], Operation(name="test"))
    outcome = use_tool(odd, store, tool)
    assert outcome.changed == 0 and "not be the same part" in outcome.refused["0.png"]
    assert "not be the same part" in preview_tool(odd, store, tool).refused["0.png"]


@pytest.mark.parametrize("name", ["musubi", "ai_toolkit", "pairs", "diffusion_pipe", "simpletuner"])
def test_layouts_that_can_hold_pairs_do(name: str, paired: tuple[DatasetStore, DatasetVersion], tmp_path: Path) -> None:
    store, version = paired
    out = layouts.export(version, store, name, tmp_path / "out")
    assert "references" not in {loss.what for loss in out.losses}
    shutil.copytree(tmp_path / "out", tmp_path / "elsewhere")
    back = DatasetStore(tmp_path / "other").import_source(tmp_path / "elsewhere", layout=name)
    store = DatasetStore(tmp_path / "other")
    assert sorted(seen(store, back).values()) == sorted([pixels(11), pixels(12, 13)])
    assert {item.caption for item in back.items} == {"edit", ""}


@pytest.mark.parametrize(
    "name",
    sorted(set(layouts.available()) - {"musubi", "ai_toolkit", "pairs", "diffusion_pipe", "simpletuner", "onetrainer"}),
)
def test_the_others_say_so(name: str, paired: tuple[DatasetStore, DatasetVersion]) -> None:
    told = [loss for loss in layouts.available()[name].losses(paired[1]) if loss.what == "references"]
    assert [len(loss.items) for loss in told] == [2]


def mixed(store: DatasetStore) -> DatasetVersion:
    """Pictures with none, one, one of another shape, and two references, one with a mask."""
    shas = [store.put_image(gradient(seed=seed).convert("RGB")) for seed in range(8)]
    square = store.put_image(gradient(30, 30, seed=9).convert("RGB"))
    mask = store.put_image(Image.linear_gradient("L").resize((40, 24)), "L")

    def item(name: str, image: str, *references: str, **more: Any) -> Item:
        return Item(name=name, image=image, original=image, width=40, height=24, references=references, **more)

    items = [
        item("a.png", shas[0], caption="no pair"),
        item("b.png", shas[1], shas[2], caption="one", mask=mask),
        item("c.png", shas[3], shas[4], shas[5], caption="two"),
        item("d.png", shas[6], square, caption="bent", concept="odd", repeats=3),
    ]
    return store.create("mixed", items, Operation(name="test"))


@pytest.mark.parametrize("name", ["musubi", "ai_toolkit", "pairs", "diffusion_pipe", "simpletuner"])
def test_mixed_numbers_of_references_go_out_and_come_back(name: str, tmp_path: Path) -> None:
    store = DatasetStore(tmp_path / "home")
    version = mixed(store)
    layouts.export(version, store, name, tmp_path / "out")
    shutil.copytree(tmp_path / "out", tmp_path / "elsewhere")
    there = DatasetStore(tmp_path / "other")
    back = there.import_source(tmp_path / "elsewhere", layout=name)
    by_caption = {item.caption: [image.tobytes() for image in there.open_references(item)] for item in back.items}
    assert by_caption == {
        item.caption: [image.tobytes() for image in store.open_references(item)] for item in version.items
    }
    assert not [fate for fate in back.ledger if fate.rule == "orphan_reference"]


def test_diffusion_pipe_gets_a_control_for_every_picture_of_a_directory(tmp_path: Path) -> None:
    """Its dataset.py raises where a picture of a directory with controls has none."""
    store = DatasetStore(tmp_path / "home")
    layouts.export(mixed(store), store, "diffusion_pipe", tmp_path / "out")
    told = tomllib.loads((tmp_path / "out" / "dataset.toml").read_text())
    counts = {}
    for directory in told["directory"]:
        controls = directory.get("control_paths", [directory["control_path"]] if "control_path" in directory else [])
        stems = {path.stem for path in Path(directory["path"]).iterdir() if path.suffix == ".png"}
        for folder in controls:
            assert {path.stem for path in Path(folder).iterdir()} == stems
        counts[tuple(sorted(stems))] = len(controls)
    assert counts == {("a",): 0, ("b",): 1, ("c",): 2, ("d",): 1}


def test_simpletuner_gets_entries_that_its_own_rules_accept(tmp_path: Path) -> None:
    """Every conditioning entry names its source, lies under the same whole names, and is loose where shapes differ."""
    store = DatasetStore(tmp_path / "home")
    exported = layouts.export(mixed(store), store, "simpletuner", tmp_path / "out")
    entries = {one["id"]: one for one in json.loads((tmp_path / "out" / "multidatabackend.json").read_text())}
    kinds = {}
    for entry in entries.values():
        named = entry.get("conditioning_data", [])
        for id in named if isinstance(named, list) else [named]:
            condition = entries[id]
            assert condition["source_dataset_id"] == entry["id"] and condition["dataset_type"] == "conditioning"
            pictures = {p.name for p in Path(entry["instance_data_dir"]).iterdir() if p.suffix != ".txt"}
            assert {p.name for p in Path(condition["instance_data_dir"]).iterdir()} == pictures
            kinds[id] = condition["conditioning_type"]
    assert sorted(kinds.values()) == [
        "mask",
        "reference_loose",
        "reference_strict",
        "reference_strict",
        "reference_strict",
    ]
    assert [loss.items for loss in exported.losses if loss.what == "together"] == [("c.png",)]


def test_onetrainer_holds_one_picture_beside_another(tmp_path: Path) -> None:
    store = DatasetStore(tmp_path / "home")
    exported = layouts.export(mixed(store), store, "onetrainer", tmp_path / "out")
    assert [loss.items for loss in exported.losses if loss.what == "references"] == [("c.png",)]
    (tmp_path / "out" / "concepts.json").unlink()
    there = DatasetStore(tmp_path / "other")
    back = there.import_source(tmp_path / "out", layout="onetrainer")
    by_caption = {item.caption: [image.tobytes() for image in there.open_references(item)] for item in back.items}
    for item in mixed(DatasetStore(tmp_path / "third")).items:
        kept = [image.tobytes() for image in store.open_references(item)][:1]
        assert by_caption[item.caption] == kept, item.name


def test_musubis_folder_of_controls_is_read(tmp_path: Path) -> None:
    put(tmp_path / "in", img__a=1, img__b=2, ctl__a_0=11, ctl__a_1=12, ctl__b=13, ctl__c=14)
    for name in ("a", "b"):
        (tmp_path / "in" / "img" / f"{name}.txt").write_text(name)
    (tmp_path / "in" / "d.toml").write_text(
        '[general]\nresolution = [64, 64]\n[[datasets]]\nimage_directory = "/x/img"\ncontrol_directory = "/x/ctl"\n'
    )
    store = DatasetStore(tmp_path / "home")
    version = store.import_source(tmp_path / "in")
    assert seen(store, version) == {"a.png": pixels(11, 12), "b.png": pixels(13)}
    assert rules(version)["ctl/c.png"] == "orphan_reference"


def test_a_list_that_names_what_is_not_there_makes_no_half_pair(tmp_path: Path) -> None:
    put(tmp_path / "in", a=1, b=2)
    lines = [{"image_path": "a.png", "caption": "x", "control_path_0": "b.png", "control_path_1": "gone.png"}]
    (tmp_path / "in" / "l.jsonl").write_text("\n".join(map(json.dumps, lines)))
    version = DatasetStore(tmp_path / "home").import_source(tmp_path / "in")
    assert [item.references for item in version.items] == [(), ()]
    assert any("gone.png is not in this source" in said for said in version.operation.arguments["said"])


def test_an_import_says_at_once_what_is_wrong_with_its_pairs(tmp_path: Path) -> None:
    put(tmp_path / "in", a=1, b=2, c=3, d=4, e=5, control__a=11, control__b_0=12, control__b_1=13)
    gradient(seed=14).resize((20, 60)).save(tmp_path / "in" / "control" / "c.png")
    with Image.open(tmp_path / "in" / "d.png") as picture:
        picture.save(tmp_path / "in" / "control" / "d.png", compress_level=1)  # other bytes, the same pixels
    store = DatasetStore(tmp_path / "home")
    version = store.import_source(tmp_path / "in", name="rooms", references="control")
    assert version.operation.arguments["said"][-4:] == [
        "1 picture has no reference, while others do: e.png (R1).",
        "1 picture has another number of references than most (1): b.png (R3).",
        "1 picture has another shape than its reference: c.png (R4).",
        "1 picture is the same as its reference, which teaches to change nothing: d.png (R5).",
    ]
    context = CheckContext(version, store)
    look_at_pictures(context, overlay=False)
    found = {one.id: one.items for one in inspect(context, only={"R1", "R3", "R4", "R5"}).findings}
    assert found == {"R1": ("e.png",), "R3": ("b.png",), "R4": ("c.png",), "R5": ("d.png",)}
    put(tmp_path / "more", f=6, control__f=16)
    added = store.import_source(tmp_path / "more", into="rooms", references="control")
    assert not [one for one in added.operation.arguments.get("said", ()) if "(R" in one], "what came is as it should be"
    put(tmp_path / "plain", a=1)
    assert "said" not in store.import_source(tmp_path / "plain", name="plain").operation.arguments
