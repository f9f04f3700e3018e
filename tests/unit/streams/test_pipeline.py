"""Items through steps: order, back-pressure, what is dropped, and every way to stop."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedepth.streams.pipeline import DROP, Pipeline


def drain(pipeline):
    found = []
    while True:
        try:
            found.append(pipeline.take())
        except StopIteration:
            pipeline.join()
            return found


@given(st.lists(st.integers(), max_size=30), st.integers(0, 3), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_everything_arrives_in_order(items, steps, room):
    pipeline = Pipeline(iter(items), [lambda item: item + 1] * steps, drop_oldest=False, room=room)
    assert drain(pipeline) == [item + steps for item in items]
    assert (pipeline.taken, pipeline.dropped) == (len(items), 0)


def test_a_step_may_end_an_items_way():
    pipeline = Pipeline(iter(range(10)), [lambda item: item if item % 3 else DROP], drop_oldest=False)
    assert drain(pipeline) == [1, 2, 4, 5, 7, 8]


def test_the_source_waits_for_a_slow_consumer():
    taken = []

    def source():
        for number in range(100):
            taken.append(number)
            yield number

    pipeline = Pipeline(source(), [lambda item: item], drop_oldest=False)
    time.sleep(0.2)
    # One in each of two channels, one in the step, one that waits to be put.
    assert len(taken) <= 4
    assert pipeline.take() == 0
    pipeline.stop()
    assert pipeline.join(5)


def test_the_oldest_go_and_the_newest_stay():
    gate = threading.Event()

    def source():
        yield from range(50)
        gate.set()

    def slow(item):
        gate.wait()
        return item

    pipeline = Pipeline(source(), [slow], drop_oldest=True)
    found = drain(pipeline)
    assert found == sorted(found)
    assert found[-1] == 49
    assert len(found) + pipeline.dropped == pipeline.taken == 50
    assert pipeline.dropped > 40


def test_what_waits_for_the_second_step_is_new():
    """A camera of 100 frames a second, and a network of 10: what is run is a few frames old, and not 10 or 20."""
    newest, ages, prepared = 0, [], []

    def camera():
        nonlocal newest
        for newest in range(100):
            time.sleep(0.01)
            yield newest

    def prepare(item):
        prepared.append(item)
        time.sleep(0.001)
        return item

    def network(item):
        ages.append(newest - item)
        time.sleep(0.1)
        return item

    pipeline = Pipeline(camera(), [prepare, network], drop_oldest=True)
    found = drain(pipeline)
    assert found == sorted(found)
    assert found[-1] == 99
    assert len(found) + pipeline.dropped == pipeline.taken == 100
    # It rests nine times what preparing took, 1 ms: a waiting frame is replaced every 10 ms. Waiting for a place, one
    # would be 10 frames old, and the one behind it 20; 6 leaves room for a busy machine.
    assert sorted(ages)[len(ages) // 2] <= 6


def test_not_every_item_is_worked_on_for_nothing():
    worked, gate = [], threading.Event()

    def first(item):
        worked.append(item)
        time.sleep(0.05)
        return item

    def source():
        for number in range(20):
            time.sleep(0.02)
            yield number
        gate.set()

    pipeline = Pipeline(source(), [first, lambda item: gate.wait() and item], drop_oldest=True)
    found = drain(pipeline)
    # 0.4 s of frames, of which it may work for a tenth of the time: one that goes on, one that waits, and the last two.
    assert len(worked) <= 5
    assert found[-1] == 19


@pytest.mark.parametrize("place", ["source", 0, 1])
def test_an_error_comes_after_the_items_before_it(place):
    closed = []

    def source():
        try:
            for number in range(10):
                if place == "source" and number == 3:
                    raise ValueError("broken")
                yield number
        finally:
            closed.append(True)

    def step(number):
        def run(item):
            if place == number and item == 3:
                raise ValueError("broken")
            return item

        return run

    pipeline = Pipeline(source(), [step(0), step(1)], drop_oldest=False)
    assert [pipeline.take() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="broken"):
        pipeline.take()
    assert pipeline.join(5)
    assert closed
    with pytest.raises(StopIteration):
        pipeline.take()


def test_stopped_while_somebody_waits():
    forever = threading.Event()

    def source():
        forever.wait()
        yield 1

    pipeline = Pipeline(source(), [lambda item: item], drop_oldest=False)
    waiter = threading.Thread(target=lambda: drain_quietly(pipeline))
    waiter.start()
    pipeline.stop()
    waiter.join(5)
    assert not waiter.is_alive()
    forever.set()
    assert pipeline.join(5)


def drain_quietly(pipeline):
    with pytest.raises(StopIteration):
        pipeline.take()
