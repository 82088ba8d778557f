"""Command lines run in one home, and pictures for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lorasmith.cli import run

CAPTIONS = {
    "cat 1.png": "solo, cat, red",
    "cat 2.png": "cat, red, hat",
    "cat 3.png": "cat, blue",
    "猫 4.png": "cat, blue, hat, solo",
    "dog 5.png": "A dog sits on the mat.",
    "dog 6.png": "",
}


@dataclass
class Desk:
    """Runs command lines in one home."""

    home: Path
    _captured: pytest.CaptureFixture[str]

    def say(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        self._captured.readouterr()
        code = run([*arguments, "--home", str(self.home)])
        return code, *self._captured.readouterr()

    def ask(self, *arguments: str, code: int = 0) -> Any:
        """The one document of --json."""
        ended, out, _ = self.say(*arguments, "--json")
        document = json.loads(out)
        assert ended == code, document
        return document

    def refused(self, *arguments: str, code: int = 2) -> dict[str, Any]:
        """The error of --json, after seeing that people are told the same."""
        error: dict[str, Any] = self.ask(*arguments, code=code)["error"]
        ended, out, err = self.say(*arguments)
        assert (ended, out) == (code, "") and error["message"] in err and "Traceback" not in err
        return error


def paint(folder: Path, captions: dict[str, str]) -> Path:
    """Pictures of noise, each its own, and captions beside them; one file that is none."""
    folder.mkdir(parents=True)
    for number, (name, caption) in enumerate(captions.items()):
        noise = np.random.default_rng(number).integers(0, 255, (12, 16 - number, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((160 - 10 * number, 120), Image.Resampling.BICUBIC).save(folder / name)
        if caption:
            (folder / name).with_suffix(".txt").write_text(caption, encoding="utf-8")
    (folder / "notes.pdf").write_bytes(b"%PDF-1.7")
    return folder


def edited(desk: Desk, *edits: Sequence[str]) -> None:
    """Carry out edits, each as ``dataset edit pets`` takes it."""
    for edit in edits:
        assert desk.say("dataset", "edit", "pets", *edit)[0] == 0
