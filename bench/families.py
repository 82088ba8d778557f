"""Can a LoRA of every family be found again from what it does? Teacher recovery on tiny bases of the real classes.

    python bench/families.py [FAMILY ...] [--steps N] [--out FILE]

Families that paint from a picture too are asked twice, the second time about clips whose first frame is given.

A random LoRA of rank 4 on the default targets makes the targets; a student that starts from nothing is trained on them
alone and measured on inputs it never saw. The bars: excess loss down by 90 % or more, cosine of the change of the
prediction 0.95 or more. The cosine of the weights' updates has no bar: what no input excites cannot be found.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

EXCESS, COSINE = 0.10, 0.95


def main() -> None:
    import torch

    from lorasmith.bases.detection import registered_families
    from tests.families.teacher import recover
    from tests.families.tiny import RECORDS, make

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", default=[], help="names; all without one")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--inputs", type=int, default=512)
    parser.add_argument("--rate", type=float, default=1e-2)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    families = registered_families()
    asked = [
        (name, begins)
        for name in given.families or RECORDS
        for begins in ((False, True) if families[name].may_begin_with_picture else (False,))
    ]
    for name, begins in asked:
        with tempfile.TemporaryDirectory() as folder:
            weights, began = make(RECORDS[name], Path(folder)), time.perf_counter()
            found = recover(weights, steps=given.steps, inputs=given.inputs, rate=given.rate, begins=begins)
        held = found.excess_loss <= EXCESS and found.cosine >= COSINE
        told = {"family": name, **({"first_frame": "given"} if begins else {})}
        rows.append({**told, **asdict(found), "seconds": round(time.perf_counter() - began, 1), "holds": held})
        sys.stdout.write(json.dumps(rows[-1]) + "\n")
        sys.stdout.flush()
    if given.out:
        about = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": platform.platform(),
            "torch": torch.__version__, "steps": given.steps, "inputs": given.inputs, "rate": given.rate,
            "bars": {"excess_loss": EXCESS, "cosine": COSINE},
        }  # fmt: skip
        given.out.write_text(json.dumps({**about, "families": rows}, indent=2) + "\n", encoding="utf-8")
    sys.exit(0 if all(row["holds"] for row in rows) else 1)


if __name__ == "__main__":
    main()
