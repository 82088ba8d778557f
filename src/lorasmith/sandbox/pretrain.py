"""Trains the sandbox's own weights from a seed: VAE, then text encoder and denoiser.

    python -m lorasmith.sandbox.pretrain vae   --work DIR
    python -m lorasmith.sandbox.pretrain base  --work DIR
    python -m lorasmith.sandbox.pretrain pack  --work DIR --out src/lorasmith/sandbox/weights

Every stage writes a checkpoint each few minutes and goes on from it when started again. This is how the
weights that ship in the package were made; users never need to run it. A base that has shipped can be trained
further: ``base --work NEW_DIR --further src/lorasmith/sandbox/weights/base``.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
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

from lorasmith.sandbox import architecture, detectors, patchwork, world

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
        torch.autograd.backward(loss + 1e-6 * kl)
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


def fold_latent_scale(vae: Any, latents: Tensor) -> None:
    """Make the latents (N, 4, h, w) centred and ``1 / scaling_factor`` wide, exactly, in the VAE's 1x1 convolutions.

    Stable Diffusion's one number ``scaling_factor`` then turns them into unit-variance latents, as its users expect.
    """
    center = latents.mean(dim=(0, 2, 3))
    width = latents.std(dim=(0, 2, 3)) * architecture.SCALING_FACTOR
    with torch.no_grad():
        vae.quant_conv.weight[:4] /= width[:, None, None, None]
        vae.quant_conv.bias[:4] = (vae.quant_conv.bias[:4] - center) / width
        vae.quant_conv.bias[4:] -= 2 * width.log()
        # z = z' * width + center, undone before the decoder
        vae.post_quant_conv.bias += vae.post_quant_conv.weight[:, :, 0, 0] @ center
        vae.post_quant_conv.weight *= width[None, :, None, None]


@torch.no_grad()
def encode(vae: Any, *, seed: int, count: int) -> Tensor:
    """Latents (N, 4, 16, 16) of ``count`` world pictures as the VAE gives them, fp32."""
    chunks: list[Tensor] = []
    batch: list[np.ndarray] = []
    for index, (scene, rng) in enumerate(world.scenes(seed + 1, count)):
        batch.append(np.asarray(world.draw(scene, rng)).transpose(2, 0, 1))
        if len(batch) == 40 or index + 1 == count:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                chunks.append(vae.encode(pixels_to_unit(np.stack(batch))).latent_dist.mode().float())
            batch = []
            if len(chunks) % 50 == 0:
                log.info("encoded %d/%d", index + 1, count)
    return torch.cat(chunks)


def encode_pool(work: Path, *, seed: int, count: int) -> tuple[Tensor, Any]:
    """Unit-variance latents (N, 4, 16, 16) of ``count`` world pictures, and the folded VAE; both kept in ``work``."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(**architecture.VAE).eval()
    if (work / "vae_folded.pt").exists():
        vae.load_state_dict(torch.load(work / "vae_folded.pt", weights_only=True))
        kept: Tensor = torch.load(work / "latents.pt", weights_only=True)
        return kept, vae
    vae.load_state_dict(torch.load(work / "vae.pt", weights_only=True)["model"])
    vae = vae.to(memory_format=torch.channels_last)
    latents = encode(vae, seed=seed, count=count)
    fold_latent_scale(vae, latents)
    center, spread = latents.mean(dim=(0, 2, 3), keepdim=True), latents.std(dim=(0, 2, 3), keepdim=True)
    latents = (latents - center) / spread
    torch.save(latents, work / "latents.pt")
    torch.save(vae.state_dict(), work / "vae_folded.pt")
    return latents, vae


def take_over(pipe: Any, packed: Path, work: Path, *, seed: int, count: int) -> None:
    """Put a packed base's weights into ``pipe``, and its pictures' latents into ``work``."""
    from diffusers import StableDiffusionPipeline

    shipped = StableDiffusionPipeline.from_pretrained(packed, local_files_only=True)
    pipe.unet.load_state_dict(shipped.unet.state_dict())
    pipe.text_encoder.load_state_dict(shipped.text_encoder.state_dict())
    torch.save(shipped.vae.state_dict(), work / "vae_folded.pt")
    latents = encode(shipped.vae.to(memory_format=torch.channels_last), seed=seed, count=count)
    torch.save(latents * architecture.SCALING_FACTOR, work / "latents.pt")


def train_base(
    work: Path,
    *,
    steps: int,
    seed: int,
    until: int | None = None,
    further: Path | None = None,
    batch: int = 32,
    count: int = 20_000,
) -> None:
    """Text encoder and UNet together, v prediction at zero terminal SNR, with an average of the weights kept.

    ``steps`` is the length of the learning rate's schedule; the run ends at ``until`` when that comes first.
    """
    last = min(steps, until or steps)
    torch.manual_seed(seed + 2)
    architecture.write_tokenizer(work / "tokenizer")
    pipe = architecture.build_pipeline(work / "tokenizer")
    modules = nn.ModuleList([pipe.unet.to(memory_format=torch.channels_last), pipe.text_encoder])
    if further is not None and not (work / "latents.pt").exists():
        take_over(pipe, further, work, seed=seed, count=count)
    parameters = list(modules.parameters())
    average = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.01)
    first = 0
    if state := load(work / "base.pt"):
        modules.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average, first = state["average"], state["step"]
    latents, pipe.vae = encode_pool(work, seed=seed, count=count)
    stock = [scene for scene, _ in world.scenes(seed + 1, count)]
    started, shown = time.monotonic(), 0.0
    for step in range(first, last):
        rng = np.random.default_rng((seed, 2, step))
        torch.manual_seed(seed * 1_000_003 + 500_000_000 + step)
        chosen = rng.integers(count, size=batch)
        prompts = ["" if rng.random() < 0.1 else world.write_caption(stock[i], rng) for i in chosen]
        clean = latents[torch.from_numpy(chosen)].contiguous(memory_format=torch.channels_last)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * cosine(step, steps, warm_up=400, floor=0.02)
        loss = velocity_loss(pipe, clean, prompts)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        decay = min(0.9985, (step + 1) / (step + 20))
        torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - decay)
        shown = loss.item() if not shown else 0.99 * shown + 0.01 * loss.item()
        if (step + 1) % 100 == 0:
            rate = (step + 1 - first) * batch / (time.monotonic() - started)
            log.info("base %d/%d loss %.4f %.1f images/s", step + 1, steps, shown, rate)
        if (step + 1) % 500 == 0 or step + 1 == last:
            save(
                work / "base.pt",
                model=modules.state_dict(),
                optimizer=optimizer.state_dict(),
                average=average,
                step=step + 1,
            )
        if (step + 1) % 1500 == 0 or step + 1 == last:
            examine(averaged(pipe, modules, average), count=48)


def velocity_loss(pipe: Any, clean: Tensor, prompts: list[str]) -> Tensor:
    """Weighted error of the predicted velocity for unit-variance latents (B, 4, 16, 16), noise drawn from torch.

    A third of the timesteps lean towards noise, where colour is decided; the loss weighs the middle
    signal-to-noise ratios up, where shape is.
    """
    batch, alphas = len(clean), pipe.scheduler.alphas_cumprod
    u = torch.rand(batch)
    t = (torch.where(torch.rand(batch) < 0.35, 1 - u.square(), u) * 1000).long().clamp(0, 999)
    noise = torch.randn_like(clean)
    a, s = alphas[t].sqrt()[:, None, None, None], (1 - alphas[t]).sqrt()[:, None, None, None]
    ids = pipe.tokenizer(
        prompts, padding="max_length", max_length=architecture.MAX_TOKENS, truncation=True, return_tensors="pt"
    ).input_ids
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = pipe.text_encoder(ids)[0]
        prediction = pipe.unet(a * clean + s * noise, t, states, return_dict=False)[0]
    snr = alphas[t] / (1 - alphas[t])
    weight = 0.4 + 1.3 * snr.clamp(max=5) / (1 + snr)
    error: Tensor = (prediction.float() - (a * noise - s * clean)).square().mean(dim=(1, 2, 3))
    loss: Tensor = (weight * error).mean()
    return loss


def averaged(pipe: Any, modules: nn.ModuleList, average: list[Tensor]) -> Any:
    """A copy of the pipeline that carries the averaged weights."""
    copies = copy.deepcopy(modules)
    with torch.no_grad():
        for parameter, value in zip(copies.parameters(), average, strict=True):
            parameter.copy_(value)
    return type(pipe)(
        vae=pipe.vae,
        text_encoder=copies[1].eval(),
        tokenizer=pipe.tokenizer,
        unet=copies[0].eval(),
        scheduler=pipe.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@torch.no_grad()
def examine(pipe: Any, *, count: int, seed: int = 99, steps: int = 20, guidance_scale: float = 4.0) -> dict[str, float]:
    """Share of held-out prompts painted in the right colour, shape and background, by the pixel detectors."""
    pipe.set_progress_bar_config(disable=True)
    right = {"color": 0, "shape": 0, "background": 0}
    stock = [scene for scene, _ in world.scenes(seed, count, held_out=True)]
    for start in range(0, count, 16):
        part = stock[start : start + 16]
        images = pipe(
            [scene.prose() for scene in part],
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            generator=[torch.Generator().manual_seed(seed * 1000 + start + i) for i in range(len(part))],
        ).images
        for scene, image in zip(part, images, strict=True):
            found, wanted = detectors.find_figure(image), scene.figures[0]
            if found is not None:
                right["color"] += found.color == wanted.color
                right["shape"] += found.shape == wanted.shape
                right["background"] += found.background == scene.background
    shares = {name: value / count for name, value in right.items()}
    log.info("held-out prompts: %s", "  ".join(f"{name} {share:.1%}" for name, share in shares.items()))
    return shares


def pack(work: Path, out: Path) -> None:
    """Write the averaged weights as the base that ships: diffusers layout, fp16 safetensors, tokenizer files."""
    state = load(work / "base.pt")
    if state is None:
        raise SystemExit("There is no base.pt to pack; run the stage 'base' first.")
    pipe = architecture.build_pipeline(work / "tokenizer")
    modules = nn.ModuleList([pipe.unet, pipe.text_encoder])
    modules.load_state_dict(state["model"])
    _, pipe.vae = encode_pool(work, seed=0, count=0)
    ready = averaged(pipe, modules, state["average"])
    ready.to(torch.float16)
    base = out / "base"
    ready.save_pretrained(base, safe_serialization=True)
    architecture.write_tokenizer(base / "tokenizer")
    # transformers loads in the number format its config names, diffusers in fp32: a plain from_pretrained needs one.
    text_config = base / "text_encoder" / "config.json"
    settings = json.loads(text_config.read_text(encoding="utf-8")) | {"dtype": "float32"}
    text_config.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for weights in base.rglob("*.safetensors"):
        weights.chmod(0o644)
    record_sums(out)
    log.info("packed step %d into %s", state["step"], out)


def record_sums(folder: Path) -> None:
    """Write ``SHA256SUMS`` over everything in the folder of shipped weights."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.relative_to(folder).as_posix()}" for f in files]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["vae", "base", "pack"])
    parser.add_argument("--work", type=Path, required=True, help="folder of checkpoints; the same one goes on")
    parser.add_argument("--steps", type=int, help="optimizer steps of the stage (VAE 7000, base 8000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--until", type=int, help="with base: end here, before the schedule does")
    parser.add_argument("--further", type=Path, help="with base: a packed base to train further")
    parser.add_argument("--out", type=Path, help="with pack: the folder of shipped weights; base/ in it is replaced")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    if options.stage == "vae":
        train_vae(options.work, steps=options.steps or 7000, seed=options.seed)
    elif options.stage == "base":
        steps = options.steps or 8000
        train_base(options.work, steps=steps, seed=options.seed, until=options.until, further=options.further)
    else:
        pack(options.work, options.out)


if __name__ == "__main__":
    main()
