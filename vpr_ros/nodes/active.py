"""What the node does while it is active: hears images, and publishes where they may have been taken."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from time import perf_counter
from typing import Any, NamedTuple

import rclpy
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry as OdometryMessage
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import NavSatFix

from vpr_ros import messages
from vpr_ros.engines.gpu_jpeg import GpuImage
from vpr_ros.errors import InputError, first_line
from vpr_ros.images.camera_image import CameraImage
from vpr_ros.live_localiser import LiveLocaliser
from vpr_ros.localiser import Answer, Localiser
from vpr_ros.nodes.camera import Camera
from vpr_ros.nodes.health import Health
from vpr_ros.nodes.outputs import Outputs
from vpr_ros.nodes.parameters import NodeParameters
from vpr_ros.nodes.stamps import Stamps
from vpr_ros.nodes.topics import ODOMETRY, PRIOR
from vpr_ros.odometry import Odometry, Pose
from vpr_ros.place_map import PlaceMap
from vpr_ros.prior import Prior, prior_for
from vpr_ros.threads.rate_limit import RateLimit
from vpr_ros.threads.worker import Worker

#: Seconds for which an accepted pose can be asked for: by then the robot has moved on.
FRESH = 5.0
#: Seconds, at most, between two log lines about dropped images.
LOG_PERIOD = 5.0
#: Images in a row that the engine fails on, after which the node does not go on by itself.
MAX_FAILURES = 3


class _Frame(NamedTuple):
    """An image on its way: when it came, seconds; its stamp, ns; which time, of `Stamps`, it belongs to."""

    message: Any
    received: float
    stamp: int
    epoch: int


class _Accepted(NamedTuple):
    """A pose that was believed: when, seconds; on which map; which time it belongs to."""

    pose: PoseWithCovarianceStamped
    published: float
    place_map: PlaceMap
    epoch: int


class Active:
    """Begins at once, until it is closed.

    Messages are heard on the executor's thread. A thread of its own answers the latest image, and leaves out
    those it had no time for.

    Attributes:
        refused_prior: why the latest prior was refused; empty where it was not.
    """

    def __init__(
        self,
        node: Node,
        live: LiveLocaliser,
        outputs: Outputs,
        parameters: NodeParameters,
        health: Health,
        give_up: Callable[[str], None],
    ) -> None:
        """Begin.

        Args:
            node: whose topics, clock and log are used.
            live: what answers; it is told to forget what it knew.
            outputs: where the answers go.
            parameters: of the node.
            health: in which everything is counted.
            give_up: told, from another thread, why it makes no sense to go on.
        """
        self._node, self._live, self._outputs = node, live, outputs
        self._parameters, self._health, self._give_up = parameters, health, give_up
        self._stamps = Stamps()
        self._rate = RateLimit()
        self._odometry = Odometry()
        self._odometry_lock = Lock()
        self._epoch = 0  # of the frame that was answered last
        self._failures = 0  # of the engine, in a row
        self._told_cpu = self._told_out_of_reach = False
        self._prior: Prior | None = None  # heard last
        self.refused_prior = ""
        self._accepted: _Accepted | None = None
        live.reset()
        self._worker: Worker[_Frame] = Worker("localise", self._work)
        now = parameters.now
        self._camera = Camera(node, now.compressed, now.reliability == "reliable", self._on_image)
        self._subscriptions = []
        if now.use_odometry:
            self._subscriptions.append(ODOMETRY.subscription(node, self._on_odometry))
        if now.use_prior:
            self._subscriptions.append(PRIOR.subscription(node, self._on_prior))
        backward = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1))
        self._jumps = node.get_clock().create_jump_callback(backward, post_callback=self._on_clock_jump)

    def close(self) -> None:
        """Hear no more, finish the image at hand, and answer no more."""
        self._jumps.unregister()
        self._camera.close()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        if self._worker.stop():
            self._health.count("inactive")

    def accepted(self) -> PoseWithCovarianceStamped | None:
        """Return the pose that was accepted last, where it still holds."""
        last = self._accepted
        if last is None or perf_counter() - last.published > FRESH:
            return None
        same = last.place_map is self._live.localiser.place_map and last.epoch == self._stamps.epoch
        return last.pose if same else None

    def silence(self) -> str:
        """Say why no images come, or not all that are sent; nothing where they do."""
        silence = self._camera.silence(self._parameters.now.image_timeout)
        return self._camera.silent_loss(silence) or silence

    def _on_image(self, message: Any) -> None:
        received = perf_counter()
        self._health.count("received")
        stamp = messages.stamp_to_ns(message.header.stamp)
        self._camera.seen(received, stamp, len(message.data))
        clock, epoch = self._node.get_clock(), self._stamps.epoch
        judged = self._stamps.judge(stamp, clock.now().nanoseconds, clock.ros_time_is_active)
        if judged.fate:
            self._drop(judged.fate, judged.reason)
            return
        if judged.stamp != stamp:
            self._health.count("unstamped")
            message.header.stamp = Time(nanoseconds=judged.stamp).to_msg()
        if self._stamps.epoch != epoch:
            self._begin_anew("images are stamped earlier than those before them")
        if not self._rate.passes(received, self._parameters.now.max_rate):
            self._health.count("over_rate")
        elif self._worker.put(_Frame(message, received, judged.stamp, self._stamps.epoch)):
            self._health.count("superseded")

    def _on_odometry(self, message: OdometryMessage) -> None:
        pose = messages.pose_from_odometry(message)
        if pose is None:
            self._node.get_logger().warning(
                "odometry that is not finite is left out", throttle_duration_sec=LOG_PERIOD
            )
            return
        with self._odometry_lock:
            self._odometry.add(messages.stamp_to_ns(message.header.stamp), pose)

    def _on_prior(self, message: NavSatFix) -> None:
        try:
            self._prior = messages.prior_from_fix(message, self._node.get_clock().now().nanoseconds)
            self.refused_prior = ""
        except InputError as error:
            self._health.count("priors_refused")
            if not self.refused_prior:  # once: a receiver without a fix goes on saying so
                self._node.get_logger().warning(f"prior refused: {error}")
            self.refused_prior = str(error)

    def _on_clock_jump(self, _: Any) -> None:
        epoch = self._stamps.epoch
        self._stamps.clock_jumped(self._node.get_clock().now().nanoseconds)
        if self._stamps.epoch != epoch:
            self._begin_anew("the clock has gone back")

    def _begin_anew(self, why: str) -> None:
        """Forget odometry and prior; the filter forgets with the first frame of the new time."""
        self._health.count("clock_jumps")
        self._prior = None
        with self._odometry_lock:
            self._odometry = Odometry()
        self._node.get_logger().warning(
            f"{why}: what was known before is forgotten", throttle_duration_sec=1.0
        )

    # the rest runs on the worker's thread

    def _work(self, frame: _Frame) -> None:
        try:
            self._answer(frame)
        except InputError as error:
            self._drop("refused", str(error))
        except Exception as error:  # the frame is lost, the node is not
            if rclpy.ok():
                self._drop("failed", f"{type(error).__name__}: {first_line(error)}")

    def _answer(self, frame: _Frame) -> None:
        start = perf_counter()
        image = self._to_image(frame.message)
        converted = perf_counter()
        if frame.epoch != self._epoch:
            self._epoch = frame.epoch
            self._live.reset()
        with self._odometry_lock:
            pose = self._odometry.at(frame.stamp)
        answer, localiser = self._localise(image, frame.stamp, pose)
        answered = perf_counter()
        self._tell_of_reach(localiser.out_of_reach())
        accepted = self._publish(frame, answer, localiser)
        done = perf_counter()
        self._health.count("answered")
        if accepted:
            self._health.count("accepted")
        self._health.time(
            {
                "wait": start - frame.received,
                "convert": converted - start,
                **answer.seconds,
                "publish": done - answered,
                "total": done - frame.received,
            }
        )
        if self._outputs.match_is_watched:
            self._outputs.publish_match(image.rgb(), answer, frame.message.header, localiser.place_map)

    def _to_image(self, message: Any) -> CameraImage | GpuImage:
        now = self._parameters.now
        if now.compressed:
            decoder = self._live.decoder()
            return messages.image_from_compressed_message(message, now.max_pixels, decoder)
        return messages.image_from_message(message, now.max_pixels)

    def _localise(
        self, image: CameraImage | GpuImage, stamp: int, pose: Pose | None
    ) -> tuple[Answer, Localiser]:
        now = self._parameters.now
        prior = prior_for(stamp, self._prior, now.given_prior)
        try:
            found = self._live.localise(image, stamp, pose, now.settings, prior)
        except InputError:  # the image is to blame
            raise
        except Exception as error:
            self._failures += 1
            if self._failures == MAX_FAILURES and rclpy.ok():
                last = f"{type(error).__name__}: {first_line(error)}"
                self._give_up(f"{MAX_FAILURES} images in a row failed, the last with {last}")
            raise
        self._failures = 0
        if self._live.fell_back and not self._told_cpu:
            self._told_cpu = True
            self._node.get_logger().error(f"encoding on the CPU from now on: {self._live.fell_back}")
        return found

    def _tell_of_reach(self, out: str) -> None:
        if out and not self._told_out_of_reach:
            self._node.get_logger().warning(out)
        self._told_out_of_reach = bool(out)

    def _publish(self, frame: _Frame, answer: Answer, localiser: Localiser) -> bool:
        """Publish an answer; tell whether it was accepted."""
        pose = self._outputs.publish(
            answer, frame.message.header, self._parameters.now, localiser.calibration is not None
        )
        if pose is not None:
            self._accepted = _Accepted(pose, perf_counter(), localiser.place_map, frame.epoch)
        return pose is not None

    def _drop(self, fate: str, reason: str) -> None:
        self._health.count(fate, reason)
        self._node.get_logger().warning(f"image {fate}: {reason}", throttle_duration_sec=LOG_PERIOD)
