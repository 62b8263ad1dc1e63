"""The node `vpr_localiser`: camera images in, GPS pose hypotheses out."""

from __future__ import annotations

import sys
from threading import Lock, Thread
from time import perf_counter
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseArray, PoseWithCovarianceStamped
from nav_msgs.msg import Odometry as OdometryMessage
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CompressedImage, NavSatFix, PointCloud2
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from vpr_ros import messages
from vpr_ros.errors import InputError, first_line
from vpr_ros.geotagged import Image
from vpr_ros.health import Health
from vpr_ros.hypotheses import Hypothesis
from vpr_ros.latest import Latest
from vpr_ros.localiser import Answer, Localiser, open_localiser
from vpr_ros.match_picture import side_by_side
from vpr_ros.node_parameters import Parameters, declare
from vpr_ros.odometry import Odometry

NAME = "vpr_localiser"
#: Seconds between two messages on /diagnostics.
DIAGNOSTICS_PERIOD = 1.0
#: Seconds for which an accepted pose can be asked for: by then the robot has moved on.
LOCALISE_MAX_AGE = 5.0
#: Seconds, at most, between two log lines about refused frames.
LOG_PERIOD = 5.0


class LocaliserNode(Node):  # type: ignore[misc]
    """Encodes the latest image, searches the map, publishes hypotheses with the image's stamp.

    Messages arrive on the executor's thread; encoding happens on a thread of its own, which takes the latest
    image and leaves out those it had no time for.
    """

    def __init__(self) -> None:
        super().__init__(NAME)
        self._settings = declare(self)
        self._localiser = _warmed_up(self._settings)
        self._health = Health()
        self._odometry = Odometry()
        self._odometry_lock = Lock()
        self._frames: Latest[tuple[Any, float]] = Latest()
        self._last_accepted: tuple[PoseWithCovarianceStamped, float] | None = None
        self._reported: tuple[dict[str, int], float] = (self._health.counts(), perf_counter())
        self._make_publishers()
        self._worker = Thread(target=self._work, name="localise", daemon=True)
        self._worker.start()
        self._subscribe()
        self.create_service(Trigger, "~/localise", self._on_localise)
        # a steady clock: diagnostics go on while simulated time stands still
        self.create_timer(DIAGNOSTICS_PERIOD, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def tell_ready(self) -> None:
        """Say in the log what it works with."""
        engine, place_map = self._localiser.engine, self._localiser.place_map
        self.get_logger().info(
            f"ready: {len(place_map)} places of {place_map.folder}, encoding on {engine.device}"
        )
        if doubts := self._localiser.doubts():
            self.get_logger().warning(doubts)

    def _make_publishers(self) -> None:
        self._fix = self.create_publisher(NavSatFix, "~/fix", 10)
        self._pose = self.create_publisher(PoseWithCovarianceStamped, "~/pose", 10)
        self._hypotheses = self.create_publisher(PointCloud2, "~/hypotheses", 10)
        if self._settings.filter:
            self._single = self.create_publisher(PointCloud2, "~/single/hypotheses", 10)
        self._poses = self.create_publisher(PoseArray, "~/hypothesis_poses", 10)
        self._match = self.create_publisher(CompressedImage, "~/match/compressed", 1)
        self._initial_pose = self.create_publisher(PoseWithCovarianceStamped, "/initialpose", 1)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def _subscribe(self) -> None:
        reliable = self._settings.reliability == "reliable"
        policy = QoSReliabilityPolicy.RELIABLE if reliable else QoSReliabilityPolicy.BEST_EFFORT
        kind, topic = (
            (CompressedImage, "image/compressed") if self._settings.compressed else (ImageMessage, "image")
        )
        self.create_subscription(kind, topic, self._on_image, QoSProfile(depth=1, reliability=policy))
        if self._settings.use_odometry:
            # best effort is heard from reliable and best-effort publishers alike
            deep = QoSProfile(depth=50, reliability=QoSReliabilityPolicy.BEST_EFFORT)
            self.create_subscription(OdometryMessage, "odometry", self._on_odometry, deep)

    def _on_odometry(self, message: OdometryMessage) -> None:
        pose = messages.pose_from_odometry(message)
        if pose is None:
            self.get_logger().warning(
                "odometry that is not finite is left out", throttle_duration_sec=LOG_PERIOD
            )
            return
        with self._odometry_lock:
            self._odometry.add(messages.stamp_to_ns(message.header.stamp), pose)

    def _on_image(self, message: Any) -> None:
        self._health.count("received")
        if self._frames.put((message, perf_counter())):
            self._health.count("superseded")

    def _work(self) -> None:
        while (frame := self._frames.take()) is not None:
            message, received = frame
            try:
                self._localise(message, received)
            except InputError as error:
                self._drop("refused", str(error))
            except Exception as error:  # the frame is lost, the node is not
                if not rclpy.ok():
                    return
                self._drop("failed", f"{type(error).__name__}: {error}")

    def _localise(self, message: Any, received: float) -> None:
        start = perf_counter()
        image = self._to_rgb(message)
        converted = perf_counter()
        stamp = messages.stamp_to_ns(message.header.stamp)
        with self._odometry_lock:
            pose = self._odometry.at(stamp)
        answer = self._localiser.localise(image, stamp, pose)
        answered = perf_counter()
        accepted = self._publish(answer, message.header)
        done = perf_counter()
        self._health.count("answered")
        if accepted:
            self._health.count("accepted")
        self._health.time(
            {
                "wait": start - received,
                "convert": converted - start,
                **answer.seconds,
                "publish": done - answered,
                "total": done - received,
            }
        )
        if self._match.get_subscription_count():
            self._publish_match(image, answer, message.header)

    def _to_rgb(self, message: Any) -> Image:
        if self._settings.compressed:
            return messages.compressed_to_rgb(message)
        return messages.image_to_rgb(message)

    def _publish(self, answer: Answer, image: Header) -> bool:
        """Publish what was found and tell whether it was accepted."""
        in_map = Header(stamp=image.stamp, frame_id=self._settings.map_frame)
        if answer.accepted is not None:
            self._publish_best(answer.accepted, image, in_map)
        self._hypotheses.publish(messages.cloud_from_hypotheses(answer.hypotheses, in_map))
        if self._settings.filter:
            self._single.publish(messages.cloud_from_hypotheses(answer.single, in_map))
        self._poses.publish(messages.poses_from_hypotheses(answer.hypotheses, in_map))
        return answer.accepted is not None

    def _publish_best(self, best: Hypothesis, image: Header, in_map: Header) -> None:
        frame = self._settings.fix_frame or image.frame_id
        header = Header(stamp=image.stamp, frame_id=frame)
        calibrated = self._localiser.calibration is not None
        self._fix.publish(messages.fix_from_hypothesis(best, header, calibrated))
        pose = messages.pose_from_hypothesis(best, in_map)
        self._pose.publish(pose)
        self._last_accepted = (pose, perf_counter())

    def _publish_match(self, image: Image, answer: Answer, header: Header) -> None:
        place = answer.hypotheses.ranked[0].places[0]
        picture = side_by_side(image, self._localiser.place_map.image(place))
        self._match.publish(messages.compressed_from_rgb(picture, header))

    def _drop(self, fate: str, reason: str) -> None:
        self._health.count(fate, reason)
        self.get_logger().warning(f"image {fate}: {reason}", throttle_duration_sec=LOG_PERIOD)

    def _on_localise(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Send the latest accepted pose, if it is fresh, to whoever starts from /initialpose."""
        pose, accepted = self._last_accepted or (None, 0.0)
        response.success = pose is not None and perf_counter() - accepted <= LOCALISE_MAX_AGE
        if pose is None or not response.success:
            response.message = f"no image has been accepted in the last {LOCALISE_MAX_AGE:g} s"
            return response
        self._initial_pose.publish(pose)
        position = pose.pose.pose.position
        response.message = f"{position.x:.2f} east, {position.y:.2f} north, sent to /initialpose"
        return response

    def _report(self) -> None:
        message = DiagnosticArray(status=[self._status()])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _status(self) -> DiagnosticStatus:
        counts, now, place_map = self._health.counts(), perf_counter(), self._localiser.place_map
        (before, then), self._reported = self._reported, (counts, now)
        new = {name: counts[name] - before[name] for name in counts}
        values: dict[str, object] = {f"frames {name}": count for name, count in counts.items()}
        values["rate Hz"] = f"{new['answered'] / max(now - then, 1e-3):.1f}"
        values["last reason"] = self._health.last_reason
        for stage, taken in self._health.latencies().items():
            values |= {f"{stage} {name} ms": f"{ms:.2f}" for name, ms in taken.items() if ms is not None}
        values |= {"map": place_map.folder, "places": len(place_map), "device": self._localiser.engine.device}
        values |= {"accepted above": f"{self._localiser.threshold:.4g}"}
        values |= {"calibrated": str(self._localiser.calibration is not None).lower()}
        level, text = DiagnosticStatus.OK, "localising"
        if doubts := self._localiser.doubts():
            level, text = DiagnosticStatus.WARN, doubts
        if not counts["received"]:
            level, text = DiagnosticStatus.WARN, "no image received yet"
        elif bad := new["refused"] + new["failed"]:
            level, text = DiagnosticStatus.WARN, f"{bad} images refused or failed"
        return DiagnosticStatus(
            level=level,
            name=f"{NAME}: localisation",
            message=text,
            hardware_id=self.get_fully_qualified_name(),
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )

    def destroy_node(self) -> None:
        """Stop the worker, then the node."""
        self._frames.close()
        self._worker.join(timeout=5.0)
        super().destroy_node()


def _warmed_up(parameters: Parameters) -> Localiser:
    """Open the weights and the map that the parameters name."""
    localiser = open_localiser(
        parameters.weights_file, parameters.map_folder, parameters.device, parameters.settings
    )
    # the first image of all takes many times as long: let it not be one of the robot's
    size = localiser.engine.input_size
    localiser.localise(np.zeros((size, size, 3), np.uint8), 0)
    localiser.reset()
    return localiser


def main() -> None:
    """Run the node until it is told to stop; exits with 2 and one line on bad input."""
    try:
        rclpy.init()
    except RuntimeError as error:  # a parameter file that is not there, say
        sys.exit(_fail(error))
    node = None
    try:
        executor = SingleThreadedExecutor()
        node = LocaliserNode()
        executor.add_node(node)
        node.tell_ready()
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (InputError, OSError) as error:
        sys.exit(_fail(error))
    except Exception:
        if rclpy.ok():
            raise
        # told to stop in the middle of starting: whatever failed, failed for that
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()


def _fail(error: Exception) -> int:
    rclpy.logging.get_logger(NAME).fatal(first_line(error))
    return 2


if __name__ == "__main__":
    main()
