"""The ledger can be asked, counted and written down; every rule in it is documented."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lorasmith.datasets
from lorasmith.datasets.ledger import RULES, filter_fates, ledger_table, ledger_text, totals
from lorasmith.datasets.manifest import DatasetVersion, Fate
from lorasmith.datasets.store import DatasetStore
from lorasmith.errors import ConfigError
from lorasmith.sources import LeftOut
from tests.datasets.dataset_pictures import gradient, png, with_orientation, write_folder

ARCHIVES_IN_FOLDERS = "nested.py"


@pytest.fixture
def version(tmp_path: Path) -> DatasetVersion:
    files = {
        "a.png": png(1), "a.txt": b"one", "b.jpg": with_orientation(gradient(seed=2), 6), "b.png": png(1),
        "=cmd|'x'!A1.png": png(3), "notes.md": b"x", "sub/bad.jpg": b"\xff\xd8\xff",
    }  # fmt: skip
    return DatasetStore(tmp_path / "home").import_source(write_folder(tmp_path / "s", files))


def test_asking_the_ledger(version: DatasetVersion) -> None:
    def paths(**conditions: str) -> list[str]:
        return [line.path for line in filter_fates(version, **conditions)]  # type: ignore[arg-type]

    assert paths() == [line.path for line in version.ledger]
    assert paths(fate="converted") == ["b.jpg"]
    assert paths(rule="duplicate") == ["b.png"]
    assert paths(fate="left_out", path="*.png") == ["b.png"]
    assert paths(path="sub/*") == paths(rule="damaged") == ["sub/bad.jpg"]
    assert paths(source="elsewhere") == []
    with pytest.raises(ConfigError, match="no rule 'dupes'"):
        paths(rule="dupes")


def test_inputs_are_taken_plus_left_out(version: DatasetVersion) -> None:
    counted = totals(version.ledger)
    assert (counted.inputs, counted.taken, counted.converted, counted.left_out) == (7, 4, 1, 3)
    assert counted.by_rule == {"caption": 1, "damaged": 1, "duplicate": 1, "image": 3, "not_an_image": 1}
    assert sum(counted.by_rule.values()) == counted.inputs


def test_writing_the_ledger_down(version: DatasetVersion) -> None:
    table = ledger_table(version)
    assert [row["path"] for row in table] == [line.path for line in version.ledger]
    assert json.loads(ledger_text(version, "json")) == table
    assert [json.loads(line) for line in ledger_text(version, "jsonl").splitlines()] == table
    rows = list(csv.DictReader(io.StringIO(ledger_text(version, "csv"), newline="")))
    assert [row["rule"] for row in rows] == [row["rule"] for row in table]
    assert "'=cmd|'x'!A1.png" in [row["path"] for row in rows]
    with pytest.raises(ConfigError, match="'xml'"):
        ledger_text(version, "xml")  # type: ignore[arg-type]


texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(texts | st.sampled_from(["=1+1", "+a", "-a", "@a", "\t=a", " =a", "\r=a", 'a"b', "a\nb"]), texts)
    )
)
def test_no_cell_of_the_csv_is_a_formula_and_none_is_lost(lines: list[tuple[str, str]]) -> None:
    fates = [Fate(path=path, fate="left_out", rule="damaged", detail=detail) for path, detail in lines]
    rows = list(csv.reader(io.StringIO(ledger_text(fates, "csv"), newline="")))[1:]
    assert len(rows) == len(lines)
    for row, (path, detail) in zip(rows, lines, strict=True):
        assert not any(cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row)
        assert row[1] in (path, f"'{path}")
        assert row[5] in (detail, f"'{detail}")


def test_every_rule_that_is_emitted_is_documented_and_the_other_way_round() -> None:
    """By the source text: what stands where a rule is given must be a key of ``RULES``."""
    folder = Path(lorasmith.datasets.__file__).parent
    emitted: set[str] = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            emitted |= _rules_in(node)
    elsewhere = set() if (folder / ARCHIVES_IN_FOLDERS).exists() else {"opened"}
    assert emitted | elsewhere | set(get_args(LeftOut)) == set(RULES)
    assert all(sentence.endswith(".") for sentence in RULES.values())


def test_the_rules_are_written_down() -> None:
    page = (Path(__file__).parents[2] / "docs" / "importing.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", page, re.MULTILINE)) == dict(RULES)


def _rules_in(node: ast.AST) -> set[str]:
    """Rules in ``left_out(path, RULE, ...)``, ``RefusedError(RULE, ...)``, ``Fate(rule=RULE)``, ``rule = RULE`` and the
    pairs that ``_why_refused`` returns."""
    found: list[ast.expr] = []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id == "left_out":
            found += node.args[1:2]
        elif node.func.id == "RefusedError":
            found += node.args[:1]
        elif node.func.id == "Fate":
            found += [keyword.value for keyword in node.keywords if keyword.arg == "rule"]
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "rule":
        found.append(node.value)
    elif isinstance(node, ast.FunctionDef) and node.name == "_why_refused":
        returns = [part.value for part in ast.walk(node) if isinstance(part, ast.Return)]
        found += [value.elts[0] for value in returns if isinstance(value, ast.Tuple)]
    choices = [[one.body, one.orelse] if isinstance(one, ast.IfExp) else [one] for one in found]
    return {
        one.value for some in choices for one in some if isinstance(one, ast.Constant) and isinstance(one.value, str)
    }
