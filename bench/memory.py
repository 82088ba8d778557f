"""The memory of a training step as computed without allocating it, against what a process really grows by.

    python bench/memory.py [--full] [--batch-size 2]

Each configuration is measured in a process of its own: the resident size before the first step, and the largest
afterwards. ``--full`` takes Stable Diffusion 1.5 with random weights at 256 pixels; without it, the sandbox at 128.
On a CPU the process also holds what its allocator keeps, so that the measured figure is the larger one.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]


def one(full: bool, batch_size: int, checkpointing: bool) -> dict[str, int]:
    """Both figures of one configuration, in this process."""
    import torch
    from bench.loop import write_base

    from lorasmith.training.footprint import footprint
    from lorasmith.training.memory import rss_bytes
    from tests.training.runs import make_run

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="lorasmith memory ") as temporary:
        root = Path(temporary)
        changes: dict[str, Any] = {
            "train_batch_size": batch_size,
            "gradient_checkpointing": checkpointing,
            "adapter.rank": 16,
            "adapter.targets": "attention",
            "data.resolution": 256 if full else 128,
            "data.buckets": False,
            "data.validation_fraction": 0.0,
            "sample.prompts": [],
        }
        run = make_run(root, write_base(root, full), **changes)
        computed = footprint(run, run.config)
        batch = run.batches.load(run.sampler.next_batch())
        time = run.objective.time(batch.timestep)
        for parameter in run.model.denoiser.parameters():
            parameter.sum()  # loaded weights are mapped files: they become resident when they are first read
        before = rss_bytes()
        peak, over = before, threading.Event()

        def look() -> None:
            nonlocal peak
            while not over.wait(0.005):
                peak = max(peak, rss_bytes())

        watcher = threading.Thread(target=look)
        watcher.start()
        torch.autograd.backward(run.family.denoise(run.model, batch.latents, time, batch.conditioning).square().mean())
        over.set()
        watcher.join()
    return {"computed": computed.step, "measured": peak - before}


def main() -> int:
    parser = argparse.ArgumentParser(description="Computed against measured memory of a step.")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        sys.stdout.write(json.dumps(one(options.full, options.batch_size, options.checkpointing)) + "\n")
        return 0
    size = "Stable Diffusion 1.5 at 256 px" if options.full else "sandbox at 128 px"
    sys.stdout.write(f"{datetime.now(UTC):%Y-%m-%d} {size}, batch {options.batch_size}, {platform.machine()}\n")
    for more in ([], ["--checkpointing"]):
        command = [sys.executable, __file__, "--child", "--batch-size", str(options.batch_size), *more]
        command += ["--full"] if options.full else []
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
        computed, measured = found["computed"] / 2**20, found["measured"] / 2**20
        sys.stdout.write(
            f"{' '.join(more) or 'plain':16} computed {computed:8.1f} MiB, measured {measured:8.1f} MiB, "
            f"ratio {measured / computed:.3f}\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
