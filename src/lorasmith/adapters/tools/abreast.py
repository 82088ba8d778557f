"""Layers worked on abreast: one thread a core, each with the linear algebra of one.

Most of a tool's time goes into decompositions of small matrices, which gain nothing from a second core; two of them at
once take half the time. NumPy lets go of the interpreter inside, so threads do. The numbers are those of one thread on
any machine, which is more than the linear algebra of several threads promises.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

from lorasmith.adapters.arrays import Cancelled, Progress
from lorasmith.errors import Stopped

Given = TypeVar("Given")
Made = TypeVar("Made")


def abreast(
    work: Callable[[Given], Made],
    given: Sequence[Given],
    *,
    out: str,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Iterator[Made]:
    """``work`` of each, in order; at most two a thread are begun before the first of them is taken.

    Raises:
        Stopped: on request, before anything is written to ``out``.
    """
    threads = min(os.cpu_count() or 1, 8, max(1, len(given)))
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Made]] = deque()
        begun = 0
        try:
            for done in range(len(given)):
                while begun < len(given) and len(waiting) < 2 * threads:
                    waiting.append(pool.submit(work, given[begun]))
                    begun += 1
                if cancelled is not None and cancelled():
                    raise Stopped(f"Stopped; {out} was not written.")
                yield waiting.popleft().result()
                if progress is not None:
                    progress(done + 1, len(given))
        finally:
            for future in waiting:
                future.cancel()
