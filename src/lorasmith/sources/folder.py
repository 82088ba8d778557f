"""A folder of this machine."""

from __future__ import annotations

from pathlib import Path

from lorasmith.sources.paths import LocalSource, is_there


class Folder(LocalSource):
    """Reads a folder of this machine, in whatever layout it is, and never writes into it."""

    name = "folder"
    title = "A folder"
    by_location = True
    examples = ("photos", "~/Pictures/rex")

    def accepts(self, location: str) -> bool:
        return bool(location.strip()) and is_there(Path(location).expanduser(), Path.is_dir)


plugin = Folder()
