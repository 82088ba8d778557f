"""A worker without a model: keeps the same promises about the folder as the real one, and misbehaves when told to.

The payload's ``script`` is a list of acts, done in order after the folder is owned. For jobs that a Studio submits,
``<home>/stand_in.json`` holds by kind of job what the payload would hold here.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from lorasmith.events import Finished, Metric, Notice, Phase, Progress, Sample
from lorasmith.files import write_json
from lorasmith.jobfolder import JobFolder, Result

PATIENCE = 300.0  # seconds after which a forgotten stand-in ends by itself


def main() -> int:
    folder = JobFolder(Path(sys.argv[1]))
    try:
        with FileLock(folder.path / "lock", timeout=0):
            me = psutil.Process()
            write_json(folder.path / "owner.json", {"pid": me.pid, "started": me.create_time()})
            record = folder.record()
            told = folder.home / "stand_in.json"
            return run(folder, json.loads(told.read_bytes())[record.kind] if told.exists() else record.payload)
    except Timeout:
        print("somebody else owns this folder")  # noqa: T201
        return 7


def run(folder: JobFolder, payload: dict[str, Any]) -> int:  # noqa: PLR0912 (one branch per act)
    with (folder.path / "owners.txt").open("a") as stream:
        stream.write(f"{os.getpid()}\n")
    folder.emit(Phase(name="training"))
    for act in payload.get("script", []):
        if act == "die by signal":
            os.kill(os.getpid(), signal.SIGKILL)
        elif act == "die by exit code":
            print("the last words of a library")  # noqa: T201
            os._exit(3)
        elif act == "half a line":
            with (folder.path / "events.jsonl").open("ab") as stream:
                stream.write(b'{"kind": "progress", "do')
        elif act == "metric":
            folder.emit(Metric(step=1, values={"loss": 0.25}))
        elif act.startswith("notice "):
            folder.emit(Notice(message=act.removeprefix("notice ")))
        elif act == "sample":
            folder.emit(Sample(step=1, path="samples/1.png", prompt="a cat", seed=1))
        elif act == "fail":
            folder.set_result(
                Result(outcome="failed", message="The base is damaged.", hint="Get it again.", error="BaseError")
            )
            return 4
        elif act == "wait" and not obey(folder):
            return 0
        elif act == "wait once" and not (folder.path / "waited").exists():
            (folder.path / "waited").touch()
            if not obey(folder):
                return 0
        elif act == "ignore everything":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            folder.emit(Phase(name="deaf"))
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                time.sleep(0.02)
    for name, text in payload.get("files", {}).items():
        (folder.path / name).write_text(text)
    folder.emit(Progress(done=1, total=1))
    folder.emit(Finished(outcome="succeeded"))
    folder.set_result(Result(outcome="succeeded", output=payload.get("output", {"steps": 1})))
    return 0


def obey(folder: JobFolder) -> bool:
    """Wait for a word from outside; False when the job shall end."""
    folder.emit(Phase(name="waiting"))
    deadline = time.monotonic() + PATIENCE
    saved = sampled = 0
    while time.monotonic() < deadline:
        control = folder.control()
        if control.save_now > saved:
            saved = control.save_now
            folder.emit(Notice(message=f"saved {saved}"))
        if control.sample_now > sampled:
            sampled = control.sample_now
            folder.emit(Notice(message=f"sampled {sampled}"))
        if control.wanted != "run":
            outcome = "paused" if control.wanted == "pause" else "stopped"
            folder.emit(Finished(outcome=outcome))
            folder.set_result(Result(outcome=outcome))
            return False
        time.sleep(0.02)
    return False


if __name__ == "__main__":
    sys.exit(main())
