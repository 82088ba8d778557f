"""``lorasmith caption`` as a newcomer types it, with the real worker and the sandbox's tagger."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("caption")
    source = folder / "pictures"
    source.mkdir()
    for n, color in enumerate(("red", "blue")):
        Image.new("RGB", (64, 64), color).save(source / f"{n}.png")
    assert say(folder, "import", str(source), "--name", "set")[0] == 0
    return folder


def say(home: Path, *arguments: str) -> tuple[int, str, str]:
    environment = {**os.environ, "LORASMITH_HOME": str(home / "home"), "HF_HOME": str(home / "none"), "COLUMNS": "300"}
    environment.pop("HF_HUB_CACHE", None)
    ended = subprocess.run(
        [sys.executable, "-m", "lorasmith.cli", *arguments],
        capture_output=True, encoding="utf-8", env=environment, check=False,
    )  # fmt: skip
    return ended.returncode, ended.stdout, ended.stderr


def test_a_model_is_named_in_place_of_a_captioner(home: Path) -> None:
    code, out, err = say(home, "caption", "set", "--with", "sandbox", "--threshold", "0.05")
    assert (code, out.splitlines()[0]) == (0, "set@2: 2 captions written, 0 failed.")
    assert "sandbox works on the CPU" in err
    code, out, _ = say(home, "caption", "set@1", "--with", "sandbox", "--threshold", "0.05", "--mode", "fill")
    assert (code, out.splitlines()[0]) == (0, "set@3: 2 captions written, 0 failed.")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--with", "wd-vit-v3"], 6, ["Tagging failed: The model is not on this machine", "379 MB", "--download"]),
        (["--with", "wd-vitv3"], 2, ["no captioner called 'wd-vitv3'", "Did you mean 'wd-vit-v3'?"]),
        (["--threshold", "3"], 2, ["0<=x<=1"]),
        (["--mode", "appnd"], 2, ["overwrite"]),
        (["--set", "model=/nowhere"], 6, ["no tagger at /nowhere", "'sandbox' or one of"]),
        (["--set", "treshold=1"], 2, ["no option 'treshold'"]),
        (["--device", "toaster", "--fresh"], 6, ["no device called 'toaster'", "There are: auto, cuda"]),
        (["--lines", "2"], 2, ["always says the same"]),
    ],
)
def test_what_cannot_be_done_is_said_with_what_to_do(
    home: Path, arguments: list[str], code: int, words: list[str]
) -> None:
    got, _, err = say(home, "caption", "set@1", *arguments)
    assert got == code
    assert all(word in err for word in words), err
