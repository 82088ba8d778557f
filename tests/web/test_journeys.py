"""Journeys of a person with a real browser, a real server process and real trainings of the sandbox.

One server process and one first training are shared: what is looked at afterwards is what they left.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from lorasmith.studio import Studio
from tests.web.conftest import expect, patient_context
from tests.web.trainable import FORM, dots

pytest.importorskip("torch")
MOVING = '.job.busy progress:not([value="0"]):not([value="0.0"])'
PATIENCE = 120_000  # ms; a training of a few steps on a machine that has much to do


class Program:
    """``lorasmith web`` as a person starts it."""

    def __init__(self, home: Path) -> None:
        self.home, self.address, self.way_in = home, "", ""
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, on the port it had before."""
        port = self.address.rpartition(":")[2] if self.address else "0"
        command = [sys.executable, "-c", _PROGRAM, str(self.home), port]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.way_in = self.process.stdout.readline().strip()
        self.address = self.way_in.partition("/enter")[0]

    def kill(self) -> None:
        """As a crash does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


_PROGRAM = """
import sys
from lorasmith.studio import Studio
from lorasmith.web import serving
home, port = sys.argv[1:]
if port == "0":
    import contextlib, random, socket
    for port in random.sample(range(20_000, 32_000), 200):  # none that a system gives to others while this one is down
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            break
serving.serve(Studio(home), port=int(port), browser=False, said=lambda address: print(address, flush=True))
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    folder = tmp_path_factory.mktemp("journey")
    dots(Studio(folder / "home"), folder / "pictures")
    running = Program(folder / "home")
    running.start()
    yield running
    studio = Studio(running.home)
    running.kill()
    for job in studio.jobs():
        if job.state() == "running":
            job.stop(force=True, grace=0.0)


@pytest.fixture(scope="module")
def context(chromium: Any, program: Program) -> Iterator[Any]:
    made = patient_context(chromium, viewport={"width": 1300, "height": 900})
    made.new_page().goto(program.way_in)
    yield made
    made.close()


@pytest.fixture
def page(context: Any) -> Iterator[Any]:
    made = context.new_page()
    said: list[str] = []
    made.on("pageerror", lambda error: said.append(str(error)))
    made.on("console", lambda one: said.append(one.text) if "Content Security Policy" in one.text else None)
    yield made
    made.close()
    assert said == []


def row(page: Any, state: str, title: str) -> Any:
    return page.locator(f".job[data-state={state}]").filter(has_text=title).first


def fill(page: Any, **values: str) -> None:
    for key, value in {**FORM, **values}.items():
        field = page.locator(f'[name="{key}"]')
        if field.count() and key not in ("model", "dataset"):
            page.evaluate(
                "id => document.getElementById(id).closest('details')?.setAttribute('open', '')", key.replace(".", "-")
            )
            field.first.fill(value)


def test_from_the_workspace_to_a_downloaded_lora(page: Any, program: Program, tmp_path: Path) -> None:
    page.goto(f"{program.address}/")
    page.wait_for_selector("#start:enabled, .reasons li")
    with page.expect_navigation():  # the next choice needs the scripts of the next page
        page.select_option("#dataset", "")
    page.wait_for_selector(".reasons >> text=No pictures are chosen")
    expect(page.locator("#start")).to_be_disabled()
    with page.expect_navigation():
        page.select_option("#dataset", "dots")
    page.wait_for_selector("#plan-place >> text=What will happen")
    fill(page, **{"adapter.rank": "5000"})
    page.wait_for_selector(".reasons >> text=adapter.rank")
    page.click(".reasons a")
    expect(page.locator("#adapter-rank")).to_be_focused()
    fill(page, max_train_steps="6")
    page.wait_for_selector("#start:enabled")
    page.click("#start")
    page.wait_for_url("**began=**")
    row(page, "running", "dots").wait_for(timeout=PATIENCE)  # nobody loads the page again
    page.wait_for_selector(MOVING, state="attached", timeout=PATIENCE)
    done = row(page, "succeeded", "dots")
    done.wait_for(timeout=PATIENCE)
    with page.expect_download() as download:
        done.get_by_role("link", name="Download").click()
    download.value.save_as(tmp_path / "dots.safetensors")
    with safe_open(tmp_path / "dots.safetensors", "np") as file:
        assert len(list(file.keys())) > 10
        assert file.metadata()["ss_output_name"] == "dots" or "dots" in str(file.metadata())


def test_the_page_of_what_ran(page: Any, program: Program) -> None:
    page.goto(f"{program.address}/queue")
    row(page, "succeeded", "dots").locator("a").first.click()
    page.wait_for_selector("[data-plot=loss] canvas")
    expect(page.locator(".timeline")).to_contain_text("certifying")
    expect(page.locator("text=Load certificate").locator("..")).to_contain_text("passed")


def test_cancel_and_retry(page: Any, program: Program) -> None:
    page.goto(f"{program.address}/?dataset=dots")
    fill(page, output_name="again", max_train_steps="5000")
    page.wait_for_selector("#start:enabled")
    page.click("#start")
    row(page, "running", "again").wait_for(timeout=PATIENCE)
    page.wait_for_selector(MOVING, state="attached", timeout=PATIENCE)
    row(page, "running", "again").get_by_role("button", name="Cancel").click()
    row(page, "cancelled", "again").wait_for(timeout=PATIENCE)
    row(page, "cancelled", "again").get_by_role("button", name="Retry").click()
    row(page, "running", "again").wait_for(timeout=PATIENCE)


def test_the_server_is_killed_in_mid_training(page: Any, program: Program) -> None:
    page.goto(f"{program.address}/")
    running = row(page, "running", "again")
    running.wait_for(timeout=PATIENCE)
    job = running.get_attribute("data-job-row")
    page.wait_for_selector(MOVING, state="attached", timeout=PATIENCE)
    worker = Studio(program.home).job(job)
    program.kill()
    page.wait_for_selector(".cut-off:visible")
    assert worker.state() == "running"  # it does not know that there was a server
    before = page.locator(f'[data-job-row="{job}"] [data-words]').inner_text()
    program.start()
    # The page was never loaded again: its stream went on at the next server.
    expect(page.locator(f'[data-job-row="{job}"] [data-words]')).not_to_have_text(before)
    page.locator(f'[data-job-row="{job}"]').get_by_role("button", name="Cancel").click()
    row(page, "cancelled", "again").wait_for(timeout=PATIENCE)
    assert worker.state() == "stopped" and len(list((worker.folder.path / "checkpoints").iterdir())) >= 1


def test_the_wizard(page: Any, program: Program) -> None:
    page.goto(f"{program.address}/models/new")
    page.fill("#name", "Walked")
    page.keyboard.press("Enter")
    pictures = sorted((program.home.parent / "pictures").glob("*.png"))
    page.set_input_files("#pictures", [str(path) for path in pictures])
    expect(page.locator("#thumbs li")).to_have_count(4)
    page.locator("#thumbs button").first.click()
    expect(page.locator("#thumbs li")).to_have_count(3)
    expect(page.locator("#picture-count")).to_contain_text("15 to 20")
    page.click("#step-next")
    page.locator("label", has_text="Beginner").click()
    page.wait_for_selector("#estimate .chosen >> text=Beginner")
    page.wait_for_selector("#estimate >> text=measured")  # a run was made here before
    page.click("#step-next")
    expect(page.locator("#review")).to_contain_text("3 uploaded")
    page.click("text=Start Training")
    page.wait_for_url("**/jobs/**")
    page.wait_for_selector("text=You can close this page")
    page.wait_for_selector("#state:has-text('running')", timeout=PATIENCE)  # from here on the page stays as it is
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_selector("#state:has-text('cancelled')", timeout=PATIENCE)


def tab_to(page: Any, selector: str) -> None:
    """Press Tab until the focus is there, as somebody without a mouse does; round once at most."""
    for _ in range(400):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement?.matches(selector) ?? false", selector):
            return
    raise AssertionError(f"No way of the Tab key leads to {selector}.")


def test_keys_alone_lead_from_pictures_to_pictures(page: Any, program: Program) -> None:
    """Upload, caption, train, generate: no click and no mouse in it."""
    press, text = page.keyboard.press, page.keyboard.type
    page.goto(f"{program.address}/datasets/new")
    page.wait_for_selector("form[data-ready]")
    tab_to(page, "#files")
    assert page.evaluate("document.activeElement.type") == "file"  # which every browser opens with Enter and Space
    pictures = sorted((program.home.parent / "pictures").glob("*.*"))
    page.set_input_files("#files", [str(path) for path in pictures])  # its dialog is the system's, not the page's
    page.wait_for_selector("#overall-words:has-text('8 of 8 files are here')")
    tab_to(page, "#name")
    text("keyed")
    tab_to(page, "#import")
    press("Enter")
    page.wait_for_url("**/datasets/imports/**")
    page.wait_for_selector("a:has-text('Caption them')", timeout=PATIENCE)
    tab_to(page, "a[href='/datasets/keyed/captioning']")
    press("Enter")
    page.wait_for_url("**/datasets/keyed/captioning")
    tab_to(page, 'input[name="existing"]')
    for _ in range(5):  # one of a group of choices is reached with the arrows
        if page.locator("#mode-prepend").is_checked():
            break
        press("ArrowDown")
    expect(page.locator("#mode-prepend")).to_be_checked()
    tab_to(page, "#caption button.btn-primary")
    press("Enter")
    page.wait_for_selector("#caption-state a:has-text('Open keyed@2')", timeout=PATIENCE)
    tab_to(page, "#caption-state a[href='/datasets/keyed']")
    press("Enter")
    page.wait_for_url("**/datasets/keyed")  # with its scripts, which hear the keys
    press("j")
    page.wait_for_selector(".item-view[data-item='0.png']")
    press("e")
    page.wait_for_selector("#caption:focus")
    press("Control+Home")
    text("zib at last, ")
    press("Control+Enter")
    page.wait_for_selector(".item-view[data-item='1.png']")
    assert Studio(program.home).dataset("keyed").items[0].caption.startswith("zib at last, ")
    tab_to(page, ".actions a[href='/?dataset=keyed']")
    press("Enter")
    page.wait_for_url("**/?dataset=keyed")
    page.wait_for_selector("#plan-place >> text=What will happen")
    for key, value in {"max_train_steps": "4", "train_batch_size": "1", "output_name": "keyed"}.items():
        tab_to(page, f'[name="{key}"]')
        press("Control+a")
        text(value)
    page.wait_for_selector("#start:enabled")
    tab_to(page, "#start")
    press("Enter")
    page.wait_for_url("**began=**")
    row(page, "succeeded", "keyed").wait_for(timeout=PATIENCE)
    page.goto(f"{program.address}/generate")
    tab_to(page, "#prompt")
    text("zib, dots")
    tab_to(page, "#steps")
    text("2")
    press("Control+Enter")
    page.wait_for_selector("#pictures .shot img", timeout=PATIENCE)
