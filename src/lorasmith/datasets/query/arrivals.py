"""In which version each picture came, for ``version:``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lorasmith.datasets.manifest import DatasetVersion


def added_in(version: DatasetVersion, get: Callable[[str], DatasetVersion]) -> dict[str, int]:
    """The number of the version in which each picture of ``version`` came, by name.

    That is the oldest from which on it was always there, along the line of parents. A picture that was taken out and
    put back came when it was put back; one that was renamed came under its new name. Parents are read only as long as
    some picture is older than those read so far.

    Args:
        version: whose pictures.
        get: gives a version by ``name@number``, ``DatasetStore.get``.

    Raises:
        DatasetError: a parent is missing or damaged.
    """
    found: dict[str, int] = {}
    names = {item.name for item in version.items}
    while names and version.parent is not None:
        parent = get(f"{version.dataset}@{version.parent}")
        if parent.items is not version.items:
            older = {item.name for item in parent.items}
            found.update(dict.fromkeys(names - older, version.number))
            names &= older
        version = parent
    return found | dict.fromkeys(names, version.number)
