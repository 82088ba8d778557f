"""A walk of schemathesis over the routes of the API, bounded in examples and time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import schemathesis
from PIL import Image
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from lorasmith.studio import Studio
from lorasmith.web.sessions import Sessions
from tests.web.conftest import NAME, client_of

CHECKS = (
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance,
)  # fmt: skip
_ELSEWHERE = ("/api/events",)
"""Streams never end; ``tests/web/test_events.py`` reads this one."""
_OUTSIDE = ("/api/sources/look", "/api/sources/fetch", "/api/train/rehearse")
"""What asks other servers, or trains: only what cannot be meant is sent there."""


@dataclass
class Walked:
    """What was asked, and what was not as it is written."""

    operations: int = 0
    asked: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    slowest: list[tuple[float, str]] = field(default_factory=list)


def walk(home: Path, *, examples: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> Walked:
    """Ask every operation a few times: valid and invalid, NUL bytes and huge numbers among it."""
    studio = Studio(home)
    pictures = home.parent / "cats"
    pictures.mkdir()
    for number in range(3):
        Image.new("RGB", (64 + number, 64), (40 * number, 90, 20)).save(pictures / f"{number}.png")
        (pictures / f"{number}.txt").write_text(f"cat, number {number}")
    studio.import_dataset(pictures, "cats")
    client = client_of(studio, Sessions(home))
    schema = schemathesis.openapi.from_dict(client.get("/api/openapi.json").json(), config=SchemathesisConfig())
    schema.app = client.app
    headers = {"authorization": f"Bearer {(home / 'web-key').read_text()}", "accept": "application/json"}
    walked, begin = Walked(), clock()
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path in _ELSEWHERE:
            continue
        walked.operations += 1
        began = clock()
        if clock() - begin > seconds:
            break
        _ask(operation, headers, examples, walked)
        walked.slowest.append((clock() - began, operation.path))
    walked.seconds = clock() - begin
    return walked


def _ask(operation: Any, headers: dict[str, str], examples: int, walked: Walked) -> None:
    from schemathesis.core.failures import Failure, FailureGroup
    from schemathesis.generation import GenerationMode

    both = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    modes = both[1:] if operation.path in _OUTSIDE else both
    for mode in modes:

        @hypothesis.settings(
            max_examples=examples, deadline=None, database=None, derandomize=True,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )  # fmt: skip
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            walked.asked += 1
            answer = case.call(base_url=f"http://{NAME}", headers=headers)
            case.validate_response(answer, checks=list(CHECKS))

        try:
            ask()
        except (FailureGroup, Failure, ExceptionGroup) as failure:
            inner = getattr(failure, "exceptions", [failure])
            told = "; ".join(f"{type(one).__name__}: {one}" for one in inner)
            walked.failures.append(f"{operation.method.upper()} {operation.path}: {told}"[:1500])
        except hypothesis.errors.Unsatisfiable:
            continue  # nothing wrong can be sent to it
