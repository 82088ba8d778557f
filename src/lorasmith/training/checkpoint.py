"""What exact resume needs, on disk: tensors as safetensors, everything else as JSON, nothing pickled.

    checkpoints/<step>/   adapter.safetensors  optimizer.safetensors  average.safetensors  state.json
                          manifest.json        SHA-256 of every file beside it, written last

A checkpoint is made in a hidden folder, fsynced and renamed, so a folder with a number for a name is whole. Its
hashes are still compared before it is trusted: disks and copies fail too.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load, save
from torch import Tensor

from lorasmith.errors import CheckpointError
from lorasmith.events import Emit, Notice
from lorasmith.files import sync_folder, write_atomically

_FORMAT: Final = 1
_MANIFEST: Final = "manifest.json"


@dataclass(frozen=True)
class Snapshot:
    """The whole state of a run after ``step`` optimizer steps.

    ``numbers`` is anything JSON holds, tuples and integer keys included; floats come back exactly.
    """

    step: int
    adapter: dict[str, Tensor]
    optimizer: dict[str, Any]
    """``Optimizer.state_dict()``."""
    numbers: dict[str, Any]
    average: dict[str, Tensor] = field(default_factory=dict)
    generators: dict[str, Tensor] = field(default_factory=dict)
    """States of the global random generators."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one job.

    Args:
        folder: ``checkpoints`` of the job.
        keep: how many of the newest stay.
    """

    folder: Path
    keep: int

    def steps(self) -> list[int]:
        """Steps with a checkpoint, oldest first, damaged ones included."""
        if not self.folder.is_dir():
            return []
        return sorted(int(f.name) for f in self.folder.iterdir() if f.is_dir() and f.name.isdecimal())

    def save(self, snapshot: Snapshot) -> Path:
        """Write a checkpoint and drop the oldest beyond ``keep``.

        An existing one of the same step stays when its hashes are right: exact resume would write the same bytes.

        Raises:
            OSError: the disk is full; what stood before still stands.
        """
        target = self.folder / str(snapshot.step)
        if target.exists() and not self.damage(target):
            return target
        partial = self.folder / f".{snapshot.step}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            self._write(partial, snapshot)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
        sync_folder(self.folder)
        for step in self.steps()[: -self.keep]:
            shutil.rmtree(self.folder / str(step))
        return target

    def _write(self, folder: Path, snapshot: Snapshot) -> None:
        tensors: dict[str, Tensor] = {}
        optimizer = _flatten(snapshot.optimizer, "optimizer", tensors)
        state = {"format": _FORMAT, "step": snapshot.step, "optimizer": optimizer, "numbers": snapshot.numbers}
        files = {
            "adapter.safetensors": save(snapshot.adapter),
            "optimizer.safetensors": save(tensors),
            "average.safetensors": save(snapshot.average),
            "generators.safetensors": save(snapshot.generators),
            "state.json": json.dumps(state, ensure_ascii=False).encode(),
        }
        for name, content in files.items():
            write_atomically(folder / name, content)
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        write_atomically(folder / _MANIFEST, json.dumps({"format": _FORMAT, "sha256": hashes}, indent=2).encode())

    def damage(self, folder: Path) -> str:
        """What is wrong with a checkpoint, in a few words; empty when nothing is."""
        try:
            manifest = json.loads((folder / _MANIFEST).read_bytes())
            hashes: Mapping[str, str] = manifest["sha256"]
            for name, expected in hashes.items():
                if hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected:
                    return f"{name} is not what was written"
        except FileNotFoundError as cause:
            return f"{Path(str(cause.filename)).name} is missing"
        except OSError as cause:
            return f"it cannot be read: {cause.strerror}"
        except (ValueError, KeyError, TypeError, AttributeError):
            return f"{_MANIFEST} is damaged"
        return ""

    def newest(self, emit: Emit) -> Snapshot | None:
        """The newest sound checkpoint; None when there is none at all. A damaged one passed over is announced.

        Raises:
            CheckpointError: there are checkpoints and every one is damaged.
        """
        for leftover in self.folder.glob(".*.partial"):
            shutil.rmtree(leftover, ignore_errors=True)
        damaged: dict[int, str] = {}
        for step in reversed(self.steps()):
            problem = self.damage(self.folder / str(step))
            if not problem:
                self._set_aside(damaged, step, emit)
                return self._read(self.folder / str(step))
            damaged[step] = problem
        if damaged:
            worst = max(damaged)
            raise CheckpointError(
                f"The checkpoint of step {worst} is damaged ({damaged[worst]}), and no earlier one is sound.",
                f"Delete {self.folder} to begin again from step 0.",
            )
        return None

    def _set_aside(self, damaged: Mapping[int, str], instead: int, emit: Emit) -> None:
        """Say it, and rename them: a damaged one must not count among the newest that are kept."""
        for step, problem in damaged.items():
            aside = self.folder / f"{step}.damaged"
            shutil.rmtree(aside, ignore_errors=True)
            (self.folder / str(step)).rename(aside)
            text = f"The checkpoint of step {step} is damaged ({problem}); going on from step {instead} instead."
            emit(Notice(text, f"It was set aside as {aside.name}. Check the disk it lies on."))

    def _read(self, folder: Path) -> Snapshot:
        def tensors(name: str) -> dict[str, Tensor]:
            loaded: dict[str, Tensor] = load((folder / f"{name}.safetensors").read_bytes())
            return loaded

        state = json.loads((folder / "state.json").read_bytes())
        if state.get("format") != _FORMAT:
            raise CheckpointError(
                f"The checkpoint of step {folder.name} was written by another release.", "Resume with that release."
            )
        optimizer = _unflatten(state["optimizer"], tensors("optimizer"))
        return Snapshot(
            int(state["step"]),
            tensors("adapter"),
            optimizer,
            state["numbers"],
            tensors("average"),
            tensors("generators"),
        )


def _flatten(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """A tree as JSON that keeps integer keys and tuples; tensors move into ``tensors`` under their path."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {"tensor": path}
    if isinstance(value, Mapping):
        return {"pairs": [[key, _flatten(entry, f"{path}.{key}", tensors)] for key, entry in value.items()]}
    if isinstance(value, list | tuple):
        entries = [_flatten(entry, f"{path}.{index}", tensors) for index, entry in enumerate(value)]
        return {"tuple": entries} if isinstance(value, tuple) else entries
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise CheckpointError(f"An optimizer state of type {type(value).__name__} cannot be saved.", "Choose another one.")


def _unflatten(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unflatten(entry, tensors) for entry in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "tuple" in value:
        return tuple(_unflatten(entry, tensors) for entry in value["tuple"])
    return {key: _unflatten(entry, tensors) for key, entry in value["pairs"]}


def generator_states() -> dict[str, Tensor]:
    """The global generators. The loop reseeds them at every step; whoever else draws goes on where it was."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_generators(states: Mapping[str, Tensor]) -> None:
    """Undo ``generator_states``."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
