"""lora: the toolbox of LoRA files. One file for each kind of work; this one brings them together."""

from __future__ import annotations

from lorasmith.cli.lora import looking, making, models, telling
from lorasmith.cli.lora.options import lora

__all__ = ["looking", "lora", "making", "models", "telling"]
