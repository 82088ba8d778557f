"""A card is asked whether it is free before the next job takes it: by stand-ins for NVIDIA's program and library.

No machine of these tests has a card, so what the driver would say stands in a file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lorasmith import doctor, hardware
from lorasmith.queue import cards
from lorasmith.queue.cards import CardUse, card_use, way_to_ask
from lorasmith.queue.vacancy import Vacancy
from lorasmith.queue.verbs import Placement, Queue
from tests.queue.test_dispatcher import dispatcher, reach, submit

GB = 1_000_000_000
PROGRAM = """#!{python}
import json, sys
told = json.load(open({state!r}))
query = sys.argv[1].partition("=")[2]
card = next(one for one in sys.argv if one.startswith("--id="))[5:]
if told.get("broken") or card != "0":
    sys.exit(9)
if query == "memory.used,memory.total":
    print(told["used"], ",", 24576)
elif query == "compute-gpu" or query == "pid":
    print("\\n".join(map(str, told["pids"])) or "[Not Found]")
elif query.startswith("name"):
    print("NVIDIA Stand-in, 24576 MiB, 570.00")
"""
LIBRARY = """
import json
class NVMLError(Exception): pass
class Facts:
    def __init__(self, **facts): self.__dict__.update(facts)
def _told(): return json.load(open({state!r}))
def nvmlInit():
    if _told().get("broken"): raise NVMLError("Driver Not Loaded")
def nvmlShutdown(): pass
def nvmlDeviceGetHandleByIndex(card):
    if card != 0: raise NVMLError("Invalid Argument")
    return card
def nvmlDeviceGetMemoryInfo(handle): return Facts(used=_told()["used"] * 2**20, total=24576 * 2**20)
def nvmlDeviceGetComputeRunningProcesses(handle): return [Facts(pid=pid) for pid in _told()["pids"]]
"""


class Card:
    """What the driver says."""

    def __init__(self, folder: Path) -> None:
        self.state, self.folder = folder / "state.json", folder
        folder.mkdir(exist_ok=True)
        self.says(300, [])

    def says(self, used: int, pids: list[int], **more: Any) -> None:
        """MiB, and who holds them."""
        temporary = self.state.with_suffix(".tmp")
        temporary.write_text(json.dumps({"used": used, "pids": pids, **more}))
        temporary.replace(self.state)


@pytest.fixture(params=["nvidia-smi", "nvidia-ml-py"])
def card(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Card:
    """A card that can be asked in either way."""
    made = Card(tmp_path / "driver")
    if request.param == "nvidia-smi":
        if sys.platform == "win32":
            pytest.skip("the stand-in is a script")
        program = made.folder / "nvidia-smi"
        program.write_text(PROGRAM.format(python=sys.executable, state=str(made.state)))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{made.folder}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setattr(cards, "find_spec", lambda name: None)
    else:
        (made.folder / "pynvml.py").write_text(LIBRARY.format(state=str(made.state)))
        monkeypatch.syspath_prepend(str(made.folder))
        monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
        monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    return made


def test_what_the_driver_says_is_understood(card: Card, request: pytest.FixtureRequest) -> None:
    card.says(2048, [11, 12])
    assert card_use(0) == CardUse(2048 * 2**20, 24576 * 2**20, frozenset({11, 12}))
    card.says(300, [])
    assert card_use(0) == CardUse(300 * 2**20, 24576 * 2**20, frozenset())
    assert card_use(7) is None  # there is no such card
    way, lack = way_to_ask()
    assert way in request.node.name and not lack
    card.says(0, [], broken=True)
    assert card_use(0) is None and way_to_ask()[0] == "" and "no" in way_to_ask()[1]
    sys.modules.pop("pynvml", None)


def test_where_nobody_can_be_asked_it_is_said_and_lanes_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(cards, "find_spec", lambda name: None)
    assert card_use(0) is None and way_to_ask()[1] == "neither nvidia-ml-py nor nvidia-smi is installed"
    vacancy = Vacancy()
    vacancy.taken("cuda:0")
    vacancy.left("cuda:0", [1])
    assert vacancy.free("cuda:0") and vacancy.free("cpu") and vacancy.free("light")
    told = {one.name: one for one in doctor._vacancy(has_card=True)}["cards are asked"]
    assert told.verdict == "note" and "lorasmith[nvml]" in told.advice
    assert doctor._vacancy(has_card=False) == []  # nothing to ask, nothing to install


def test_the_doctor_says_who_answers(card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "nvidia_cards", lambda: ["Stand-in, 24576 MiB, 570.00"])
    told = {one.name: one for one in doctor.examine(tmp_path / "home").checks}["cards are asked"]
    assert told.verdict == "good" and "free before the next job" in told.found and hardware.nvidia_cards is not None
    sys.modules.pop("pynvml", None)


def watched(answers: list[CardUse | None]) -> tuple[Vacancy, list[float]]:
    """A vacancy whose card says one thing after the other, and its clock."""
    now = [0.0]
    return Vacancy(ask=lambda card: answers.pop(0) if len(answers) > 1 else answers[0], clock=lambda: now[0]), now


def use(used: float, *pids: int) -> CardUse:
    return CardUse(int(used * GB), 24 * GB, frozenset(pids))


def test_a_lane_waits_for_its_workers_memory_as_long_as_it_takes() -> None:
    me = os.getpid()
    vacancy, now = watched([use(1), use(9, me), use(9, me), use(9), use(1.1)])
    vacancy.taken("cuda:0")
    assert vacancy.free("cuda:0")  # nobody has left it: the job that took it is counted elsewhere
    vacancy.left("cuda:0", [me])
    assert not vacancy.free("cuda:0")
    now[0] += 1000.0  # its process is still on the card: however long that takes
    assert not vacancy.free("cuda:0")
    now[0] += 0.5
    assert not vacancy.free("cuda:0")  # and it is not asked all the time
    now[0] += 1.0
    vacancy._closing["cuda:0"].since = now[0]
    assert not vacancy.free("cuda:0")  # the process is gone, its memory is not yet
    now[0] += 1.0
    assert vacancy.free("cuda:0") and vacancy.free("cuda:0")


def test_what_others_took_is_not_waited_for_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    vacancy, now = watched([use(1), use(9, 1)])
    vacancy.taken("cuda:0")
    vacancy.left("cuda:0", [2**22 - 3])
    assert not vacancy.free("cuda:0") and "waits" in caplog.text
    now[0] += vacancy.patience + 1
    assert vacancy.free("cuda:0") and "not its last worker's" in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="sessions are of POSIX")
def test_what_a_worker_has_started_counts_as_the_worker() -> None:
    """A captioner's process outlives the worker that was killed: it is of the worker's session."""
    leader = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    try:
        child = subprocess.run(
            [sys.executable, "-c", "import os; print(os.getsid(0))"], capture_output=True, text=True, check=True
        )
        assert int(child.stdout) != leader.pid  # of this session, and so a stranger to that worker
        vacancy, _ = watched([use(1), use(1, leader.pid)])
        vacancy.taken("cuda:0")
        vacancy.left("cuda:0", [leader.pid])
        assert not vacancy.free("cuda:0")
        other, _ = watched([use(1), use(1, os.getpid())])
        other.taken("cuda:0")
        other.left("cuda:0", [os.getsid(0)])
        assert not other.free("cuda:0")
    finally:
        leader.communicate(b"\n")


def test_the_next_job_of_a_card_waits_until_the_card_is_free(queue: Queue, card: Card) -> None:
    """End to end: two jobs of one card, and a driver that says the first one's memory is still there."""
    first, second = (submit(queue, Placement(wants="cuda")) for _ in range(2))
    with dispatcher(queue, lanes={"cuda:0": 1}) as one:
        one.vacancy.rest = 0.0
        one.tick()
        assert queue.get(first.id).lane == "cuda:0"
        card.says(20_000, [])
        reach(one, first, "succeeded")
        owner = json.loads((queue.job(first.id).folder.path / "owner.json").read_bytes())["pid"]
        one.vacancy.patience = 0.0
        card.says(20_000, [owner])
        for _ in range(3):
            one.tick()
        assert queue.get(second.id).state == "queued"  # it still holds the card, as the driver says
        one.vacancy.patience = 1e9
        card.says(20_000, [])
        one.tick()
        assert queue.get(second.id).state == "queued"  # it is gone, its memory is not
        card.says(310, [])
        assert reach(one, second, "succeeded").lane == "cuda:0"
    sys.modules.pop("pynvml", None)
