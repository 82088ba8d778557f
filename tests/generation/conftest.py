from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorasmith.families import Base
from tests.tiny import build_tiny_base


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """The tiny random base, told apart without the bases room."""
    from lorasmith.bases.header import Header
    from lorasmith.families.sd import plugin

    path = build_tiny_base(tmp_path_factory.mktemp("bäse") / "tiny base")
    configs = {"model_index": {"_class_name": "StableDiffusionPipeline"}, "unet": {"cross_attention_dim": 128}}
    header = Header(path, "folder", {}, configs=configs)
    detection = plugin.detect(header)
    assert detection is not None
    return Base(path, "folder", detection, header, name="tiny")


@pytest.fixture(scope="session")
def plain_pipe(base: Base) -> Callable[[], Any]:
    """A fresh pipeline of the base, by diffusers alone."""
    from diffusers import StableDiffusionPipeline

    def build() -> Any:
        pipe = StableDiffusionPipeline.from_pretrained(base.path, local_files_only=True)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return build


Tensors = dict[str, Any]


@pytest.fixture(scope="session")
def lora_tensors(plain_pipe: Callable[[], Any]) -> Callable[..., tuple[Tensors, Tensors]]:
    """Make (file tensors in kohya's form, weight updates by ``part.module``) of a random adapter."""
    import torch

    pipe = plain_pipe()

    def build(seed: int, *, rank: int = 4, alpha: float = 2.0, text_encoder: bool = True) -> tuple[Tensors, Tensors]:
        generator = torch.Generator().manual_seed(seed)
        wanted = {"unet": ("to_q", "to_out.0", "conv1"), "text_encoder": ("q_proj", "fc1") if text_encoder else ()}
        tensors: Tensors = {}
        updates: Tensors = {}
        for part, suffixes in wanted.items():
            for name, module in getattr(pipe, part).named_modules():
                if not any(name.endswith("." + suffix) for suffix in suffixes):
                    continue
                shape = module.weight.shape
                down = torch.randn(rank, *shape[1:], generator=generator) * 0.3
                up = torch.randn(shape[0], rank, *[1] * (len(shape) - 2), generator=generator) * 0.3
                stem = ("lora_unet_" if part == "unet" else "lora_te_text_model_") + name.replace(".", "_")
                tensors |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
                tensors[f"{stem}.alpha"] = torch.tensor(alpha)
                updates[f"{part}.{name}"] = alpha / rank * (up.flatten(1) @ down.flatten(1)).reshape(shape)
        return tensors, updates

    return build


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "hömé" / "adapters").mkdir(parents=True)
    return tmp_path / "hömé"
