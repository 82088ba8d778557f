"""Checks on pictures that are really measured, and repairs that are really committed, from import to next version."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from lorasmith.datasets.checks import CheckContext, FamilyFacts, apply_repair, inspect, look_at_pictures
from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.datasets.store import DatasetStore

SIDE = 512
CAPTIONS = (
    "ohwx, solo, blue hair, blue_hair, a hat",
    "This image shows ohwx in a park.",
    "ohwx, ohwx, hat,, umbrella",
    "blue hair, street",
    "blue hair, ohwx, garden",
    "ohwx, " + ", ".join(f"thing {n}" for n in range(70)),
)


def drawn(seed: int) -> Image.Image:
    """Discs of all colours, with sharp edges."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (SIDE, SIDE), tuple(int(v) for v in rng.integers(60, 200, 3)))
    pen = ImageDraw.Draw(image)
    for _ in range(90):
        x, y, size = (int(v) for v in rng.integers((0, 0, 10), (SIDE, SIDE, 100)))
        pen.ellipse([x, y, x + size, y + size], fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
    return image


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DatasetStore:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(10):
        image = drawn(number)
        ImageDraw.Draw(image).text((20, SIDE - 30), "SAMPLE 2024 SAMPLE", fill="white", stroke_width=1)
        image.save(folder / f"{number:02}.png")
    drawn(50).filter(ImageFilter.GaussianBlur(6)).save(folder / "blur.png")
    drawn(51).save(folder / "copy_a.png")
    drawn(51).resize((480, 480)).save(folder / "copy_b.jpg", quality=40)
    Image.new("RGB", (SIDE, SIDE), (4, 4, 4)).save(folder / "dark.png")
    framed = Image.new("RGB", (SIDE, SIDE + 120))
    framed.paste(drawn(52), (0, 60))
    framed.save(folder / "bars.png")
    for number, path in enumerate(sorted(folder.iterdir())):
        path.with_suffix(".txt").write_text(CAPTIONS[number % len(CAPTIONS)], encoding="utf-8")
    store = DatasetStore(tmp_path_factory.mktemp("home"))
    store.import_source(folder, name="pictures")
    return store


def looked_at(version: DatasetVersion, store: DatasetStore) -> CheckContext:
    context = CheckContext(version, store, trigger_word="ohwx", family=FamilyFacts("sd"))
    look_at_pictures(context)
    return context


def test_what_is_wrong_with_the_pictures_is_found_in_them(store: DatasetStore) -> None:
    found = {f.id: f for f in inspect(looked_at(store.get("pictures@1"), store)).findings}
    assert found["P8"].items == ("blur.png",)
    assert found["P9"].items == ("dark.png",)
    assert found["P11"].items == ("bars.png",)
    assert found["P13"].items == ("copy_b.jpg",)
    assert set(found["D3"].items) == {"copy_a.png", "copy_b.jpg"}
    marked = {f"{number:02}.png" for number in range(10)}
    assert len(marked & set(found["P15"].items)) >= 8 and set(found["P15"].items) <= marked
    assert "about" not in found["C8"].message  # the family's own tokenizer counted


@pytest.mark.parametrize("id_", ["C5", "C6", "C8", "C13", "C14", "C19", "D3", "P8"])
def test_a_repair_takes_its_finding_away(id_: str, store: DatasetStore) -> None:
    version = store.get("pictures@1")
    context = looked_at(version, store)
    findings = inspect(context, only={id_}).findings
    assert findings and any(finding.repair for finding in findings)
    for number, finding in enumerate(findings):
        assert finding.repair is not None
        begun = store.branch("pictures@1", f"{id_} {number}".replace(" ", "-"))
        repaired = apply_repair(begun, store, finding.repair, finding.items, counter=context.tokenizer)
        assert repaired.number > begun.number and repaired.operation.name == finding.repair.operation
        again = inspect(looked_at(repaired, store), only={id_}).findings
        assert finding.repair not in [other.repair for other in again]


def test_a_missing_picture_is_passed_over(store: DatasetStore, tmp_path: Path) -> None:
    version = store.get("pictures@1")
    path = store.blob_path(version.items[-1].image)
    kept = path.rename(tmp_path / "kept")
    try:
        context = looked_at(version, DatasetStoreAt(store, tmp_path / "fresh"))
        assert version.items[-1].name not in (context.signals or {})
        assert [f.items for f in inspect(context, only={"F1"}).findings] == [(version.items[-1].name,)]
    finally:
        kept.rename(path)


class DatasetStoreAt(DatasetStore):
    """The pictures of one store with the memory of another, in which nothing was measured yet."""

    def __init__(self, other: DatasetStore, home: Path) -> None:
        home.mkdir()
        super().__init__(home)
        self.blob_path = other.blob_path  # type: ignore[method-assign]
