"""A pool that works on the files of a source a few ahead of whoever takes the outcomes, which come in order.

A source is read by one thread, for an archive has one place; decoding, hashing and writing run in several.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from lorasmith.datasets.source import RefusedError

T = TypeVar("T")
C = TypeVar("C")
R = TypeVar("R")
_THREADS: Final = max(1, min(4, os.cpu_count() or 1))
_AHEAD: Final = 2 * _THREADS  # files read before the oldest is worked on: bounds memory and staged files


def work_ahead(
    tasks: Iterable[T], read: Callable[[T], C], work: Callable[[T, C], R]
) -> Generator[tuple[T, R | RefusedError], None, None]:
    """Every task with its outcome, in order. Close the generator, and the threads have ended.

    Args:
        tasks: one for each file.
        read: gives the content; called in the caller's thread, one task after the other.
        work: called in a thread of the pool.
    """
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="decode") as pool:
        waiting: deque[tuple[T, Future[R] | RefusedError]] = deque()

        def oldest() -> tuple[T, R | RefusedError]:
            task, result = waiting.popleft()
            if isinstance(result, RefusedError):
                return task, result
            try:
                return task, result.result()
            except RefusedError as refusal:
                return task, refusal

        try:
            for task in tasks:
                try:
                    waiting.append((task, pool.submit(work, task, read(task))))
                except RefusedError as refusal:
                    waiting.append((task, refusal))
                if len(waiting) > _AHEAD:
                    yield oldest()
            while waiting:
                yield oldest()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
