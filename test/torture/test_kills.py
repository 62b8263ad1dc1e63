"""Node and camera are killed, again and again; each time the node is back and answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from time import monotonic, time_ns

import numpy as np
import pytest

from test.ros_graph import Peer, private_domain, profile
from test.torture.running import RunningNode, start
from vpr_ros.messages import stamp_to_ns

#: Seconds from the start of a node's process to its first answer.
BACK = 15.0
#: Images a second of the camera.
RATE = 20.0
#: Of the node: no shared memory, over which one killed with -9 may never hear its camera again.
UDP = profile("fastdds_udp.xml")


@pytest.fixture
def peer(monkeypatch):
    """In a private domain where the profiles hold: LOCALHOST adds shared memory to any."""
    subnet = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}
    for name, value in (private_domain() | subnet | profile("fastdds_shared_memory.xml")).items():
        monkeypatch.setenv(name, value)
    peer = Peer()
    yield peer
    peer.close()


def camera():
    """Start a process that sends images until it is killed."""
    return subprocess.Popen([sys.executable, "-m", "test.torture.camera", "/image", str(RATE)])


def test_kills(peer: Peer, small, tmp_path, seed, scaled, tell):
    weights, place_map = small
    parameters = {"map": place_map, "weights": weights, "device": "cpu", "reliability": "reliable"}
    log, rng, number = tmp_path / "node.log", np.random.default_rng(seed), scaled(20)
    sender, began, first = camera(), monotonic(), time_ns()
    process = start(log, parameters, environment=UDP)
    node = RunningNode(peer, process, "", False)
    back = []
    try:
        for _ in range(number):

            def answered(first=first, sender=sender):
                node.check()
                assert sender.poll() is None, f"the camera ended with {sender.returncode}"
                # to an image of this life of the node: answers of the last may still be on their way
                return any(stamp_to_ns(each.header.stamp) > first for each in node.answers())

            peer.until(answered, "no answer")
            back.append(monotonic() - began)
            # somewhere in the middle of its work, not always after an answer
            moment = monotonic() + rng.uniform(0.0, 1.0)
            peer.until(lambda moment=moment: monotonic() > moment, "")
            if rng.random() < 0.5:
                os.kill(sender.pid, signal.SIGKILL)
                sender.wait()
                sender = camera()
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            began, first = monotonic(), time_ns()
            process = node.process = start(log, parameters, environment=UDP)
        assert node.ask(3) == 3
    finally:
        for each in (sender, process):
            each.kill()
            each.wait()
    median, worst = np.median(back), max(back)
    tell("kills of node and camera", number, f"answers again after {median:.1f} s, at most {worst:.1f} s")
    assert worst <= BACK
