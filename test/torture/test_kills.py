"""Node and camera are killed, again and again; each time the node is back and answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from time import monotonic

import numpy as np

from test.ros_graph import Peer
from test.torture.running import RunningNode, start

#: Seconds from the start of a node's process to its first answer; discovery over DDS takes up to 3 of them.
BACK = 15.0
#: Images a second of the camera.
RATE = 20.0


def camera():
    """Start a process that sends images until it is killed."""
    return subprocess.Popen([sys.executable, "-m", "test.torture.camera", "/image", str(RATE)])


def test_kills(peer: Peer, small, tmp_path, seed, scaled, tell):
    weights, place_map = small
    parameters = {"map": place_map, "weights": weights, "device": "cpu", "reliability": "reliable"}
    log, rng, number = tmp_path / "node.log", np.random.default_rng(seed), scaled(20)
    sender, began = camera(), monotonic()
    process = start(log, parameters)
    node = RunningNode(peer, process, "", False)
    back = []
    try:
        for _ in range(number):
            seen = len(node.answers())

            def answered(seen=seen, sender=sender):
                node.check()
                assert sender.poll() is None, f"the camera ended with {sender.returncode}"
                return len(node.answers()) > seen

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
            peer.until(lambda: True, "")
            began = monotonic()
            process = node.process = start(log, parameters)
        assert node.ask(3) == 3
    finally:
        for each in (sender, process):
            each.kill()
            each.wait()
    median, worst = np.median(back), max(back)
    tell("kills of node and camera", number, f"answers again after {median:.1f} s, at most {worst:.1f} s")
    assert worst <= BACK
