"""What LoRA files are said to be, from their headers alone: every family, dialect and kind, at published size.

    python bench/recognition.py [--family NAME] [--out bench/results/recognition.json]

Every published model of ``tests/bases/corpus.py``, in both layouts of its names, with its last attention layers, the
attention of all blocks, and all layers, in every dialect and every kind of update; then everything that is no LoRA.
A family is right, wrong, or left open with all that fit; what is left open is listed with its reason. The command ends
with 1 when an answer is wrong.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import warnings
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]


def measured(family: str) -> dict[str, Any]:
    """The counts, what was said wrongly, and what was left open."""
    from lorasmith.adapters.dialects.recognition import recognise_adapter
    from tests.adapters.test_recognition_of_files import files, mistake
    from tests.bases.corpus import cases, negatives

    right: Counter[str] = Counter()
    undecided: Counter[tuple[str, str, str]] = Counter()
    examples: dict[tuple[str, str, str], str] = {}
    wrong: list[str] = []
    seconds, largest = 0.0, 0.0
    for name, model, _, kind, header in files(whole=True, only=family):
        begun = time.perf_counter()
        said, found = mistake(model, kind, header)
        spent = time.perf_counter() - begun
        seconds, largest = seconds + spent, max(largest, spent)
        if said:
            wrong.append(f"{name}: {said}")
        elif found.family:
            right[model.family] += 1
        else:
            key = (model.family, ", ".join(sorted(found.candidates)), found.evidence[-1])
            undecided[key] += 1
            examples.setdefault(key, name)
    count = sum(right.values()) + sum(undecided.values()) + len(wrong)
    others = [(case.name, case.header) for case in cases() if case.header.layout == "single_file"]
    others += [(name, header) for name, kind, header in negatives() if kind != "lora"]
    strangers = [name for name, header in others if recognise_adapter(header.shapes, {}).is_adapter]
    return {
        "headers": count,
        "right": dict(sorted(right.items())),
        "undecided": [
            {"family": key[0], "fits": key[1], "headers": number, "reason": key[2], "for_instance": examples[key]}
            for key, number in sorted(undecided.items())
        ],
        "wrong": wrong,
        "negatives": {"headers": len(others), "taken_for_adapters": strangers},
        "milliseconds": {"each": round(1000 * seconds / max(1, count), 2), "longest": round(1000 * largest, 1)},
    }  # fmt: skip


def main() -> int:
    warnings.simplefilter("ignore", FutureWarning)
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--family", default="", help="this family alone")
    parser.add_argument("--out", type=Path, help="where the result goes, as JSON")
    asked = parser.parse_args()
    found = measured(asked.family)
    told = {
        "date": datetime.now(UTC).date().isoformat(), "machine": platform.platform(),
        "command": "python bench/recognition.py" + (f" --family {asked.family}" if asked.family else ""), **found,
    }  # fmt: skip
    if asked.out:
        asked.out.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = [f"{family:20} {count:6} right" for family, count in found["right"].items()]
    lines += [
        f"open: {row['headers']} of {row['family']}, may be {row['fits']}: {row['reason']} ({row['for_instance']})"
        for row in found["undecided"]
    ]
    lines += [f"wrong: {line}" for line in found["wrong"]]
    negatives = found["negatives"]
    lines += [f"wrong: {name} was taken for an adapter" for name in negatives["taken_for_adapters"]]
    right, opened = sum(found["right"].values()), sum(row["headers"] for row in found["undecided"])
    lines.append(
        f"{found['headers']} headers: {right} right, {opened} left open, {len(found['wrong'])} wrong; "
        f"{negatives['headers']} of no adapter, {len(negatives['taken_for_adapters'])} wrong; "
        f"{found['milliseconds']['each']} ms each"
    )
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if found["wrong"] or negatives["taken_for_adapters"] else 0


if __name__ == "__main__":
    sys.exit(main())
