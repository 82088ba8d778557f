"""What masks do to a run on the sandbox: every training picture has the mascot on the left and stripes on the right.

    python bench/masks.py [--steps 300] [--pictures 20] [--threads 1]

Trains three times with the same seed: whole pictures, masked, and masked with ``objective.unmasked_weight`` 0.1; the
masks let the left half through. Then paints the trigger word alone and counts in how many pictures the mascot stands
and in how many the stripes do, and gives the error on held-out pictures of the same kind, in each half, before and
after (the mean squared error of the predicted noise).
"""

from __future__ import annotations

import argparse
import logging
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

log = logging.getLogger("bench")
RUNS: dict[str, dict[str, Any]] = {
    "whole pictures": {"objective.masked_loss": False},
    "masked": {},
    "masked, unmasked_weight 0.1": {"objective.unmasked_weight": 0.1},
}


def config_of(steps: int, threads: int, changes: dict[str, Any]) -> dict[str, Any]:
    """The run of every row; rows differ in ``changes`` only."""
    own = {
        "base": "sandbox",
        "dataset": "striped@1",
        "max_train_steps": steps,
        "train_batch_size": 4,
        "seed": 3,
        "device": "cpu",
        "threads": threads,
        "validation_every_steps": 0,
        "adapter.rank": 16,
        "adapter.targets": "all_linear_conv",
        "data.resolution": 128,
        "optimizer.learning_rate": 2e-3,
        "optimizer.lr_warmup_steps": min(15, steps - 1),
        "objective.min_snr_gamma": 5.0,
        "checkpoint.every_steps": 0,
    }
    return own | changes


def striped(image: Any) -> bool:
    """Whether the right half of a picture goes up and down as the stripes do."""
    import numpy as np

    from tests.training.striped import HALF, stripes

    rows = np.asarray(image.crop((HALF, 0, 2 * HALF, 2 * HALF)), float).mean(axis=1)
    wanted = np.asarray(stripes(), float).mean(axis=1)
    told, meant = (row - row.mean(axis=0) for row in (rows, wanted))
    length = float(np.linalg.norm(told) * np.linalg.norm(meant))
    return float((told * meant).sum()) > 0.6 * length and float(told.std()) > 15


def mascot(image: Any) -> bool:
    """Whether the mascot stands in the left half: that half alone, on more of its own ground."""
    import numpy as np
    from PIL import Image

    from lorasmith.sandbox.detectors import shows_mascot
    from tests.training.striped import HALF

    part = image.crop((0, 0, HALF - 4, 2 * HALF))
    ground = tuple(np.median(np.asarray(part)[:, :4].reshape(-1, 3), axis=0).astype(int).tolist())
    alone = Image.new("RGB", image.size, ground)
    alone.paste(part, (HALF // 2, 0))
    return shows_mascot(alone)


def row(home: Path, name: str, config: dict[str, Any], pictures: int) -> str:
    """Train, measure the error in each half, paint: one line of the table."""
    import torch
    from PIL import Image

    from lorasmith.adapters.file import write_adapter
    from lorasmith.bases import open_base
    from lorasmith.config import resolve
    from lorasmith.datasets.store import DatasetStore
    from lorasmith.families.sd import plugin as sd
    from lorasmith.jobfolder import Control
    from lorasmith.studio import Studio
    from lorasmith.training.assembly import assemble, settle_torch
    from lorasmith.training.cache import Cache, encoders_of
    from lorasmith.training.loop import train
    from lorasmith.training.plan import plan
    from lorasmith.training.precompute import precompute
    from lorasmith.training.setting import Setting
    from tests.training.striped import errors

    resolved, base, store = resolve(config), open_base("sandbox", home=home), DatasetStore(home)
    settle_torch(resolved)
    version = store.get("striped")
    setting = Setting(resolved, plan(resolved, version, sd, base), version, store, sd, base, torch.device("cpu"))
    cache, quiet = Cache(home / "cache", *encoders_of(base)), lambda event: None
    precompute(cache, setting, emit=quiet, control=Control)
    out = home / name
    out.mkdir()
    run = assemble(setting, cache, out)
    before = errors(run)
    begun = time.process_time()
    train(run, quiet, Control)
    seconds = (time.process_time() - begun) / resolved.max_train_steps
    after = errors(run)
    file = out / "adapter.safetensors"
    write_adapter(file, run.lora.export()[0], family=sd, dtype="fp32", metadata={})
    painted = Studio(home).generate(
        base="sandbox", prompts=["zib"], count=pictures, seed=1, steps=20, guidance_scale=4.0,
        width=128, height=128, adapters=[{"name": str(file)}],
    )  # fmt: skip
    images = [Image.open(one.path).convert("RGB") for one in painted]
    found = sum(map(mascot, images)), sum(map(striped, images))
    return (
        f"| {name} | {before[0]:.3f} to {after[0]:.3f} | {before[1]:.3f} to {after[1]:.3f} "
        f"| {found[0]} of {pictures} | {found[1]} of {pictures} | {seconds:.3f} |"
    )


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--home", type=Path, help="a new folder, to keep what is trained and painted")
    wanted = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)

    from tests.training.striped import make_striped

    log.info("%s, %s, %d thread(s)", datetime.now(UTC).date(), platform.platform(), wanted.threads)
    log.info("| run | error left, the subject | error right, the stripes | mascot painted | stripes painted | s/step |")
    log.info("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        home = wanted.home or Path(folder)
        make_striped(home, trained=16, held_out=4)
        for name, changes in RUNS.items():
            log.info(row(home, name, config_of(wanted.steps, wanted.threads, changes), wanted.pictures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
