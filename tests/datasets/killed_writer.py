"""A program that changes a dataset, reports every accepted change on a pipe, and is killed at a chosen point.

    python killed_writer.py HOME POINTS

It forks a writer per point, each in a copy of HOME, and prints as JSON what each one reported: how many changes were
accepted, or, when it is not to be killed, the state after each. ``line 57`` kills at the 57th line of the store that is
run, ``file 3`` in the middle of the third file that is written, ``none`` never.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from lorasmith.datasets.manifest import Operation
from lorasmith.datasets.store import DatasetStore

WATCHED = ("objects.py", "versions.py", "headers.py", "head.py", "blobs.py", "leases.py", "store.py", "files.py")
EDIT = Operation(name="edit")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_line(number: int) -> Callable[[], int]:
    """Kill at the n-th line of the watched files; gives a count of the lines so far."""
    count = 0

    def line(frame: Any, event: str, _: Any) -> Any:
        nonlocal count
        if event == "line":
            count += 1
            if count == number:
                die()
        return line

    def call(frame: Any, event: str, _: Any) -> Any:
        return line if os.path.basename(frame.f_code.co_filename) in WATCHED else None  # noqa: PTH119

    sys.settrace(call)
    return lambda: count


def kill_in_file(number: int) -> Callable[[], int]:
    """Let the n-th file that is opened for writing take half of what is written, then kill; gives a count of them."""
    honest, opened = Path.open, 0

    class Half:
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        def __enter__(self) -> Half:
            return self

        def __exit__(self, *_: object) -> None:
            self.stream.close()

        def write(self, content: Any) -> None:
            self.stream.write(content[: len(content) // 2])
            self.stream.flush()
            die()

    def opening(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        nonlocal opened
        stream = honest(path, mode, *arguments, **options)
        if mode[0] not in "wxa":
            return stream
        opened += 1
        return Half(stream) if opened == number else stream

    Path.open = opening  # type: ignore[assignment, method-assign]
    return lambda: opened


def change(store: DatasetStore, report: Callable[[], None]) -> None:
    """Every kind of change, each reported when it was accepted."""

    def edit(caption: str, **more: Any) -> None:
        version = store.get("set")
        items = [replace(version.items[0], caption=caption, **more), *version.items[1:]]
        store.commit(version, items, EDIT)
        report()

    edit("one")
    edit("two")
    store.undo("set")
    report()
    edit("three", image=store.put_image(Image.new("RGB", (4, 4), (1, 2, 3))))
    store.restore("set@2")
    report()
    store.undo("set", 2)
    report()
    store.redo("set")
    report()
    first = store.get("set@1")
    store.commit_aside(first, first.items[1:], EDIT)
    report()
    store.branch("set@3", "other")
    report()
    edit("four")
    store.drop("set@3")
    report()
    store.collect(store.garbage())
    report()


def state(home: Path) -> dict[str, Any]:
    """Where every dataset stands: its present version and all roots, as a fresh process would read them."""
    store = DatasetStore(home)
    return {
        name: {
            "head": store.get(name).number,
            "roots": {str(n): store.get(f"{name}@{n}").root for n in store.versions(name)},
        }
        for name in store.names()
    }


def write_until_killed(home: Path, point: str) -> dict[str, Any]:
    """Fork a writer for one point and give what it reported, and how it ended."""
    reading, writing = os.pipe()
    writer = os.fork()
    if writer == 0:
        kind, _, number = point.partition(" ")
        store = DatasetStore(home)
        lines = kill_at_line(int(number) if kind == "line" else 0)
        files = kill_in_file(int(number) if kind == "file" else 0)
        reports = 0

        def report() -> None:
            nonlocal reports
            reports += 1
            said: Any = reports
            if kind == "none":
                tracer = sys.gettrace()
                sys.settrace(None)
                said = state(home)
                sys.settrace(tracer)
            os.write(writing, json.dumps(said).encode() + b"\n")

        change(store, report)
        os.write(writing, json.dumps({"lines": lines(), "files": files()}).encode() + b"\n")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = [json.loads(line) for line in pipe]
    _, status = os.waitpid(writer, 0)
    return {"home": str(home), "said": said, "killed": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL}


def main(home: str, *points: str) -> None:
    os.fsync = lambda descriptor: None  # type: ignore[assignment]  # a kill takes nothing from the system's cache
    outcomes = {}
    for point in points:
        copy = Path(f"{home} {point}")
        shutil.copytree(home, copy)
        outcomes[point] = write_until_killed(copy, point)
    sys.stdout.write(json.dumps(outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
