"""A base with random weights in the real layout, small enough to build in every test session."""

from __future__ import annotations

from pathlib import Path


def build_tiny_base(folder: Path) -> Path:
    """Write a random base (seed 0) in diffusers layout to ``folder`` and return it."""
    import torch

    from lorasmith.sandbox import architecture

    architecture.write_tokenizer(folder.parent / f"{folder.name}-tokenizer")
    torch.manual_seed(0)
    pipe = architecture.build_pipeline(
        folder.parent / f"{folder.name}-tokenizer",
        unet={"block_out_channels": (32, 48, 64)},
        vae={"block_out_channels": (8, 16, 16, 16)},
    )
    pipe.save_pretrained(folder)
    return folder
