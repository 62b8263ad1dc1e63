"""Two nodes in one domain, each with its own camera."""

from __future__ import annotations

from contextlib import ExitStack
from time import time_ns

from test.torture.hostile import Header, good
from test.torture.running import running_node
from vpr_ros.messages import points_from_cloud, stamp_to_ns

RATE = 30.0


def test_each_answers_its_own_camera(peer, small, tmp_path, scaled, tell):
    weights, place_map = small
    parameters = {
        "map": place_map,
        "weights": weights,
        "device": "cpu",
        "reliability": "reliable",
        "filter": False,
    }
    number = scaled(200)
    with ExitStack() as running:
        nodes = [
            running.enter_context(running_node(peer, tmp_path, parameters, namespace))
            for namespace in ("/front", "/rear")
        ]
        places = dict(zip(nodes, (2, 9), strict=True))
        before = {}
        for node, place in places.items():
            assert node.ask(place) == place
            before[node] = node.counts()
        sent = {node: set() for node in nodes}
        for _ in range(number):
            for node, place in places.items():
                stamp = time_ns()
                sent[node].add(stamp)
                node.send([good(False, place, Header(*divmod(stamp, 10**9))).cdr()], 2 * RATE)
        for node, place in places.items():
            after = node.counts()
            assert 0 < after["received"] - before[node]["received"] <= number
            ours = [each for each in node.answers() if stamp_to_ns(each.header.stamp) in sent[node]]
            assert len(ours) == after["answered"] - before[node]["answered"]
            assert {int(points_from_cloud(each)["place"][0]) for each in ours} == {place}
            others = {stamp_to_ns(each.header.stamp) for each in node.answers()}
            assert not others & set.union(*(stamps for other, stamps in sent.items() if other is not node))
    tell("images to each of two nodes", number, "each answered its own")
