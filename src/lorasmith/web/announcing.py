"""Tells people that a job has ended: a webhook, and the desktop of this machine. The browser hears it by itself.

Where it stands in the journal is kept in a file, so that what ended while no server ran is still told.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from lorasmith.credentials import Credentials, redact
from lorasmith.errors import ConfigError, LorasmithError
from lorasmith.fetching import Fetcher, Limits
from lorasmith.files import read_json, write_json
from lorasmith.queue.records import QueuedJob
from lorasmith.studio import Studio

log = logging.getLogger(__name__)
SECRET: Final = "webhook"
"""The address holds a key with most services, so it is kept where secrets are."""
_LOOK: Final = 1.0
_AT_ONCE: Final = 500
_ENDS: Final = ("succeeded", "failed")
Post = Callable[[str, Mapping[str, Any], bool], object]
"""Sends a document to an address; the last says whether it lies in one's own network."""


@dataclass(frozen=True)
class Wishes:
    """What somebody wants to be told, and how."""

    address: str = ""
    own_network: bool = False
    """Whether the webhook's host may be a private one."""
    desktop: bool = False


def wishes_of(home: Path) -> Wishes:
    """What was chosen in the settings."""
    kept = read_json(home / "announcements.json")
    secret = Credentials(home).get(SECRET)
    address = secret.reveal() if secret is not None else ""
    return Wishes(address, bool(kept.get("own_network")), bool(kept.get("desktop")))


def choose(home: Path, wishes: Wishes) -> None:
    """Keep what was chosen.

    Raises:
        ConfigError: the address is none.
    """
    address = wishes.address.strip()
    parts = urlsplit(address)
    if address and (parts.scheme not in ("https", "http") or not parts.hostname):
        raise ConfigError("The webhook is no address.", "Give one that begins with https://, or leave it empty.")
    if parts.scheme == "http" and not wishes.own_network:
        raise ConfigError("A webhook elsewhere has to begin with https://.", "Tick that it is in your own network.")
    home.mkdir(parents=True, exist_ok=True)
    if address:
        Credentials(home).set(SECRET, address)
    else:
        Credentials(home).forget(SECRET)
    write_json(home / "announcements.json", {"own_network": wishes.own_network, "desktop": wishes.desktop})


class Announcer:
    """Follows the journal from ``start`` to ``stop``."""

    def __init__(self, studio: Studio, post: Post | None = None, show: Callable[[str, str], object] | None = None) -> None:
        """
        Args:
            studio: whose jobs.
            post: sends to the webhook, if not ``fetching`` by its rules.
            show: shows title and text on the desktop, if not what this system has.
        """
        self._studio = studio
        self._post, self._show = post or _post, show or show_on_desktop
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="announcing", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self, patience: float = 5.0) -> None:
        """End."""
        self._ended.set()
        self._thread.join(patience)

    def _follow(self) -> None:
        while not self._ended.wait(_LOOK):
            try:
                self.look()
            except (LorasmithError, OSError) as problem:
                log.warning("nothing can be announced now: %s", redact(str(problem)))

    def look(self) -> int:
        """Tell of what has ended since the last look; how many jobs that were."""
        place = self._studio.home / "announced.json"
        name, end = self._studio.queue.journal_end()
        kept = read_json(place)
        if kept.get("journal") != name or not isinstance(kept.get("id"), int) or kept["id"] > end:
            write_json(place, {"journal": name, "id": end})
            return 0
        heard, told = int(kept["id"]), 0
        while entries := self._studio.queue.journal(heard, limit=_AT_ONCE):
            heard = entries[-1].id
            write_json(place, {"journal": name, "id": heard})  # first: a message too few is better than one each second
            for entry in entries:
                if entry.kind == "state" and entry.after in _ENDS and entry.before != entry.after:
                    row = self._studio.queue.get(entry.job)
                    if row.state == entry.after:  # else it is tried again
                        told += 1
                        self.tell(row)
        return told

    def tell(self, row: QueuedJob) -> None:
        """Announce one job, in every way that was chosen."""
        wishes = wishes_of(self._studio.home)
        title, text = words(row)
        if wishes.address:
            try:
                self._post(wishes.address, document(row), wishes.own_network)
            except LorasmithError as refusal:
                log.warning("the webhook was not reached: %s", redact(str(refusal)))
        if wishes.desktop:
            self._show(title, text)


def words(row: QueuedJob) -> tuple[str, str]:
    """A title and a sentence about a job that has ended."""
    called = row.title or row.id
    if row.state == "succeeded":
        return f"{called} is done", f"The {row.kind} job {row.id} has succeeded."
    return f"{called} has failed", redact(row.reason or f"The {row.kind} job {row.id} has failed.")


def document(row: QueuedJob) -> dict[str, Any]:
    """What a webhook is sent; ``text`` and ``content`` are what chat services show."""
    title, text = words(row)
    line = f"{title}. {text}"
    facts = {"job": row.id, "kind": row.kind, "state": row.state, "title": row.title, "output": row.output}
    return {"event": "job.ended", **facts, "text": line, "content": line}


def show_on_desktop(title: str, text: str) -> bool:
    """Show it where this system has a way to; whether it has one."""
    if sys.platform == "darwin" and (program := shutil.which("osascript")):
        script = "on run argv\ndisplay notification (item 2 of argv) with title (item 1 of argv)\nend run"
        command = [program, "-e", script, title, text]
    elif program := shutil.which("notify-send"):
        command = [program, "--app-name=lorasmith", "--", title, text]
    else:
        return False
    done = subprocess.run(command, capture_output=True, timeout=10, check=False)  # noqa: S603  arguments, no shell
    return done.returncode == 0


def _post(address: str, said: Mapping[str, Any], own_network: bool) -> object:
    parts = urlsplit(address)
    hosts = frozenset({parts.netloc.rpartition("@")[2], parts.hostname or ""}) if own_network else frozenset()
    limits = Limits(allow_hosts=hosts, max_seconds=60.0, attempts=3, max_answer_bytes=100_000)
    with Fetcher(limits) as fetcher:
        return fetcher.deliver(address, said)
