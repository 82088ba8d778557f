"""What a server does once it has answered first: everything that some page's first visit would wait for.

Templates are compiled, the tokenizer is read, plugins and the API are imported. Then what is there for good is put out
of sight of the garbage collector, which would otherwise walk over it again and again: a fifth of a second at a time,
in which nobody is answered.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from fastapi import FastAPI

from lorasmith.errors import LorasmithError
from lorasmith.studio import Studio
from lorasmith.web.later import Later
from lorasmith.web.rendering import environment

_AFTER: Final = 1.5
"""Seconds after which nobody waits for the first page any more."""
_BREATH: Final = 0.02
"""Seconds between two steps, for requests that have come meanwhile."""
_TURN: Final = 0.001
"""Seconds after which a thread that works gives way to one that answers; Python's own 5 ms add up to half a second
where a page touches a hundred files while looks are under way."""
_log: Final = logging.getLogger(__name__)


def be_quick() -> None:
    """Settings of this process for a server: threads take turns sooner."""
    sys.setswitchinterval(_TURN)


class Warming:
    """One thread, until it is done or told to stop."""

    def __init__(self, app: FastAPI, studio: Studio, *, after: float = _AFTER) -> None:
        """
        Args:
            app: whose pages and API.
            studio: what they show.
            after: seconds to wait before it begins.
        """
        self._app, self._studio, self._after = app, studio, after
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._warm, name="warming", daemon=True)

    def start(self) -> None:
        """Begin soon."""
        self._thread.start()

    def stop(self, *, wait: bool = True) -> None:
        """Give up what is left of it."""
        self._stop.set()
        if wait and self._thread.is_alive():
            self._thread.join()

    def join(self) -> None:
        """Wait until all of it is done."""
        self._thread.join()

    def _warm(self) -> None:
        if self._stop.wait(self._after):
            return
        for step in self._steps():
            try:
                step()
            except (LorasmithError, OSError, ImportError) as cause:  # the page that needs it tells it
                _log.info("Not made ready before it is needed: %s", cause)
            if self._stop.wait(_BREATH):
                return
        gc.collect()
        gc.freeze()

    def _steps(self) -> Iterable[Callable[[], object]]:
        for route in self._app.router.routes:
            if isinstance(route, Later):
                yield route.bring
        for name in environment().list_templates(filter_func=lambda name: name.endswith(".html")):
            yield partial(environment().get_template, name)
        yield self._studio.curate.lens
        yield self._studio.workbench.offer
        yield self._studio.workbench.captioners
        yield self._studio.captions.names
