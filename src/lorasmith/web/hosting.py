"""The queue's dispatcher in a thread of the server.

One per home: where another process (``lorasmith queue run``, a second server) has it, this one waits and takes over
when that one ends. Workers outlive both, and are found again.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

from lorasmith.errors import JobError
from lorasmith.studio import Studio

log = logging.getLogger(__name__)
_REST: Final = 3.0  # seconds before it is tried again to take the queue


class Host:
    """Runs the queue of a studio from ``start`` to ``stop``."""

    def __init__(self, studio: Studio, **settings: Any) -> None:
        """``settings``: fields of ``Dispatcher``."""
        self._studio, self._settings = studio, settings
        self._ended = threading.Event()
        self._dispatcher: Any = None
        self._thread = threading.Thread(target=self._host, name="queue", daemon=True)
        self.elsewhere = ""
        """The sentence about who runs the queue, where it is not this process."""

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self, patience: float = 10.0) -> None:
        """Let go of the queue; jobs that run go on."""
        self._ended.set()
        if self._dispatcher is not None:
            self._dispatcher.end()
        self._thread.join(patience)

    def _host(self) -> None:
        while not self._ended.is_set():
            try:
                with self._studio.dispatcher(**self._settings) as self._dispatcher:
                    self.elsewhere = ""
                    if not self._ended.is_set():
                        self._dispatcher.run()
            except JobError as taken:
                self.elsewhere = taken.message
                log.info("%s", taken)
            except Exception:  # the poll of the executor: whatever it is, jobs must not wait for a restart by hand
                log.exception("the queue stopped, and begins again")
            self._ended.wait(_REST)
