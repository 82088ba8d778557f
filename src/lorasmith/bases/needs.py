"""Roughly how much memory training a LoRA takes, from the number of parameters alone, and what this machine has.

The estimate: 2 bytes for each frozen bf16 parameter of the denoiser, a third more for activations with gradient
checkpointing, and 1.5 GB for the adapter, its optimizer and the libraries; text encoder and VAE are cached before and
not counted. Peaks that peers published (SD 1.5 2.0, SDXL 6.5, Z-Image 12.9, Chroma 17.7, Krea 2 33.3 GiB at batch 1
with checkpointed layers) lie below it, small models by half. It says what is hopeless; the rehearsal of a run measures.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_BYTES_PER_PARAMETER = 2.7
_FIXED = 1_500_000_000


@dataclass(frozen=True)
class Machine:
    """Bytes of the largest card's memory (0: none) and of main memory."""

    card: int
    memory: int
    name: str = ""


def training_bytes(parameters: int) -> int:
    """The estimate for a denoiser of that many parameters; 0 when the number is not known."""
    return int(parameters * _BYTES_PER_PARAMETER) + _FIXED if parameters > 0 else 0


def this_machine() -> Machine:
    """What this machine has, told without torch."""
    import psutil

    from lorasmith.hardware import nvidia_cards

    best, name = 0, ""
    for card in nvidia_cards():
        found = re.search(r",\s*(\d+)\s*MiB", card)
        size = int(found.group(1)) * 2**20 if found else 0
        if size > best:
            best, name = size, card.partition(",")[0]
    return Machine(best, int(psutil.virtual_memory().total), name)


def verdict(parameters: int, machine: Machine) -> str:
    """Whether a base of that size is likely to train here, in words."""
    needed = training_bytes(parameters)
    if not needed:
        return "size not known"
    about = f"about {needed / 1e9:.0f} GB"
    if machine.card:
        return f"fits ({about})" if needed <= machine.card else f"too large for this card ({about})"
    return f"on the CPU, slowly ({about})" if needed <= machine.memory else f"too large for this machine ({about})"
