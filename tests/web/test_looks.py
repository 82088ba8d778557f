"""Looks that take long: known by what they are of, told how far, cancelled, begun anew after a failure."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lorasmith.datasets.eyes import Note
from lorasmith.datasets.eyes.fitting import Fit
from lorasmith.datasets.eyes.seen import Seen
from lorasmith.errors import ConfigError, Stopped
from lorasmith.web.looks import Look, Looks
from lorasmith.web.packing import Packed


@pytest.fixture
def looks() -> Iterator[Looks]:
    made = Looks()
    yield made
    made.close()


def test_what_is_quick_is_there_at_once_and_nobody_looks_twice(looks: Looks) -> None:
    carried_out: list[str] = []

    def work(look: Look) -> str:
        carried_out.append(look.id)
        return "seen"

    first = looks.ask("a", work, patience=10)
    assert not first.running and first.result() == "seen"
    assert looks.ask("a", work, patience=10) is first and len(carried_out) == 1
    assert looks.find(first.id) is first
    assert looks.ask("b", work, patience=10) is not first and len(carried_out) == 2


def test_a_page_does_not_wait_and_is_told_how_far_it_is(looks: Looks) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(look: Look) -> int:
        look.watch(3, 10, "pictures")
        look.early = "something"
        begun.set()
        assert go_on.wait(20)
        return 10

    look = looks.ask("slow", work, patience=0)
    assert begun.wait(20) and look.running and looks.running() == [look]
    assert (look.done, look.total, look.what, look.early) == (3, 10, "pictures", "something")
    go_on.set()
    assert looks.ask("slow", work, patience=20).result() == 10


def test_a_cancelled_look_ends_at_its_next_word_and_begins_anew_once_forgotten(looks: Looks) -> None:
    begun, cancelled = threading.Event(), threading.Event()

    def work(look: Look) -> int:
        begun.set()
        assert cancelled.wait(20)
        look.watch(1, 2)
        raise AssertionError("it went on")

    look = looks.ask("x", work, patience=0)
    assert begun.wait(20)
    assert looks.cancel(look.id) and not looks.cancel("nothing")
    cancelled.set()
    with pytest.raises(Stopped):
        look.result()
    assert look.stopped and not look.running
    looks.forget(look)
    assert looks.ask("x", lambda _: 5, patience=20).result() == 5


def test_what_went_wrong_is_raised_to_whoever_asks(looks: Looks) -> None:
    def work(look: Look) -> int:
        raise ConfigError("No.", "Do otherwise.")

    look = looks.ask("wrong", work, patience=20)
    with pytest.raises(ConfigError, match="No"):
        look.result()


def test_only_the_latest_answers_are_kept(looks: Looks) -> None:
    first = looks.ask(0, lambda _: 0, patience=20)
    for number in range(1, 40):
        looks.ask(number, lambda _: 0, patience=20)
    assert looks.find(first.id) is None


def test_what_takes_a_moment_does_not_wait_in_line(looks: Looks) -> None:
    go_on = threading.Event()
    for number in range(3):
        looks.ask(number, lambda look: go_on.wait(20), patience=0)
    assert looks.at_once("tags", lambda: 7) == 7 == looks.at_once("tags", lambda: 8)
    go_on.set()


def test_answers_of_many_pictures_are_not_all_kept(looks: Looks) -> None:
    asked = [looks.ask(number, lambda look: look.id, patience=20, pictures=100_000) for number in range(4)]
    assert all(not look.running for look in asked)
    small = looks.ask("small", lambda look: look.id, patience=20)
    assert [looks.find(look.id) is look for look in asked] == [False, True, True, True]
    assert looks.ask(3, lambda look: "anew", patience=20, pictures=100_000) is asked[3]
    huge = looks.ask("huge", lambda look: look.id, patience=20, pictures=10_000_000)
    assert huge.result() == huge.id
    looks.at_once("tags", lambda: 5)
    assert looks.find(small.id) is None and looks.find(huge.id) is None and looks.at_once("tags", lambda: 6) == 5


def test_many_answers_are_not_all_kept(looks: Looks) -> None:
    for number in range(60):
        looks.at_once(number, lambda: 1)
    made: list[int] = []
    for number in range(60):
        looks.at_once(number, lambda: made.append(1))
    assert len(made) == 60  # the oldest went first, and so each was gone before it was asked for again


def test_what_a_trainer_sees_is_kept_small_and_comes_back_as_it_was() -> None:
    fit = Fit((96, 96), (512, 512), (0, 0, 96, 96), "lanczos")
    note = Note("upscale", "warning", "It is enlarged 5.3 times.")

    def seen_of(number: int) -> Seen:
        path, texts = Path(f"/blobs/{number:064x}"), (f"cat, number {number}",)
        return Seen(f"{number}.png", "sd_scripts", "read", path, (96, 96), 1, None, fit, texts, ("",), (note,))

    seen = [seen_of(number) for number in range(1000)]
    packed = Packed(Seen, seen)
    assert len(packed) == 1000 and packed.bytes < 100 * len(packed)
    assert packed.at(range(1000)) == seen
    assert packed.at([999, 3, 4, 63, 64]) == [seen[place] for place in (999, 3, 4, 63, 64)]
    assert packed.at([]) == [] and list(Packed(Seen, []).at(range(0))) == []
    with pytest.raises(IndexError):
        packed.at([1000])
