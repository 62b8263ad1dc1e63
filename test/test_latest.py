"""Latest between real threads."""

import threading
import time

import pytest

from vpr_ros.threads.latest import Latest

PATIENCE = 10.0


def run(function):
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def finish(thread):
    thread.join(PATIENCE)
    assert not thread.is_alive(), "it still waits"


def test_the_latest_wins_and_the_superseded_is_told():
    latest = Latest()
    assert [latest.put(item) for item in (1, 2, 3)] == [False, True, True]
    assert latest.take() == 3
    assert latest.put(4) is False
    assert latest.take() == 4


@pytest.mark.parametrize("item", [0, "", (), False])
def test_an_item_that_counts_as_false_is_an_item(item):
    latest = Latest()
    latest.put(item)
    assert latest.put(item) is True
    assert latest.take() == item


def test_take_waits_for_an_item():
    latest, taken = Latest(), []
    taker = run(lambda: taken.append(latest.take()))
    time.sleep(0.05)
    assert taken == []
    assert latest.put("item") is False
    finish(taker)
    assert taken == ["item"]


def test_close_wakes_every_taker():
    latest, taken = Latest(), []
    takers = [run(lambda: taken.append(latest.take())) for _ in range(3)]
    time.sleep(0.05)
    latest.close()
    for taker in takers:
        finish(taker)
    assert taken == [None, None, None]
    latest.put("late")
    assert latest.take() is None


def test_what_was_not_taken_before_the_close_is_not_taken_after_it():
    latest = Latest()
    latest.put("old")
    assert latest.close() is True
    assert latest.take() is None


def test_nothing_is_lost_when_the_taker_keeps_up():
    latest, taken, ready = Latest(), [], threading.Semaphore(0)

    def take_all():
        while (item := latest.take()) is not None:
            taken.append(item)
            ready.release()

    taker = run(take_all)
    for item in range(500):
        assert latest.put(item) is False
        assert ready.acquire(timeout=PATIENCE)
    latest.close()
    finish(taker)
    assert taken == list(range(500))


def test_a_slow_taker_sees_fewer_never_older_ones_and_every_loss_is_told():
    latest, taken, told = Latest(), [], 0

    def take_slowly():
        while (item := latest.take()) is not None:
            taken.append(item)
            time.sleep(0.001)

    taker = run(take_slowly)
    for item in range(3000):
        told += latest.put(item)
        if item % 100 == 0:
            time.sleep(0.002)
    deadline = time.monotonic() + PATIENCE
    while taken[-1:] != [2999] and time.monotonic() < deadline:
        time.sleep(0.005)
    latest.close()
    finish(taker)
    assert taken == sorted(set(taken))
    assert taken[-1] == 2999  # the last one always arrives
    assert 1 < len(taken) < 3000
    assert len(taken) + told == 3000


def test_several_takers_share_the_items():
    latest, taken, told = Latest(), [], 0

    def take_all():
        while (item := latest.take()) is not None:
            taken.append(item)

    takers = [run(take_all) for _ in range(3)]
    for item in range(2000):
        told += latest.put(item)
    deadline = time.monotonic() + PATIENCE
    while len(taken) + told < 2000 and time.monotonic() < deadline:
        time.sleep(0.005)
    latest.close()
    for taker in takers:
        finish(taker)
    assert len(set(taken)) == len(taken) == 2000 - told


def test_it_is_awaited_while_somebody_waits_and_nothing_is_there():
    latest = Latest()
    assert not latest.awaited
    taker = run(latest.take)
    deadline = time.monotonic() + PATIENCE
    while not latest.awaited:
        assert time.monotonic() < deadline, "nobody waits"
    latest.put("item")
    assert not latest.awaited
    finish(taker)
    assert not latest.awaited
    latest.put("item")
    assert latest.take() == "item"
    assert not latest.awaited
