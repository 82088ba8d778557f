"""What a captioner needs from elsewhere: said in full before the first byte moves, then fetched by the one downloader.

Files land in ``<home>/captioners/<owner--name>/``, each under its own name when it is whole, so that what was fetched
before an interruption is not fetched again.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Protocol

from lorasmith.captioners import Need
from lorasmith.errors import EnvironmentProblem, LorasmithError, OutOfDisk, Stopped

ROOM: Final = "captioners"
_SPARE: Final = 200_000_000  # bytes that stay free on the disk
_FAILED_HINT: Final = "What has arrived is kept, and the same command goes on."

Progress = Callable[[int, int], None]


class Download(Protocol):
    """The part of ``lorasmith.fetching.Fetcher`` that is used here."""

    def download(self, url: str, folder: Path, *, name: str | None = None, **options: Any) -> object:
        """Fetch one file into a folder."""


def in_words(need: Need, home: Path) -> str:
    """What would be downloaded, from where, how large, under which licence, and how much disk is free."""
    known = all(wanted.size is not None for wanted in need.downloads)
    size = f"{'' if known else 'at least '}{amount(need.bytes_to_load)}" if need.bytes_to_load else "of unknown size"
    files = " and ".join(wanted.path for wanted in need.downloads)
    licence = f", licence {need.licence}" if need.licence else ""
    return f"{files} ({size}) from {need.source}{licence}; {amount(free_bytes(home))} of disk are free"


def refuse_unless_allowed(need: Need, *, allowed: bool, home: Path) -> None:
    """Stop before a download that nobody agreed to, or that the disk cannot hold.

    Raises:
        EnvironmentProblem: it needs a download and that was not allowed.
        OutOfDisk: the disk is too full for it.
    """
    if not need.downloads:
        return
    if need.bytes_to_load + _SPARE > free_bytes(home):
        raise OutOfDisk(
            f"The download needs {amount(need.bytes_to_load)}: {in_words(need, home)}.",
            "Free some disk, or name a smaller model.",
        )
    if not allowed:
        addresses = ", ".join(wanted.url for wanted in need.downloads)
        raise EnvironmentProblem(
            f"The model is not on this machine; it would be downloaded: {in_words(need, home)}.",
            f"Allow it with --download (in Python: download=True), or put the files into a folder and name that folder "
            f"as 'model': {addresses}",
        )


def fetch(
    need: Need,
    home: Path,
    progress: Progress,
    *,
    cancel: Callable[[], bool] = lambda: False,
    transport: Download | None = None,
) -> None:
    """Carry out the downloads.

    Args:
        need: what is wanted.
        home: whose.
        progress: called with bytes done and bytes in all.
        cancel: true when it shall stop; what has arrived is kept.
        transport: what fetches; left out, ``lorasmith.fetching``.

    Raises:
        EnvironmentProblem: something could not be fetched; the true cause stands first.
        Stopped: ``cancel`` said so.
    """
    if need.folder is None:
        raise EnvironmentProblem("It is not said where the downloads belong.", "Report this.")
    need.folder.mkdir(parents=True, exist_ok=True)
    if transport is None:
        with _fetcher(home) as fetcher:
            fetch(need, home, progress, cancel=cancel, transport=fetcher)
        return
    done = 0
    for wanted in need.downloads:
        target = need.folder / wanted.path
        if target.is_file():  # it appeared when it was whole
            done += wanted.size or target.stat().st_size
            continue

        def report(state: Any, before: int = done) -> None:
            progress(before + state.done, max(need.bytes_to_load, before + state.done))

        try:
            transport.download(
                wanted.url,
                target.parent,
                name=target.name,
                sha256=wanted.sha256,
                expected="any",
                progress=report,
                cancel=cancel,
            )
        except Stopped:
            raise
        except LorasmithError as cause:
            raise EnvironmentProblem(
                f"{wanted.path} could not be downloaded. {cause.message}",
                f"{cause.hint} {_FAILED_HINT}".strip(),
            ) from cause
        done += wanted.size or target.stat().st_size


def free_bytes(home: Path) -> int:
    """Of the disk that the home lies on, or will."""
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    return shutil.disk_usage(place).free


def amount(size: int) -> str:
    """``379 MB``, ``1.26 GB``."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6))} MB"


def _fetcher(home: Path) -> AbstractContextManager[Download]:
    try:
        room = importlib.import_module("lorasmith.fetching")
        credentials = importlib.import_module("lorasmith.credentials")
    except ImportError as cause:
        raise EnvironmentProblem("This installation cannot download.", "Reinstall lorasmith.") from cause
    fetcher: AbstractContextManager[Download] = room.Fetcher(credentials=credentials.Credentials(home))
    return fetcher
