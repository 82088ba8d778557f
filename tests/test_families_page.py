"""The page of families says what the families say."""

from __future__ import annotations

from pathlib import Path

from lorasmith.bases.detection import registered_families
from lorasmith.bases.families_page import page

PAGE = Path(__file__).parents[1] / "docs" / "families.md"


def test_the_page_is_not_stale() -> None:
    own = {name: family for name, family in registered_families().items() if _ours(family)}
    assert own == registered_families(), "a plugin of another package is installed; the page is of ours alone"
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m lorasmith.bases.families_page > docs/families.md"


def test_every_base_every_reason_and_every_figure_is_on_it() -> None:
    text = page()
    for family in registered_families().values():
        for base in family.pretrained:
            row = next(line for line in text.splitlines() if f"| {base.repository} |" in line)
            assert base.license in row and base.warning in row
        for reason in family.refused.values():
            assert f"| {reason} |" in text
        assert all(f"| {family.title}, {case} |" in text for case in family.predicted_memory)
        assert family.predicted_memory or family.title in text.split("Without figures: ")[1].split("\n")[0]


def _ours(family: object) -> bool:
    return type(family).__module__.startswith("lorasmith.families.")
