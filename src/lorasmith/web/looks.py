"""Looks at a dataset that may take a while: carried out in a thread, asked for again until they are done, kept.

A page never waits for ten thousand pictures to be measured. It asks for a look; what comes at once is shown at once,
and of the rest the page shows how far it is. A look is known by what it is of: a version, by the root of its content,
and whatever else its answer depends on. So nobody looks twice, and an edit is looked at anew.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from secrets import token_hex
from typing import Any, Final

from lorasmith.errors import Stopped

_THREADS: Final = 2
_KEPT: Final = 24
"""Answers that are kept, the latest asked for."""
_PICTURES: Final = 300_000
"""Pictures that those are of together: an answer is a few hundred bytes a picture."""
_PATIENCE: Final = 0.15
"""Seconds that a page waits, so that what is quick comes with it."""


class Look:
    """One look, under way or done. ``watch`` is handed to whoever carries it out."""

    def __init__(self, key: Hashable, pictures: int = 0) -> None:
        self.id: Final = token_hex(8)
        self.key: Final = key
        self.pictures: Final = pictures
        self.done = 0
        self.total = 0
        self.what = ""
        self.early: Any = None
        """What is known before the end, if whoever looks shows something."""
        self._stop = threading.Event()
        self._future: Future[Any] | None = None

    @property
    def running(self) -> bool:
        """Whether the answer is still to come."""
        return self._future is not None and not self._future.done()

    @property
    def stopped(self) -> bool:
        """Whether somebody cancelled it."""
        return self._stop.is_set()

    def watch(self, done: int, total: int, what: str = "") -> None:
        """Say how far it is.

        Raises:
            Stopped: somebody cancelled it.
        """
        if self._stop.is_set():
            raise Stopped("This look was cancelled.", "Look again.")
        self.done, self.total, self.what = done, total, what

    def result(self) -> Any:
        """The answer, once it is not ``running``; what went wrong is raised."""
        if self._future is None:
            raise Stopped("This look was cancelled.", "Look again.")
        try:
            return self._future.result()
        except CancelledError as cause:
            raise Stopped("This look was cancelled.", "Look again.") from cause

    def cancel(self) -> None:
        """End it at its next word; what is done stays done."""
        if self.running:
            self._stop.set()
            assert self._future is not None
            self._future.cancel()

    def _begin(self, pool: ThreadPoolExecutor, work: Callable[[Look], Any]) -> None:
        self._future = pool.submit(work, self)

    def _wait(self, seconds: float) -> None:
        assert self._future is not None
        with suppress(NotYet, CancelledError):  # the page says how it stands
            self._future.exception(seconds)


class Looks:
    """All looks of one server."""

    def __init__(self, patience: float = _PATIENCE) -> None:
        """``patience``: seconds that a page waits for an answer, where it does not say otherwise."""
        self.patience = patience
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="look")
        self._lock = threading.Lock()
        self._looks: OrderedDict[Hashable, Look] = OrderedDict()

    def ask(
        self, key: Hashable, work: Callable[[Look], Any], *, patience: float | None = None, pictures: int = 0
    ) -> Look:
        """The look of that key: the one that is there, or a new one. One that failed or was cancelled, and was asked
        for since, begins anew.

        Args:
            key: what it is of; whoever asks with the same key gets the same answer.
            work: carries it out; it calls ``look.watch`` now and then.
            patience: seconds to wait for the answer; left out, as long as the server does.
            pictures: how many it is of, where the answer grows with them.
        """
        with self._lock:
            look = self._looks.get(key)
            if look is None:
                look = self._looks[key] = Look(key, pictures)
                look._begin(self._pool, work)
            self._looks.move_to_end(key)
            self._drop_oldest()
        look._wait(self.patience if patience is None else patience)
        return look

    def at_once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What is kept under a key, else what ``make`` gives, here and now: for what takes a moment, and need not wait
        in line with what takes minutes."""
        with self._lock:
            look = self._looks.get(key)
        if look is None:
            look = Look(key)
            look._future = Future()
            look._future.set_result(make())
            with self._lock:
                self._looks[key] = look
                self._drop_oldest()
        return look.result()

    def _drop_oldest(self) -> None:
        """Keep of those that are done as many as fit, and the last one always; the lock is held."""
        pictures = kept = 0
        for key, look in reversed([pair for pair in self._looks.items() if not pair[1].running]):
            pictures, kept = pictures + look.pictures, kept + 1
            if kept > _KEPT or (kept > 1 and pictures > _PICTURES):
                del self._looks[key]

    def forget(self, look: Look) -> None:
        """Drop a look, so that the next to ask begins anew."""
        with self._lock:
            if self._looks.get(look.key) is look:
                del self._looks[look.key]

    def find(self, id: str) -> Look | None:
        """The look of that id, as long as it is kept."""
        with self._lock:
            return next((look for look in self._looks.values() if look.id == id), None)

    def cancel(self, id: str) -> bool:
        """Cancel the look of that id; whether there is one."""
        found = self.find(id)
        if found is not None:
            found.cancel()
        return found is not None

    def running(self) -> list[Look]:
        """Those under way."""
        with self._lock:
            return [look for look in self._looks.values() if look.running]

    def close(self) -> None:
        """Cancel all that is under way and wait for its last word."""
        for look in self.running():
            look.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)
