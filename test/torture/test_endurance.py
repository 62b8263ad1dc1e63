"""Many frames: nothing grows."""

from __future__ import annotations

import os
from itertools import cycle, islice
from time import time_ns

import cv2
import numpy as np

from test.small_world import picture
from test.torture.hostile import Header, good
from test.torture.running import running_node
from test.torture.watched import Watched
from vpr_ros.images.camera_image import CameraImage
from vpr_ros.localiser import Settings, open_localiser

#: Of the images, pixels; one after the other.
SIZES = ((64, 86), (96, 128), (70, 64), (64, 64), (120, 90))
#: Images a second to the node: about what it can answer, or twice that.
RATE = 150.0
#: Nanoseconds between the images of the localiser.
PERIOD = 10**8


def test_the_localiser(small, seed, scaled, tell):
    weights, place_map = small
    localiser = open_localiser(weights, place_map, "cpu", Settings())
    frames = [
        CameraImage(np.asarray(cv2.resize(picture(place), size[::-1], interpolation=cv2.INTER_NEAREST)))
        for place, size in zip(range(10), cycle(SIZES))
    ]
    number = scaled(100_000)
    order = np.random.default_rng(seed).integers(len(frames), size=number)
    watched = Watched(os.getpid())
    for count, frame in enumerate(order):
        answer = localiser.localise(frames[frame], count * PERIOD)
        if count % max(1, number // 200) == 0:
            assert answer.single.ranked[0].places[0] == frame
            watched.sample(count)
    tell("frames through the localiser", number, watched.check())


def test_the_node(peer, small, tmp_path, scaled, tell):
    weights, place_map = small
    number = scaled(10_000)
    parameters = {"map": place_map, "weights": weights, "device": "cpu", "reliability": "reliable"}
    with running_node(peer, tmp_path, parameters) as node:
        node.ask(3)
        before = node.counts()
        node.send(islice(now(), number), RATE, number)
        after = node.counts()
        counts = {name: after[name] - before[name] for name in after if after[name] != before[name]}
        flat = node.watched.check()
        assert node.ask(7) == 7
    assert set(counts) <= {"received", "answered", "superseded"}
    assert counts["answered"] + counts["superseded"] == counts["received"] > 0.8 * number, counts
    assert counts["answered"] > number / 10, counts  # how many depends on the machine
    tell("frames through the node", number, f"{counts}")
    tell("", number, flat)


def now():
    """Yield good images, each stamped when it is asked for."""
    for place in cycle(range(12)):
        yield good(False, place, Header(*divmod(time_ns(), 10**9))).cdr()
