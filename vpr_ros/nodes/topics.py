"""The node's topics and services: names, types, QoS, and what they are for. The node makes them of this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseArray, PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image, NavSatFix, PointCloud2
from std_srvs.srv import Trigger

#: The node's own, unless it is started under another.
NAME = "vpr_localiser"


class Topic(NamedTuple):
    """A topic.

    Attributes:
        name: relative to the node, unless it begins with /.
        kind: the message.
        text: what it is for, in Markdown.
        depth: messages that are kept for who is slow.
        best_effort: messages may be lost on the way. Best-effort subscriptions match reliable publishers too.
    """

    name: str
    kind: type
    text: str
    depth: int = 10
    best_effort: bool = False

    @property
    def type_name(self) -> str:
        """The message as the ROS graph names it."""
        return type_name(self.kind)

    @property
    def qos(self) -> QoSProfile:
        """Depth and reliability; all else is ROS's default."""
        policy = QoSReliabilityPolicy.BEST_EFFORT if self.best_effort else QoSReliabilityPolicy.RELIABLE
        return QoSProfile(depth=self.depth, reliability=policy)

    def publisher(self, node: Node) -> Publisher:
        """Publish it."""
        return node.create_publisher(self.kind, self.name, self.qos)

    def subscription(self, node: Node, heard: Callable[[Any], None]) -> Subscription:
        """Hear it."""
        return node.create_subscription(self.kind, self.name, heard, self.qos)


class Service(NamedTuple):
    """A service: name, relative to the node; type; what it does, in Markdown."""

    name: str
    kind: type
    text: str


def type_name(kind: type) -> str:
    """Return how the ROS graph names a message or service: package/msg/Name."""
    package, form, *_ = kind.__module__.split(".")
    return f"{package}/{form}/{kind.__name__}"


FIX = Topic("~/fix", NavSatFix, "the best hypothesis when it can be believed; nothing when not")
POSE = Topic(
    "~/pose",
    PoseWithCovarianceStamped,
    "the same in the frame `map_frame`: east-north-up about the map's datum",
)
HYPOTHESES = Topic("~/hypotheses", PointCloud2, "all hypotheses, best first, with the fields below")
SINGLE = Topic(
    "~/single/hypotheses", PointCloud2, "those of the image alone, while `filter` and `publish_single` are on"
)
POSES = Topic("~/hypothesis_poses", PoseArray, "all hypotheses for RViz, while `publish_poses` is on")
MATCH = Topic(
    "~/match/compressed",
    CompressedImage,
    "the image beside the place it was matched to, while someone looks",
    depth=1,
)
INITIAL_POSE = Topic(
    "/initialpose", PoseWithCovarianceStamped, "the last accepted pose, when `~/localise` is called", depth=1
)
DIAGNOSTICS = Topic(
    "/diagnostics",
    DiagnosticArray,
    "state, frames by fate, the reason of the last refusal, latency by stage, map; each second",
)
PUBLISHED = (FIX, POSE, HYPOTHESES, SINGLE, POSES, MATCH, INITIAL_POSE, DIAGNOSTICS)

IMAGE = Topic("image", Image, "camera images; reliable with `reliability: reliable`", 1, best_effort=True)
COMPRESSED_IMAGE = Topic(
    "image/compressed", CompressedImage, "instead of `image` with `compressed: true`", 1, best_effort=True
)
ODOMETRY = Topic("odometry", Odometry, "with `use_odometry: true`", 50, best_effort=True)
PRIOR = Topic("prior", NavSatFix, "where the robot is, roughly; with `use_prior: true`", 1, best_effort=True)
SUBSCRIBED = (IMAGE, COMPRESSED_IMAGE, ODOMETRY, PRIOR)

LOCALISE = Service("~/localise", Trigger, "sends the last accepted pose, if it is fresh, to `/initialpose`")
LOAD_MAP = Service("~/load_map", Trigger, "opens the map that `map` names, beside the one in use")
SERVICES = (LOCALISE, LOAD_MAP)
