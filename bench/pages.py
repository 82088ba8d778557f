"""How long the pages of a dataset take to answer with many pictures, before anything was measured and after.

    python bench/pages.py [--pictures 10000] [--rounds 20] [--json FILE]

Pictures and captions are generated from a seed. In the first round the looks of the pages are under way, and a page
says how far they are; after that they are done. Times are of the wall clock, from request to answer, without a
browser; the machine and its load are told with them. Ends with 1 when the slowest page takes longer than the gate at
the 95th percentile once all looks are done.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from lorasmith.studio import Studio  # noqa: E402
from lorasmith.web.app import create_app  # noqa: E402
from lorasmith.web.sessions import Sessions  # noqa: E402

GATE = 0.3  # seconds
HOST = "127.0.0.1:7860"
PAGES = (
    "", "/cards?at=400", "/names", "/tags", "/edit", "/tools", "/checks", "/duplicates", "/arrange",
    "/arrange/split?amount=5%25", "/training", "/training/eye?trainer=sd_scripts", "/figures", "/history",
    "/history/diff?before=1&after=1", "/ledger", "/picture?item=00005.png",
)  # fmt: skip


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def make(folder: Path, count: int) -> None:
    """Pictures with structure and captions of eight tags."""
    folder.mkdir()
    random = np.random.default_rng(0)
    tags = [f"tag {number}" for number in range(400)]
    for number in range(count):
        small = Image.fromarray(random.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        picture = small.resize((96 + 8 * (number % 7), 96), Image.Resampling.NEAREST)
        picture.save(folder / f"{number:05}.png", compress_level=1)
        (folder / f"{number:05}.txt").write_text(", ".join(random.choice(tags, 8, replace=False)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lorasmith-pages-") as name:
        folder = Path(name)
        make(folder / "pictures", given.pictures)
        studio = Studio(folder / "home")
        studio.import_dataset(folder / "pictures", "big")
        sessions = Sessions(studio.home)
        app = create_app(studio, hosts={HOST}, sessions=sessions)
        client = TestClient(app, base_url=f"http://{HOST}", follow_redirects=False)
        client.headers.update({"sec-fetch-site": "same-origin", "origin": f"http://{HOST}", "accept": "text/html"})
        client.get("/enter", params={"once": sessions.invite()})

        def seconds(path: str) -> float:
            started = time.perf_counter()
            answer = client.get(f"/datasets/big{path}")
            assert answer.status_code == 200, (path, answer.status_code)
            return time.perf_counter() - started

        first = {path: seconds(path) for path in PAGES}
        started = time.perf_counter()
        while running := app.state.looks.running():
            running[0].result()
        measured = time.perf_counter() - started
        for path in PAGES:
            seconds(path)
        times = {path: sorted(seconds(path) for _ in range(given.rounds)) for path in PAGES}
        app.state.looks.close()
    rows = {
        path: {"first": first[path], "median": statistics.median(found), "p95": found[int(0.95 * (len(found) - 1))]}
        for path, found in times.items()
    }
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    say(
        f"{given.pictures:,} pictures, {given.rounds} rounds, load {load}, {platform.machine()}, {os.cpu_count()} cores"
    )
    for path, row in rows.items():
        say(f"{path or '(gallery)':36} first {row['first']:.3f}   median {row['median']:.3f}   p95 {row['p95']:.3f}")
    say(f"all looks took {measured:.1f} s behind the pages")
    slowest = max(row["p95"] for row in rows.values())
    if given.json:
        record = {"pictures": given.pictures, "load": load, "looks": measured, "pages": rows}
        given.json.write_text(json.dumps(record, indent=1))
    return int(slowest > GATE)


if __name__ == "__main__":
    sys.exit(main())
