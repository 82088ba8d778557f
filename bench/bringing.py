"""How many small files a source brings a second from a server on this machine, and what a second call costs.

    python bench/bringing.py [FILES]

The server has no latency, so this is the cost of one file on this side: parts, hashes, durable renames, records.
Exits 1 when the second call asks for anything.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]


def main(count: int) -> int:
    from lorasmith.sources import Listing, Offered
    from lorasmith.sources.bringing import bring_files
    from tests.fetching.loopback import Loopback, Shelf
    from tests.sources.errands import errand, picture

    with Loopback() as server, tempfile.TemporaryDirectory() as folder:
        files = []
        for number in range(count):
            content = picture(number, size=(120, 80))
            url = server.at(f"/{number}.png", Shelf(content))
            files.append(Offered(f"{number}.png", url, len(content), caption="noise"))
        listing = Listing("bench", "bench", "bench", tuple(files))
        seconds = []
        with errand(Path(folder)) as run:
            for _ in range(2):
                began = time.monotonic()
                bring_files(listing, run)
                seconds.append(time.monotonic() - began)
        asked = len(server.seen)
    speed = f"{count / seconds[0]:.0f} a second"
    sys.stdout.write(f"{count} files: {speed}; the second call {seconds[1]:.2f} s; {asked} requests\n")
    return int(asked != count)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
