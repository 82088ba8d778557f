"""Lanes: one per device, where one job runs at a time, and a light one for what needs no device.

A job says what it wants (``cuda``: any card; ``cuda:1``: that one), and a lane serves what fits it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lorasmith.hardware import devices, nvidia_cards
from lorasmith.jobfolder import JobKind

LIGHT: Final = "light"
LIGHT_AT_ONCE: Final = 2
_LIGHT_KINDS: Final = frozenset[JobKind]({"import", "fetch", "export", "gather", "tool"})


def lanes_here() -> dict[str, int]:
    """The lanes of this machine, and how many jobs run at once on each."""
    best = devices()[0]
    cards = [f"cuda:{number}" for number in range(max(1, len(nvidia_cards())))] if best == "cuda" else []
    others = ["mps"] if best == "mps" else []
    return {LIGHT: LIGHT_AT_ONCE, "cpu": 1, **dict.fromkeys([*cards, *others], 1)}


def wanted_by(kind: JobKind, payload: Mapping[str, Any]) -> str:
    """What a job runs on, told from what it was asked."""
    if kind in _LIGHT_KINDS:
        return LIGHT
    config = payload.get("config")
    asked = config.get("device") if isinstance(config, Mapping) else payload.get("device")
    asked = asked or ("cpu" if kind == "certify" else "auto")
    return devices()[0] if asked == "auto" else str(asked)


def served_by(lane: str) -> tuple[str, ...]:
    """The wants that a lane serves."""
    return (lane, "cuda") if lane.startswith("cuda:") else (lane,)


def serves(lane: str, wants: str) -> bool:
    """Whether a lane is for jobs that want this."""
    return wants in served_by(lane)


def environment_of(lane: str) -> dict[str, str]:
    """What a worker has to be told so that it sees its lane's device and no other."""
    if not lane.startswith("cuda:"):
        return {}
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": lane.partition(":")[2]}
