"""What a server holds after every look at a dataset, and what it takes to show a page of what was kept.

    python bench/looks.py [--pictures 10000] [--home HOME]

Pictures and captions are generated from a seed, as in ``bench/pages.py``; ``--home`` names a home that has them.
Every look of the pages is carried out in the threads that the server uses. *Held* is the resident memory of the
process above what it had before, in MB; *dropped* what goes when the looks are forgotten. What one trainer sees is kept
packed: its bytes a picture stand beside those of the same values as objects, and the time a page of twelve takes to be
taken out beside that of the whole page. The figures go into ``bench/results/looks.json``.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import platform
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from bench.pages import make  # noqa: E402
from fastapi.testclient import TestClient  # noqa: E402

from lorasmith.datasets.eyes import eyes  # noqa: E402
from lorasmith.datasets.eyes.seen import Seen  # noqa: E402
from lorasmith.studio import Studio  # noqa: E402
from lorasmith.web.app import create_app  # noqa: E402
from lorasmith.web.packing import Packed  # noqa: E402
from lorasmith.web.sessions import Sessions  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "looks.json"
PAGES = ("/duplicates", "/checks", "/training", "/figures", "?q=blur:%3E0")
SHOWN = 12  # pictures of a page through an eye
ROUNDS = 20


def held() -> float:
    """Resident memory of this process, MB, after what can be given back was given back."""
    gc.collect()
    if platform.system() == "Linux":
        ctypes.CDLL(None).malloc_trim(0)
    resident: int = psutil.Process().memory_info().rss
    return resident / 1e6


def visit(client: TestClient, address: str) -> None:
    """Ask for a page until nothing is looked at any more."""
    assert client.get(address).status_code == 200, address
    for look in client.app.state.looks.running():  # type: ignore[attr-defined]
        look.result()
    assert client.get(address).status_code == 200, address


def seconds(ask: Callable[[], Any]) -> float:
    """Of the middle one of some rounds."""
    taken = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def packed(studio: Studio, name: str) -> dict[str, float]:
    """What an eye saw, as objects and packed."""
    tracemalloc.start()
    seen = studio.curate.see(name, "sd_scripts")
    gc.collect()
    bytes_as_objects = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    begun = time.perf_counter()
    made = Packed(Seen, seen)
    packing = time.perf_counter() - begun
    places = range(len(seen) // 2, len(seen) // 2 + SHOWN)
    return {
        "bytes_a_picture_as_objects": round(bytes_as_objects / len(seen)),
        "bytes_a_picture_packed": round(made.bytes / len(seen)),
        "seconds_to_pack": round(packing, 3),
        "seconds_to_take_a_page_out": round(seconds(lambda: made.at(places)), 5),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--home", type=Path, help="a home with a dataset `big`")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = asked.home or Path(folder) / "home"
        studio = Studio(home)
        if "big" not in studio.datasets():
            make(Path(folder) / "pictures", asked.pictures)
            studio.import_dataset(Path(folder) / "pictures", "big")
        count = len(studio.dataset("big").items)
        sessions = Sessions(home)
        client = TestClient(create_app(studio, hosts={"testserver"}, sessions=sessions, work=False))
        client.headers.update({"sec-fetch-site": "same-origin", "accept": "text/html"})
        client.get("/enter", params={"once": sessions.invite()})
        client.get("/datasets/big")
        begin = held()
        after: dict[str, float] = {}
        for path in PAGES:
            visit(client, f"/datasets/big{path}")
            after[path] = round(held() - begin, 1)
        for originals in ("", "&originals=true"):
            for eye in eyes():
                path = f"/training/eye?trainer={eye}{originals}"
                visit(client, f"/datasets/big{path}")
                after[path] = round(held() - begin, 1)
        eye_page = seconds(lambda: client.get("/datasets/big/training/eye?trainer=sd_scripts"))
        last = held()
        client.app.state.looks._looks.clear()  # type: ignore[attr-defined]
        dropped = last - held()
        machine = (
            f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        )
        figures = {
            "pictures": count, "machine": machine,
            "mb_before": round(begin, 1), "mb_held_after": after, "mb_dropped": round(dropped, 1),
            "seconds_of_the_page": round(eye_page, 4), **packed(studio, "big"),
        }  # fmt: skip
    RESULTS.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
