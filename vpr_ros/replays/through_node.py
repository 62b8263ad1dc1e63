"""A recorded drive sent to the node over DDS, as a camera would send it, and what the node answers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

import rclpy
from rclpy.exceptions import InvalidNamespaceException, InvalidTopicNameException
from rclpy.signals import SignalHandlerOptions

from vpr_ros.calibration import Calibration
from vpr_ros.drives.recording import Recording
from vpr_ros.errors import InputError
from vpr_ros.node_process import node_process, private_domain
from vpr_ros.nodes.topics import NAME
from vpr_ros.replays.answers import Judge
from vpr_ros.replays.player import Player
from vpr_ros.replays.recorder import recorded
from vpr_ros.replays.replayed import Replayed

logger = logging.getLogger(__name__)

#: The node that is started here.
OWN_NODE = f"/{NAME}"


def replay_through_own_node(
    recording: Recording,
    judge: Judge,
    calibration: Calibration | None,
    parameters: Mapping[str, object],
    log: Path,
    rate: float,
    record: Path | None = None,
) -> Replayed:
    """Start a node, send it the recording, stop it.

    Args:
        recording: the drive.
        judge: of the answers.
        calibration: of the map.
        parameters: of the node, beside those that follow from the recording.
        log: file for what the node says.
        rate: times as fast as it was recorded.
        record: MCAP file for what the node publishes.

    Raises:
        InputError: the node ended; with its last words.
    """
    parameters = {
        "compressed": recording.compressed,
        "reliability": "reliable",
        "use_sim_time": True,
        **parameters,
    }
    with (
        private_domain(),
        node_process(parameters, {}, log) as process,
        _player(OWN_NODE, "image", recording.compressed) as player,
        nullcontext() if record is None else recorded(OWN_NODE, record),
    ):
        player.find(process.check)
        player.play(recording, rate, process.check)
        return player.replayed(judge, calibration)


def replay_through_running_node(
    recording: Recording,
    judge: Judge,
    calibration: Calibration | None,
    node: str,
    image_topic: str,
    rate: float,
    map_folder: Path,
) -> Replayed:
    """Send the recording to a node that runs already, in this environment's ROS domain.

    Args:
        recording: the drive.
        judge: of the answers.
        calibration: of the map.
        node: its fully qualified name, such as /vpr_localiser.
        image_topic: that it listens to; compressed images go to IMAGE_TOPIC/compressed.
        rate: times as fast as it was recorded.
        map_folder: of the map that the judge knows.
    """
    with _player(node, image_topic, recording.compressed) as player:
        player.find(lambda: None)
        if player.map_folder.expanduser().resolve() != map_folder.resolve():
            logger.warning(
                "%s works with %s, and is judged by %s: are they the same map?",
                *(node, player.map_folder, map_folder),
            )
        if recording.odometry and not player.uses_odometry:
            logger.warning("%s leaves odometry alone: set its parameter use_odometry", node)
        player.play(recording, rate, lambda: None)
        return player.replayed(judge, calibration)


@contextmanager
def _player(node: str, image_topic: str, compressed: bool) -> Iterator[Player]:
    # signals are ours: ROS's own handler would end the context under the player
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        player = Player(node, image_topic, compressed)
        try:
            yield player
        finally:
            player.close()
    except (InvalidTopicNameException, InvalidNamespaceException) as error:
        raise InputError(
            f"--node '{node}', --to-topic '{image_topic}': expected names of ROS: {OWN_NODE} and image, say"
        ) from error
    finally:
        rclpy.try_shutdown()
