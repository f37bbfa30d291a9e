"""Stages in threads: order, bounded look-ahead, errors, and being called off."""

from __future__ import annotations

import contextvars
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.inference.overlap import BYTES_AHEAD, ahead, depth_within, one_after_another
from utils.inference.tracking.search import STRETCH_FRAMES

PATIENCE_S = 10


def eventually(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    return condition()


class Counted:
    """An endless stage that says how far it is, and whether it was closed."""

    def __init__(self):
        self.made, self.closed, self.threads = 0, False, set()

    def items(self):
        try:
            while True:
                self.threads.add(threading.get_ident())
                self.made += 1
                yield self.made
        finally:
            self.closed = True


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers() | st.none()), st.integers(1, 5), st.integers(1, 3))
def test_the_same_items_come_in_the_same_order_through_any_number_of_stages(items, depth, stages):
    taken = iter(items)
    for _ in range(stages):
        taken = ahead(taken, depth)
    assert list(taken) == items


def test_a_stage_works_in_a_thread_of_its_own_and_no_further_ahead_than_its_depth():
    source = Counted()
    items = ahead(source.items(), depth=3)
    assert next(items) == 1
    assert eventually(lambda: source.made == 5)  # one taken, three waiting, one in the thread's hands
    time.sleep(0.05)
    assert source.made == 5
    assert threading.get_ident() not in source.threads
    items.close()


def test_large_items_are_made_when_they_are_asked_for_and_those_of_4k_as_far_ahead_as_any():
    assert depth_within(BYTES_AHEAD, 5) == 1
    assert depth_within(BYTES_AHEAD + 1, 5) == 0
    assert depth_within(STRETCH_FRAMES * 3 * 4096 * 2160, 1) == 1
    source = Counted()
    items = ahead(source.items(), depth=0)
    assert [next(items), next(items)] == [1, 2]
    assert (source.made, source.threads) == (2, {threading.get_ident()})
    items.close()
    assert source.closed


def test_two_stages_work_at_the_same_time():
    meeting = threading.Barrier(2, timeout=PATIENCE_S)

    def first():
        yield 0
        for number in range(1, 3):
            meeting.wait()
            yield number

    taken = ahead(first())
    assert next(taken) == 0
    for _ in range(2):
        meeting.wait()  # would break if the stage only worked while it is asked
    assert list(taken) == [1, 2]


def test_an_error_comes_after_the_items_before_it_and_ends_every_stage():
    def broken():
        yield 1
        yield 2
        raise ValueError("the third")

    taken = ahead(ahead(broken()))
    assert [next(taken), next(taken)] == [1, 2]
    with pytest.raises(ValueError, match="the third"):
        next(taken)


@pytest.mark.parametrize("give_up", [lambda items: items.close(), lambda items: None], ids=["closed", "dropped"])
def test_a_stage_that_nobody_takes_from_ends_and_closes_those_before_it(give_up):
    before = threading.active_count()
    source = Counted()
    taken = ahead(ahead(source.items()))
    next(taken)
    give_up(taken)
    del taken
    assert eventually(lambda: source.closed)
    assert eventually(lambda: threading.active_count() == before)


def test_a_stage_that_hangs_does_not_keep_the_one_who_calls_it_off():
    release = threading.Event()

    def hanging():
        yield 1
        release.wait(PATIENCE_S)
        yield 2

    taken = ahead(hanging())
    next(taken)
    started = time.perf_counter()
    taken.close()
    assert time.perf_counter() - started < 1
    release.set()


def test_a_stage_sees_the_context_of_the_one_who_takes_from_it():
    variable = contextvars.ContextVar("variable", default="outside")

    def seen():
        yield variable.get()

    token = variable.set("inside")
    assert next(ahead(seen())) == "inside"
    variable.reset(token)
    assert next(ahead(seen())) == "outside"


def test_one_after_another_every_stage_ends_before_the_next_begins():
    events = []

    def numbers():
        for number in range(3):
            events.append(f"made {number}")
            yield number

    with one_after_another():
        for number in ahead(numbers()):
            events.append(f"took {number}")
    assert events == ["made 0", "made 1", "made 2", "took 0", "took 1", "took 2"]
