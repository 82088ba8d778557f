"""A tour that never happened: everything the report can show, hostile words included."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from lorasmith.demo.record import (
    CaptionRow,
    Checkup,
    Curation,
    Curves,
    EditExample,
    EditRow,
    EyeRow,
    FindingRow,
    GroupRow,
    Judged,
    LedgerRow,
    PartRow,
    PreviewRow,
    Record,
    Shown,
    Station,
    UndoRow,
    VersionRow,
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
        captions=tuple(
            CaptionRow(f"{n}.png", _mascot(n), "" if n else HOSTILE, "one shape, circle, large, left", caption)
            for n, caption in enumerate(captions)
        ),
        curation=_curation(),
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
    curves = Curves(((1, 0.5),))
    return replace(record, certificate=certificate, curves=curves, previews=(), curation=empty_curation())


def empty_curation() -> Curation:
    """Nothing was found, nothing was done."""
    curation = _curation()
    nothing = Checkup("zib@1", 100, curation.after.parts, (), 67)
    return replace(curation, before=nothing, after=nothing, eye=None, groups=(), edits=())


def _curation() -> Curation:
    before = Checkup(
        "zib@1",
        65,
        (PartRow("files", 15.0, 15.0, "Files: nothing found."), PartRow("captions", 0.0, 30.0, HOSTILE)),
        (
            FindingRow("error", "20 pictures have no caption.", "Caption.", "C1", HOSTILE, repair="Write 'zib'."),
            FindingRow("warning", "1 file is damaged: broken 2.jpg.", "Send it again.", "F1", files=(HOSTILE,), more=2),
            FindingRow("warning", "3 pictures are blurred.", "", "P8", pictures=(Shown(HOSTILE, _mascot(3)),), more=2),
            FindingRow("info", "1 picture was turned upright.", ""),
        ),
        67,
        (("C21", "no list of known tags is loaded"),),
    )
    parts = (PartRow("files", 15.0, 15.0, "Files: nothing found."), PartRow("captions", 28.0, 30.0, "Captions: fine."))
    versions = tuple(
        VersionRow(number, words, 20, f"{number}" * 64, is_trained=number == 3)
        for number, words in ((1, "import of zib.zip"), (2, HOSTILE), (3, "trigger word 'zib'"))
    )
    return Curation(
        before=before,
        after=Checkup("zib@3", 94, parts, before.findings[3:], 67),
        eye=EyeRow("turned.jpg", _mascot(1), _mascot(2), HOSTILE, ("sd-scripts (kohya)", HOSTILE), ("OneTrainer",)),
        groups=(
            GroupRow("near", 1, "the sharpest (245 to 55)", _shown("05.png", HOSTILE), (HOSTILE,)),
            GroupRow("turned", 4, "as good as any of them", _shown("06.png", "07.png"), ("07.png",)),
        ),
        edits=(
            EditRow(
                "Remove the tags 'circle' and 'orange'",
                "18 of 20 pictures",
                17,
                1,
                (("circle", 17, 0), (HOSTILE, 1_200, 3)),
                (
                    EditExample("a.png", _mascot(4), (("same", "large, "), ("removed", "circle"), ("added", HOSTILE))),
                    EditExample(HOSTILE, _mascot(5), (("removed", HOSTILE),)),
                ),
                ("2 captions would be empty.",),
            ),
        ),
        versions=versions,
        undo=UndoRow(versions[2], versions[1], versions[2]),
    )


def _shown(*names: str) -> tuple[Shown, ...]:
    return tuple(Shown(name, _mascot(n)) for n, name in enumerate(names))


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
