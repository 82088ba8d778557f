"""One dataset per finding, and none that is not deserved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from lorasmith.datasets.checks import Finding, check, estimate_tokens
from lorasmith.datasets.manifest import DatasetVersion, Operation
from lorasmith.datasets.store import DatasetStore
from tests.datasets.dataset_pictures import encode, gradient, jpeg, p3_profile, with_orientation, write_folder

SIDE = 96


def picture(seed: int, width: int = SIDE, height: int = SIDE) -> bytes:
    return encode(gradient(width, height, seed))


def good(count: int = 12) -> dict[str, bytes]:
    files = {f"{n}.png": picture(n) for n in range(count)}
    places = ("beach", "forest", "street", "kitchen", "garden")
    texts = (f"ohwx, tag {n}, picture {n % 5}, {places[n % 5]}, round {n % 3}, sign {n % 4}" for n in range(count))
    return files | {f"{n}.txt": text.encode() for n, text in enumerate(texts)}


def found(tmp_path: Path, files: dict[str, bytes], **options: object) -> dict[str, Finding]:
    store = DatasetStore(tmp_path / "home")
    version = store.import_source(write_folder(tmp_path / "s", files))
    findings = check(version, store, **{"trigger_word": "ohwx", "resolution": SIDE, **options})  # type: ignore[arg-type]
    assert [f.severity for f in findings] == sorted(
        (f.severity for f in findings), key=["error", "warning", "info"].index
    )
    assert all(f.message and f.fix and "{" not in f.message for f in findings)
    return {finding.id: finding for finding in findings}


def test_a_good_dataset_has_no_finding(tmp_path: Path) -> None:
    assert found(tmp_path, good()) == {}


@pytest.mark.parametrize(
    ("extra", "id_", "severity", "items"),
    [
        ({"x.jpg": jpeg()[:200]}, "F1", "warning", ("x.jpg",)),
        ({"x.png": b""}, "F4", "warning", ("x.png",)),
        ({"x.jpg": picture(90), "x.txt": b"ohwx, x"}, "F3", "info", ("x.jpg",)),
        ({"x.jxl": b"jxl"}, "F5", "warning", ("x.jxl",)),
        ({"x.gif": None, "x.txt": b"ohwx, x"}, "F6", "warning", ("x.gif",)),
        ({"0.bmp": encode(gradient(SIDE, SIDE, 91), "BMP")}, "F7", "warning", ("0.bmp", "0.png")),
        ({"con.png": picture(92), "con.txt": b"ohwx, x"}, "F8", "info", ("con_.png",)),
        ({"notes.md": b"x"}, "F10", "info", ("notes.md",)),
        ({"x.jpg": with_orientation(gradient(SIDE, SIDE, 93), 6), "x.txt": b"ohwx, x"}, "P4", "info", ("x.jpg",)),
        (
            {"x.png": encode(gradient(SIDE, SIDE, 94), icc_profile=p3_profile()), "x.txt": b"ohwx"},
            "P5",
            "info",
            ("x.png",),
        ),
        ({"x.png": encode(gradient(SIDE, SIDE, 95).convert("RGBA")), "x.txt": b"ohwx"}, "P6", "warning", ("x.png",)),
        (
            {"x.jpg": encode(gradient(SIDE, SIDE, 96).convert("CMYK"), "JPEG"), "x.txt": b"ohwx"},
            "P7",
            "info",
            ("x.jpg",),
        ),
        ({"x.png": picture(97, 64, 60), "x.txt": b"ohwx"}, "P2", "error", ("x.png",)),
        ({"x.png": picture(97, 64, 60), "x.txt": b"ohwx"}, "P1", "warning", ("x.png",)),
        ({"x.png": picture(98, 1200, 100), "x.txt": b"ohwx"}, "P3", "warning", ("x.png",)),
        ({"copy.png": picture(0)}, "D1", "info", ("copy.png",)),
        ({"x.png": picture(99)}, "C1", "error", ("x.png",)),
        ({"x.png": picture(99), "x.txt": b" \n"}, "C2", "error", ("x.png",)),
        ({"x.png": picture(99), "x.txt": b"ohwx, caf\xe9"}, "C3", "warning", ("x.png",)),
        ({"x.png": picture(99), "x.txt": b"Error generating caption ohwx"}, "C4", "error", ("x.png",)),
        ({"x.png": picture(99), "x.txt": b"a star"}, "C5", "warning", ("x.png",)),
        ({"x.png": picture(99), "x.txt": b"ohwx, ohwx, a star"}, "C6", "warning", ("x.png",)),
        ({"x.png": picture(99), "x.txt": b"ohwx, " + b"red star, " * 30 + b"end"}, "C8", "warning", ("x.png",)),
        ({"x.png": picture(99), "x.txt": b"ohwx, star, Star"}, "C13", "warning", ("x.png",)),
        ({"x.png": picture(99), "x.txt": b"ohwx, , star"}, "C13", "warning", ("x.png",)),
        ({"stranger.txt": b"x"}, "C22", "warning", ("stranger.txt",)),
    ],
)
def test_each_finding_is_found(
    tmp_path: Path, extra: dict[str, bytes | None], id_: str, severity: str, items: tuple[str, ...]
) -> None:
    frames = [Image.new("RGB", (SIDE, SIDE), color) for color in ("red", "blue")]
    animation = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    files = {name: animation if content is None else content for name, content in extra.items()}
    finding = found(tmp_path, good() | files)[id_]
    assert (finding.severity, finding.items) == (severity, items)


def test_number_of_pictures(tmp_path: Path) -> None:
    assert found(tmp_path / "a", good(4))["S1"].severity == "error"
    assert found(tmp_path / "b", good(9))["S1"].severity == "warning"
    assert "S1" in found(tmp_path / "c", good(12), subject="style")
    assert "S1" not in found(tmp_path / "d", good(12), subject="object")


def test_counted_messages_agree_with_their_number(tmp_path: Path) -> None:
    one = found(tmp_path / "a", good(9) | {"a.png": b"", "x.txt": b"x"})
    two = found(tmp_path / "b", good(9) | {"a.png": b"", "b.png": b"", "x.txt": b"x", "y.txt": b"y"})
    assert one["F4"].message == "1 file with 0 bytes was left out."
    assert two["F4"].message == "2 files with 0 bytes were left out."
    assert one["C22"].message == "1 file is a caption without a picture of its own."
    assert two["C22"].message == "2 files are captions without a picture of their own."
    assert one["S1"].message == "9 pictures; most subjects need 10 or more."
    for finding in (*one.values(), *two.values()):
        assert not set("{|}") & set(finding.message)


def test_edits_are_seen(tmp_path: Path) -> None:
    store = DatasetStore(tmp_path / "home")
    first = store.import_source(write_folder(tmp_path / "s", good()))
    twin = replace(first.items[0], name="twin.png")
    second = store.commit(first, [*first.items, twin], Operation(name="edit"))
    assert {f.id: f.items for f in check(second, store, resolution=SIDE)}["D1"] == ("0.png", "twin.png")
    store.blob_path(twin.image).unlink()
    assert {f.id: f.severity for f in check(second, store, resolution=SIDE)}["F1"] == "error"


def test_a_tokenizer_replaces_the_estimate(tmp_path: Path) -> None:
    findings = found(tmp_path, good(), max_tokens=5, count_tokens=len)
    assert "about" not in findings["C8"].message
    assert len(findings["C8"].items) == 12


def test_a_braced_trigger_word_is_quoted_whole(tmp_path: Path) -> None:
    store = DatasetStore(tmp_path / "home")
    version: DatasetVersion = store.import_source(write_folder(tmp_path / "s", good()))
    finding = next(f for f in check(version, store, trigger_word="{x}", resolution=SIDE) if f.id == "C5")
    assert finding.message == "12 pictures without the trigger word '{x}' in their captions."


def test_the_trainers_bucket_replaces_the_nearest(tmp_path: Path) -> None:
    assert set(found(tmp_path, good(), bucket=lambda width, height: (SIDE * 2, SIDE))) == {"P1", "P3", "S5"}


def test_token_estimate() -> None:
    assert estimate_tokens("a red star") == 3
    assert estimate_tokens("red, star") == 3
    assert estimate_tokens("extraordinarily") == 2
    assert estimate_tokens("猫と犬") == 3


def test_tags_that_are_equally_frequent_are_listed_by_name(tmp_path: Path) -> None:
    constant = ", ".join(["zebra", "apple", "mango", "kiwi", "berry"])
    files = {f"{n}.png": picture(n) for n in range(12)}
    files |= {f"{n}.txt": f"{constant}, own {n}".encode() for n in range(12)}
    assert found(tmp_path, files)["C16"].message.endswith("'apple', 'berry', 'kiwi', 'mango', 'zebra'.")
