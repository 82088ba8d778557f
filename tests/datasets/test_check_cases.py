"""Every check, by id: what triggers it, what comes close and must not, and what it says about itself."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lorasmith.datasets.checks import CHECKS, SEVERITIES, inspect
from lorasmith.datasets.checks.registry import parse_ids
from lorasmith.datasets.checks.table import table
from lorasmith.errors import ConfigError
from tests.datasets.check_captions import WORDINGS
from tests.datasets.check_cases import CASES, fingerprint_of, scene_for
from tests.datasets.check_scenes import clean, tags

SEEDS = range(6)
IDS = [
    *(f"F{n}" for n in range(1, 13)),
    *(f"P{n}" for n in range(1, 17)),
    *(f"D{n}" for n in range(1, 8)),
    *(f"C{n}" for n in range(1, 24)),
    *(f"S{n}" for n in range(1, 11)),
    *(f"R{n}" for n in range(1, 7)),
    *(f"V{n}" for n in range(1, 9)),
]


def test_every_id_has_a_check_and_a_case() -> None:
    assert list(CHECKS) == IDS
    assert set(CASES) == set(IDS)


@pytest.mark.parametrize("id_", IDS)
def test_what_triggers_it_is_found(id_: str, tmp_path: Path) -> None:
    for seed in SEEDS:
        scene, expected = scene_for(id_, seed, bad=True)
        findings = inspect(scene.context(tmp_path), only={id_}).findings
        assert findings, f"seed {seed}"
        named = {name for finding in findings for name in finding.items}
        assert set(expected) <= named, f"seed {seed}"
        for finding in findings:
            assert finding.severity in SEVERITIES
            assert finding.message.endswith(".") and not set("{|}") & set(finding.message)
            assert finding.fix and finding.why == CHECKS[id_].why and finding.source == CHECKS[id_].source


@pytest.mark.parametrize("id_", IDS)
def test_what_comes_close_is_not(id_: str, tmp_path: Path) -> None:
    for seed in SEEDS:
        scene, _ = scene_for(id_, seed, bad=False)
        assert [f.message for f in inspect(scene.context(tmp_path), only={id_}).findings] == [], f"seed {seed}"


def test_clean_scenes_have_no_finding_and_differ(tmp_path: Path) -> None:
    scenes = [clean(random.Random(seed)) for seed in range(20)]
    assert len({fingerprint_of(scene) for scene in scenes}) == len(scenes)
    for scene in scenes:
        assert inspect(scene.context(tmp_path)).findings == ()


@pytest.mark.parametrize("id_", WORDINGS)
def test_wordings_that_were_once_missed_or_alarmed(id_: str, tmp_path: Path) -> None:
    def speaks(caption: str) -> bool:
        scene = clean(random.Random(1), 8, tags)
        name = scene.change(0, caption=caption)
        return any(name in finding.items for finding in inspect(scene.context(tmp_path), only={id_}).findings)

    faults, sound = WORDINGS[id_]
    assert [caption for caption in faults if not speaks(caption)] == []
    assert [caption for caption in sound if speaks(caption)] == []


def test_every_record_says_what_it_must() -> None:
    for check in CHECKS.values():
        for text in (check.why, check.source, check.fix):
            assert text.endswith(".") and text[0].isalnum() and "  " not in text, check.id
        assert not check.title.endswith(".") and len(check.title) < 60, check.id
    assert len({check.title for check in CHECKS.values()}) == len(CHECKS)


def test_what_cannot_be_known_is_named(tmp_path: Path) -> None:
    scene = clean(random.Random(1))
    context = scene.context(tmp_path)
    context.signals, context.groups, context.compared = None, None, None
    report = inspect(context)
    assert report.findings == ()
    assert {"P8", "P14", "D3", "D5", "P15", "C21", "S2"} <= set(report.not_run)
    assert set(report.ran) | set(report.not_run) == set(IDS)
    assert not set(report.ran) & set(report.not_run)
    assert report.not_run["P8"] == "the pictures were not measured"


def test_only_and_ignore(tmp_path: Path) -> None:
    scene, _ = scene_for("C13", 1, bad=True)
    assert {f.id for f in inspect(scene.context(tmp_path), only=parse_ids(["c13"])).findings} == {"C13"}
    assert "C13" not in {f.id for f in inspect(scene.context(tmp_path), ignore=parse_ids(["C12-14, F"])).findings}
    said: list[tuple[int, int, str]] = []
    inspect(scene.context(tmp_path), only={"C13", "C14"}, progress=lambda *words: said.append(words))
    assert [title for _, _, title in said] == ["Duplicate or empty tags", "One tag in two spellings"]


def test_ids_as_people_write_them() -> None:
    assert parse_ids(["c1", "P2,p3 ", ""]) == {"C1", "P2", "P3"}
    assert parse_ids(["D"]) == {f"D{n}" for n in range(1, 8)}
    assert parse_ids(["S2-S4", "S9-10"]) == {"S2", "S3", "S4", "S9", "S10"}
    for wrong in ("X1", "C99", "C24-30", "F0", "C5-P7"):
        with pytest.raises(ConfigError, match="There is no check"):
            parse_ids([wrong])


def test_the_document_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "checks.md"
    assert page.read_text(encoding="utf-8") == table(), (
        "run: python -m lorasmith.datasets.checks.table > docs/checks.md"
    )
