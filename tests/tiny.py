"""A tiny random base, shared by the tests of several rooms."""

from __future__ import annotations

from pathlib import Path


def build_tiny_base(folder: Path) -> Path:
    """A whole Stable Diffusion in diffusers layout with random weights (seed 0), a few hundred thousand parameters."""
    import torch

    from lorasmith.sandbox.architecture import build_pipeline, write_tokenizer

    write_tokenizer(folder / "source_tokenizer")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipeline = build_pipeline(
            folder / "source_tokenizer",
            unet={"block_out_channels": (32, 48, 64)},
            vae={"block_out_channels": (8, 16, 16, 16)},
        )
    base = folder / "base"
    pipeline.save_pretrained(base)
    return base
