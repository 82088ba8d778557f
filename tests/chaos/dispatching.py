"""A process that works a home's queue off until it is killed or idle: ``python dispatching.py HOME LIGHT [SHIFT]``.

Jobs run in the light lane, so many at once; ``SHIFT`` seconds are added to this process's clock.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lorasmith.jobs import Jobs
from lorasmith.queue.dispatcher import Dispatcher, Pace
from lorasmith.queue.retries import Retries
from lorasmith.queue.verbs import Queue

WORKER = Path(__file__).with_name("sturdy_worker.py")


def command(folder: Path) -> Sequence[str]:
    """How the stand-in is started."""
    return (sys.executable, str(WORKER), str(folder))


def main() -> int:
    home, light, shift = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    if shift:
        real = time.time
        time.time = lambda: real() + shift
    queue = Queue.open(Jobs(home, command=command))
    with Dispatcher(
        queue,
        lanes={"light": light},
        pace=Pace(look=0.05, search=0.5, report=0.2, grace=20.0),
        retries=Retries(infrastructure=10_000, rest=0.0),
    ) as dispatcher:
        dispatcher.run(until_idle=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
