"""Versions that were read last, kept in memory: pages of a server ask for the same one again and again.

Nothing here can be out of date: a version never changes, and one that was dropped and made anew has another header.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Final

from lorasmith.datasets.headers import Header, read_header
from lorasmith.datasets.manifest import DatasetVersion

_HEADERS: Final = 4096  # a kilobyte each


class Recall:
    """What one ``VersionFiles`` remembers; may be asked by many threads."""

    def __init__(self, items: int) -> None:
        """
        Args:
            items: how many pictures the versions may have together; the one that was read last is always kept.
        """
        self._most = items
        self._lock = threading.Lock()
        self._versions: OrderedDict[tuple[str, int], tuple[Header, DatasetVersion]] = OrderedDict()
        self._headers: OrderedDict[Path, tuple[tuple[int, int, int], Header]] = OrderedDict()

    def version(self, header: Header) -> DatasetVersion | None:
        """The version of that header, if it is remembered."""
        key = (header.dataset, header.number)
        with self._lock:
            known = self._versions.get(key)
            if known is None or known[0] != header:
                return None
            self._versions.move_to_end(key)
        return known[1]

    def keep(self, header: Header, version: DatasetVersion) -> None:
        """Remember a version, and forget those that were not asked for the longest."""
        with self._lock:
            self._versions[header.dataset, header.number] = header, version
            self._versions.move_to_end((header.dataset, header.number))
            while len(self._versions) > 1 and sum(len(one.items) for _, one in self._versions.values()) > self._most:
                self._versions.popitem(last=False)

    def header(self, path: Path) -> Header:
        """What ``read_header`` gives; a file that is the same as before is not read again.

        Raises:
            DamagedHeaderError: as ``read_header``.
        """
        seen = _marks(path)
        with self._lock:
            known = self._headers.get(path)
        if known is not None and known[0] == seen:
            return known[1]
        header = read_header(path)
        if seen is not None:
            with self._lock:
                self._headers[path] = seen, header
                while len(self._headers) > _HEADERS:
                    self._headers.popitem(last=False)
        return header


def _marks(path: Path) -> tuple[int, int, int] | None:
    """What tells a file from another one under the same name; headers are renamed into place, so each has its own."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
