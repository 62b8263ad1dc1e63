"""A few seconds of `make torture`: hostile messages at the door and to a node over DDS."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice

import numpy as np
import pytest

from test.ros_graph import Peer, private_domain
from test.small_world import small_map, small_weights
from test.torture.hostile import bombs, hostile, torn
from test.torture.running import running_node
from test.torture.test_hostile_messages import PEAK, run
from test.torture.watched import peak_after_reset
from vpr_ros.errors import InputError
from vpr_ros.images.pixels import image_from_compressed

#: Messages a second.
RATE = 200.0


@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "compressed"])
def test_only_rgb_or_a_refusal_comes_out(compressed, capfd):
    assert 0 < run(compressed, 1, 300) < 300


@pytest.mark.parametrize("number", range(len(bombs())))
def test_a_bomb_takes_no_memory(number, capfd):
    peak_after_reset()
    before = peak_after_reset()
    with suppress(InputError):
        image_from_compressed(bombs()[number]).rgb()
    assert peak_after_reset() - before < PEAK


def test_a_node_outlives_hostile_messages_and_counts_them(tmp_path, monkeypatch):
    for name, value in private_domain().items():
        monkeypatch.setenv(name, value)
    weights = small_weights(tmp_path / "weights.safetensors")
    parameters = {
        "map": small_map(tmp_path / "map", weights),
        "weights": weights,
        "device": "cpu",
        "reliability": "reliable",
        "filter": False,
    }
    rng = np.random.default_rng(0)
    messages = [each.cdr() for each in islice(hostile(False, 0), 300)]
    messages += [torn(each, rng) for each in islice(hostile(False, 1), 100)]
    peer = Peer()
    with running_node(peer, tmp_path, parameters) as node:
        assert node.ask(3) == 3
        before = node.counts()
        node.send(messages, RATE)
        after = node.counts()
        assert after["received"] - before["received"] >= 150
        assert after["refused"] - before["refused"] >= 50
        assert after["failed"] == 0
        assert node.ask(5) == 5
    peer.close()
