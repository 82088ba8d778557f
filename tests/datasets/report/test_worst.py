"""A finding that is a matter of degree shows its worst pictures first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lorasmith.datasets.bucket_plan import plan_buckets
from lorasmith.datasets.checks import Finding
from lorasmith.datasets.manifest import DatasetVersion
from lorasmith.datasets.report.worst import worst_first
from lorasmith.datasets.store import DatasetStore
from lorasmith.studio import Studio
from tests.datasets.dataset_pictures import encode, write_folder

SIZES = {"a.png": (64, 64), "b.png": (96, 60), "c.png": (200, 60), "d.png": (70, 64)}
BLUR = {"a.png": 2, "b.png": 0, "c.png": 1, "d.png": 6}


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path / "home")


@pytest.fixture
def version(studio: Studio, tmp_path: Path) -> DatasetVersion:
    files: dict[str, bytes] = {}
    for number, (name, (width, height)) in enumerate(SIZES.items()):
        noise = np.random.default_rng(number).integers(0, 256, (height, width, 3)).astype(np.uint8)
        files[name] = encode(Image.fromarray(noise).filter(ImageFilter.GaussianBlur(BLUR[name])))
        files[name.replace("png", "txt")] = b"word, " * (number + 1)
    return studio.import_dataset(write_folder(tmp_path / "photos", files), name="set")


def ordered(studio: Studio, version: DatasetVersion, id_: str, names: tuple[str, ...]) -> tuple[str, ...]:
    lens = studio.curate.lens(family="sd", resolution=128)
    plan = plan_buckets(version, family=lens, resolution=lens.resolution)
    finding = Finding(id_, "warning", "Some.", names, "Mend them.")
    (found,) = worst_first([finding], version, DatasetStore(studio.home), plan)
    return found.items


@pytest.mark.parametrize(
    ("id_", "expected"),
    [
        ("P2", "bcad"),  # by the shorter side; b and c are alike
        ("P8", "dacb"),  # by blur
        ("C8", "dcba"),  # by length of the caption
        ("C1", "abcd"),  # no matter of degree
    ],
)
def test_the_worst_come_first(studio: Studio, version: DatasetVersion, id_: str, expected: str) -> None:
    found = ordered(studio, version, id_, ("a.png", "b.png", "c.png", "d.png"))
    assert "".join(name[0] for name in found) == expected


def test_enlargement_and_crop_are_those_of_the_bucket_plan(studio: Studio, version: DatasetVersion) -> None:
    lens = studio.curate.lens(family="sd", resolution=128)
    plan = plan_buckets(version, family=lens, resolution=lens.resolution)
    scale = {one.item: one.scale for one in plan.landings()}
    loss = {one.item: one.crop_loss for one in plan.landings()}
    assert len(set(scale.values())) > 1
    assert len(set(loss.values())) > 1
    for id_, figures in (("P1", scale), ("P3", loss)):
        found = [figures[name] for name in ordered(studio, version, id_, tuple(SIZES))]
        assert found == sorted(figures.values(), reverse=True)


def test_names_that_are_none_and_pictures_that_are_gone_come_last(studio: Studio, version: DatasetVersion) -> None:
    names = ("b.png", "folder/left out.png", "d.png")
    assert ordered(studio, version, "C8", names) == ("d.png", "b.png", "folder/left out.png")
    store = DatasetStore(studio.home)
    store.blob_path(next(item.image for item in version.items if item.name == "d.png")).unlink()
    assert ordered(studio, version, "P8", ("d.png", "a.png")) == ("a.png", "d.png")
