"""Trains the sandbox's own weights from a seed: VAE, then text encoder and denoiser.

    python -m lorasmith.sandbox.pretrain vae   --work DIR
    python -m lorasmith.sandbox.pretrain base  --work DIR
    python -m lorasmith.sandbox.pretrain pack  --work DIR --out FOLDER

Every stage writes a checkpoint each few minutes and goes on from it when started again. This is how the
weights that ship in the package were made; users never need to run it.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lorasmith.sandbox import architecture, patchwork

log = logging.getLogger("lorasmith.pretrain")

def cosine(step: int, total: int, *, warm_up: int, floor: float = 0.01) -> float:
    """Learning-rate factor: linear warm-up, then a half cosine down to ``floor``."""
    if step < warm_up:
        return (step + 1) / warm_up
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, total - warm_up)))


def save(path: Path, **state: Any) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def load(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, weights_only=True)
    log.info("going on from step %d", state["step"])
    return state


def pool(seed: int, count: int) -> np.ndarray:
    """``count`` patchwork pictures, uint8 (N, 3, 128, 128)."""
    pictures = (np.asarray(patchwork.draw_patchwork(np.random.default_rng((seed, i)))) for i in range(count))
    return np.stack([p.transpose(2, 0, 1) for p in pictures])


def pixels_to_unit(pictures: np.ndarray) -> Tensor:
    """uint8 (B, 3, H, W) in 0..255 to float (B, 3, H, W) in -1..1, channels last in memory."""
    x = torch.from_numpy(np.ascontiguousarray(pictures)).float() / 127.5 - 1
    return x.contiguous(memory_format=torch.channels_last)


def reconstruction_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """L1 at full size and, weighted up, at 1/4 and 1/16 of it: the colour of areas must not drift."""
    difference = prediction - target
    loss = difference.abs().mean() + 0.5 * difference.square().mean()
    for factor, weight in ((4, 0.7), (16, 0.7)):
        loss = loss + weight * F.avg_pool2d(difference, factor).abs().mean()
    return loss


def train_vae(work: Path, *, steps: int, seed: int) -> None:
    """AutoencoderKL: 64-pixel crops for the first 80 % of the steps, whole pictures for the rest."""
    from diffusers import AutoencoderKL

    torch.manual_seed(seed)
    vae = AutoencoderKL(**architecture.VAE).to(memory_format=torch.channels_last)
    with torch.no_grad():  # start with a narrow posterior: at unit width the decoder learns to ignore the latents
        vae.quant_conv.bias[4:] -= 8.0
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1.2e-3, betas=(0.9, 0.99), weight_decay=1e-3)
    first = 0
    if state := load(work / "vae.pt"):
        vae.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    pictures = pool(seed, 12_000)
    log.info("%d pictures, %.2f M parameters", len(pictures), sum(p.numel() for p in vae.parameters()) / 1e6)

    def objective(x: Tensor, noise: Tensor, jitter: Tensor) -> tuple[Tensor, Tensor]:
        moments = vae.quant_conv(vae.encoder(x))
        mean, logvar = moments.chunk(2, dim=1)
        logvar = logvar.clamp(-30.0, 20.0)
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        # Jitter beyond the posterior's own makes the decoder forgiving of a denoiser's small errors.
        latents = mean + noise * (0.5 * logvar).exp() + jitter
        restored = vae.decoder(vae.post_quant_conv(latents)).float()
        return reconstruction_loss(restored, x), kl

    started, shown = time.monotonic(), 0.0
    for step in range(first, steps):
        rng = np.random.default_rng((seed, 1, step))
        torch.manual_seed(seed * 1_000_003 + step)
        whole = step >= 0.8 * steps
        batch = 8 if whole else 20
        x = pixels_to_unit(_crops(rng, pictures, batch, 128 if whole else 64))
        side = x.shape[-1] // 8
        noise, jitter = torch.randn(2, batch, 4, side, side)
        jitter = jitter * 0.02
        for group in optimizer.param_groups:
            group["lr"] = 1.2e-3 * cosine(step, steps, warm_up=300)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss, kl = objective(x, noise, jitter)
        (loss + 1e-6 * kl).backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        shown = loss.item() if not shown else 0.98 * shown + 0.02 * loss.item()
        if (step + 1) % 100 == 0:
            rate = (step + 1 - first) / (time.monotonic() - started)
            log.info("vae %d/%d loss %.4f kl %.2f %.2f steps/s", step + 1, steps, shown, kl.item(), rate)
        if (step + 1) % 500 == 0 or step + 1 == steps:
            save(work / "vae.pt", model=vae.state_dict(), optimizer=optimizer.state_dict(), step=step + 1)


def _crops(rng: np.random.Generator, pictures: np.ndarray, batch: int, side: int) -> np.ndarray:
    """Random crops, uint8 (B, 3, side, side), mirrored, transposed and with shuffled channels at random."""
    chosen = []
    for index in rng.integers(len(pictures), size=batch):
        y, x = rng.integers(0, 128 - side + 1, size=2)
        crop = pictures[index, :, y : y + side, x : x + side]
        if rng.random() < 0.5:
            crop = crop[:, :, ::-1]
        if rng.random() < 0.5:
            crop = crop.transpose(0, 2, 1)
        if rng.random() < 0.5:
            crop = crop[rng.permutation(3)]
        chosen.append(crop)
    return np.stack(chosen)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["vae"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    (options.work / "options.json").write_text(json.dumps({k: str(v) for k, v in vars(options).items()}))
    train_vae(options.work, steps=options.steps, seed=options.seed)


if __name__ == "__main__":
    main()
