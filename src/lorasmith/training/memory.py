"""What a run occupies, and what to change when that is too much."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from lorasmith.config import TrainConfig
from lorasmith.errors import OutOfMemory
from lorasmith.families import Family

# How torch says it where it raises a plain RuntimeError: all words of one row.
_SIGNS = (
    ("DefaultCPUAllocator", "allocate memory"),
    ("MPS backend out of memory",),
    ("CUDA error: out of memory",),
    ("CUBLAS_STATUS_ALLOC_FAILED",),
)


def rss_bytes() -> int:
    """Resident memory of this process, bytes."""
    return int(psutil.Process().memory_info().rss)


def peak_rss_bytes() -> int:
    """The most this process ever held resident, bytes."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def device_bytes(device: torch.device) -> int:
    """Memory held on the accelerator, bytes; 0 on the CPU, where ``rss_bytes`` counts everything."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    return 0


def peak_device_bytes(device: torch.device) -> int:
    """The most memory ever reserved on the accelerator, bytes; 0 where that is not counted."""
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else 0


def lighter(config: TrainConfig, family: Family, doing: str = "training") -> list[str]:
    """The config changes that save memory there, cheapest for the result first; none that is already made.

    Pictures and prompts are cached one by one in fp32 and the file is written on the CPU: only the size of the
    pictures and of the adapter matter there.
    """
    resolution = config.data.resolution or family.default_resolution
    smaller = int(resolution * 0.75) // 64 * 64
    picture = [f"data.resolution: {smaller}"] if 64 <= smaller < resolution else []
    rank = [f"adapter.rank: {config.adapter.rank // 2}"] if config.adapter.rank > 4 else []
    if doing == "caching":
        return picture
    if doing == "exporting":
        return rank
    rungs = []
    if not config.gradient_checkpointing:
        rungs.append("gradient_checkpointing: true")
    if config.train_batch_size > 1:
        size = config.train_batch_size // 2
        accumulation = math.ceil(config.train_batch_size * config.gradient_accumulation_steps / size)
        rungs.append(f"train_batch_size: {size} with gradient_accumulation_steps: {accumulation}")
    if config.mixed_precision == "fp32":
        rungs.append("mixed_precision: bf16")
    return [*rungs, *picture, *rank]


@contextmanager
def explained(config: TrainConfig, family: Family, device: torch.device, doing: str) -> Iterator[None]:
    """Turn an allocation failure inside into ``OutOfMemory`` with the smallest changes that would help.

    Raises:
        OutOfMemory: the device, or the machine on the CPU, ran out of memory.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as cause:
        raise _out_of_memory(config, family, device, doing, str(cause)) from cause
    except RuntimeError as cause:
        if any(all(word in str(cause) for word in row) for row in _SIGNS):
            raise _out_of_memory(config, family, device, doing, str(cause)) from cause
        raise


def _out_of_memory(config: TrainConfig, family: Family, device: torch.device, doing: str, cause: str) -> OutOfMemory:
    where = "The machine" if device.type == "cpu" else f"The {device.type} device"
    held = device_bytes(device) or rss_bytes()
    rungs = lighter(config, family, doing)
    hint = f"Set {rungs[0]}" if rungs else "Choose a smaller base or a larger machine"
    if len(rungs) > 1:
        hint += "; if that is not enough, also " + ", then ".join(rungs[1:])
    message = f"{where} ran out of memory while {doing} (this run held {held / 2**30:.1f} GiB)."
    return OutOfMemory(message, f"{hint}. First line of the cause: {cause.splitlines()[0] if cause else 'none'}")
