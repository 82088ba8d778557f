"""The worker's job "certify": judge a LoRA file against a base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorasmith import events
from lorasmith.adapters.certificate import certify
from lorasmith.bases import open_base
from lorasmith.errors import AdapterError
from lorasmith.files import write_atomically

if TYPE_CHECKING:
    from lorasmith.jobfolder import JobFolder


def run(folder: JobFolder, emit: events.Emit, control: Any) -> dict[str, Any]:
    """Certify ``payload["adapter"]`` (a path, or a name in ``<home>/adapters``) with ``payload["base"]``.

    The result is the certificate. A file that fails is a finished job: the certificate says so, nothing is raised.
    ``control`` is not asked: it takes seconds, and a half certificate is none.

    Raises:
        AdapterError: there is no such file.
        BaseError: there is no such base, or it cannot be used.
    """
    payload = folder.record().payload
    file = _locate(str(payload["adapter"]), folder.home)
    emit(events.Phase("loading"))
    base = open_base(str(payload["base"]), home=folder.home)
    emit(events.Phase("certifying"))
    certificate = certify(file, base, device=str(payload.get("device", "cpu")))
    write_atomically(folder.path / "certificate.json", certificate.to_json().encode())
    for finding in certificate.findings:
        emit(events.Notice(finding))
    return certificate.model_dump(mode="json")


def _locate(name: str, home: Path) -> Path:
    path = Path(name).expanduser()
    for candidate in (path, home / "adapters" / name, home / "adapters" / f"{name}.safetensors"):
        if candidate.is_file():
            return candidate
    raise AdapterError(f"There is no adapter at {name}.", "Give its path, or its name in the home's adapters folder.")
