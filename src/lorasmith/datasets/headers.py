"""The file of a version, ``<home>/datasets/<name>/<number>.json``: a small header that names a Merkle root.

It is written last, when all pieces are durable, and renamed into place; with that the version is there, not before.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from lorasmith.datasets.manifest import FORMAT, Operation, Record
from lorasmith.errors import DatasetError
from lorasmith.files import write_atomically

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class DamagedHeaderError(Exception):
    """A header that cannot be believed; the text is a clause without a subject."""


class Header(Record):
    """Everything of a version but its items and ledger."""

    format: Literal[2] = 2
    dataset: str
    number: Annotated[int, Field(ge=1)]
    parent: int | None
    operation: Operation
    created: str
    """ISO 8601, UTC."""
    root: Sha256
    """Merkle root of the items, and the name of the object that lists their pieces."""
    count: Annotated[int, Field(ge=1)]
    """Items."""
    ledger_root: Sha256 | None = None
    """The same of the ledger; None when it is empty."""
    ledger_count: int = 0

    @property
    def reference(self) -> str:
        """``name@number``."""
        return f"{self.dataset}@{self.number}"


def write_header(path: Path, header: Header) -> None:
    """Write a header with a seal: the SHA-256 of the rest of it as JSON, keys sorted, no spaces, UTF-8.

    Raises:
        DatasetError: the operation's arguments are no JSON in UTF-8.
    """
    try:
        record = header.model_dump(mode="json")
        content = json.dumps(record | {"seal": _seal(record)}, ensure_ascii=False, indent=1, allow_nan=False).encode()
    except ValueError as cause:
        raise DatasetError(
            f"The operation '{header.operation.name}' cannot be written down: {cause}.", "Use plain JSON values."
        ) from cause
    write_atomically(path, content)


def read_header(path: Path) -> Header:
    """
    Raises:
        DamagedHeaderError: it is missing, unreadable, of another format, or a byte of it has changed.
    """
    try:
        record = json.loads(path.read_bytes())
    except OSError as cause:
        raise DamagedHeaderError(f"cannot be read ({cause.strerror})") from cause
    except ValueError as cause:
        raise DamagedHeaderError("is damaged") from cause
    if not isinstance(record, dict):
        raise DamagedHeaderError("is damaged")
    if isinstance(record.get("format"), int) and record["format"] != FORMAT:
        raise DamagedHeaderError(f"is of format {record['format']}, which this release of lorasmith does not read")
    if record.pop("seal", None) != _seal(record):
        raise DamagedHeaderError("is damaged: its seal does not fit")
    try:
        header = Header.model_validate(record)
    except ValidationError as cause:
        raise DamagedHeaderError("is damaged") from cause
    return header


def _seal(record: dict[str, Any]) -> str:
    content = json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
