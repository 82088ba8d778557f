"""How often the family of base weights is told rightly from the header alone, and how fast.

    python bench/detection.py

Every published model of ``tests/bases/corpus.py`` in both layouts, with every prefix and in every number format, its
folder, and everything that is no base. Prints a table per family and what was said wrongly; exits 1 when anything was.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]


def main() -> int:
    from lorasmith.bases.recognition import recognise
    from tests.bases import corpus
    from tests.bases.test_recognition import wrong

    warnings.simplefilter("ignore", FutureWarning)
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    mistakes: list[str] = []
    seconds = 0.0
    for case in corpus.cases(packed=True):
        begun = time.perf_counter()
        found = recognise(case.header)
        seconds += time.perf_counter() - begun
        if said := wrong(case, found):
            mistakes.append(f"{case.name}: {said}")
        else:
            right[case.family] += 1
            asked[case.family] += bool(found.questions)
    named = 0
    for name, kind, header in corpus.negatives():
        found = recognise(header)
        if found.kind == kind:
            named += 1
        else:
            mistakes.append(f"{name}: is a {kind}, said {found.kind}")
    count = sum(right.values())
    lines = [
        f"{family:16} {right[family]:5} right, {asked[family]:4} of them with a question" for family in sorted(right)
    ]
    lines.append(f"{count} headers of {len(right)} families told rightly, {seconds / max(count, 1) * 1000:.1f} ms each")
    lines.append(f"{named} that are no base named rightly; {len(mistakes)} wrong answers")
    sys.stdout.write("\n".join([*lines, *mistakes]) + "\n")
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
