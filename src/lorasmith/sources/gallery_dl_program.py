"""The program gallery-dl, as a process of its own: found, given our settings and nothing of the user's, read, ended.

It is a separate work under the GPL-2.0 that lorasmith neither contains nor imports; what passes between the two is a
settings file, an address, and lines of text. It reaches the network through ``guarded_way.py`` alone.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import site
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Final

import psutil

from lorasmith import processes
from lorasmith.credentials import Credentials, redact, refuse_to_write
from lorasmith.errors import EnvironmentProblem, FetchError
from lorasmith.fetching.addresses import Gate
from lorasmith.fetching.limits import Cancel, stop_if
from lorasmith.sources.guarded_way import GuardedWay, guarded_way

VARIABLE: Final = "LORASMITH_GALLERY_DL"
FILMS: Final = ("mp4", "webm", "m4v", "mov", "mkv", "avi", "ogv", "swf", "zip", "rar", "7z", "mp3", "wav", "ogg", "pdf")
_LONGEST_LINE: Final = 4_000_000  # bytes; metadata of one file
_SILENCE: Final = 1_800.0  # seconds without a line; sites make it wait, but not for so long
_GRACE: Final = 10.0  # seconds to end by itself after it was asked to
_KEPT_ERRORS: Final = 1_000
_HURRIED: Final = ("gelbooru", "gelbooru_v01", "gelbooru_v02", "moebooru", "shimmie2", "szurubooru")
"""Sites that it would ask without a pause; for all others it keeps to the pace that it knows."""
_PACE: Final = (0.5, 1.5)  # seconds between two requests
_BITS: Final[Mapping[int, tuple[str, str]]] = {
    1: ("something went wrong that it does not name", "Look at the lines that it said."),
    2: ("it does not know an option that it was given", "Bring it up to date: `pipx upgrade gallery-dl`."),
    4: ("the site refused, or answered in a way that it does not expect", "Try again later, or bring it up to date."),
    8: (
        "the site wants to see a person (a challenge, such as Cloudflare's)",
        "Download with a browser there, and import the folder.",
    ),
    16: ("the site wants a login", "Download where you are logged in, and import the folder."),
    32: ("it cannot work with its settings", "Bring it up to date: `pipx upgrade gallery-dl`."),
    64: (
        "it does not know this kind of address",
        "`gallery-dl --list-extractors` shows what it knows; copy the address of a gallery, post, user or search.",
    ),
    128: ("it could not write a file", "Check that the disk has room and can be written."),
}


def find_program() -> tuple[str, ...]:
    """The command that starts it.

    Raises:
        EnvironmentProblem: it is not here; the hint says how to get it.
    """
    chosen = os.environ.get(VARIABLE, "").strip()
    if chosen:
        found = shutil.which(chosen)
        if found is None:
            raise EnvironmentProblem(f"{VARIABLE} names {chosen}, which is no program.", "Correct or unset it.")
        return (found,)
    beside = Path(sys.executable).parent  # of a virtual environment that is not activated
    found = shutil.which("gallery-dl") or shutil.which("gallery-dl", path=str(beside))
    if found is not None:
        return (found,)
    if find_spec("gallery_dl") is not None:
        return (sys.executable, "-m", "gallery_dl")
    raise EnvironmentProblem(
        "The program gallery-dl is not here, which knows these sites.",
        "Install it with `pipx install gallery-dl` (or `pip install gallery-dl`). It is a program of its own under the "
        f"GPL-2.0, and lorasmith only starts it. Where it lies elsewhere, set {VARIABLE} to its path.",
    )


def settings(
    folder: Path, *, limit: int | None, largest: int, tag_kinds: bool, pictures_only: bool, retries: int
) -> dict[str, Any]:
    """What it is told, but for secrets. Named is everything that a user's own file could say otherwise."""
    extractor: dict[str, Any] = {
        "base-directory": str(folder / "files"),
        "archive": str(folder / "archive.sqlite3"),
        "skip": True,
        "cookies": None,
        "cookies-update": False,
        "netrc": False,
        "proxy-env": False,
        "retries": retries,
        "sleep": [0.1, 0.4],
        "path-restrict": "windows",
        "path-strip": "windows",
        "path-remove": "\u0000-\u001f\u007f\u200e\u200f\u202a-\u202e\u2066-\u2069",
        "url-metadata": "file_url",
        "postprocessors": [{"name": "metadata", "mode": "json"}],
        "tags": tag_kinds,
    }
    extractor |= {site: {"sleep-request": _PACE} for site in _HURRIED}
    if limit is not None:
        extractor["image-range"] = f"1-{limit}"
    if pictures_only:
        extractor["image-filter"] = f"extension not in {FILMS!r}"
    return {
        "extractor": extractor,
        "downloader": {
            "mtime": False,
            "retries": retries,
            "part-directory": str(folder / "arriving"),
            "http": {"filesize-max": str(largest)},
            "ytdl": {"enabled": False},
        },
        "output": {"mode": "pipe", "progress": False, "ansi": False, "colors": {}, "jsonl": True, "private": False},
        "cache": {"file": str(folder / "cache.sqlite3")},
    }


def with_secrets(plain: Mapping[str, Any], service: str, credentials: Credentials) -> dict[str, Any]:
    """The settings with the secret of the one site that is asked, when there is one."""
    secret = credentials.get(service) if service in ("gelbooru", "danbooru", "civitai") else None
    if secret is None:
        return dict(plain)
    if service == "civitai":
        own = {"api-key": secret.reveal()}
    else:
        first, second = secret.pair()
        names = ("user-id", "api-key") if service == "gelbooru" else ("username", "password")
        own = dict(zip(names, (first, second), strict=True))
    extractor = plain["extractor"]
    return {**plain, "extractor": {**extractor, service: {**extractor.get(service, {}), **own}}}


class Run:
    """The program at work on one address. Made by ``running``."""

    def __init__(self, process: subprocess.Popen[bytes], way: GuardedWay, file: Path, cancel: Cancel | None) -> None:
        self._process, self._file, self._cancel = process, file, cancel
        self.way = way
        self._lines: queue.Queue[str | None] = queue.Queue(maxsize=1_000)
        self.errors: list[str] = []
        """What it said went wrong, without secrets."""
        self._readers = (
            threading.Thread(target=self._read, args=(process.stdout, self._lines.put), daemon=True),
            threading.Thread(target=self._read, args=(process.stderr, self._hear), daemon=True),
        )
        for reader in self._readers:
            reader.start()

    def lines(self) -> Iterator[str]:
        """What it says on its output, line by line, until it ends.

        Raises:
            Stopped: ``cancel`` said so.
            FetchError: it has not said anything for half an hour.
        """
        heard = time.monotonic()
        while True:
            stop_if(self._cancel)
            try:
                line = self._lines.get(timeout=0.1)
            except queue.Empty:
                if time.monotonic() - heard > _SILENCE:
                    raise FetchError("gallery-dl has fallen silent.", "Try again later; what came is kept.") from None
                continue
            if line is None:
                return
            heard = time.monotonic()
            self._file.unlink(missing_ok=True)  # it has read its settings: should we be killed, no secret is left
            yield line

    def code(self) -> int:
        """How it ended, when its lines have."""
        try:
            code = self._process.wait(timeout=_GRACE)
        except subprocess.TimeoutExpired:  # it has closed its output and does not go
            self.end()
            return int(self._process.returncode)
        self._readers[1].join(timeout=_GRACE)
        return code

    def end(self) -> None:
        """End it and all that it started; it is asked first. What it was bringing goes on from there the next time."""
        if self._process.poll() is None:
            running = psutil.Process(self._process.pid)
            processes.end(running, kill=False)
            try:
                self._process.wait(timeout=_GRACE)
            except subprocess.TimeoutExpired:
                processes.end(running, kill=True)
                self._process.wait()
        until = time.monotonic() + _GRACE
        while self._readers[0].is_alive() and time.monotonic() < until:  # it may wait for room for its next line
            with suppress(queue.Empty):
                self._lines.get(timeout=0.05)
        self._readers[1].join(timeout=_GRACE)
        for reader, stream in zip(self._readers, (self._process.stdout, self._process.stderr), strict=True):
            if stream is not None and not reader.is_alive():  # closing under a reader's hands would wait for it
                stream.close()

    def _read(self, stream: IO[bytes] | None, put: Any) -> None:
        assert stream is not None
        while raw := stream.readline(_LONGEST_LINE):
            put(raw.decode("utf-8", "replace").rstrip("\r\n"))
        put(None)

    def _hear(self, line: str | None) -> None:
        if line and ("][error]" in line or "][warning]" in line) and len(self.errors) < _KEPT_ERRORS:
            self.errors.append(redact("".join(c if c.isprintable() else " " for c in line))[:500])


@contextmanager
def running(
    program: Sequence[str],
    told: Mapping[str, Any],
    arguments: Sequence[str],
    url: str,
    gate: Gate,
    cancel: Cancel | None = None,
) -> Iterator[Run]:
    """Start it on one address, and end it at the latest when this ends.

    Args:
        program: as ``find_program`` says.
        told: all of its settings; they lie in a file that only this user can read while it runs.
        arguments: further ones, without values.
        url: one that was checked.
        gate: what it may reach.
        cancel: set, or true when called: ``lines`` raises.

    Raises:
        EnvironmentProblem: it cannot be started.
        ConfigError: the address holds a secret, which everybody on this machine could read among its arguments.
    """
    refuse_to_write(url, "The command line of gallery-dl")
    with guarded_way(gate) as way, tempfile.TemporaryDirectory(prefix="lorasmith-", ignore_cleanup_errors=True) as name:
        private = Path(name)
        told = {**told, "extractor": {**told.get("extractor", {}), "proxy": way.url}}
        file = private / "settings.json"
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            json.dump(told, stream)
        command = [*program, "--config-ignore", "--config", str(file), "--no-input", *arguments, "--", url]
        run = Run(_started(command, private), way, file, cancel)
        try:
            yield run
        finally:
            run.end()


def _started(command: Sequence[str], private: Path) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603  a list, no shell, and the address behind --
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=private,
            env=_environment(private),
            start_new_session=sys.platform != "win32",
        )
    except OSError as cause:
        raise EnvironmentProblem(
            f"gallery-dl cannot be started: {cause.strerror}.", "Install it anew: `pipx reinstall gallery-dl`."
        ) from cause


def _environment(private: Path) -> dict[str, str]:
    """A bare one: no tokens, no proxies, a home that is empty. Its libraries are still found where pip put them."""
    kept = ("PATH", "SYSTEMROOT", "SYSTEMDRIVE", "PATHEXT", "COMSPEC", "TEMP", "TMP", "TMPDIR", "SSL_CERT_FILE")
    own = {name: os.environ[name] for name in kept if name in os.environ}
    home = str(private)
    return own | {
        "HOME": home,
        "USERPROFILE": home,
        "APPDATA": home,
        "XDG_CONFIG_HOME": home,
        "XDG_CACHE_HOME": home,
        "PYTHONUSERBASE": site.getuserbase(),
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
        "LC_ALL": "C.UTF-8",
    }


def in_words(code: int, errors: Sequence[str]) -> tuple[str, str]:
    """An exit status as a sentence without its subject, and what to do; the status is a set of bits."""
    if code < 0:
        return f"it was ended by {processes.manner_of_end(code)}", "Start it again; what came is kept."
    found = [text for bit, text in _BITS.items() if code & bit] or [
        (f"it ended with status {code}", "Try again later.")
    ]
    sentence = " and ".join(what for what, _ in found)
    last = next((line for line in reversed(errors) if "][error]" in line), "")
    quoted = f" (it said: “{last.partition('][error]')[2].strip()[:200]}”)" if last else ""
    return sentence + quoted, found[-1][1]
