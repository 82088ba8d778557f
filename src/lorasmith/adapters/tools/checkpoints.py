"""The checkpoints of a run as LoRA files: ``checkpoints/<step>/adapter.safetensors`` has the matrices, the job their
scale, and the run's own file what is said of them."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lorasmith.adapters.arrays import TensorFile
from lorasmith.errors import AdapterError, JobError
from lorasmith.files import file_digest

_FILE: Final = "adapter.safetensors"


@dataclass(frozen=True)
class Saved:
    """Checkpoints of one run, the earliest first."""

    run: str
    """The job's id."""
    files: tuple[Path, ...]
    steps: tuple[int, ...]
    scale: float
    """alpha / rank, which is not in the files."""
    says: Mapping[str, str]
    """What the result says of itself."""
    base: str
    """The base it was trained on, by name or path."""

    @property
    def family(self) -> str:
        """Of its base; empty where only the base tells."""
        return self.says.get("lorasmith.family", "")


def saved_steps(job: Path) -> tuple[int, ...]:
    """The steps that a run has checkpoints of, the earliest first; damaged ones are not looked into."""
    names = (path.name for path in (job / "checkpoints").glob("*"))
    return tuple(sorted(int(name) for name in names if name.isdecimal()))


def saved(job: Path, steps: Collection[int] = ()) -> Saved:
    """The checkpoints of a run.

    Args:
        job: its folder.
        steps: which; all when empty.

    Raises:
        JobError: no training of ours, or without a checkpoint of that step.
        AdapterError: a damaged checkpoint, a run with DoRA.
    """
    config = _config(job)
    there = saved_steps(job)
    missing = sorted(set(steps) - set(there))
    if missing or not there:
        known = f"It has {', '.join(map(str, there))}." if there else "It has none; checkpoint.every_steps saves some."
        raise JobError(f"Job {job.name} has no checkpoint{f' of step {missing[0]}' if missing else ''}.", known)
    adapter = config.get("adapter", {})
    if adapter.get("use_dora"):
        raise AdapterError(
            f"Job {job.name} trained a DoRA, whose checkpoints cannot be averaged without their base.",
            "Average the LoRA files of such runs.",
        )
    rank = int(adapter["rank"])
    alpha = float(rank if adapter.get("alpha") is None else adapter["alpha"])
    scale = alpha / (math.sqrt(rank) if adapter.get("use_rslora") else rank)
    chosen = tuple(sorted(set(steps) or there))
    files = tuple(_sound(job / "checkpoints" / str(step)) for step in chosen)
    return Saved(job.name, files, chosen, scale, _said(job, config), str(config.get("base", "")))


def _config(job: Path) -> Mapping[str, Any]:
    try:
        record = json.loads((job / "job.json").read_bytes())
        config = record["payload"]["config"]
        config["adapter"]["rank"]
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise JobError(f"{job.name} is no training whose checkpoints can be read.", "Name a training.") from cause
    found: Mapping[str, Any] = config
    return found


def _sound(folder: Path) -> Path:
    """The file of one checkpoint, if it is what was written."""
    try:
        expected = json.loads((folder / "manifest.json").read_bytes())["sha256"][_FILE]
        whole = file_digest(folder / _FILE) == expected
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise AdapterError(f"The checkpoint of step {folder.name} is damaged.", "Leave it out.")
    return folder / _FILE


def _said(job: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """What the run's own file says; of a run that did not get so far, what its job does."""
    own = next(iter(sorted(job.glob("adapter*.safetensors"))), None)
    if own is not None:
        return dict(TensorFile.open(own).metadata)
    return {"lorasmith.config": json.dumps(config), "lorasmith.dataset": str(config.get("dataset", ""))}
