"""The journal of the queue, live: one look at the database for all who listen.

An event's id is the journal's name and the entry's number, so that whoever was cut off goes on exactly there, whatever
server answers. A journal of another name (the queue was rebuilt) or one that no longer reaches back so far is said with
``reset``: what is on the page has to be loaded anew.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Final

from lorasmith.errors import LorasmithError
from lorasmith.queue.records import Happening
from lorasmith.studio import Studio

_LOOK: Final = 0.1  # seconds between two looks, while anybody listens
_NAMED: Final = 20  # looks between two at the journal's name
_AT_ONCE: Final = 1000
_TOO_FAR: Final = 10_000  # entries behind: loading the page is quicker than hearing them
_SIGN_OF_LIFE: Final = 15.0
_WAITING: Final = 5000  # entries that a listener may leave unheard before it is cut off
_RESET: Final = "event: reset\ndata: {}\n\n"
Line = tuple[int, str, str]
"""An entry's number, its job, and what is sent."""


class Tap:
    """Hands the journal out. Belongs to the event loop of the server."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._listeners: set[asyncio.Queue[Line]] = set()
        self._task: asyncio.Task[None] | None = None
        self._name, self._heard = "", 0

    async def position(self) -> str:
        """The id of the newest entry."""
        name, number = await asyncio.to_thread(self._studio.queue.journal_end)
        return f"{name}.{number}"

    async def stream(
        self, known: str, gone: Callable[[], Awaitable[bool]], may_hear: Callable[[str], bool] = lambda job: True
    ) -> AsyncIterator[str]:
        """Server-sent events behind an id; an empty one means from now on.

        Args:
            known: what the listener heard last.
            gone: whether it has left.
            may_hear: of which jobs it may hear.
        """
        listening: asyncio.Queue[Line] = asyncio.Queue(_WAITING)
        await self._begin()
        self._listeners.add(listening)
        try:
            name, end = await asyncio.to_thread(self._studio.queue.journal_end)
            seen, reset = _behind(known, name, end)
            yield f"id: {name}.{seen}\nevent: {'reset' if reset else 'hello'}\ndata: {{}}\n\n"
            while seen < end:
                past = await asyncio.to_thread(self._studio.queue.journal, seen, limit=_AT_ONCE)
                if not past:
                    break
                for number, job, text in _lines(name, past):
                    seen = number
                    if not job or await asyncio.to_thread(may_hear, job):
                        yield text
            while not await gone():
                try:
                    number, job, text = await asyncio.wait_for(listening.get(), _SIGN_OF_LIFE)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                if number < 0:  # rebuilt, or this listener was too slow: it comes back and is told so
                    yield _RESET
                    return
                if number > seen:
                    seen = number
                    if not job or await asyncio.to_thread(may_hear, job):
                        yield text
        finally:
            self._listeners.discard(listening)
            if not self._listeners and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _begin(self) -> None:
        if self._task is None or self._task.done():
            self._name, self._heard = await asyncio.to_thread(self._studio.queue.journal_end)
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        looks = 0
        while True:
            await asyncio.sleep(_LOOK)
            looks += 1
            with suppress(LorasmithError):  # a locked database: the next look sees what this one missed
                if looks % _NAMED == 0:
                    name, end = await asyncio.to_thread(self._studio.queue.journal_end)
                    if name != self._name or end < self._heard:
                        self._name, self._heard = name, end
                        self._say([(-1, "", "")])
                found = await asyncio.to_thread(self._studio.queue.journal, self._heard, limit=_AT_ONCE)
                if found:
                    self._heard = found[-1].id
                    self._say(_lines(self._name, found))

    def _say(self, lines: list[Line]) -> None:
        for listener in tuple(self._listeners):
            if listener.qsize() + len(lines) >= _WAITING:
                while not listener.empty():
                    listener.get_nowait()
                listener.put_nowait((-1, "", ""))
                self._listeners.discard(listener)
                continue
            for line in lines:
                listener.put_nowait(line)


def _behind(known: str, name: str, end: int) -> tuple[int, bool]:
    """Where to go on, and whether what the listener has is of no use any more."""
    if not known:
        return end, False
    theirs, _, number = known.rpartition(".")
    if theirs != name or not (number.isascii() and number.isdigit()):
        return end, True
    place = int(number)
    return (place, False) if end - _TOO_FAR <= place <= end else (end, True)


def _lines(name: str, entries: tuple[Happening, ...]) -> list[Line]:
    return [
        (
            entry.id,
            entry.job,
            f"id: {name}.{entry.id}\nevent: {entry.kind}\ndata: {json.dumps(asdict(entry), default=str)}\n\n",
        )
        for entry in entries
    ]
