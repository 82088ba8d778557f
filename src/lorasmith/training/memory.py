"""What a run occupies, and what to change when that is too much."""

from __future__ import annotations

import gc
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psutil
import torch

from lorasmith.config import TrainConfig, resolve
from lorasmith.errors import OutOfMemory
from lorasmith.events import Emit, Notice
from lorasmith.families import Family

if TYPE_CHECKING:
    from lorasmith.training.loop import Run

_FRAGMENTATION: Final = 1.1  # an allocator cannot use all it holds; a tenth is what caching ones lose in practice
_CERTAIN: Final = 0.85  # of a computed step a real one takes at least; measured: 0.90 to 0.92 (bench/memory.py)

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


def lighter(config: TrainConfig, family: Family, doing: str = "training") -> list[tuple[str, dict[str, Any]]]:
    """The config changes that save memory there, cheapest for the result first, each in words and as values.

    None that is already made; fewer frames are named for families of clips, whatever the run shows. Pictures and
    prompts are cached one by one in fp32 and the file is written on the CPU: only the size of the pictures and of the
    adapter matter there.
    """
    resolution = config.data.resolution or family.default_resolution
    smaller = int(resolution * 0.75) // 64 * 64
    picture = [_rung({"data.resolution": smaller})] if 64 <= smaller < resolution else []
    beside = config.data.reference_resolution or family.default_resolution
    if family.reference_pictures[1] and beside // 2 >= 64:  # half of the tokens of such a step are theirs
        picture.insert(0, _rung({"data.reference_resolution": max(64, beside // 2 // 64 * 64)}))
    frames = (config.data.frames or family.default_frames) if family.frame_step else 1
    fewer = (frames // 2) // (family.frame_step or 1) * family.frame_step + 1
    if fewer < frames:
        picture.insert(0, _rung({"data.frames": fewer}))
    rank = [_rung({"adapter.rank": config.adapter.rank // 2})] if config.adapter.rank > 4 else []
    if doing == "caching":
        return picture
    if doing == "exporting":
        return rank
    rungs = []
    if not config.gradient_checkpointing:
        rungs.append(_rung({"gradient_checkpointing": True}))
    size = config.train_batch_size
    while size > 1:
        size //= 2
        accumulation = math.ceil(config.train_batch_size * config.gradient_accumulation_steps / size)
        rungs.append(_rung({"train_batch_size": size, "gradient_accumulation_steps": accumulation}))
    if config.mixed_precision == "fp32":
        rungs.append(_rung({"mixed_precision": "bf16"}))
    return [*rungs, *picture, *rank]


def _rung(values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    words = [f"{key}: {str(value).lower() if isinstance(value, bool) else value}" for key, value in values.items()]
    return " with ".join(words), values


@dataclass
class Watched:
    """What ``explained`` knows of the run when memory ends: with ``run`` set, what would fit is computed."""

    run: Run | None = None


@contextmanager
def explained(config: TrainConfig, family: Family, device: torch.device, doing: str) -> Iterator[Watched]:
    """Turn an allocation failure inside into ``OutOfMemory`` with the smallest changes that would fit.

    Raises:
        OutOfMemory: the device, or the machine on the CPU, ran out of memory.
    """
    watched = Watched()
    failure: Exception
    try:
        yield watched
    except (torch.OutOfMemoryError, MemoryError) as cause:
        held = device_bytes(device) or rss_bytes()
        failure = cause.with_traceback(None)  # whose frames hold the tensors of the step that failed
    except RuntimeError as cause:
        if not any(all(word in str(cause) for word in row) for row in _SIGNS):
            raise
        held = device_bytes(device) or rss_bytes()
        failure = cause.with_traceback(None)
    else:
        return
    raise _out_of_memory(config, family, device, doing, watched.run, held, str(failure)) from failure


def _out_of_memory(
    config: TrainConfig,
    family: Family,
    device: torch.device,
    doing: str,
    run: Run | None,
    held: int,
    cause: str,
) -> OutOfMemory:
    where = "The machine" if device.type == "cpu" else f"The {device.type} device"
    rungs = lighter(config, family, doing)
    hint = _what_would_fit(run, config, rungs, device) if run is not None else _what_would_help(rungs)
    message = f"{where} ran out of memory while {doing} (this run held {held / 2**30:.1f} GiB)."
    return OutOfMemory(message, f"{hint}. First line of the cause: {cause.splitlines()[0] if cause else 'none'}")


def _what_would_help(rungs: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """All rungs in their order, where nothing can be computed: before the model was loaded, or after training."""
    if not rungs:
        return "Choose a smaller base or a larger machine"
    words = [word for word, _ in rungs]
    more = "; if that is not enough, also " + ", then ".join(words[1:]) if len(words) > 1 else ""
    return f"Set {words[0]}{more}"


def _what_would_fit(
    run: Run, config: TrainConfig, rungs: Sequence[tuple[str, dict[str, Any]]], device: torch.device
) -> str:
    """The first rungs that, taken together, bring a step below what this process can have."""
    from lorasmith.training.footprint import footprint

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    limit = obtainable_bytes(device)
    values: dict[str, Any] = {}
    words: dict[str, str] = {}
    needed = 0
    for word, change in rungs:
        values |= change
        words[next(iter(change))] = word  # a smaller batch takes the place of a larger one
        needed = footprint(run, changed(config, values)).total
        if needed * _FRAGMENTATION <= limit:
            return (
                f"Set {' and '.join(words.values())}: a step then takes about {needed / 2**30:.1f} GiB "
                f"of the {limit / 2**30:.1f} GiB there are"
            )
    if not words:
        return "Choose a smaller base or a larger machine"
    return (
        f"Even with {' and '.join(words.values())} a step takes about {needed / 2**30:.1f} GiB, and there are "
        f"{limit / 2**30:.1f} GiB: choose a smaller base or a larger machine"
    )


def refuse_what_cannot_fit(run: Run, config: TrainConfig, emit: Emit) -> None:
    """Compute what a step takes and hold it against what there is, before the first one.

    On the CPU this matters most: there the system kills a process that takes too much, without a word. Swap counts as
    memory, for a slow run is no failed one. What is near the limit is said and tried.

    Raises:
        OutOfMemory: it certainly takes more; the hint has the smallest changes that would fit.
    """
    from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

    from lorasmith.training.footprint import footprint

    device = run.device
    try:
        with torch.random.fork_rng(devices=[]):  # what is trained must not depend on having been computed first
            needed = footprint(run, config).total
    except (DataDependentOutputException, DynamicOutputShapeException):
        emit(Notice("How much memory a step takes cannot be computed for this base; it is tried."))
        return
    limit = obtainable_bytes(device) + (int(psutil.swap_memory().free) if device.type == "cpu" else 0)
    where = "this machine" if device.type == "cpu" else f"the {device.type} device"
    figures = f"A step of this run takes about {needed / 2**30:.1f} GiB, and {where} has {limit / 2**30:.1f} GiB for it"
    if needed * _CERTAIN > limit:
        raise OutOfMemory(f"{figures}.", f"{_what_would_fit(run, config, lighter(config, run.family), device)}.")
    if needed * _FRAGMENTATION > limit:
        emit(Notice(f"{figures}: it may run out of memory.", f"{_what_would_help(lighter(config, run.family))}."))


def obtainable_bytes(device: torch.device) -> int:
    """What this process could hold on the device at most, with what it holds already, bytes."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    return int(psutil.virtual_memory().available) + rss_bytes()


def changed(config: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """The config with other values, by dotted names."""
    return resolve(config.model_dump(mode="json"), values)
