"""docs/api.md is written from the routes, and every operation has words and, where it takes a body, an example."""

from __future__ import annotations

from pathlib import Path

from lorasmith.web.api.reference import reference
from tests.web.conftest import Door


def test_the_page_is_not_stale() -> None:
    page = Path(__file__).parents[2] / "docs" / "api.md"
    assert page.read_text(encoding="utf-8") == reference(), "python -m lorasmith.web.api.reference > docs/api.md"


def test_every_operation_is_described_with_examples(door: Door) -> None:
    document = door.client.get("/api/openapi.json").json()
    bodies = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if path.startswith("/api/uploads"):
                continue
            assert operation["summary"] and operation["description"], (method, path)
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            if "$ref" in body:
                assert document["components"]["schemas"][body["$ref"].rpartition("/")[2]]["examples"], (method, path)
                bodies += 1
    assert bodies > 30
