"""What faces are tested with in place of models: a worker that needs none, a base that is only headers, pictures."""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

WORKER = Path(__file__).with_name("stand_in_worker.py")
ADAPTER = b"the bytes of an adapter"
CERTIFICATE = {
    "passed": True,
    "file": "adapter.safetensors",
    "sha256": hashlib.sha256(ADAPTER).hexdigest(),
    "base": "tiny",
    "family": "sd",
}


def command(folder: Path) -> Sequence[str]:
    """How the stand-in is started."""
    return (sys.executable, str(WORKER), str(folder))


def tell(home: Path, kind: str, *script: str, **what: Any) -> None:
    """Tell the stand-in what to do for jobs of a kind."""
    path = home / "stand_in.json"
    told = json.loads(path.read_bytes()) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told | {kind: {"script": list(script), **what}}))


def tell_to_train(home: Path, *script: str, content: str = ADAPTER.decode(), **certificate: Any) -> None:
    """Let train jobs end with an adapter of that content."""
    digest = hashlib.sha256(content.encode()).hexdigest()
    output = {
        "adapter": "adapter.safetensors",
        "sha256": digest,
        "steps": 4,
        "certificate": CERTIFICATE | {"sha256": digest} | certificate,
    }
    tell(home, "train", *script, output=output, files={"adapter.safetensors": content})


def write_base(folder: Path) -> Path:
    """A base in diffusers layout with configs and headers and a byte of weights: enough to be told apart."""
    classes = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "text_encoder": "CLIPTextModel"}
    index: dict[str, Any] = {"_class_name": "StableDiffusionPipeline"}
    index |= {part: ["diffusers", name] for part, name in classes.items()} | {
        "scheduler": ["diffusers", "DDIMScheduler"]
    }
    configs: dict[str, dict[str, Any]] = {
        "unet": {"cross_attention_dim": 768, "sample_size": 16, "in_channels": 4},
        "vae": {},
        "text_encoder": {},
    }
    for part, config in configs.items():
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text(json.dumps(config))
        name = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        header = json.dumps({"weight": {"dtype": "I8", "shape": [1], "data_offsets": [0, 1]}}).encode()
        (folder / part / f"{name}.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps({"prediction_type": "epsilon"}))
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def write_pictures(folder: Path, captions: Sequence[str] = ("a cat, red", "a dog, red", "")) -> Path:
    """A folder of small pictures with captions beside them, one without, and a file that is no picture."""
    folder.mkdir(parents=True)
    for number, caption in enumerate(captions):
        Image.new("RGB", (288, 256 + 8 * number), (60 * number, 90, 200)).save(folder / f"猫 {number}.png")
        if caption:
            (folder / f"猫 {number}.txt").write_text(caption, encoding="utf-8")
    (folder / "notes.pdf").write_bytes(b"%PDF-1.7")
    return folder
