"""Checks whose findings somebody put aside for a dataset. They belong to it and to no version, as selections do.

<home>/datasets/<name>/ignored.json     a list of ids, replaced whole
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from filelock import FileLock

from lorasmith.datasets.names import safe_dataset_name
from lorasmith.datasets.source import disk_errors
from lorasmith.errors import ConfigError, DatasetError
from lorasmith.files import write_atomically


def ignored(home: Path, dataset: str) -> tuple[str, ...]:
    """The ids, sorted.

    Raises:
        DatasetError: their file is damaged.
    """
    path = _path(home, dataset)
    try:
        found: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as cause:
        raise _damaged(path) from cause
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise _damaged(path)
    return tuple(sorted(set(found)))


def set_ignored(home: Path, dataset: str, check: str, *, on: bool) -> tuple[str, ...]:
    """Put a check aside or heed it again; all that are put aside then."""
    from lorasmith.datasets.checks import CHECKS

    if check not in CHECKS:
        raise ConfigError(f"There is no check '{check}'.", "docs/checks.md lists all of them.")
    path = _path(home, dataset)
    with FileLock(path.parent / ".selections.lock"):
        kept = set(ignored(home, dataset)) - {check} | ({check} if on else set())
        with disk_errors(path.parent):
            write_atomically(path, json.dumps(sorted(kept)).encode())
    return tuple(sorted(kept))


def _path(home: Path, dataset: str) -> Path:
    if safe_dataset_name(dataset) != dataset:
        raise DatasetError(f"'{dataset}' cannot be the name of a dataset.", f"Use '{safe_dataset_name(dataset)}'.")
    return home / "datasets" / dataset / "ignored.json"


def _damaged(path: Path) -> DatasetError:
    return DatasetError(f"{path} cannot be read.", "Move it away; every check is heeded then.")
