"""The real worker with a toy in place of a model: lock, owner, token, signals, events and result are the real ones.

The toy counts steps, and keeps a checkpoint every few: a file with its own hash, written whole. It notes every step
with its process in ``steps.txt``, so that a test can tell which were done twice, and whether two worked at once.

    python sturdy_worker.py JOBDIR
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lorasmith import errors, processes, worker
from lorasmith.events import Emit, Metric, Phase, Progress
from lorasmith.files import read_json, write_json
from lorasmith.jobfolder import Control, JobFolder


def run(folder: JobFolder, emit: Emit, control: Callable[[], Control]) -> dict[str, Any]:
    """``payload``: ``steps``, ``every`` (steps between checkpoints), ``seconds`` per step, and ways to fail.

    At the step ``gate`` it stands until there is a file ``go`` in its folder, so that nobody has to be quicker than it.
    """
    payload = folder.record().payload.get("toy") or folder.record().payload
    total, every = int(payload.get("steps", 1)), int(payload.get("every", 5))
    step, saved, sampled = newest(folder.path), 0, 0
    emit(Phase("training"))
    witness(folder.path)
    try:
        while step < total:
            wish = control()
            if wish.save_now > saved or wish.wanted != "run":
                saved = wish.save_now
                save(folder, step, emit)
            if wish.sample_now > sampled:
                sampled = wish.sample_now
                (folder.path / f"sample-{step}.txt").write_text("a picture")
            if wish.wanted == "finish" and step:
                return {"steps": step}
            if wish.wanted != "run" and not payload.get("deaf"):
                return {"complete": False, "steps": step}
            if step == payload.get("gate") and not (folder.path / "go").exists():
                time.sleep(0.01)
                continue
            fail(payload, step, folder)
            time.sleep(float(payload.get("seconds", 0.0)))
            step += 1
            with (folder.path / "steps.txt").open("a") as stream:
                stream.write(f"{step} {os.getpid()}\n")
            emit(Metric(step, {"loss": 1.0 / step}))
            emit(Progress(step, total))
            if step % every == 0 or step == total:
                save(folder, step, emit)
    finally:
        (folder.path / "at-work.json").unlink()
    return {"steps": step, **payload.get("output", {})}


def witness(folder: Path) -> None:
    """Note if another process is at work in this folder, without asking the lock that is to be proven."""
    mark = folder / "at-work.json"
    other = read_json(mark)
    if other and processes.find(other) is not None:
        (folder / "doubles.txt").write_text(f"{other['pid']} and {os.getpid()}")
    write_json(mark, processes.identity())


def fail(payload: dict[str, Any], step: int, folder: JobFolder) -> None:
    """Fail at a step as the payload tells: every time, or only the first."""
    if payload.get("fail_at") != step:
        return
    mark = folder.path / "failed-once"
    if payload.get("once") and mark.exists():
        return
    mark.touch()
    name = str(payload["error"])
    if name == "exit":
        os._exit(3)
    kind = getattr(errors, name, None) or {"ZeroDivisionError": ZeroDivisionError, "OSError": OSError}[name]
    raise kind("It failed as it was told to.") if kind is not OSError else OSError(28, "No space left on device")


def save(folder: JobFolder, step: int, emit: Emit) -> None:
    emit(Phase("saving"))
    place = folder.path / "checkpoints"
    place.mkdir(exist_ok=True)
    content = hashlib.sha256(str(step).encode()).hexdigest() * 64
    partial = place / f".{step}.partial"
    partial.mkdir(exist_ok=True)
    write_json(partial / "state.json", {"step": step, "content": content})
    if not (place / str(step)).exists():
        partial.rename(place / str(step))
    else:
        shutil.rmtree(partial)
    emit(Phase("training"))


def newest(folder: Path) -> int:
    """The step of the newest checkpoint; it must be whole."""
    steps = sorted(int(path.name) for path in (folder / "checkpoints").glob("*") if path.name.isdecimal())
    if not steps:
        return 0
    if not is_whole(folder / "checkpoints" / str(steps[-1])):
        raise errors.CheckpointError(f"The checkpoint of step {steps[-1]} is damaged.", "")
    return steps[-1]


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint is what was written."""
    state = read_json(checkpoint / "state.json")
    return bool(state) and state["content"] == hashlib.sha256(checkpoint.name.encode()).hexdigest() * 64


if __name__ == "__main__":
    sys.modules["sturdy"] = sys.modules["__main__"]
    for kind in worker.KINDS:
        worker.KINDS[kind] = "sturdy"
    sys.exit(worker.main())
