"""How quick the web app is with 500 jobs in its queue: pages, events to many listeners, memory, the first page.

    python bench/web.py [--jobs 500] [--clients 50] [--seconds 10]

The figures go into ``bench/results/web.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from lorasmith.queue.verbs import Placement
from lorasmith.studio import Studio

SERVE = """
import sys
from lorasmith.studio import Studio
from lorasmith.web import serving
serving.serve(Studio(sys.argv[1]), browser=False, said=lambda address: print(address, flush=True))
"""


class Client:
    """A browser that has come in."""

    def __init__(self, way_in: str) -> None:
        self.address = way_in.partition("/enter")[0]
        opener = urllib.request.build_opener(_NoRedirect())
        try:
            opener.open(way_in)
        except urllib.error.HTTPError as answer:
            self.cookie = answer.headers["set-cookie"].partition(";")[0]

    def open(self, path: str) -> Any:
        request = urllib.request.Request(self.address + path, headers={"cookie": self.cookie, "accept": "text/html"})  # noqa: S310  our own server
        return urllib.request.urlopen(request, timeout=60)  # noqa: S310

    def text(self, path: str) -> str:
        with self.open(path) as answer:
            text: str = answer.read().decode()
        return text

    def seconds(self, path: str) -> float:
        begun = time.perf_counter()
        with self.open(path) as answer:
            answer.read()
        return time.perf_counter() - begun


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        return None


def first_page(home: Path, *words: str) -> float:
    """Seconds from the command to the whole first page; the middle one of three."""
    taken = []
    environment = os.environ | {"LORASMITH_HOME": str(home), "PYTHONUNBUFFERED": "1", "BROWSER": "true"}
    for _ in range(3):
        begun = time.perf_counter()
        command = [sys.executable, "-m", "lorasmith.cli", *words]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert server.stdout is not None
        try:
            said = next(line for line in server.stdout if "/enter?once=" in line)
            Client(next(word for word in said.split() if "/enter?once=" in word)).seconds("/")
            taken.append(time.perf_counter() - begun)
        finally:
            server.kill()
            server.wait()
    return statistics.median(taken)


def helped() -> float:
    """Seconds that ``lorasmith --help`` takes; the middle one of five."""
    taken = []
    for _ in range(5):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "lorasmith.cli", "--help"], stdout=subprocess.DEVNULL, check=True)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def listen(client: Client, clients: int, seconds: float, studio: Studio, job: str) -> dict[str, float]:
    """Delay from a change of the queue to each of many listeners, ten changes a second."""
    delays: list[float] = []
    sent: dict[int, float] = {}
    heard = [0] * clients
    ready = threading.Barrier(clients + 1)
    end = threading.Event()

    def hear(number: int) -> None:
        with client.open("/api/events") as stream:
            began = False
            for raw in stream:
                line = raw.decode()
                if not began and line.startswith("event: hello"):
                    began = True
                    ready.wait()
                if line.startswith("data: ") and '"priority"' in line:
                    mark = json.loads(line[6:])["detail"]["priority"]
                    heard[number] += 1
                    delays.append(time.perf_counter() - sent[mark])
                if end.is_set():
                    return

    threads = [threading.Thread(target=hear, args=(n,), daemon=True) for n in range(clients)]
    for thread in threads:
        thread.start()
    ready.wait()
    count = 0
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        mark = -90 + count % 180
        sent[mark] = time.perf_counter()
        studio.queue.prioritise(job, mark)
        count += 1
        time.sleep(max(0.0, 0.1 - (time.perf_counter() - sent[mark])))
    time.sleep(1.5)
    end.set()
    studio.queue.prioritise(job, 99)
    lost = clients * count - sum(min(one, count) for one in heard)
    return {
        "clients": clients,
        "events": count,
        "lost": lost,
        "p50_ms": round(1000 * statistics.median(delays), 1),
        "p99_ms": round(1000 * percentile(delays, 0.99), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        studio = Studio(home)
        held = Placement(held=True)
        jobs = [
            studio.queue.submit("certify", {"adapter": f"adapter-{n}", "base": "sandbox"}, placement=held).id
            for n in range(asked.jobs)
        ]
        first = {"web": first_page(home, "web", "--no-browser"), "alone": first_page(home)}
        server = subprocess.Popen([sys.executable, "-c", SERVE, str(home)], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        try:
            client = Client(server.stdout.readline().strip())
            client.seconds("/")
            time.sleep(6)  # until everything is ready that comes after the first page
            process = psutil.Process(server.pid)
            idle = process.memory_info().rss
            pages = {path: [client.seconds(path) for _ in range(40)] for path in ("/", "/queue", f"/jobs/{jobs[7]}")}
            events = listen(client, asked.clients, asked.seconds, studio, jobs[3])
            torch = any("libtorch" in one.path for one in process.memory_maps())
        finally:
            server.kill()
            server.wait()
    figures = {
        "jobs": asked.jobs,
        "first_page_s": round(first["web"], 2),
        "first_page_of_lorasmith_alone_s": round(first["alone"], 2),
        "help_s": round(helped(), 2),
        "idle_rss_mb": round(idle / 1e6, 1),
        "torch_loaded": torch,
        "p95_ms": {
            ("/jobs/ID" if path.startswith("/jobs") else path): round(1000 * percentile(taken, 0.95), 1)
            for path, taken in pages.items()
        },
        "events": events,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(figures, indent=2))  # noqa: T201
    Path(__file__).parent.joinpath("results", "web.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
