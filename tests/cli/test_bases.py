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


def test_a_base_is_put_together_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """UNet, text encoder and VAE at their published sizes, as headers over holes."""
    from tests.bases.test_opening import write_header
    from tests.bases.test_parts import encoder
    from tests.web.test_bases_page import SD1

    write_header(tmp_path / "unet.safetensors", SD1, whole=False)
    write_header(tmp_path / "clip_l.safetensors", encoder("clip_l")[1])
    vae = {"decoder.mid.block_1.norm1.weight": (512,), "post_quant_conv.weight": (4, 4, 1, 1)}
    write_header(tmp_path / "vae.safetensors", {**vae, "decoder.conv_in.weight": (512, 4, 3, 3)})
    home = ["--home", str(tmp_path / "home")]
    unet, clip, other = (str(tmp_path / f"{name}.safetensors") for name in ("unet", "clip_l", "vae"))
    assert run(["bases", "assemble", unet, "--dry-run", *home]) == 0
    said = capsys.readouterr().out
    assert "the denoiser of Stable Diffusion 1.x; it needs:" in said and "2 parts missing" in said
    assert "such as clip_l.safetensors" in said and "comes with lorasmith" in said
    assert run(["bases", "assemble", unet, "--with", clip, *home]) == 4
    assert "still lacks the VAE of Stable Diffusion" in capsys.readouterr().err
    assert run(["bases", "add", unet, "--with", other, "--with", clip, "--name", "mine", *home]) == 0
    assert "mine is a whole base now" in capsys.readouterr().out
    assert run(["bases", "show", "mine", *home, "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["record"]["parts"]) == {"text_encoder", "vae"}
    assert run(["bases", "assemble", clip, *home]) == 4
    assert "clip_l.safetensors is CLIP-L, not a base" in capsys.readouterr().err
