"""The API does what its OpenAPI document says, whatever is sent: schemathesis over every route, with a real home.

More of it: ``LORASMITH_SCHEMA_EXAMPLES=50 python -m pytest tests/web/test_schema.py``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.web.schema_walk import walk


@pytest.mark.filterwarnings("ignore")
def test_every_route_keeps_to_its_document(tmp_path: Path) -> None:
    examples = int(os.environ.get("LORASMITH_SCHEMA_EXAMPLES", "2"))
    walked = walk(tmp_path / "home", examples=examples, seconds=60.0 * examples)
    assert walked.failures == []
    assert walked.operations > 80 and walked.asked > walked.operations
