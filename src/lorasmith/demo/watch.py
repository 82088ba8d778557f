"""What the tour measures of itself: wall clock per step, and the memory of all its processes."""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from types import TracebackType
from typing import Final, Self

import psutil

from lorasmith.demo.record import Station

_INTERVAL: Final = 0.5  # seconds between looks
_PACKAGES: Final = ("torch", "diffusers", "transformers", "peft", "onnxruntime", "numpy", "Pillow")


class PeakMemory:
    """The most memory that this process and its children held together, while the context is open.

    Pages that processes share count once for each, so that the figure errs on the side of too much.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while True:
            held = 0
            for process in (me, *me.children(recursive=True)):
                try:
                    held += process.memory_info().rss
                except psutil.Error:  # it ended between the two looks
                    continue
            self.bytes = max(self.bytes, held)
            if self._over.wait(_INTERVAL):
                return


class Stopwatch:
    """The stations of the tour with their times."""

    def __init__(self) -> None:
        self.stations: list[Station] = []

    @contextmanager
    def station(self, title: str) -> Iterator[list[str]]:
        """Time what is inside; put what there is to say of it into the list."""
        started = time.monotonic()
        said: list[str] = []
        yield said
        self.stations.append(Station(title, "; ".join(said), time.monotonic() - started))


def machine_facts() -> tuple[tuple[str, str], ...]:
    """This machine and the versions that decide results, without importing any of them."""
    memory = psutil.virtual_memory().total / 1e9
    facts = [
        ("System", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ("Processor", f"{os.cpu_count()} cores{_processor()}"),
        ("Memory", f"{memory:.1f} GB"),
        ("Python", platform.python_version()),
    ]
    for package in _PACKAGES:
        try:
            facts.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            facts.append((package, "not installed"))
    return tuple(facts)


def _processor() -> str:
    name = platform.processor()
    return f", {name}" if name and name != platform.machine() else ""
