"""The worker's certify job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lorasmith.adapters.certificate import Certificate
from lorasmith.adapters.file import write_adapter
from lorasmith.adapters.run import run
from lorasmith.errors import AdapterError
from lorasmith.events import Event, Notice, Phase
from lorasmith.families import Base, Family
from lorasmith.files import write_atomically
from lorasmith.jobfolder import JobFolder, JobRecord
from tests.adapters.conftest import MakeModules


def job(home: Path, payload: dict[str, Any]) -> JobFolder:
    folder = home / "jobs" / "1"
    folder.mkdir(parents=True)
    record = JobRecord(id="1", kind="certify", created="2026-01-01T00:00:00Z", payload=payload)
    write_atomically(folder / "job.json", record.model_dump_json().encode())
    return JobFolder(folder)


def test_a_named_adapter_is_certified(base: Base, family: Family, make_modules: MakeModules, tmp_path: Path) -> None:
    (tmp_path / "adapters").mkdir()
    file = tmp_path / "adapters" / "mine.safetensors"
    write_adapter(file, make_modules(), family=family, dtype="fp16", metadata={})
    said: list[Event] = []
    folder = job(tmp_path, {"adapter": "mine", "base": str(base.path)})
    output = run(folder, said.append, None)
    certificate = Certificate.model_validate(output)
    assert certificate.passed and certificate.file == "mine.safetensors"
    assert Certificate.model_validate_json((folder.path / "certificate.json").read_bytes()) == certificate
    assert [event.name for event in said if isinstance(event, Phase)] == ["loading", "certifying"]


def test_a_failing_file_is_a_finished_job_with_notices(base: Base, tmp_path: Path) -> None:
    file = tmp_path / "broken.safetensors"
    file.write_bytes(b"\0" * 20)
    said: list[Event] = []
    output = run(job(tmp_path, {"adapter": str(file), "base": str(base.path)}), said.append, None)
    assert output["passed"] is False
    assert [event.message for event in said if isinstance(event, Notice)] == output["findings"]


def test_no_adapter_is_an_error(base: Base, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="There is no adapter at nowhere"):
        run(job(tmp_path, {"adapter": "nowhere", "base": str(base.path)}), lambda event: None, None)
