"""What a captioner needs from elsewhere: said in full before the first byte moves, then fetched by the one downloader.

Files land in ``<home>/captioners/<owner--name>/``, each under its own name when it is whole, so that what was fetched
before an interruption is not fetched again.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Protocol

from lorasmith.captioners import Need
from lorasmith.captioners.repositories import complete
from lorasmith.errors import EnvironmentProblem, LorasmithError, OutOfDisk, Stopped

_SPARE: Final = 200_000_000  # bytes that stay free on the disk
_NAMED: Final = 4  # files that are listed by name
_FAILED_HINT: Final = "What has arrived is kept, and the same command goes on."

Progress = Callable[[int, int], None]


class Download(Protocol):
    """The part of ``lorasmith.fetching.Fetcher`` that is used here."""

    def download(self, url: str, folder: Path, *, name: str | None = None, **options: Any) -> object:
        """Fetch one file into a folder."""

    def json(self, url: str, params: Mapping[str, Any] | None = None) -> Any:
        """Ask for a JSON document."""


def in_words(need: Need, home: Path) -> str:
    """What would be downloaded, from where, how large, under which licence, and how much disk is free."""
    known = all(wanted.size is not None for wanted in need.downloads)
    about = "" if known and need.downloads else "at least " if need.downloads else "about "
    size = f"{about}{amount(need.bytes_to_load)}" if need.bytes_to_load else "of unknown size"
    files = _files_in_words(need)
    licence = f", licence {need.licence}" if need.licence else ""
    return f"{files} ({size}) from {need.source}{licence}; {amount(free_bytes(home))} of disk are free"


def _files_in_words(need: Need) -> str:
    names = [wanted.path for wanted in need.downloads]
    if not names:
        return "its files"
    return " and ".join(names) if len(names) <= _NAMED else f"{len(names)} files"


def refuse_unless_allowed(need: Need, *, allowed: bool, home: Path) -> None:
    """Stop before a download that nobody agreed to, or that the disk cannot hold.

    Raises:
        EnvironmentProblem: it needs a download and that was not allowed.
        OutOfDisk: the disk is too full for it.
    """
    if not need.lacks:
        return
    if need.bytes_to_load + _SPARE > free_bytes(home):
        raise OutOfDisk(
            f"The download needs {amount(need.bytes_to_load)}: {in_words(need, home)}.",
            "Free some disk, or name a smaller model.",
        )
    if not allowed:
        addresses = ", ".join(wanted.url for wanted in need.downloads[:_NAMED]) or need.source
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
    hub: str = "",
    tell: Callable[[str], None] = lambda words: None,
) -> None:
    """Carry out the downloads.

    Args:
        need: what is wanted.
        home: whose.
        progress: called with bytes done and bytes in all.
        cancel: true when it shall stop; what has arrived is kept.
        transport: what fetches; left out, ``lorasmith.fetching``.
        hub: where repositories are, if not at Hugging Face.
        tell: hears what a repository turned out to hold, before the first byte of it.

    Raises:
        EnvironmentProblem: something could not be fetched; the true cause stands first.
        Stopped: ``cancel`` said so.
    """
    if need.folder is None:
        raise EnvironmentProblem("It is not said where the downloads belong.", "Report this.")
    need.folder.mkdir(parents=True, exist_ok=True)
    if transport is None:
        with _fetcher(home) as fetcher:
            fetch(need, home, progress, cancel=cancel, transport=fetcher, hub=hub, tell=tell)
        return
    folder = need.folder
    if need.repository:
        need = _listed(need, home, transport, hub)
        tell(f"Downloading {in_words(need, home)}.")
    done = 0
    for wanted in need.downloads:
        target = folder / wanted.path
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
                expected="data",
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


def _listed(need: Need, home: Path, transport: Download, hub: str) -> Need:
    """The need with the files of its repository, refused where the disk does not hold them."""
    try:
        listed = complete(need, transport.json, hub=hub)
    except EnvironmentProblem:
        raise
    except LorasmithError as cause:
        raise EnvironmentProblem(
            f"The files of {need.repository} could not be listed. {cause.message}",
            f"{cause.hint} Is its name right? A gated repository also needs a token and accepted terms.".strip(),
        ) from cause
    refuse_unless_allowed(listed, allowed=True, home=home)
    return listed


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
