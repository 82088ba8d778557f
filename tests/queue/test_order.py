"""Order, holding, dependencies, refusals and the journal, on both databases; no worker is started."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorasmith.errors import ConfigError, JobError
from lorasmith.jobs import Jobs
from lorasmith.queue import records, states
from lorasmith.queue.records import QueuedJob, Superseded
from lorasmith.queue.states import STATES, WAYS
from lorasmith.queue.ticket import read_ticket
from lorasmith.queue.verbs import Placement, Queue


def submit(queue: Queue, placement: Placement | None = None) -> QueuedJob:
    return queue.submit("import", {"toy": {}}, placement=placement)


def order(queue: Queue) -> list[str]:
    return [row.id for row in queue.list(states=("queued",), in_turn=True)]


def test_first_come_first_served_within_a_priority(either_queue: Queue) -> None:
    a, b, c = (submit(either_queue).id for _ in range(3))
    urgent = submit(either_queue, Placement(priority=5)).id
    first = submit(either_queue, Placement(front=True)).id
    assert order(either_queue) == [urgent, first, a, b, c]


def test_front_back_before_and_priority_move_a_job_and_its_ticket(either_queue: Queue) -> None:
    a, b, c, d = (submit(either_queue).id for _ in range(4))
    either_queue.front(c)
    assert order(either_queue) == [c, a, b, d]
    either_queue.back(c)
    assert order(either_queue) == [a, b, d, c]
    either_queue.move_before(c, b)
    assert order(either_queue) == [a, c, b, d]
    either_queue.prioritise(d, 7)
    assert order(either_queue) == [d, a, c, b]
    either_queue.move_before(a, d)
    assert order(either_queue) == [a, d, c, b] and either_queue.get(a).priority == 7
    for row in either_queue.list():
        ticket = read_ticket(either_queue.job(row.id).folder.path)
        assert ticket is not None and (ticket.priority, ticket.position) == (row.priority, row.position)
    assert either_queue.examine() == ()


def test_there_is_always_room_between_two(queue: Queue) -> None:
    first, second, *others = (submit(queue).id for _ in range(4))
    for number in range(130):  # halving a distance so often leaves nothing between two numbers
        queue.move_before(others[number % 2], second)
        now = order(queue)
        assert now[now.index(second) - 1] == others[number % 2], number
    assert order(queue)[0] == first and queue.examine() == ()


def test_held_jobs_wait_until_they_are_released(either_queue: Queue) -> None:
    row = submit(either_queue, Placement(held=True))
    assert (row.state, order(either_queue)) == ("held", [])
    assert either_queue.release(row.id).state == "queued"
    assert either_queue.hold(row.id, "The card is needed.").reason == "The card is needed."
    assert either_queue.hold(row.id).state == "held", "asked twice it is no error"


def test_a_job_waits_for_another_and_says_for_which(either_queue: Queue) -> None:
    first = submit(either_queue)
    second = submit(either_queue, Placement(after=(first.id,)))
    assert second.state == "blocked" and first.id in second.reason
    assert either_queue.needs(second.id) == (first.id,)
    either_queue.hold(second.id)
    assert either_queue.release(second.id).state == "blocked", "released is not the same as free to go"
    with pytest.raises(JobError, match="no job nobody"):
        submit(either_queue, Placement(after=("nobody",)))


def test_the_journal_holds_every_change_in_order(either_queue: Queue) -> None:
    row = submit(either_queue)
    _, seen = either_queue.journal_end()
    either_queue.hold(row.id)
    either_queue.release(row.id)
    either_queue.cancel(row.id)
    news = either_queue.journal(seen)
    assert [(entry.before, entry.after) for entry in news] == [
        ("queued", "held"),
        ("held", "queued"),
        ("queued", "cancelled"),
    ]
    assert all(one.id < other.id for one, other in pairwise(news)) and news[0].id > seen


def test_two_who_read_the_same_row_cannot_both_change_it(either_queue: Queue) -> None:
    row = submit(either_queue)
    _, seen = either_queue.journal_end()
    with either_queue.database.write() as connection:
        records.transition(connection, row, "held")
    with pytest.raises(Superseded), either_queue.database.write() as connection:
        records.transition(connection, row, "starting")
    assert either_queue.get(row.id).state == "held"
    assert [entry.after for entry in either_queue.journal(seen)] == ["held"], "no event of what did not happen"


def test_claims_by_many_at_once_give_every_job_to_one(either_queue: Queue) -> None:
    rows = [submit(either_queue) for _ in range(24)]
    taken: list[str] = []

    def claim() -> None:
        while True:
            try:
                with either_queue.database.write() as connection:
                    row = records.next_in_turn(connection, ("light",))
                    if row is None:
                        return
                    records.transition(connection, row, "starting")
                taken.append(row.id)
            except Superseded:
                continue

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(row.id for row in rows)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda queue, row: queue.release(row), "not held"),
        (lambda queue, row: queue.finish(row), "not running"),
        (lambda queue, row: queue.save_now(row), "not running"),
        (lambda queue, row: queue.sample_now(row), "not running"),
        (lambda queue, row: queue.move_before(row, row), "before itself"),
        (lambda queue, row: queue.prioritise(row, 101), "cannot be"),
        (lambda queue, row: queue.get("nothing like it"), "no job"),
        (lambda queue, row: queue.drain("moon"), "no lane 'moon'"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(queue: Queue, act: Callable[[Queue, str], object], words: str) -> None:
    row = submit(queue)
    queue.cancel(row.id) if words == "not held" else None
    before = queue.get(row.id)
    with pytest.raises((JobError, ConfigError), match=words) as caught:
        act(queue, row.id)
    assert caught.value.hint
    assert queue.get(row.id) == before


def test_a_job_that_succeeded_is_never_run_again(queue: Queue) -> None:
    row = submit(queue)
    with queue.database.write() as connection:
        row = records.transition(connection, records.transition(connection, row, "starting"), "succeeded")
    for verb in (queue.retry, queue.resume, queue.cancel, queue.hold, queue.front):
        with pytest.raises(JobError, match="succeeded"):
            verb(row.id)


@given(st.sampled_from(STATES), st.sampled_from(STATES))
def test_every_way_that_is_not_in_the_graph_is_refused(before: states.State, after: states.State) -> None:
    if after in WAYS[before]:
        states.refuse_impossible("x", before, after)
    else:
        with pytest.raises(JobError, match=f"is {before} and cannot become {after}"):
            states.refuse_impossible("x", before, after)


def test_every_state_can_be_reached_and_only_success_is_final() -> None:
    assert set(STATES) == set(WAYS)
    assert {after for ways in WAYS.values() for after in ways} == set(STATES) - {"x"}
    assert [state for state, ways in WAYS.items() if not ways] == ["succeeded"]


def test_two_processes_see_one_queue(either_queue: Queue) -> None:
    row = submit(either_queue)
    address = "" if either_queue.database.path else either_queue.database.engine.url.render_as_string(False)
    other = Queue.open(Jobs(either_queue.home), address.replace("+psycopg", ""))
    other.hold(row.id)
    other.close()
    assert either_queue.get(row.id).state == "held"
