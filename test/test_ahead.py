"""Work ahead on threads: in order, so far and no farther, and over when its user is."""

import threading
import time
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpr_ros.threads.ahead import ahead

few = settings(max_examples=25, deadline=None, derandomize=True)
PATIENCE = 10.0  # seconds that only a failing test waits


def until(condition):
    """Wait for another thread."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.0005)


@few
@given(
    count=st.integers(0, 20),
    threads=st.integers(1, 4),
    depth=st.integers(0, 6),
    seed=st.randoms(use_true_random=False),
)
def test_results_come_in_order_and_nothing_is_begun_too_early(count, threads, depth, seed):
    delays = [seed.choice([0, 0, 0.001]) for _ in range(count)]
    begun, drawn = [], []

    def work(item):
        begun.append(item)
        time.sleep(delays[item])
        return -item

    def items():
        for item in range(count):
            drawn.append(item)
            yield item

    received = []
    with closing(ahead(work, items(), threads, depth)) as results:
        for item, result in results:
            assert max(begun) <= item + depth
            assert len(drawn) <= item + depth + 1
            received.append((item, result))
    assert received == [(item, -item) for item in range(count)]
    assert sorted(begun) == list(range(count))


@pytest.mark.parametrize(("threads", "depth"), [(1, 3), (2, 2), (4, 4)])
def test_the_next_ones_are_computed_while_one_is_used(threads, depth):
    done = []
    with closing(ahead(done.append, range(100), threads, depth)) as results:
        for item, _ in results:
            last = min(item + depth, 99)
            until(lambda last=last: len(done) == last + 1)  # all of them, though nobody asked yet
            if item == 20:
                return


def test_items_are_computed_at_the_same_time():
    together = threading.Barrier(3, timeout=PATIENCE)
    assert len(list(ahead(lambda _: together.wait(), range(9), 3, 3))) == 9


def test_an_error_comes_in_its_turn_and_ends_the_threads():
    before = set(threading.enumerate())

    def work(item):
        if item == 3:
            raise KeyError(item)
        return item

    received = []

    def receive():
        for item, _ in ahead(work, range(100), 2, 5):
            received.append(item)

    with pytest.raises(KeyError, match="3"):
        receive()
    assert received == [0, 1, 2]
    assert set(threading.enumerate()) <= before


def test_closing_drops_what_has_not_begun_and_waits_for_what_has():
    before, begun, ended, go_on = set(threading.enumerate()), [], [], threading.Event()

    def work(item):
        begun.append(item)
        if item > 0:
            go_on.wait(PATIENCE)
        ended.append(item)

    results = ahead(work, range(100), 1, 50)
    assert next(results)[0] == 0
    until(lambda: len(begun) == 2)
    threading.Timer(0.02, go_on.set).start()
    results.close()
    assert begun == ended == [0, 1]
    until(lambda: set(threading.enumerate()) <= before)  # the timer's too
