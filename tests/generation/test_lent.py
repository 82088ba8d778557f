"""Pictures given to be edited: kept as datasets keep theirs, found by the worker, gone when nothing names them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from lorasmith.errors import InputError
from lorasmith.generation.lent import WEEK, Lending
from lorasmith.generation.request import reference_path
from lorasmith.jobs import Jobs


def jpeg(folder: Path, colour: str = "red", size: tuple[int, int] = (40, 24)) -> Path:
    path = folder / f"{colour}.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", size, colour).save(path, exif=exif)
    return path


def test_a_picture_is_upright_and_found_by_its_hash(tmp_path: Path) -> None:
    home = tmp_path / "home"
    lending = Lending(home)
    sha256 = lending.take(jpeg(tmp_path), "C:\\me\\red.jpg", "bob")
    assert reference_path(sha256, home) == lending.path(sha256)
    with Image.open(lending.path(sha256)) as kept:
        assert kept.size == (24, 40) and kept.format == "PNG" and not kept.getexif()
    about = lending.about(sha256)
    assert about is not None and about.name == "red.jpg" and set(about.owners) == {"bob"}
    assert lending.take(jpeg(tmp_path), "again.jpg", "cyd") == sha256
    about = lending.about(sha256)
    assert about is not None and set(about.owners) == {"bob", "cyd"}, "it belongs to both"


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x89PNG\r\n\x1a\n broken", b"GIF89a"])
def test_what_is_no_picture_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(InputError, match=r"^x\.png "):
        Lending(tmp_path / "home").take(tmp_path / "x.png", "x.png", "bob")
    assert not list((tmp_path / "home").rglob("*.png"))


def test_an_enormous_one_is_refused(tmp_path: Path) -> None:
    Image.new("1", (10_000, 9_000)).save(tmp_path / "big.png")
    with pytest.raises(InputError, match="million"):
        Lending(tmp_path / "home").take(tmp_path / "big.png", "big.png", "bob")


def test_it_goes_a_week_later_unless_something_names_it(tmp_path: Path) -> None:
    home, now = tmp_path / "home", [1000.0]
    lending = Lending(home, clock=lambda: now[0])
    forgotten, painted, saved = (lending.take(jpeg(tmp_path, c), c, "bob") for c in ("red", "green", "blue"))
    payload = {"base": "sandbox", "prompts": ["x"], "references": [painted]}
    Jobs(home).submit("generate", payload)
    (home / "prompts.json").write_text(json.dumps({"prompts": [{"request": {"references": [saved]}}]}))
    now[0] += WEEK - 1
    assert lending.expire() == 0
    now[0] += 2
    fresh = lending.take(jpeg(tmp_path, "white"), "white", "bob")
    assert lending.about(forgotten) is None and not lending.path(forgotten).exists()
    assert all(lending.about(one) for one in (painted, saved, fresh))


def test_a_damaged_record_is_nobodys(tmp_path: Path) -> None:
    lending = Lending(tmp_path / "home")
    sha256 = lending.take(jpeg(tmp_path), "a", "bob")
    (tmp_path / "home" / "lent" / f"{sha256}.json").write_text("[]")
    assert lending.about(sha256) is None and lending.about("../x") is None
