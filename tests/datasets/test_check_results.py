"""What is made of findings: a score with its parts, SARIF, exit codes, repairs, and where the trigger word stands."""

from __future__ import annotations

import json
import random
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lorasmith.datasets.checks import (
    CHECKS,
    CheckContext,
    Finding,
    Repair,
    TrainingPlan,
    fails,
    health,
    inspect,
    to_sarif,
    verify_trigger,
)
from lorasmith.datasets.checks.repairs import preview_repair
from lorasmith.errors import ConfigError, DatasetError
from tests.datasets.check_cases import CASES, scene_for
from tests.datasets.check_scenes import TRIGGER, Scene, Shelf, clean


def finding(id_: str, severity: str, *items: str, repair: Repair | None = None) -> Finding:
    return Finding(id_, severity, "Something.", items, "Do something.", repair=repair)  # type: ignore[arg-type]


def scene_of(*captions: str, role: str = "train") -> Scene:
    scene = clean(random.Random(5), len(captions))
    for place, caption in enumerate(captions):
        scene.change(place, caption=caption, role=role)
    return scene


# Health


def test_a_sound_set_scores_100_and_says_what_of() -> None:
    whole = health([], clean(random.Random(1)).version())
    assert whole.score == 100
    assert [part.name for part in whole.parts] == ["files", "pixels", "duplicates", "captions", "set"]
    assert sum(part.weight for part in whole.parts) == pytest.approx(1)
    assert all(part.share == 1 and part.sentence.endswith("nothing found.") for part in whole.parts)
    assert str(whole) == "100 of 100: files 15/15, pixels 25/25, duplicates 15/15, captions 30/30, set 15/15"


def test_the_score_follows_its_formula() -> None:
    version = clean(random.Random(1), 10).version()
    names = [item.name for item in version.items]
    found = [finding("C1", "error", *names[:5]), finding("C13", "warning", *names), finding("S1", "warning")]
    whole = health(found, version, {"P8": "not measured", "P9": "not measured"})
    shares = {part.name: part.share for part in whole.parts}
    assert shares["captions"] == pytest.approx(1 - (5 * 1.0 + 5 * 0.4) / 10)
    assert shares["set"] == pytest.approx(0.6)
    assert whole.score == round(15 + 25 + 15 + 30 * 0.3 + 15 * 0.6)
    said = {part.name: part.sentence for part in whole.parts}
    assert said["captions"] == "Captions: 2 findings about 10 of 10 pictures."
    assert said["pixels"] == "Pixels: nothing found; 2 checks not carried out."


def test_more_findings_never_raise_the_score_and_one_is_always_seen(tmp_path: Path) -> None:
    for id_ in list(CASES)[::4]:
        scene, _ = scene_for(id_, 3, bad=True)
        findings = inspect(scene.context(tmp_path)).findings
        scores = [health(findings[:count], scene.version()).score for count in range(len(findings) + 1)]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] == 100 and 0 <= scores[-1] < 100, id_


def test_a_left_out_file_counts_as_a_picture() -> None:
    version = clean(random.Random(1), 9).version()
    part = health([finding("F1", "error", "lost.jpg")], version).parts[0]
    assert part.share == pytest.approx(0.9)
    assert "1 of 10 pictures" in part.sentence


# Exit codes and SARIF


def test_what_fails_a_build() -> None:
    warned = [finding("C13", "warning", "a.png"), finding("C9", "info", "a.png")]
    assert not fails(warned) and fails(warned, "warning") and fails(warned, "info")
    assert not fails(warned, "warning", ignore={"C13"}) and fails(warned, "info", ignore={"C13"})
    assert fails([finding("C1", "error")], "error") and not fails([], "info")


def test_sarif_has_the_shape_of_the_standard(tmp_path: Path) -> None:
    scene, _ = scene_for("C5", 1, bad=True)
    scene.change(0, name="a folder/café 1.png", caption="")
    scene.lose("x.jpg", "damaged")
    findings = inspect(scene.context(tmp_path)).findings
    log = json.loads(json.dumps(to_sarif(findings, ignore={"C5"}, dataset="cats@2")))
    assert log["version"] == "2.1.0" and log["$schema"].startswith("https://") and len(log["runs"]) == 1
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert run["tool"]["driver"]["name"] == "lorasmith"
    assert [rule["id"] for rule in rules] == list(CHECKS)
    for rule in rules:
        assert rule["defaultConfiguration"]["level"] in ("error", "warning", "note")
        assert rule["shortDescription"]["text"] and rule["fullDescription"]["text"] and rule["help"]["text"]
        assert rule["name"].isalnum() and rule["name"][0].isalnum()
    assert len(run["results"]) == len(findings)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note") and result["message"]["text"]
        assert len(result["partialFingerprints"]["finding/v1"]) == 64
        for place in result["locations"]:
            assert not set(' "<>\\^`{|}') & set(place["physicalLocation"]["artifactLocation"]["uri"])
        assert ("suppressions" in result) == (result["ruleId"] == "C5")
    uris = {p["physicalLocation"]["artifactLocation"]["uri"] for r in run["results"] for p in r["locations"]}
    assert "a%20folder/caf%C3%A9%201.png" in uris
    assert run["automationDetails"]["id"] == "lorasmith/check/cats@2"


def test_sarif_fingerprints_follow_the_items_and_not_their_order() -> None:
    def mark(found: Finding) -> str:
        return str(to_sarif([found])["runs"][0]["results"][0]["partialFingerprints"]["finding/v1"])

    assert mark(finding("C1", "error", "a", "b")) == mark(finding("C1", "error", "b", "a"))
    assert mark(finding("C1", "error", "a")) != mark(finding("C1", "error", "b"))
    assert mark(finding("C1", "error", "\ud800.png"))  # a name that is no UTF-8


# Repairs

REPAIRED_HERE = {"F1", "P2", "P8", "D1", "D2", "D3", "D5", "D6", "C1", "C2", "C4", "C19", "S7"}


@pytest.mark.parametrize("id_", sorted(REPAIRED_HERE))
def test_a_repair_is_one_version_in_which_the_finding_is_gone(id_: str, tmp_path: Path) -> None:
    tried = 0
    for seed in range(6):
        scene, _ = scene_for(id_, seed, bad=True)
        version = scene.version()
        for found in inspect(scene.context(tmp_path)).findings:
            if found.id != id_ or found.repair is None or not set(found.items) <= {i.name for i in version.items}:
                continue
            tried += 1
            repaired = preview_repair(version, found.repair, found.items)
            assert repaired != version.items
            after = Scene(list(repaired), scene.ledger, scene.sizes, scene.signals, [], scene.known)
            again = [f for f in inspect(after.context(tmp_path)).findings if f.id == id_ and f.repair == found.repair]
            assert again == [], f"seed {seed}"
            assert json.dumps(dict(found.repair.arguments))
    assert tried


def test_repairs_touch_their_items_only() -> None:
    scene = scene_of("a, b", "", "  ", "This image shows a cat", "x")
    version = scene.version()
    names = [item.name for item in version.items]
    filled = preview_repair(version, Repair("fill_caption", {"text": TRIGGER}, ""), names[:2])
    assert [item.caption for item in filled] == ["a, b", TRIGGER, "  ", "This image shows a cat", "x"]
    opened = preview_repair(version, Repair("remove_opening", {}, ""), names)
    assert [item.caption for item in opened] == ["a, b", "", "  ", "A cat", "x"]
    kept = preview_repair(version, Repair("leave_out", {"keep": [names[0]]}, ""), names[:3])
    assert [item.name for item in kept] == [names[0], *names[3:]]
    moved = preview_repair(version, Repair("set_role", {"role": "validation"}, ""), names[:1])
    assert [item.role for item in moved] == ["validation", "train", "train", "train", "train"]


def test_broken_characters_go_and_all_else_stays() -> None:
    scene = scene_of("\ufeffa,\tb\n\x00c\ufffd, café 猫")
    (item,) = preview_repair(scene.version(), Repair("remove_broken_characters", {}, ""), [scene.items[0].name])
    assert item.caption == "a,\tb\nc, café 猫"


def test_an_opening_that_is_the_whole_caption_stays() -> None:
    scene = scene_of("This image shows")
    assert (
        preview_repair(scene.version(), Repair("remove_opening", {}, ""), [scene.items[0].name])
        == scene.version().items
    )


def test_repairs_that_cannot_be() -> None:
    version = scene_of("a").version()
    name = version.items[0].name
    with pytest.raises(DatasetError, match=r"no picture 'lost\.png'"):
        preview_repair(version, Repair("leave_out", {}, ""), ["lost.png"])
    with pytest.raises(ConfigError, match="'king' is not a role"):
        preview_repair(version, Repair("set_role", {"role": "king"}, ""), [name])
    with pytest.raises(ConfigError, match="no text"):
        preview_repair(version, Repair("fill_caption", {"text": " "}, ""), [name])


def test_a_repair_of_nothing_gives_the_version_back() -> None:
    version = scene_of("a", "b").version()
    assert preview_repair(version, Repair("leave_out", {}, ""), []) == version.items


# The trigger word


def test_where_the_trigger_word_stands() -> None:
    scene = scene_of(
        "ohwx, a, b", "a, ohwx, b", "a, b, ohwx", "a, b", "ohwx, ohwx", "red ohwx woman, smile", "OHWX, a",
        "ohwxx, a", "ohwx", "The woman called ohwx walks along the beach with a dog.", "a ohwx\nb ohwx", "",
    )  # fmt: skip
    name = [item.name for item in scene.items]
    report = verify_trigger(scene.version(), " ohwx ")
    assert (report.word, report.total, report.present) == ("ohwx", 12, 9)
    assert report.missing == (name[3], name[7], name[11]) and report.near_misses == (name[7],)
    assert report.beginning == (name[0], name[4], name[6], name[8])
    assert report.end == (name[2],)
    assert report.middle == (name[1], name[5], name[9], name[10])
    assert report.twice == (name[4],)
    assert report.other_case == (name[6],)
    assert report.in_prose == (name[9],)
    assert report.inside_a_tag == (name[5], name[10])
    assert not report.is_complete
    said = list(report.sentences())
    assert said[0] == "'ohwx' is in 9 of 12 captions."
    assert said[1] == "It stands at the beginning of 4, in the middle of 4, at the end of 1."


def test_a_complete_trigger_word_and_regularisation() -> None:
    scene = scene_of("ohwx, a", "ohwx, b", "woman, a")
    scene.change(2, role="regularisation")
    assert verify_trigger(scene.version(), "ohwx").is_complete
    scene.change(2, caption="ohwx, a")
    report = verify_trigger(scene.version(), "ohwx")
    assert report.regularisation == (scene.items[2].name,) and not report.is_complete and report.total == 2


@pytest.mark.parametrize("word", ["a.b", "(x)", "o'hara", "猫", "saber (fate)", "[v]*", "\\"])
def test_trigger_words_are_taken_literally(word: str) -> None:
    scene = scene_of(f"{word}, smile", "aXb, smile")
    report = verify_trigger(scene.version(), word)
    assert report.beginning == (scene.items[0].name,) and report.missing == (scene.items[1].name,)


def test_an_empty_trigger_word_is_refused() -> None:
    with pytest.raises(ConfigError, match="no trigger word"):
        verify_trigger(scene_of("a").version(), "  ")


def test_settings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batch_size is 0"):
        TrainingPlan(batch_size=0)
    with pytest.raises(ConfigError, match="no trainer's eye called 'onetrianer'"):
        CheckContext(scene_of("a").version(), Shelf(tmp_path), trainer="onetrianer")


def test_empty_sets_and_odd_items_do_not_crash(tmp_path: Path) -> None:
    scene = Scene([])
    assert {f.id for f in inspect(scene.context(tmp_path)).findings} == {"S1"}
    assert health([], scene.version()).score == 100
    assert verify_trigger(scene.version(), "x").present == 0
    odd = clean(random.Random(2), 3)
    odd.items = [
        replace(odd.items[0], width=1, height=30_000, caption="," * 5_000, name="x"),
        replace(odd.items[1], width=30_000, height=1, caption="(" * 5_000 + "\x00" + "\n" * 50, name="a/b/.png"),
        replace(odd.items[2], caption="🙂 so " * 4_000, name="名前", provenance={}),
    ]
    ids = {f.id for f in inspect(odd.context(tmp_path)).findings}
    assert {"P2", "P3", "C13", "C20", "C18", "C3"} <= ids


@pytest.mark.parametrize(
    "piece", ["(", "(!", "a", " ", ",", "\n", "a b, ", "[tag:1.2", "sorry ", "error: ", "Ã", ":(", "_", '"', "the a "]
)
def test_a_huge_caption_takes_a_moment(piece: str, tmp_path: Path) -> None:
    """Patterns must not grow with the square of a caption: 200,000 characters would then take minutes."""
    scene = clean(random.Random(3), 6)
    scene.change(0, caption=(piece * 200_000)[:200_000])
    started = time.process_time()
    inspect(scene.context(tmp_path))
    assert time.process_time() - started < 5
