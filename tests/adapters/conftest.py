"""One tiny base for the whole room, and adapters made for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lorasmith.adapters.module import LoraModule
from lorasmith.bases import family_of, open_base
from lorasmith.families import Base, Family
from tests.tiny import build_tiny_base

MakeModules = Callable[..., list[LoraModule]]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    torch.set_num_threads(1)
    return open_base(str(build_tiny_base(tmp_path_factory.mktemp("tiny base é"))))


@pytest.fixture(scope="session")
def family(base: Base) -> Family:
    return family_of(base)


@pytest.fixture(scope="session")
def make_modules(base: Base, family: Family) -> MakeModules:
    """``make(preset, text_encoder=..., rank=..., alpha=...)``: random modules for every target of the base."""
    pipeline = family.pipeline(base, dtype=torch.float32, device="cpu")
    parts = {"unet": pipeline.unet, "text_encoder": pipeline.text_encoder}

    def make(
        preset: str = "attention", *, text_encoder: bool = True, rank: int = 4, alpha: float = 3.0, seed: int = 1
    ) -> list[LoraModule]:
        generator = torch.Generator().manual_seed(seed)
        targets = {"unet": family.target_presets[preset]}
        if text_encoder:
            targets["text_encoder"] = family.text_encoder_targets
        found: list[LoraModule] = []
        for part, names in targets.items():
            for module, layer in parts[part].named_modules():
                if any(module == name or module.endswith(f".{name}") for name in names):
                    out, *inside = layer.weight.shape
                    down = 0.1 * torch.randn(rank, *inside, generator=generator)
                    up = 0.1 * torch.randn(out, rank, *([1] * (len(inside) - 1)), generator=generator)
                    found.append(LoraModule(part, module, down, up, alpha))
        return found

    return make


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "an adapter é.safetensors"
