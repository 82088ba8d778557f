"""Findings as SARIF 2.1.0, the form in which code hosts and editors take the results of checks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from typing import Any, Final
from urllib.parse import quote

import lorasmith
from lorasmith.datasets.checks.finding import Check, Finding, Severity
from lorasmith.datasets.checks.registry import CHECKS

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_WORDS: Final = re.compile(r"[A-Za-z0-9]+")
_LEVELS: Final[dict[Severity, str]] = {"error": "error", "warning": "warning", "info": "note"}


def to_sarif(findings: Collection[Finding], *, ignore: Collection[str] = (), dataset: str = "") -> dict[str, Any]:
    """One SARIF log with one run: all checks as rules, one result for each finding, its pictures as locations.

    Args:
        findings: of ``check`` or ``inspect``.
        ignore: ids whose findings are kept and marked as suppressed.
        dataset: the reference of the version, named in the run.
    """
    rules = list(CHECKS.values())
    place = {rule.id: index for index, rule in enumerate(rules)}
    driver = {
        "name": "lorasmith",
        "semanticVersion": lorasmith.__version__,
        "rules": [_rule(rule) for rule in rules],
    }
    run: dict[str, Any] = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, place[finding.id], finding.id in ignore) for finding in findings],
    }
    if dataset:
        run["automationDetails"] = {"id": f"lorasmith/check/{dataset}"}
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(check: Check) -> dict[str, Any]:
    return {
        "id": check.id,
        "name": "".join(word.capitalize() for word in _WORDS.findall(check.title)),
        "shortDescription": {"text": check.title},
        "fullDescription": {"text": check.why},
        "help": {"text": f"{check.fix} Source: {check.source}"},
        "defaultConfiguration": {"level": _LEVELS[check.severity]},
    }


def _result(finding: Finding, rule: int, suppressed: bool) -> dict[str, Any]:
    named = "\n".join([finding.id, *sorted(finding.items)] if finding.items else [finding.id, finding.message])
    result: dict[str, Any] = {
        "ruleId": finding.id,
        "ruleIndex": rule,
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{finding.message} {finding.fix}".strip()},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(item)}}} for item in finding.items],
        "partialFingerprints": {"finding/v1": hashlib.sha256(named.encode("utf-8", "replace")).hexdigest()},
    }
    if finding.repair is not None:
        result["properties"] = {
            "repair": {
                "operation": finding.repair.operation,
                "arguments": dict(finding.repair.arguments),
                "sentence": finding.repair.sentence,
            }
        }
    if suppressed:
        result["suppressions"] = [{"kind": "external", "justification": "ignored by id"}]
    return result


def _uri(name: str) -> str:
    return quote(name.replace("\\", "/"), safe="/", errors="replace")
