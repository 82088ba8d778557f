"""A ZIP, tar, Parquet table or picture of this machine."""

from __future__ import annotations

from pathlib import Path

from lorasmith.sources.paths import LocalSource, is_there


class Zip(LocalSource):
    """Reads a ZIP, a tar, a Parquet table or a single picture of this machine; what it is, its content decides."""

    name = "zip"
    title = "A ZIP or another file"
    by_location = True
    examples = ("photos.zip", "shards.tar")

    def accepts(self, location: str) -> bool:
        return is_there(Path(location).expanduser(), Path.is_file)


plugin = Zip()
