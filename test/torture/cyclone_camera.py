"""A hostile camera that speaks DDS by Eclipse Cyclone, which shares no code with the node's.

python -m test.torture.cyclone_camera TOPIC raw|compressed SEED COUNT RATE

Its types are read when they are made, so annotations are not put off here.
"""

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from time import monotonic, sleep
from typing import Any

import numpy as np
from cyclonedds.core import DDSException, Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.idl import IdlStruct, types
from cyclonedds.pub import DataWriter, Publisher
from cyclonedds.topic import Topic
from cyclonedds.util import duration

from test.torture.hostile import hostile, torn

#: Seconds within which the node is found.
TIMEOUT = 30.0
#: Of this machine alone, where nobody hears multicast: each port that a participant may have is asked.
LOCALHOST = """<CycloneDDS><Domain>
<General>
<Interfaces><NetworkInterface address="127.0.0.1"/></Interfaces><AllowMulticast>false</AllowMulticast>
</General>
<Discovery><ParticipantIndex>auto</ParticipantIndex><Peers><Peer address="127.0.0.1"/></Peers></Discovery>
</Domain></CycloneDDS>"""
#: Every so many messages one that does not hold together.
TORN = 5


@dataclass
class Time(IdlStruct, typename="builtin_interfaces::msg::dds_::Time_"):
    """A point in time."""

    sec: types.int32
    nanosec: types.uint32


@dataclass
class Header(IdlStruct, typename="std_msgs::msg::dds_::Header_"):
    """When and where."""

    stamp: Time
    frame_id: str


@dataclass
class Image(IdlStruct, typename="sensor_msgs::msg::dds_::Image_"):
    """A raw image."""

    header: Header
    height: types.uint32
    width: types.uint32
    encoding: str
    is_bigendian: types.uint8
    step: types.uint32
    data: types.sequence[types.uint8]


@dataclass
class CompressedImage(IdlStruct, typename="sensor_msgs::msg::dds_::CompressedImage_"):
    """A compressed image."""

    header: Header
    format: str
    data: types.sequence[types.uint8]


def as_bytes(kind: Any) -> Any:
    """Return the kind with instances that are their own bytes on the wire, whatever these are."""

    class Bytes(kind):  # type: ignore[misc]
        def __init__(self, cdr: bytes) -> None:
            self.cdr = cdr

        def serialize(self, **_: Any) -> bytes:
            return self.cdr

    return Bytes


def main() -> None:
    """Send hostile messages; print how many went out."""
    topic_name, form, seed, count, rate = sys.argv[1:]
    compressed = form == "compressed"
    kind = CompressedImage if compressed else Image
    os.environ["CYCLONEDDS_URI"] = LOCALHOST
    participant = DomainParticipant(int(os.environ["ROS_DOMAIN_ID"]))
    qos = Qos(Policy.Reliability.Reliable(duration(seconds=1)), Policy.History.KeepLast(10))
    topic = Topic(participant, f"rt{topic_name}", kind, qos=qos)
    writer = DataWriter(Publisher(participant), topic, qos=qos)
    deadline = monotonic() + TIMEOUT
    while not writer.get_matched_subscriptions():
        if monotonic() > deadline:
            sys.exit(f"nobody listens to {topic_name}")
        sleep(0.05)
    wire, rng = as_bytes(kind), np.random.default_rng(int(seed))
    due, sent = monotonic(), 0
    for number, message in enumerate(islice(hostile(compressed, int(seed)), int(count))):
        cdr = torn(message, rng) if number % TORN == 0 else message.cdr()
        # Cyclone's writer looks through what it sends, and refuses some of it itself
        with suppress(DDSException):
            writer.write(wire(cdr))
            sent += 1
        due += 1 / float(rate)
        sleep(max(0.0, due - monotonic()))
    print(sent)


if __name__ == "__main__":
    main()
