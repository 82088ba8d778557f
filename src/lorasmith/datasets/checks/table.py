"""The table of checks in the documentation: ``python -m lorasmith.datasets.checks.table > docs/checks.md``."""

from __future__ import annotations

import sys
from typing import Final

from lorasmith.datasets.checks.registry import CHECKS

_GROUPS: Final = {
    "F": "Files", "P": "Pixels", "D": "Duplicates", "C": "Captions", "S": "The set", "R": "References", "V": "Clips",
}  # fmt: skip
_HEAD: Final = """\
# Checks

Written by `python -m lorasmith.datasets.checks.table`; a test fails when it is stale.

`lorasmith check` reports under these ids, and they do not change. The severity is that of the usual case: what the
import repaired already is reported lower. A check that lacks what it needs is named with the reason, never passed over.
"""


def table() -> str:
    """All checks as Markdown, one table for each letter."""
    lines = [_HEAD]
    for letter, title in _GROUPS.items():
        lines += [
            f"## {title}",
            "",
            "| id | severity | what | why | source | fix | needs |",
            "|---|---|---|---|---|---|---|",
        ]
        for check in CHECKS.values():
            if check.id.startswith(letter):
                cells = (
                    check.id,
                    check.severity,
                    check.title,
                    check.why,
                    check.source,
                    check.fix,
                    ", ".join(check.needs),
                )
                lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.stdout.write(table())
