"""Groups of the same picture: their kind, who is kept and why, and that strangers are never chained together."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from lorasmith.datasets.colours import SIDE, colours_of, turned
from lorasmith.datasets.duplicates import DuplicateGroup, find_duplicates
from lorasmith.datasets.leaks import Leak, find_leaks
from lorasmith.datasets.manifest import Item
from lorasmith.datasets.phash import orientations, phash
from lorasmith.datasets.signals import Signals, measure
from lorasmith.sandbox.patchwork import draw_patchwork
from tests.datasets.dataset_pictures import encode

PLAIN = Signals(
    width=1024, height=1024, sharpness=500.0, crispness=0.7, brightness=120.0, dark_clip=0.0, bright_clip=0.0,
    contrast=150.0, span=200.0, ground=0.1, entropy=7.0, is_gray=False, borders=(0, 0, 0, 0), jpeg_quality=None,
    blockiness=1.0, upscale_evidence=0.0, structure=40.0, pixel_hash="", phash=0, phash_orientations=(0,) * 8,
    colours=bytes(108),
)  # fmt: skip
ZERO = 0
FOUR = 0b1111
FAR = 0xFFFF_FFFF_FFFF_FFFF
ELSEWHERE = 0x5555_5555_AAAA_AAAA  # 32 bits from all of these


class Set:
    """Items with signals made up for them."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.signals: dict[str, Signals] = {}

    def add(
        self, name: str, phash: int | None = None, image: str = "", turned: int = ELSEWHERE, **known: object
    ) -> None:
        of_item = {key: known.pop(key) for key in ("width", "height", "caption", "role") if key in known}
        size = {"width": of_item.pop("width", 1024), "height": of_item.pop("height", 1024)}
        item = Item(name=name, image=image or name, original=image or name, **size, **of_item)  # type: ignore[arg-type]
        self.items.append(item)
        if phash is not None:
            hashes = (phash, turned, *(ELSEWHERE,) * 6)
            known.setdefault("pixel_hash", item.image)
            self.signals[item.image] = replace(PLAIN, phash=phash, phash_orientations=hashes, **known)  # type: ignore[arg-type]

    def groups(self) -> list[DuplicateGroup]:
        return find_duplicates(self.items, self.signals)

    def kinds(self) -> list[tuple[str, tuple[str, ...], int]]:
        return [(group.kind, group.members, group.distance) for group in self.groups()]


def test_each_kind_is_told_from_the_others() -> None:
    made = Set()
    made.add("a", 0, sharpness=900.0)
    made.add("same bytes", 0, image="a", sharpness=900.0)
    made.add("same pixels", 0, pixel_hash="a")
    made.add("near", FOUR)
    made.add("similar", 0xFF)
    made.add("mirrored", 0x0F0F_0F0F_0F0F_0F0F, turned=1)
    made.add("stranger", FAR)
    assert made.kinds() == [
        ("bytes", ("a", "same bytes"), 0),
        ("pixels", ("a", "same pixels"), 0),
        ("near", ("a", "near"), 4),
        ("similar", ("a", "similar"), 8),
        ("turned", ("a", "mirrored"), 1),
    ]


def test_strangers_are_not_chained() -> None:
    """Each is 4 bits from the next, the ends of the chain are 36 bits apart."""
    made = Set()
    for i in range(10):
        made.add(f"{i}", (1 << 4 * i) - 1)
    hashes = {item.name: made.signals[item.name].phash for item in made.items}
    groups = made.groups()
    assert groups
    for group in groups:
        limit = {"near": 4, "similar": 8}[group.kind]
        apart = [(hashes[group.keeper] ^ hashes[name]).bit_count() for name in group.members]
        assert max(apart) == group.distance <= limit


def test_keeping_the_keepers_leaves_nothing_to_find() -> None:
    rng = np.random.default_rng(0)
    made = Set()
    for i in range(300):
        bits = rng.choice(24, int(rng.integers(0, 8)), replace=False)
        made.add(f"{i}", sum(1 << int(bit) for bit in bits), sharpness=float(rng.uniform(50, 500)))
    gone = {name for group in made.groups() for name in group.others}
    made.items = [item for item in made.items if item.name not in gone]
    assert made.items and made.groups() == []


def test_the_order_of_items_changes_neither_groups_nor_keepers() -> None:
    made = Set()
    for i in range(30):
        made.add(f"{i:02d}", (i % 5) << 40, sharpness=100.0 + 7 * i)
    forward = {(g.keeper, frozenset(g.members)) for g in made.groups()}
    made.items.reverse()
    assert {(g.keeper, frozenset(g.members)) for g in made.groups()} == forward


@pytest.mark.parametrize(
    ("first", "second", "keeper", "reason"),
    [
        ({"sharpness": 430.0}, {"sharpness": 812.0}, "second", "the sharpest (812 to 430)"),
        ({"sharpness": 500.0}, {"sharpness": 480.0, "width": 2048}, "second", "the largest (2048 x 1024)"),
        ({"sharpness": 900.0, "width": 300, "height": 200}, {}, "second", "the only one of 512 pixels or more"),
        ({"upscale_evidence": 30.0, "width": 4096}, {}, "second", "the only one that is not enlarged"),
        ({}, {"caption": "a cat"}, "second", "the only one with a caption"),
        ({"caption": "a cat, sitting"}, {"caption": "a cat"}, "first", "the longest caption"),
        ({}, {}, "first", "as good as any of them"),
    ],
)
def test_who_is_kept_and_why(first: dict[str, object], second: dict[str, object], keeper: str, reason: str) -> None:
    made = Set()
    made.add("first", ZERO, **first)
    made.add("second", FOUR, **second)
    (group,) = made.groups()
    assert (group.keeper, group.reason) == (keeper, reason)


def test_roles_and_captions_of_a_group_are_compared() -> None:
    made = Set()
    made.add("a", 0, caption="a cat")
    made.add("b", 1, caption="a cat ")
    made.add("c", 0xFFFF << 32, caption="a dog")
    made.add("d", 0xFFFF << 32, caption="a cat", role="validation")
    one, two = made.groups()
    assert (one.across_roles, one.captions_differ) == (False, False)
    assert (two.across_roles, two.captions_differ) == (True, True)


def test_without_signals_bytes_are_still_compared() -> None:
    made = Set()
    made.add("a")
    made.add("b", image="a", caption="longer")
    assert [(g.kind, g.keeper, g.reason) for g in made.groups()] == [("bytes", "b", "the only one with a caption")]


def test_plain_surfaces_are_not_like_each_other() -> None:
    made = Set()
    for i in range(4):
        made.add(f"{i}", 1 << 63, structure=0.5)
    assert made.groups() == []


def test_symmetric_pictures_are_no_finding() -> None:
    made = Set()
    made.add("a", FOUR, turned=FOUR)
    made.add("b", FAR, turned=FAR)
    assert made.groups() == []


def test_two_copies_of_a_symmetric_picture_are_found_upright_only() -> None:
    made = Set()
    made.add("a", FOUR, turned=FOUR)
    made.add("b", FOUR, turned=FOUR)
    assert [kind for kind, _, _ in made.kinds()] == ["near"]


def test_ten_thousand_equal_hashes_are_one_group() -> None:
    made = Set()
    for i in range(10_000):
        made.add(f"{i}", FOUR if i % 100 else ZERO)
    started = time.process_time()
    (group,) = made.groups()
    assert len(group.members) == 10_000 and group.distance == 4
    assert time.process_time() - started < 5  # 50 million pairs would take minutes and gigabytes


def test_a_crowd_is_grouped_the_same_without_holding_its_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    made = Set()
    for i in range(400):
        bits = rng.choice(24, int(rng.integers(0, 7)), replace=False)
        made.add(f"{i}", sum(1 << int(bit) for bit in bits), sharpness=float(rng.uniform(50, 500)))
    held = made.groups()
    monkeypatch.setattr("lorasmith.datasets.duplicates._MOST_PAIRS", 10)
    assert made.groups() == held and len(held) > 1


def test_nothing_has_no_duplicates() -> None:
    assert find_duplicates([], {}) == [] and find_leaks({"train": [], "validation": []}, {}) == []


# Pictures


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Item], dict[str, Signals]]:
    """Thirty pictures, and copies of one of them."""
    folder = tmp_path_factory.mktemp("pictures")
    one = picture(0)
    copies = {
        "saved again.jpg": encode(one, "JPEG", quality=60),
        "small.png": encode(one.resize((300, 300), Image.Resampling.LANCZOS)),
        "brighter.png": encode(ImageEnhance.Brightness(one).enhance(1.1)),
        "another container.bmp": encode(one, "BMP"),
        "mirrored.jpg": encode(one.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "JPEG", quality=85),
        "gray wall.png": encode(Image.new("RGB", (600, 600), (120, 120, 120))),
        "gray wall, another.png": encode(noisy_wall()),
    }
    pictures = {f"{seed:02d}.png": encode(picture(seed)) for seed in range(30)} | copies
    return add_all(folder, pictures)


def picture(seed: int) -> Image.Image:
    return draw_patchwork(np.random.default_rng(seed + 100)).resize((600, 600), Image.Resampling.BICUBIC)


def noisy_wall() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).normal(120, 2, (600, 600, 3)).astype(np.uint8))


def add_all(folder: Path, pictures: dict[str, bytes]) -> tuple[list[Item], dict[str, Signals]]:
    items, signals = [], {}
    for name, content in pictures.items():
        sha = hashlib.sha256(content).hexdigest()
        (folder / sha).write_bytes(content)
        signals[sha] = measure(folder / sha)
        size = {"width": signals[sha].width, "height": signals[sha].height}
        items.append(Item(name=name, image=sha, original=sha, **size))
    return items, signals


def test_copies_are_found_and_strangers_are_not(real: tuple[list[Item], dict[str, Signals]]) -> None:
    found = {(group.kind, frozenset(group.members)) for group in find_duplicates(*real)}
    copies = {name for kind, members in found if kind in ("near", "similar") for name in members}
    assert ("pixels", frozenset({"00.png", "another container.bmp"})) in found
    assert copies == {"00.png", "saved again.jpg", "small.png", "brighter.png"}
    (turned,) = [members for kind, members in found if kind == "turned"]
    assert "mirrored.jpg" in turned and len(turned) == 2


def flat(ground: tuple[int, int, int], figure: tuple[int, int, int]) -> Image.Image:
    canvas = Image.new("RGB", (300, 300), ground)
    ImageDraw.Draw(canvas).polygon([(40, 60), (220, 30), (180, 200), (90, 260)], fill=figure)
    return canvas


def test_one_shape_in_other_colours_is_another_picture(tmp_path: Path) -> None:
    grounds = [(200, 40, 40), (40, 60, 200), (30, 140, 60), (220, 200, 60), (90, 30, 120)]
    drawn = {f"{i}.png": encode(flat(ground, (250, 250, 250))) for i, ground in enumerate(grounds)}
    drawn["small figure, red.png"] = encode(flat((240, 240, 240), (200, 30, 30)))
    drawn["small figure, blue.png"] = encode(flat((240, 240, 240), (40, 60, 220)))
    drawn["mirrored, in another colour.png"] = encode(ImageOps.mirror(flat((10, 90, 90), (250, 250, 250))))
    items, signals = add_all(tmp_path, drawn)
    hashes = [signals[item.image].phash for item in items[:5]]
    assert max((one ^ other).bit_count() for one in hashes for other in hashes) <= 4  # the hash alone sees copies
    assert find_duplicates(items, signals) == []
    assert find_leaks({"train": items[:3], "validation": items[3:]}, signals) == []


def test_copies_that_differ_in_colour_are_found_as_what_they_are(tmp_path: Path) -> None:
    one = picture(3)
    items, signals = add_all(
        tmp_path,
        {
            "a.png": encode(one),
            "darker.jpg": encode(ImageEnhance.Brightness(one).enhance(0.85), "JPEG", quality=70),
            "gray.png": encode(one.convert("L").convert("RGB")),
            "gray, mirrored.png": encode(ImageOps.mirror(one).convert("L").convert("RGB")),
            "inverted.png": encode(ImageOps.invert(one)),
        },
    )
    groups = {(group.kind, frozenset(group.members)) for group in find_duplicates(items, signals)}
    assert ("near", frozenset({"a.png", "darker.jpg"})) in groups
    (similar,) = [members for kind, members in groups if kind == "similar"]
    assert "gray.png" in similar and similar & {"a.png", "darker.jpg"} and len(similar) == 2
    assert not any("inverted.png" in members for _, members in groups)
    leaks = find_leaks({"train": items[:1], "validation": items[1:3]}, signals)
    assert [(leak.kind, leak.name) for leak in leaks] == [("near", "darker.jpg"), ("similar", "gray.png")]


@pytest.mark.parametrize("turn", range(8))
def test_fields_turn_as_hashes_do(turn: int) -> None:
    ways = [
        None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM,
        Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90,
    ]  # fmt: skip
    one, way = picture(1), ways[turn]
    other = one if way is None else one.transpose(way)
    assert (phash(other) ^ orientations(one)[turn]).bit_count() <= 1
    fields = np.frombuffer(colours_of(one), np.uint8).reshape(1, SIDE, SIDE, 3)
    theirs = np.frombuffer(colours_of(other), np.uint8).reshape(fields.shape)
    assert np.abs(turned(fields, turn).astype(int) - theirs.astype(int)).max() <= 1  # rounding


def test_equal_hashes_in_three_colours_are_three_groups() -> None:
    made = Set()
    shades = {"red": bytes((200, 30, 30)) * 36, "blue": bytes((30, 30, 200)) * 36, "green": bytes((30, 160, 30)) * 36}
    for i in range(12):
        name, shade = list(shades.items())[i % 3]
        made.add(f"{name} {i}", FOUR if i < 6 else ZERO, colours=shade)
    groups = made.groups()
    assert {frozenset(name.split()[0] for name in group.members) for group in groups} == {
        frozenset({"red"}), frozenset({"blue"}), frozenset({"green"}),
    }  # fmt: skip
    assert sorted(len(group.members) for group in groups) == [4, 4, 4]


# Leaks


def test_a_picture_of_one_set_is_found_in_another(real: tuple[list[Item], dict[str, Signals]]) -> None:
    items, signals = real
    by_name = {item.name: item for item in items}
    train = [item for item in items if item.name[:2].isdigit()]
    held_out = [by_name[name] for name in ("small.png", "mirrored.jpg", "another container.bmp", "gray wall.png")]
    found = find_leaks({"train": train, "validation": [*held_out, train[3]]}, signals)
    assert [(leak.kind, leak.name, leak.other_name) for leak in found] == [
        ("near", "small.png", "00.png"),
        ("turned", "mirrored.jpg", "00.png"),
        ("pixels", "another container.bmp", "00.png"),
        ("bytes", "03.png", "03.png"),
    ]
    assert all((leak.set, leak.other_set) == ("validation", "train") for leak in found)
    assert [leak.name for leak in find_leaks({"a": train, "b": held_out}, signals, turned=False)][:2] == [
        "small.png", "another container.bmp",
    ]  # fmt: skip


def test_every_pair_of_sets_is_compared() -> None:
    made = Set()
    for name in ("a", "b", "c"):
        made.add(name, ZERO)
    a, b, c = made.items
    found = find_leaks({"one": [a], "two": [b], "three": [c]}, made.signals)
    assert found == [
        Leak("near", "two", "b", "one", "a", 0),
        Leak("near", "three", "c", "one", "a", 0),
        Leak("near", "three", "c", "two", "b", 0),
    ]


def test_the_closest_is_named() -> None:
    made = Set()
    for name, bits in (("far", 0xFF), ("close", 1), ("new", 0)):
        made.add(name, bits)
    *old, new = made.items
    assert find_leaks({"old": old, "new": [new]}, made.signals, radius=8) == [
        Leak("near", "new", "new", "old", "close", 1)
    ]
