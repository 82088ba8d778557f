"""What our loop costs over a bare peft + diffusers loop around the same model.

    python bench/loop.py [--steps 5] [--rounds 20] [--full] [--threads 1]

Both train the same kind of adapter on the same latents with AdamW and take turns in one process. What counts is
processor time, all threads together: on a busy machine the wall clock measures the others. Prints the median seconds
per step of each, and the median of the rounds' ratios.
``--full`` takes the UNet of Stable Diffusion 1.5 with random weights at 256 pixels instead of the sandbox's at 128.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

FULL_UNET = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "attention_head_dim": 8,
    "cross_attention_dim": 768,
    "norm_num_groups": 32,
    "use_linear_projection": False,
}
FULL_TEXT = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "projection_dim": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}


def write_base(folder: Path, full: bool) -> Path:
    """A base with random weights."""
    import torch

    from lorasmith.sandbox.architecture import build_pipeline, write_tokenizer

    write_tokenizer(folder / "tokenizer")
    torch.manual_seed(0)
    overrides: dict[str, Any] = {"unet": FULL_UNET, "text_encoder": FULL_TEXT} if full else {}
    build_pipeline(folder / "tokenizer", **overrides).save_pretrained(folder / "base")
    return folder / "base"


class Bare:
    """The loop that everyone writes: cached latents, noise, target, loss, backward, clip, step, one ``item()``."""

    def __init__(self, base: Path, run: Any, batch_size: int) -> None:
        import torch
        from diffusers import DDIMScheduler, UNet2DConditionModel
        from peft import LoraConfig

        self.unet: Any = UNet2DConditionModel.from_pretrained(base, subfolder="unet").requires_grad_(False)
        config = run.config
        targets = list(run.family.target_presets[config.adapter.targets])
        self.unet.add_adapter(LoraConfig(r=config.adapter.rank, lora_alpha=config.adapter.rank, target_modules=targets))
        self.unet.train()
        self.scheduler: Any = DDIMScheduler.from_pretrained(base, subfolder="scheduler")
        self.parameters = [p for p in self.unet.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-4, fused=True)
        batch = run.batches.load(run.sampler.next_batch())
        run.sampler.seek({"taken": [0] * len(run.sampler.cursor()["taken"])})
        self.latents, self.states = batch.latents, batch.conditioning.tensors["encoder_hidden_states"]
        self.batch_size = batch_size

    def steps(self, count: int) -> list[float]:
        """Train so many steps; the seconds of each."""
        import torch
        import torch.nn.functional as F

        seconds = []
        for _ in range(count):
            begun = time.process_time()
            noise = torch.randn_like(self.latents)
            timesteps = torch.randint(0, 1000, (self.batch_size,))
            noisy = self.scheduler.add_noise(self.latents, noise, timesteps)
            target = self.scheduler.get_velocity(self.latents, noise, timesteps)
            prediction = self.unet(noisy, timesteps, self.states, return_dict=False)[0]
            loss = F.mse_loss(prediction, target)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            loss.item()
            seconds.append(time.process_time() - begun)
        return seconds


class Ours:
    """Our loop, whole, events written to a file as in a job; one call of ``train`` over all rounds."""

    def __init__(self, run: Any, folder: Path) -> None:
        from lorasmith.jobfolder import JobFolder

        self.run, self.folder = run, JobFolder(folder)

    def steps(self, count: int) -> list[float]:
        """Train so many steps; the seconds from one progress event to the next."""
        from lorasmith.events import Event, Progress
        from lorasmith.jobfolder import Control
        from lorasmith.training.loop import train

        config = self.run.config
        self.run.config = config.model_copy(update={"max_train_steps": self.run.step + count})
        self.run.settled = self.run.step
        ends = [time.process_time()]

        def emit(event: Event) -> None:
            self.folder.emit(event)
            if isinstance(event, Progress):
                ends.append(time.process_time())

        train(self.run, emit, Control)
        return [after - before for before, after in itertools.pairwise(ends)]


def main() -> int:
    parser = argparse.ArgumentParser(description="Our loop against a bare one.")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--full", action="store_true")
    options = parser.parse_args()

    import torch

    from tests.training.runs import make_run

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="lorasmith loop ") as temporary:
        root = Path(temporary)
        base = write_base(root, options.full)
        changes: dict[str, Any] = {
            "train_batch_size": options.batch_size,
            "adapter.rank": 16,
            "adapter.dropout": 0.0,
            "adapter.targets": "attention",
            "data.resolution": 256 if options.full else 128,
            "data.buckets": False,
            "data.validation_fraction": 0.0,
            "ema_decay": None,
            "sample.prompts": [],
            "checkpoint.every_steps": 0,
            "validation_every_steps": 0,
        }
        run = make_run(root, base, **changes)
        ours, bare = Ours(run, root / "out"), Bare(base, run, options.batch_size)
        ours.steps(2), bare.steps(2)
        ratios, all_ours, all_bare = [], [], []
        for turn in range(options.rounds):
            pair = (ours, bare) if turn % 2 else (bare, ours)
            measured = {id(one): one.steps(options.steps) for one in pair}
            mine, theirs = statistics.median(measured[id(ours)]), statistics.median(measured[id(bare)])
            ratios.append(mine / theirs)
            all_ours.append(mine)
            all_bare.append(theirs)
    what = "Stable Diffusion 1.5 at 256 px" if options.full else "sandbox at 128 px"
    machine = f"{platform.machine()}, {options.threads} thread(s), torch {torch.__version__}"
    sys.stdout.write(
        f"{datetime.now(UTC):%Y-%m-%d} {what}, batch {options.batch_size}, {machine}: "
        f"ours {statistics.median(all_ours):.4f} CPU s/step, bare {statistics.median(all_bare):.4f} CPU s/step, "
        f"ratio {statistics.median(ratios):.3f} (rounds {min(ratios):.3f} to {max(ratios):.3f})\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
