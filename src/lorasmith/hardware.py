"""Which devices this machine has, told without importing torch, so that a run is refused before it starts."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import psutil

from lorasmith.config import TrainConfig
from lorasmith.errors import EnvironmentProblem

_SMI_FIELDS: Final = "name,memory.total,driver_version"


def nvidia_cards() -> list[str]:
    """Name, memory and driver of each NVIDIA card as nvidia-smi tells them; none where it is missing or fails."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        answer = subprocess.run(  # noqa: S603  found on PATH, fixed arguments
            [tool, f"--query-gpu={_SMI_FIELDS}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]


def torch_build(package: Path) -> tuple[str, str]:
    """Version and backend ("CUDA 12.8", "ROCm 6.4", "CPU") of an installed torch, read from its ``version.py``."""
    text = (package / "version.py").read_text(encoding="utf-8")

    def stated(name: str) -> str:
        found = re.search(rf"^{name}\b[^=\n]*=\s*['\"]([^'\"]+)['\"]", text, re.MULTILINE)
        return found.group(1) if found else ""

    if cuda := stated("cuda"):
        return stated("__version__"), f"CUDA {cuda}"
    if rocm := stated("hip"):
        return stated("__version__"), f"ROCm {rocm}"
    return stated("__version__"), "CPU"


def devices() -> tuple[str, ...]:
    """What the installed torch can most likely train on, best first; ``cpu`` is always there.

    An installed torch built for CUDA or ROCm beside a card, or Apple's own chip. Only the worker, which imports
    torch, knows for certain; it asks again.
    """
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return ("cpu",)
    _, backend = torch_build(Path(spec.origin).parent)
    if backend.startswith("CUDA") and nvidia_cards():
        return ("cuda", "cpu")
    if backend.startswith("ROCm") and Path("/dev/kfd").exists():
        return ("cuda", "cpu")  # torch calls ROCm's cards so
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return ("mps", "cpu")
    return ("cpu",)


def idle_cores(seconds: float = 0.2) -> int:
    """How many cores nobody uses right now, at least one; takes ``seconds`` to look.

    Threads of one computation wait for each other at every step: on two cores of which one is busy, two threads take
    many times as long as one.
    """
    busy = psutil.cpu_percent(interval=seconds) / 100
    cores = os.cpu_count() or 1
    return max(1, round(cores * (1 - busy)))


def refuse_what_is_missing(config: TrainConfig) -> None:
    """Refuse a run that this machine cannot begin.

    Raises:
        EnvironmentProblem: the device, or what the precision or the optimizer needs, is not here.
    """
    wants_card = config.mixed_precision == "fp16" or config.optimizer.name == "adamw_8bit"
    if config.device not in ("auto", "cpu") or wants_card:
        here = devices()
        device = here[0] if config.device == "auto" else config.device
        if device not in here:
            raise EnvironmentProblem(
                f"This machine has no {device} device that torch can use.",
                "Set device to auto or cpu; `lorasmith doctor` says what is missing.",
            )
        if config.mixed_precision == "fp16" and device != "cuda":
            message = f"mixed_precision fp16 needs CUDA, and this run would be on {device}."
            raise EnvironmentProblem(message, "Set mixed_precision to bf16 or fp32.")
        if config.optimizer.name == "adamw_8bit" and device != "cuda":
            message = f"optimizer.name adamw_8bit needs CUDA, and this run would be on {device}."
            raise EnvironmentProblem(message, "Set optimizer.name to adamw.")
    needed = {"adamw_8bit": "bitsandbytes", "prodigy": "prodigyopt"}.get(config.optimizer.name)
    if needed is not None and find_spec(needed) is None:
        raise EnvironmentProblem(
            f"optimizer.name {config.optimizer.name} needs the package {needed}, which is not installed.",
            f"Run `python -m pip install {needed}`, or set optimizer.name to adamw.",
        )
