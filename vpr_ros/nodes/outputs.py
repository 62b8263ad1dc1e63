"""What the node publishes of an answer."""

from __future__ import annotations

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.node import Node
from std_msgs.msg import Header

from vpr_ros import messages
from vpr_ros.geotagged import Image
from vpr_ros.hypotheses import Hypothesis
from vpr_ros.localiser import Answer
from vpr_ros.nodes import topics
from vpr_ros.nodes.parameters import Parameters
from vpr_ros.pages.match_picture import side_by_side
from vpr_ros.place_map import PlaceMap


class Outputs:
    """The node's topics, from when it is configured until it is cleaned up."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._fix = topics.FIX.publisher(node)
        self._pose = topics.POSE.publisher(node)
        self._hypotheses = topics.HYPOTHESES.publisher(node)
        self._single = topics.SINGLE.publisher(node)
        self._poses = topics.POSES.publisher(node)
        self._match = topics.MATCH.publisher(node)
        self._initial_pose = topics.INITIAL_POSE.publisher(node)

    def publish(
        self, answer: Answer, header: Header, parameters: Parameters, calibrated: bool
    ) -> PoseWithCovarianceStamped | None:
        """Publish what an image, of that header, led to; return the pose where it was accepted."""
        in_map = Header(stamp=header.stamp, frame_id=parameters.map_frame)
        pose = None
        if answer.accepted is not None:
            in_fix = Header(stamp=header.stamp, frame_id=parameters.fix_frame or header.frame_id)
            pose = self._publish_best(answer.accepted, in_fix, in_map, calibrated)
        self._hypotheses.publish(messages.cloud_from_hypotheses(answer.hypotheses, in_map))
        # what nobody listens to is not made: twenty poses take longer than all the rest
        single = parameters.publish_single and self._single.get_subscription_count()
        if single and answer.filtered is not None:
            self._single.publish(messages.cloud_from_hypotheses(answer.single, in_map))
        if parameters.publish_poses and self._poses.get_subscription_count():
            self._poses.publish(messages.poses_from_hypotheses(answer.hypotheses, in_map))
        return pose

    def _publish_best(
        self, best: Hypothesis, in_fix: Header, in_map: Header, calibrated: bool
    ) -> PoseWithCovarianceStamped:
        self._fix.publish(messages.fix_from_hypothesis(best, in_fix, calibrated))
        pose = messages.pose_from_hypothesis(best, in_map)
        self._pose.publish(pose)
        return pose

    @property
    def match_is_watched(self) -> bool:
        """Whether anybody looks at ~/match/compressed."""
        return bool(self._match.get_subscription_count())

    def publish_match(self, image: Image, answer: Answer, header: Header, place_map: PlaceMap) -> None:
        """Publish the image beside the place that it was matched to."""
        place = answer.hypotheses.ranked[0].places[0]
        picture = side_by_side(image, place_map.image(place))
        self._match.publish(messages.compressed_from_rgb(picture, header))

    def publish_initial_pose(self, pose: PoseWithCovarianceStamped) -> None:
        """Send a pose to whoever starts from /initialpose."""
        self._initial_pose.publish(pose)

    def close(self) -> None:
        """Leave the topics."""
        for publisher in (
            *(self._fix, self._pose, self._hypotheses, self._single, self._poses),
            *(self._match, self._initial_pose),
        ):
            self._node.destroy_publisher(publisher)
