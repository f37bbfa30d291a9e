"""What is counted for which stage."""

from __future__ import annotations

import threading
import time

import pytest

from utils.inference.overlap import ahead
from utils.inference.stopwatch import Stopwatch, measuring, stage


@pytest.fixture
def clock(monkeypatch):
    """Seconds pass only when told to."""
    now = threading.local()

    def passes(seconds):
        now.s = getattr(now, "s", 0.0) + seconds

    monkeypatch.setattr(time, "perf_counter", lambda: getattr(now, "s", 0.0))
    return passes


def test_a_stage_inside_another_counts_for_itself_only(clock):
    stopwatch = Stopwatch()
    with measuring(stopwatch), stage("generate"):
        clock(1)
        with stage("mask"):
            clock(2)
            with stage("align"):
                clock(4)
        with stage("mask"):
            clock(8)
        clock(16)
    assert stopwatch.seconds == {"generate": 17, "mask": 10, "align": 4}


def test_nothing_is_counted_without_a_stopwatch_or_after_it(clock):
    stopwatch = Stopwatch()
    with measuring(stopwatch):
        pass
    with stage("detect"):
        clock(1)
    assert stopwatch.seconds == {}


def test_what_fails_is_counted_too(clock):
    stopwatch = Stopwatch()
    with measuring(stopwatch):
        with pytest.raises(ValueError, match="no"), stage("decode"):
            clock(3)
            raise ValueError("no")
        with stage("encode"):
            clock(1)
    assert stopwatch.seconds == {"decode": 3, "encode": 1}


def test_a_thread_counts_for_its_own_stage_and_not_for_the_one_that_waits(clock):
    stopwatch = Stopwatch()

    def decoded():
        for number in range(2):
            with stage("decode"):
                clock(5)
            yield number

    with measuring(stopwatch):
        for _ in ahead(decoded()):
            with stage("encode"):
                clock(1)
    assert stopwatch.seconds == {"decode": 10, "encode": 2}
