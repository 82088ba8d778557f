"""How long every page takes to answer with many pictures and jobs: the first time, while looks are under way, after.

    python bench/pages.py [--pictures 10000] [--jobs 500] [--rounds 20] [--no-browser]

Pictures and captions are generated from a seed; the server is one of its own, as ``lorasmith web`` starts it. Times
are of the wall clock, from request to answer, on a connection of its own. *First* is the first visit of all pages in
a row, some seconds after the workspace was opened, nothing having been measured. *Under way* are further visits while
something else of the same pictures is looked at in every round. *After* is when nothing is looked at any more. Then
Chromium opens the gallery: the time until the thumbnails in sight are drawn, and frames a second while it is
scrolled. The figures go into ``bench/results/pages.json``; ends with 1 when a page takes longer than the gate at the
95th percentile, or the gallery is too slow.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from bench.web import SERVE, Client  # noqa: E402

from lorasmith.queue.verbs import Placement  # noqa: E402
from lorasmith.studio import Studio  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "pages.json"
GATE = 0.3  # seconds a page may take at the 95th percentile
USABLE = 1.5  # seconds until the gallery shows its pictures
FRAMES = 50  # a second, while scrolling
READING = 6.0  # seconds that somebody looks at the first page, in which the server makes the others ready
ABOUT = (
    "", "/cards?at=400", "/names", "/tags", "/edit", "/tools", "/checks", "/duplicates", "/arrange",
    "/arrange/split?amount=5%25", "/training", "/training/eye?trainer=sd_scripts", "/figures", "/history",
    "/history/diff?before=1&after=1", "/ledger", "/picture?item=00005.png", "/captioning", "/pairs",
)  # fmt: skip
ELSEWHERE = (
    "/", "/?dataset=big", "/datasets", "/datasets/new", "/captioning", "/models", "/models/new",
    "/models/import", "/generate", "/generate/history", "/bases", "/bases/catalogue", "/queue", "/settings", "/help",
)  # fmt: skip
PAGES = (*(f"/datasets/big{path}" for path in ABOUT), *ELSEWHERE)


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


def fill(home: Path, pictures: Path, jobs: int) -> list[str]:
    """A home with those pictures and that many jobs; their ids."""
    studio = Studio(home)
    studio.import_dataset(pictures, "big")
    held = Placement(held=True)
    ids = [
        studio.queue.submit("certify", {"adapter": f"adapter-{n}", "base": "sandbox"}, placement=held).id
        for n in range(jobs)
    ]
    studio.queue.close()
    return ids


def timed(client: Client, pages: tuple[str, ...], rounds: int) -> dict[str, dict[str, float]]:
    """All requests to the pages, those while looks are under way, and those after."""
    client.seconds("/")
    time.sleep(READING)
    first = {path: client.seconds(path) for path in pages}
    begun = time.perf_counter()
    busy: dict[str, list[float]] = {path: [] for path in pages}
    for turn in range(rounds):
        client.seconds(f"/datasets/big/checks?epochs={turn + 1}")  # another look each time
        client.seconds(f"/datasets/big/figures?epochs={turn + 1}")
        for path in pages:
            busy[path].append(client.seconds(path))
    for path in pages:
        while "look-line" in client.text(path):
            time.sleep(0.2)
    say(f"looks were under way for {time.perf_counter() - begun:.0f} s")
    quiet: dict[str, list[float]] = {path: [] for path in pages}
    for _ in range(rounds):
        for path in pages:
            quiet[path].append(client.seconds(path))
    return {
        path: {
            "first": round(first[path], 3),
            "under_way_p95": round(p95(busy[path]), 3),
            "median": round(statistics.median(quiet[path]), 3),
            "p95": round(p95(quiet[path]), 3),
        }
        for path in pages
    }


def p95(times: list[float]) -> float:
    return sorted(times)[int(0.95 * (len(times) - 1) + 0.5)]


_SCROLL = """async (seconds) => {
  const frames = [];
  const end = performance.now() + 1000 * seconds;
  await new Promise((done) => {
    const frame = (now) => {
      frames.push(now);
      window.scrollBy({ top: 60, behavior: 'instant' });
      if (now > end) done(); else requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  return { frames, cards: document.querySelectorAll(".card-picture").length, at: window.scrollY };
}"""
_SHOWN = """async () => {
  const shown = () => {
    const seen = [...document.querySelectorAll("#gallery img")].filter((one) => {
      const box = one.getBoundingClientRect();
      return box.bottom > 0 && box.top < innerHeight;
    });
    return seen.length > 0 && seen.every((one) => one.complete && one.naturalWidth > 0);
  };
  while (!shown()) await new Promise(requestAnimationFrame);
}"""


def browse(client: Client, seconds: float) -> dict[str, Any]:
    """The gallery in Chromium, twice: with thumbnails that have to be made, and once they are there."""
    import shutil

    from playwright.sync_api import sync_playwright

    program = os.environ.get("LORASMITH_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    found: dict[str, Any] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1360, "height": 900})
        name, _, value = client.cookie.partition("=")
        context.add_cookies([{"name": name, "value": value, "url": client.address}])
        page = context.new_page()
        gallery = f"{client.address}/datasets/big"
        for visit in ("first", "again"):
            begun = time.perf_counter()
            page.goto(gallery, wait_until="commit")
            page.evaluate(_SHOWN)
            usable = time.perf_counter() - begun
            told = page.evaluate(_SCROLL, seconds)
            gaps = [after - before for before, after in zip(told["frames"], told["frames"][1:], strict=False)]
            found[visit] = {
                "usable_s": round(usable, 2),
                "frames_per_second": round(1000 * len(gaps) / sum(gaps), 1),
                "longest_frame_ms": round(max(gaps), 1),
                "frames_over_50_ms": sum(gap > 50 for gap in gaps),
                "scrolled_px": round(told["at"]),
                "cards": told["cards"],
            }
            say(f"gallery, {visit} visit: {found[visit]}")
        browser.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--no-browser", action="store_true", help="leave the gallery in Chromium out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lorasmith-pages-") as name:
        folder = Path(name)
        make(folder / "pictures", given.pictures)
        jobs = fill(folder / "home", folder / "pictures", given.jobs)
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(folder / "home")], stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        try:
            way_in = server.stdout.readline().strip()
            client = Client(way_in)
            rows = timed(client, (*PAGES, f"/jobs/{jobs[7]}"), given.rounds)
            rows["/jobs/ID"] = rows.pop(f"/jobs/{jobs[7]}")
            gallery = {} if given.no_browser else browse(client, 8.0)
        finally:
            server.kill()
            server.wait()
    say(f"{given.pictures:,} pictures, {given.jobs} jobs, {given.rounds} rounds, load {load}, {os.cpu_count()} cores")
    for path, row in sorted(rows.items(), key=lambda one: -one[1]["p95"]):
        say(f"{path:48}" + "   ".join(f"{key} {value:.3f}" for key, value in row.items()))
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    record = {"pictures": given.pictures, "jobs": given.jobs, "rounds": given.rounds, "load": load, "machine": machine}
    RESULTS.write_text(json.dumps(record | {"gallery": gallery, "seconds": rows}, indent=1) + "\n")
    slow = any(max(row["p95"], row["under_way_p95"]) > GATE for row in rows.values())
    slow |= any(one["usable_s"] > USABLE or one["frames_per_second"] < FRAMES for one in gallery.values())
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
