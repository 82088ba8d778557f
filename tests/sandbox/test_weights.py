"""The weights that ship: whole, small enough, and what they claim to be."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lorasmith.sandbox import sandbox_weights

MEGABYTE = 1_000_000


def test_every_file_is_the_one_recorded() -> None:
    folder = sandbox_weights()
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    recorded = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    found = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "SHA256SUMS"
    }
    assert found == recorded


def test_the_weights_are_small() -> None:
    total = sum(path.stat().st_size for path in sandbox_weights().rglob("*") if path.is_file())
    assert total <= 24 * MEGABYTE


def test_a_plain_diffusers_pipeline_paints_with_them(tmp_path: Path) -> None:
    import torch
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(sandbox_weights() / "base", local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    assert 6e6 <= sum(p.numel() for p in pipe.unet.parameters()) <= 7.5e6
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    assert pipe.scheduler.config.rescale_betas_zero_snr
    image = pipe(
        "a large red circle on a white background, center",
        num_inference_steps=12,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(3),
    ).images[0]
    from lorasmith.sandbox import detectors

    found = detectors.find_figure(image)
    assert found is not None
    assert (found.color, found.background) == ("red", "white")


def test_the_single_file_form_paints_the_same(tmp_path: Path) -> None:
    import numpy as np
    import torch
    from diffusers import StableDiffusionPipeline

    from lorasmith.sandbox.single_file import write_single_file

    single = tmp_path / "sandbox.safetensors"
    write_single_file(sandbox_weights() / "base", single)
    one = StableDiffusionPipeline.from_single_file(
        str(single), config=str(sandbox_weights() / "base"), local_files_only=True, safety_checker=None
    )
    two = StableDiffusionPipeline.from_pretrained(sandbox_weights() / "base", local_files_only=True)
    pictures = []
    for pipe in (one, two):
        pipe.set_progress_bar_config(disable=True)
        generator = torch.Generator().manual_seed(1)
        pictures.append(np.asarray(pipe("a blue star", num_inference_steps=3, generator=generator).images[0]))
    assert np.array_equal(*pictures)
