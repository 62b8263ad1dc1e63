"""The map is swapped, again and again, while images come."""

from __future__ import annotations

import shutil
from itertools import islice

import numpy as np
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from std_srvs.srv import Trigger

from test.small_world import small_map
from test.torture.running import running_node
from test.torture.test_endurance import now
from vpr_ros.messages import points_from_cloud

#: Images between two swaps, and how many a second.
BETWEEN, RATE = 15, 60.0
#: Places of the two maps: an answer tells by its place which of them gave it.
PLACES = (12, 5)


def test_swaps_lose_no_frame(peer, small, tmp_path, seed, scaled, tell):
    weights, _ = small
    root = tmp_path / "maps"
    maps = [small_map(root / str(places), weights, places) for places in PLACES]
    damaged = shutil.copytree(maps[0], root / "damaged")
    (damaged / "index.faiss").write_bytes(b"no index")
    rng, images, number = np.random.default_rng(seed), now(), scaled(200)
    parameters = {
        "map": maps[0],
        "map_root": root,
        "weights": weights,
        "device": "cpu",
        "reliability": "reliable",
        "filter": False,
    }
    refused = 0
    with running_node(peer, tmp_path, parameters) as node:
        node.ask(3)
        before, heard, current = node.counts(), len(node.answers()), 0
        for swap in range(number):
            wanted = rng.choice([0, 1, 2], p=[0.45, 0.45, 0.1])
            name = damaged if wanted == 2 else maps[wanted]
            response = load(peer, node, str(name), lambda: node.send(list(islice(images, BETWEEN)), RATE))
            assert response.success == (wanted != 2), response.message
            refused += wanted == 2
            current = current if wanted == 2 else wanted
            node.watched.sample(swap)
            # the last place of the longer map is known to that map alone
            assert node.ask(11) in ({11} if current == 0 else range(PLACES[1]))
        after = node.counts()
        flat = node.watched.check()
        clouds = [points_from_cloud(each) for each in node.answers()[heard:]]
    counts = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert set(counts) <= {"received", "answered", "superseded"}, counts
    assert counts["answered"] == len(clouds)
    # every answer is of one map: as many places as that has
    assert {len(np.unique(cloud["place"])) for cloud in clouds} <= set(PLACES)
    tell("map swaps while images come", number, f"{refused} damaged ones refused, {counts}")
    tell("", number, flat)


def load(peer, node, folder, meanwhile):
    """Set the parameter, ask for the map to be loaded, do something meanwhile; return the response."""
    value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=folder)
    request = SetParameters.Request(parameters=[Parameter(name="map", value=value)])
    answer = peer.call(SetParameters, f"{node.name}/set_parameters", request)
    assert answer.results[0].successful, answer.results[0].reason
    client = peer.node.create_client(Trigger, f"{node.name}/load_map")
    peer.until(client.service_is_ready, "no load_map")
    future = client.call_async(Trigger.Request())
    meanwhile()
    peer.until(future.done, "load_map does not answer")
    peer.node.destroy_client(client)
    return future.result()
