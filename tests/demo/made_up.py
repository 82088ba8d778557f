"""A tour that never happened: everything the report can show, hostile words included."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from lorasmith.demo.record import (
    CaptionRow,
    Curves,
    FindingRow,
    Judged,
    LedgerRow,
    PreviewRow,
    Record,
    Station,
)
from lorasmith.evaluation.verdict import Share, decide
from lorasmith.sandbox import world

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)> & \x07\u202e'


def build_record(*, found: int = 36, total: int = 40) -> Record:
    """``found`` of ``total`` pictures with the trigger word show the mascot."""
    share = partial(Share, total=total)
    verdict = decide(
        with_trigger=share(found=found),
        without_trigger=share(found=6),
        base=share(found=0),
        subject="mascot",
        trigger_word="zib",
    )
    captions = [
        "zib, one shape, large, left, gray background",
        "zib, one shape, large, center, mint background",
        HOSTILE,
    ]
    return Record(
        subject="mascot",
        trigger_word="zib",
        created="2026-11-21 12:00 UTC",
        verdict=verdict,
        stations=_stations(),
        peak_memory=2_300_000_000,
        ledger=_ledger(),
        findings=(
            FindingRow("warning", "1 file is damaged and was left out: broken 2.jpg.", "Send it again if it matters."),
            FindingRow("info", "1 picture was turned upright.", ""),
        ),
        captions=tuple(
            CaptionRow(f"{n}.png", _mascot(n), "" if n else HOSTILE, "one shape, circle, large, left", caption)
            for n, caption in enumerate(captions)
        ),
        curves=_curves(),
        previews=tuple(
            PreviewRow(step, (("zib on gray", _scene(step)), ("a red star", _scene(step + 1))))
            if step < 200
            else PreviewRow(step, (("zib on gray", _mascot(step)), ("a red star", _scene(step + 1))))
            for step in (0, 150, 300, 450)
        ),
        with_trigger=_judged("zib, large", found, total),
        without_trigger=_judged("large", 6, total),
        base=_judged("zib, large", 0, total),
        certificate={
            "passed": True,
            "sha256": "0f" * 32,
            "dtype": "fp16",
            "modules": 128,
            "keys_total": 384,
            "keys_consumed": 384,
            "largest_relative_difference": 4.7e-4,
            "tolerance": 3e-3,
            "output_changed": True,
            "findings": [],
        },
        config="base: sandbox\ndataset: mascot@4\nadapter:\n  rank: 16\n",
        machine=(("Machine", "2 cores, 8 GB, Linux"), ("Python", "3.11.9"), ("torch", "2.13.0+cpu")),
        commands=("python3 start.py demo", "# or, step by step", "lorasmith import mascot.zip"),
    )


def failed_record() -> Record:
    """Nothing was learned, the file fails its certificate, little was measured."""
    record = build_record(found=1)
    certificate: dict[str, Any] = {"passed": False, "findings": ["'mid_block.to_q' did not arrive."]}
    return replace(record, certificate=certificate, curves=Curves(((1, 0.5),)), previews=(), findings=())


def _judged(prompt: str, found: int, total: int) -> tuple[Judged, ...]:
    return tuple(Judged(_mascot(n) if n < found else _scene(n), prompt, n, n < found) for n in range(total))


def _scene(seed: int) -> Any:
    rng = np.random.default_rng((5, seed))
    return world.draw(world.sample_scene(rng), rng)


def _mascot(seed: int) -> Any:
    rng = np.random.default_rng((7, seed))
    return world.draw_mascot(world.mascot_scene(rng), rng)


def _stations() -> tuple[Station, ...]:
    return (
        Station("Import", "30 files, 24 pictures, every file accounted for", 0.9),
        Station("Check", "2 findings, none in the way", 0.1),
        Station("Caption", "24 pictures tagged", 4.2),
        Station("Train", "450 steps; killed at step 231, resumed from 225", 121.4),
        Station("Certify", "128 modules, largest difference 4.7e-04", 3.8),
        Station("Generate", "120 pictures at 40 seeds", 44.0),
        Station("Measure", "by the pixel detector", 1.2),
    )


def _ledger() -> tuple[LedgerRow, ...]:
    return (
        *(LedgerRow(f"mascot/{n:02d}.png", "taken", "image", "A picture, 128 × 128.", _mascot(n)) for n in range(6)),
        LedgerRow("mascot/猫の絵.Jpg", "taken", "image", "A picture, 128 × 128.", _mascot(20)),
        LedgerRow("mascot/turned.jpg", "converted", "image", "Turned upright as its EXIF says.", _mascot(21)),
        LedgerRow("mascot/broken 2.jpg", "left_out", "damaged", "The picture ends in the middle."),
        LedgerRow("mascot/copy of 03.png", "left_out", "duplicate", "The same bytes as mascot/03.png."),
        LedgerRow("mascot/notes.txt", "left_out", "not_an_image", "Text that belongs to no picture."),
        LedgerRow(HOSTILE, "left_out", "unsafe_path", HOSTILE),
    )


def _curves() -> Curves:
    rng = np.random.default_rng(1)
    loss = tuple((s, float((0.11 * math.exp(-s / 120) + 0.035) * rng.lognormal(0, 0.35))) for s in range(1, 451, 3))
    validation = tuple((s, 0.1 * math.exp(-s / 110) + 0.045 + s * 8e-6) for s in range(0, 451, 75))
    return Curves(loss, validation, ((231, "killed (SIGKILL), resumed from step 225"),))
