"""What NVIDIA's cards are doing now: how much of their memory is taken, and by whom.

Asked of NVIDIA's library through ``nvidia-ml-py`` where the extra ``nvml`` is installed, else of the program
``nvidia-smi``. Cards are numbered by their place on the bus, as both do, and as workers are told to.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final, Literal

Way = Literal["nvidia-ml-py", "nvidia-smi", ""]
_MIB: Final = 1024 * 1024
_PATIENCE: Final = 10.0  # seconds for an answer; a driver that hangs must not hang the queue


@dataclass(frozen=True)
class CardUse:
    """One card at a moment."""

    used: int
    """Bytes of its memory."""
    total: int
    pids: frozenset[int]
    """Processes that hold some of it, as far as the driver tells; inside a container it may tell none."""


def card_use(card: int) -> CardUse | None:
    """How a card stands; None where nobody can be asked, or the answer makes no sense."""
    return _by_library(card) if find_spec("pynvml") is not None else _by_program(card)


def way_to_ask() -> tuple[Way, str]:
    """Who would answer for the cards of this machine, and what is in the way where nobody does."""
    if find_spec("pynvml") is not None:
        return ("nvidia-ml-py", "") if _by_library(0) is not None else ("", "nvidia-ml-py finds no driver to ask")
    if shutil.which("nvidia-smi") is None:
        return "", "neither nvidia-ml-py nor nvidia-smi is installed"
    return ("nvidia-smi", "") if _by_program(0) is not None else ("", "nvidia-smi gives no answer")


def _by_library(card: int) -> CardUse | None:
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(card)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            running = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
            return CardUse(int(memory.used), int(memory.total), frozenset(int(one.pid) for one in running))
        finally:
            pynvml.nvmlShutdown()
    except (pynvml.NVMLError, OSError):
        return None


def _by_program(card: int) -> CardUse | None:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    memory = _said(tool, "--query-gpu=memory.used,memory.total", card)
    pids = _said(tool, "--query-compute-apps=pid", card)
    try:
        used, total = (int(part) * _MIB for part in memory[0].split(","))
        return CardUse(used, total, frozenset(int(line) for line in pids if line.isdigit()))
    except (IndexError, ValueError):
        return None


def _said(tool: str, query: str, card: int) -> list[str]:
    command = [tool, query, "--format=csv,noheader,nounits", f"--id={card}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]
