"""What a running localiser counts."""

import threading

import pytest

from vpr_ros.nodes.health import EVENTS, FATES, MARKS, Health


def test_nothing_has_happened_yet():
    health = Health()
    assert health.counts() == dict.fromkeys(("received", *FATES, *MARKS, *EVENTS), 0)
    assert health.latencies() == {}
    assert health.last_reason == ""


def test_frames_are_counted_by_their_fate():
    health = Health()
    for what in ("received", "received", "received", "answered", "accepted", "superseded"):
        health.count(what)
    counts = {name: count for name, count in health.counts().items() if count}
    assert counts == {"received": 3, "answered": 1, "accepted": 1, "superseded": 1}


def test_counts_given_out_do_not_change_afterwards():
    health = Health()
    before = health.counts()
    health.count("received")
    assert before["received"] == 0
    before["received"] = 7
    assert health.counts()["received"] == 1


def test_the_last_reason_stays_until_there_is_another():
    health = Health()
    health.count("refused", "no such encoding")
    health.count("received")
    health.count("answered")
    assert health.last_reason == "no such encoding"
    health.count("failed", "out of memory")
    assert health.last_reason == "out of memory"


def test_latencies_are_milliseconds_of_each_stage():
    health = Health()
    for millisecond in range(101):
        health.time({"encode": millisecond / 1e3, "search": 0.002})
    latencies = health.latencies()
    assert latencies["encode"] == pytest.approx({"p50": 50, "p95": 95, "p99": 99})
    assert latencies["search"] == pytest.approx({"p50": 2, "p95": 2, "p99": 2})


def test_latencies_are_those_of_the_last_frames():
    health = Health()
    for _ in range(Health.WINDOW):
        health.time({"encode": 9.0})
    for _ in range(Health.WINDOW - 1):
        health.time({"encode": 0.001})
    assert health.latencies()["encode"]["p99"] < 9000
    health.time({"encode": 0.001})
    assert health.latencies()["encode"] == pytest.approx({"p50": 1, "p95": 1, "p99": 1})


def test_nothing_is_lost_between_threads():
    """Counts are written by some threads while another reads."""
    health, each, stop = Health(), 2000, threading.Event()
    failures = []

    def write():
        for _ in range(each):
            health.count("received")
            health.time({"encode": 0.001})

    def read():
        last = 0
        while not stop.is_set():
            now = health.counts()["received"]
            health.latencies()
            if now < last:
                failures.append((last, now))
            last = now

    writers = [threading.Thread(target=write) for _ in range(3)]
    reader = threading.Thread(target=read)
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    assert not failures
    assert health.counts()["received"] == 3 * each
