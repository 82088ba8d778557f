"""A small dataset that the tests of the command line work on: made once a module, copied for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from lorasmith.cli import run
from tests.cli.desk import CAPTIONS, Desk, paint


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the dataset ``pets``."""
    root = tmp_path_factory.mktemp("desk")
    pictures = paint(root / "pets", CAPTIONS)
    twin = Image.open(pictures / "cat 1.png").resize((320, 240))
    twin.save(pictures / "twin.png")
    assert run(["import", str(pictures), "--home", str(root / "home"), "--json"]) == 0
    return root / "home"


@pytest.fixture
def desk(made: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Desk:
    """A copy of that home, so that nothing a test does is seen by another."""
    shutil.copytree(made, tmp_path / "home")
    return Desk(tmp_path / "home", capfd)
