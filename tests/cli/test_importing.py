"""``lorasmith import``: several sources, adding, layouts, transparency, and Ctrl-C."""

from __future__ import annotations

import json
import signal
from contextlib import nullcontext
from pathlib import Path

import pytest
from PIL import Image

from lorasmith.cli.progress import _Spaced, cancelled_by_ctrl_c, meter
from lorasmith.cli.session import Session
from lorasmith.datasets.importing import Pace
from lorasmith.studio import Studio
from tests.cli.desk import Desk, paint


def test_several_sources_and_a_second_time(desk: Desk, tmp_path: Path) -> None:
    one, two = paint(tmp_path / "one", {"a.png": "a"}), paint(tmp_path / "two", {"b.png": "b", "c.png": "c"})
    document = desk.ask("import", str(one), str(two), "--name", "both")
    assert (document["reference"], document["pictures"], document["new"]) == ("both@1", 2, True)
    assert (
        document["totals"]["inputs"]
        == document["totals"]["taken"] + document["totals"]["left_out"]
        == len(document["ledger"])
    )
    assert desk.say("import", str(one), str(two), "--name", "both")[1].startswith(
        "Nothing new: both@1 holds just this.\n"
    )


def test_adding_to_a_dataset_names_only_what_came(desk: Desk, tmp_path: Path) -> None:
    more = paint(
        tmp_path / "more",
        {"a.png": "", "b.png": "b", "c.png": "", "d.png": "", "e.png": "", "f.png": "", "new.png": "n"},
    )
    code, out, _ = desk.say("import", str(more), "--into", "pets")
    assert code == 0
    first = out.splitlines()[0]
    assert first.startswith("pets@2: 1 picture taken, ") and first.endswith("; 8 pictures in all.")
    assert out.count("notes.pdf") == 1
    assert desk.ask("import", str(more), "--into", "pets")["new"] is False
    desk.refused("import", str(more), "--into", "pets", "--name", "x")
    assert "pets" in desk.refused("import", str(more), "--into", "pest", code=3)["hint"]


def test_transparency_size_and_layout(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "clear"
    folder.mkdir()
    Image.linear_gradient("L").resize((200, 100)).convert("RGBA").save(folder / "a.png")
    clear = Image.new("RGBA", (200, 100), (200, 10, 10, 0))
    clear.paste((10, 200, 10, 255), (0, 0, 100, 100))
    clear.save(folder / "b.png")
    document = desk.ask("import", str(folder), "--alpha", "mask", "--max-side", "64", "--layout", "plain")
    assert document["reference"] == "clear@1"
    items = {item.name: item for item in Studio(desk.home).dataset("clear").items}
    assert (items["b.png"].width, items["b.png"].height) == (64, 32) and items["b.png"].mask is not None
    assert "kohya" in desk.refused("import", str(folder), "--layout", "kohia")["hint"]
    desk.refused("import", str(folder), "--alpha", "none")
    desk.refused("import", str(folder), "--max-side", "0")
    desk.refused("import")


def test_ctrl_c_ends_it_and_leaves_the_old_state(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = paint(tmp_path / "more", {f"{n}.png": "" for n in range(6)})
    before = sorted(path for path in desk.home.rglob("*") if "incoming" not in path.parts)

    def press(done: int, total: int, what: str = "", /, *, left: float | None = None) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("lorasmith.cli.importing.meter", lambda *_: nullcontext(press))
    code, out, err = desk.say("import", str(more), "--name", "more")
    assert code == 130 and out == "" and "nothing will be changed" in err and "no dataset was changed" in err
    assert sorted(path for path in desk.home.rglob("*") if "incoming" not in path.parts) == before


def test_the_second_ctrl_c_ends_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    old = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), cancelled_by_ctrl_c(Session(), "Stopping."):
        signal.raise_signal(signal.SIGINT)
        assert capsys.readouterr().err == "\nStopping.\n"
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is old


def test_a_log_hears_now_and_then_and_with_the_time_left() -> None:
    now, said = [0.0], []
    told = _Spaced(lambda *words: said.append(words), 5.0, lambda: now[0])
    for done in range(1, 21):
        now[0] = float(done)
        told(done, 40, f"{done}.png")
    assert [words[0] for words in said] == [5, 10, 15, 20] and said[0][3] == 35.0
    told(20, 40, "x", left=1.0)
    assert len(said) == 4


def test_programs_hear_events(capsys: pytest.CaptureFixture[str]) -> None:
    with meter(Session(json_events=True), "importing") as told:
        pace = Pace(3, 10, "a.png", 7.0)
        told(pace.done, pace.total, pace.path, left=pace.seconds_left)
    event = json.loads(capsys.readouterr().err)
    assert (event["kind"], event["done"], event["total"], event["seconds_left"]) == ("progress", 3, 10, 7.0)
    with meter(Session(json=True), "importing") as told:
        told(1, 2)
    assert capsys.readouterr() == ("", "")
