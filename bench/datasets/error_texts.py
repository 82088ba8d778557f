"""How many error texts and refusals the check C4 finds, and how often it takes a caption for one.

    python bench/datasets/error_texts.py [--unseen-only]

The rule was adjusted to the four sets of ``tests/datasets/error_texts.py`` and to ``tests/datasets/check_captions.py``.
``unseen_texts.py`` was written before the rule was last changed, and nothing was adjusted to it.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from bench.datasets.unseen_texts import FAULTS, SOUND  # noqa: E402

from lorasmith.datasets.captions import is_excuse  # noqa: E402
from tests.datasets.error_texts import FIRST, FOURTH, SECOND, THIRD, Texts  # noqa: E402


def main() -> None:
    """Print a line for each set and, of those that may be adjusted to, each text that was judged wrongly."""
    known = (("first", FIRST), ("second", SECOND), ("third", THIRD), ("fourth", FOURTH))
    for name, texts in known if "--unseen-only" not in sys.argv else ():
        _say(name, texts, named=True)
    _say("unseen", Texts(FAULTS, SOUND), named="--name" in sys.argv)


def _say(name: str, texts: Texts, *, named: bool) -> None:
    missed = [text for text in texts.faults if not is_excuse(text)]
    alarms = [text for text in texts.sound if is_excuse(text)]
    found = len(texts.faults) - len(missed)
    sys.stdout.write(
        f"{name}: {found} of {len(texts.faults)} found, {len(alarms)} of {len(texts.sound)} false alarms\n"
    )
    for kind, wrong in (("missed", missed), ("false alarm", alarms)) if named else ():
        sys.stdout.writelines(f"    {kind}: {text}\n" for text in wrong)


if __name__ == "__main__":
    main()
