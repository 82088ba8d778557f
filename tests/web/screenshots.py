"""``python -m tests.web.screenshots``: every page of the web app, light, dark and as wide as a phone, into
``docs/screenshots/``.

The home they show is made for it, for real: the sandbox's mascot imported, captioned, trained for a few steps, painted.
Needs playwright and a Chromium, as the browser tests do.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvicorn
from PIL import Image
from playwright.sync_api import sync_playwright

from lorasmith.sandbox.samples import write_mascot_zip
from lorasmith.studio import Studio
from lorasmith.web.app import create_app
from lorasmith.web.serving import hosts_of
from lorasmith.web.sessions import Sessions

TARGET: Final = Path(__file__).parents[2] / "docs" / "screenshots"
PAGES: Final = {
    "workspace": "/",
    "new-model": "/models/new",
    "run": "/jobs/{train}",
    "queue": "/queue",
    "datasets": "/datasets",
    "import": "/datasets/new",
    "gallery": "/datasets/zib",
    "edit": "/datasets/zib/edit",
    "captioning": "/datasets/zib/captioning",
    "checks": "/datasets/zib/checks",
    "duplicates": "/datasets/zib/duplicates",
    "buckets": "/datasets/zib/training",
    "figures": "/datasets/zib/figures",
    "history": "/datasets/zib/history",
    "ledger": "/datasets/zib/ledger",
    "eye": "/datasets/zib/training/eye?trainer=sd_scripts&originals=true",
    "tools": "/datasets/zib/tools",
    "roles": "/datasets/zib/arrange",
    "picture": "/datasets/zib/picture?item=zib%2001.png",
    "prompt-captioning": "/captioning",
    "models": "/models",
    "model": "/models/zib",
    "loras": "/loras",
    "lora-inspect": "/loras/inspect?lora=zib",
    "lora-resize": "/loras/resize?lora=zib",
    "lora-merge": "/loras/merge?lora=zib",
    "lora-convert": "/loras/convert?lora=zib",
    "lora-edit": "/loras/edit?lora=zib",
    "lora-use": "/loras/use?lora=zib",
    "calculator": "/calculator?dataset=zib&by=exposures&length=100",
    "generate": "/generate",
    "bases": "/bases",
    "settings": "/settings",
    "help": "/help",
}
LOOKS: Final = (("light", 1360, "light"), ("dark", 1360, "dark"), ("phone", 380, "light"))
_HEIGHT: Final = 900
_QUALITY: Final = 72  # of WebP: text stays clear, and all of them together stay small


def main() -> int:
    """Make them all; the number of pages that could not be shown."""
    program = os.environ.get("LORASMITH_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    failed = 0
    with tempfile.TemporaryDirectory() as folder, _served(Path(folder) / "home") as (address, sessions, train):
        TARGET.mkdir(parents=True, exist_ok=True)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            for look, width, theme in LOOKS:
                context = browser.new_context(viewport={"width": width, "height": _HEIGHT}, color_scheme=theme)  # type: ignore[arg-type]
                page = context.new_page()
                page.goto(f"{address}/enter?once={sessions.invite()}")
                for name, path in PAGES.items():
                    answer = page.goto(address + path.format(train=train))
                    if answer is None or answer.status != 200:
                        sys.stderr.write(f"{path}: {answer.status if answer else 'no answer'}\n")
                        failed += 1
                        continue
                    page.wait_for_timeout(900)  # charts and thumbnails; nothing says when the last one is drawn
                    shot = Path(folder) / "shot.png"
                    page.screenshot(path=shot)
                    with Image.open(shot) as image:
                        image.save(TARGET / f"{name}-{look}.webp", quality=_QUALITY, method=6)
                context.close()
            browser.close()
    return failed


@contextmanager
def _served(home: Path) -> Iterator[tuple[str, Sessions, str]]:
    """A server over a home in which things have happened."""
    studio = Studio(home)
    archive = home.parent / "zib.zip"
    write_mascot_zip(archive)
    version = studio.import_dataset(archive, "zib")
    version = studio.add_trigger_word(studio.caption(version), "zib")
    prompts = ["zib, one shape, large, center", "one shape, star, red, large, center"]
    config = {"base": "sandbox", "trigger_word": "zib", "output_name": "zib", "max_train_steps": 120}
    config |= {"sample.prompts": prompts, "sample.every_steps": 40, "optimizer.learning_rate": 2e-3}
    job = studio.train(version, config | {"validation_every_steps": 20, "data.validation_fraction": 0.1})
    studio.collect(job)
    studio.generate(base="sandbox", prompts=prompts, adapters=[{"name": "zib"}])
    sessions = Sessions(home)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        app = create_app(studio, hosts=hosts_of("127.0.0.1", port), sessions=sessions)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}", sessions, job.id
        finally:
            server.should_exit = True
            thread.join(30)


if __name__ == "__main__":
    raise SystemExit(main())
