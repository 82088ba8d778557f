"""``lorasmith bases``: every verb, and every wrong word with a way on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lorasmith.cli import run
from tests.tiny import build_tiny_base


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return build_tiny_base(tmp_path_factory.mktemp("bases 基"))


def test_the_command_line_of_bases(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = ["--home", str(tmp_path / "home"), "--json"]

    def asked(*arguments: str, code: int = 0) -> dict[str, Any]:
        assert run([*arguments, *home]) == code, capsys.readouterr()
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    assert asked("bases")["bases"] == []
    assert asked("bases", "add", str(folder), "--name", "tiny")["base"]["family"] == "sd"
    (listed,) = asked("bases", "list")["bases"]
    assert listed["name"] == "tiny" and listed["trainable"] and listed["present"]
    shown = asked("bases", "show", "tiny", "--hash")
    assert shown["recognised"]["kind"] == "base" and len(shown["record"]["sha256"]) == 64
    assert asked("bases", "scan", str(folder.parent))["found"][0]["recognised"]["family"] == "sd"
    assert asked("bases", "catalogue", "--trainable")["bases"]
    torch.save({"state_dict": {"a": torch.zeros(2)}}, tmp_path / "x.ckpt")
    assert asked("bases", "convert", str(tmp_path / "x.ckpt"))["tensors"] == 1
    assert "lorasmith bases convert" in asked("bases", "add", str(tmp_path / "x.ckpt"), code=4)["error"]["hint"]
    for wrong in ("nothing.safetensors", "https://civitai.com/images/3", "hf://x"):
        assert asked("bases", "add", wrong, code=4)["error"]["hint"]
    for verb in ("show", "forget"):
        assert asked("bases", verb, "nobody", code=4)["error"]["hint"]
    assert asked("bases", "catalogue", "nothing", code=4)["error"]["hint"]
    assert asked("bases", "lst", code=2)["error"]["hint"] == "Did you mean 'lorasmith bases list'?"
    assert asked("bases", "forget", "tiny")["deleted"] is False
    assert run(["bases", *home[:2]]) == 0
    assert "lorasmith bases scan" in capsys.readouterr().out
