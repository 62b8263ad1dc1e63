"""The node as a process, over DDS."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseArray, PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, ListParameters, SetParameters
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, NavSatFix, NavSatStatus, PointCloud2
from sensor_msgs.msg import Image as ImageMessage
from std_srvs.srv import Trigger

from test.ros_graph import TIMEOUT, Peer, private_domain
from test.small_world import STEP, picture, small_map, small_weights
from vpr_ros.calibration import Acceptance, Calibration, Step, write_calibration
from vpr_ros.errors import InputError
from vpr_ros.hypotheses import Belief
from vpr_ros.images.pixels import compress
from vpr_ros.messages import points_from_cloud, stamp_to_ns
from vpr_ros.node_process import NodeProcess, node_process
from vpr_ros.nodes import localiser_node, topics
from vpr_ros.nodes.localiser_node import LocaliserNode
from vpr_ros.nodes.parameters import Parameters
from vpr_ros.place_map import open_map
from vpr_ros.sequence_filter import FORGET, Dynamics

NODE = "/robot/vpr_localiser"
HEARD = {
    "hypotheses": PointCloud2,
    "single/hypotheses": PointCloud2,
    "fix": NavSatFix,
    "pose": PoseWithCovarianceStamped,
    "hypothesis_poses": PoseArray,
}
NOT_OURS = {"use_sim_time", "start_type_description_service"}
#: Of the small world: similar places score 5, all others less than 2.
CALIBRATION = Calibration(
    belief=Belief(temperature=0.4, covariance_scale=2.0),
    dynamics=Dynamics(max_speed=40.0, sharpness=3.0, lost_score=2.0),
    single=Acceptance((Step(0.9, 1000, 0),)),
    filtered=Acceptance((Step(0.9, 1000, 0),)),
    drive="a drive",
    frames=1000,
    radius=15.0,
)


class World:
    """A running node and its peer."""

    def __init__(self, peer: Peer, process: NodeProcess) -> None:
        self.peer = peer
        self.process = process
        self.images = peer.publisher(ImageMessage, "/camera/image_raw")
        self.stamp = 0
        for topic, kind in HEARD.items():
            peer.hear(kind, f"{NODE}/{topic}")
        peer.hear(DiagnosticArray, "/diagnostics")
        peer.until(lambda: peer.kept("/diagnostics"), "no diagnostics")
        peer.until(
            lambda: all(peer.node.count_publishers(f"{NODE}/{topic}") for topic in HEARD),
            "the node's topics are not there",
        )

    def send(self, message: ImageMessage, seconds: float = FORGET + 1) -> int:
        """Send an image taken so long after the last, by default too long to follow it; return its stamp."""
        self.stamp += round(seconds * 10**9) + 1
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(self.stamp, 10**9)
        message.header.frame_id = "camera_front"
        self.images.publish(message)
        return self.stamp

    def answer(self, topic: str, stamp: int):  # type: ignore[no-untyped-def]
        """Wait for the message with this stamp on a topic of the node."""
        kept = self.peer.kept(f"{NODE}/{topic}")
        found = self.peer.until(
            lambda: [each for each in kept if stamp_to_ns(each.header.stamp) == stamp],
            f"no {topic} for {stamp}",
        )
        return found[0]

    def counts(self) -> dict[str, str]:
        """Return what the next diagnostics say."""
        kept = self.peer.kept("/diagnostics")
        seen = len(kept)
        self.peer.until(lambda: len(kept) > seen, "diagnostics have stopped")
        return {each.key: each.value for each in kept[-1].status[0].values}

    def until_counted(self, name: str, number: int) -> dict[str, str]:
        """Wait until a count is reached."""
        while int((values := self.counts())[f"frames {name}"]) < number:
            self.process.check()
        return values


def raw(image: np.ndarray, encoding: str = "rgb8") -> ImageMessage:
    height, width = image.shape[:2]
    step = image.strides[0]
    return ImageMessage(height=height, width=width, encoding=encoding, step=step, data=image.tobytes())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Weights, and a map that is not calibrated."""
    folder = tmp_path_factory.mktemp("world")
    weights = small_weights(folder / "weights.safetensors")
    return weights, small_map(folder / "map", weights)


@pytest.fixture(scope="module")
def calibrated(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same, calibrated."""
    weights, place_map = files
    copy = shutil.copytree(place_map, tmp_path_factory.mktemp("calibrated") / "map")
    write_calibration(CALIBRATION, open_map(copy))
    return weights, copy


@pytest.fixture(scope="module")
def world(calibrated: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A node as it is by default, on a calibrated map, with odometry."""
    weights, place_map = calibrated
    log = tmp_path_factory.mktemp("log") / "node.log"
    parameters = {
        "map": place_map,
        "weights": weights,
        "device": "cpu",
        "reliability": "reliable",
        "use_odometry": True,
        "use_prior": True,
    }
    remappings = {
        "image": "/camera/image_raw",
        "odometry": "/odom",
        "prior": "/gps/fix",
        "__ns": "/robot",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in private_domain().items():
            patch.setenv(name, value)
        peer = Peer()
        with node_process(parameters, remappings, log) as process:
            yield World(peer, process)
        peer.close()


@pytest.mark.parametrize("place", [0, 5, 11])
def test_an_image_of_a_place_is_answered_with_that_place(world: World, place: int) -> None:
    stamp = world.send(raw(picture(place)))

    points = points_from_cloud(world.answer("hypotheses", stamp))
    assert points["place"][0] == place
    assert points["y"][0] == pytest.approx(100 * place, abs=1.0)
    assert points["latitude"][0] == pytest.approx(48 + place * 100 / 111_200, abs=1e-5)
    assert points["yaw"][0] == pytest.approx(np.pi / 2)
    assert (np.diff(points["probability"]) <= 0).all()
    assert points["probability"].sum() <= 1 + 1e-6
    assert len(world.answer("hypothesis_poses", stamp).poses) == len(points)


def test_an_accepted_answer_is_a_fix_that_navsat_transform_takes(world: World) -> None:
    stamp = world.send(raw(picture(3)))

    fix = world.answer("fix", stamp)
    assert fix.header.frame_id == "camera_front"
    assert fix.status.status == 0
    assert fix.altitude == pytest.approx(500, abs=0.1)
    covariance = np.array(fix.position_covariance).reshape(3, 3)
    assert np.linalg.eigvalsh(covariance).min() >= 1.0
    assert fix.position_covariance_type == NavSatFix.COVARIANCE_TYPE_KNOWN  # the map is calibrated

    pose = world.answer("pose", stamp)
    assert pose.header.frame_id == "map"
    assert pose.pose.pose.position.y == pytest.approx(300, abs=1.0)
    assert np.linalg.eigvalsh(np.array(pose.pose.covariance).reshape(6, 6)).min() > 0


def test_what_is_rejected_is_no_fix_and_no_pose(world: World) -> None:
    """It is on ~/hypotheses all the same; the next image is accepted, and is the only one of the two."""
    heard = {topic: len(world.peer.kept(f"{NODE}/{topic}")) for topic in ("fix", "pose")}
    unknown = world.send(raw(picture(100)))
    assert points_from_cloud(world.answer("hypotheses", unknown))["probability"].max() < 0.9
    known = world.send(raw(picture(3)))
    for topic, before in heard.items():
        world.answer(topic, known)
        new = world.peer.kept(f"{NODE}/{topic}")[before:]
        assert [stamp_to_ns(each.header.stamp) for each in new] == [known]


def test_the_filter_takes_the_images_before_into_account(world: World) -> None:
    """Far from where it was a moment ago an image alone is believed, and over time it is not, yet."""
    for seconds, place in ((FORGET + 1, 0), (4.0, 1), (4.0, 2)):
        near = world.send(raw(picture(place)), seconds)
        world.answer("hypotheses", near)
    single, filtered = both(world, near)
    assert single["place"][0] == filtered["place"][0] == 2
    assert filtered["probability"][0] > 0.99

    far = world.send(raw(picture(11)), seconds=0.1)
    single, filtered = both(world, far)
    assert single["place"][0] == 11
    assert single["probability"][0] > 0.9
    assert filtered["place"][0] != 11


def both(world: World, stamp: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of the image alone, and those over time."""
    single, filtered = (world.answer(topic, stamp) for topic in ("single/hypotheses", "hypotheses"))
    assert single.header == filtered.header
    assert filtered.header.frame_id == "map"
    return points_from_cloud(single), points_from_cloud(filtered)


def test_odometry_moves_what_is_believed(world: World) -> None:
    """Whether twenty seconds later it may be 800 m on, is for odometry to say."""
    odometry = world.peer.publisher(Odometry, "/odom", 50)

    def believed(metres: float) -> float:
        """Return how much it believes to be at place 10, having been at place 2 and driven so far."""
        first = world.stamp + round((FORGET + 1) * 10**9) + 1
        stamps = [first, first + 10**9 + 1, first + 21 * 10**9 + 2]
        for stamp, x in zip(stamps, (0.0, 0.0, metres), strict=True):
            message = Odometry()
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
            message.pose.pose.position.x = x
            message.pose.pose.orientation.w = 1.0
            odometry.publish(message)
        for place, seconds in ((2, FORGET + 1), (2, 1.0), (10, 20.0)):
            last = world.send(raw(picture(place)), seconds)
            world.answer("hypotheses", last)
        assert last == stamps[-1]
        points = points_from_cloud(world.answer("hypotheses", last))
        return float(points["probability"][points["place"] == 10].sum())

    # odometry may be lost on its way, or come after the image
    world.peer.until(lambda: believed(0.0) < 0.5, "odometry that stands is not heeded")
    world.peer.until(lambda: believed(800.0) > 0.9, "odometry that moves is not heeded")


def test_odometry_that_is_not_finite_is_left_out(world: World) -> None:
    odometry = world.peer.publisher(Odometry, "/odom", 50)
    message = Odometry()
    message.pose.pose.position.x = float("nan")
    odometry.publish(message)
    assert points_from_cloud(world.answer("hypotheses", world.send(raw(picture(1)))))["place"][0] == 1
    assert world.counts()["frames failed"] == "0"


def latitude_of(place: float) -> float:
    return 48.0 + STEP * place


def test_a_prior_by_topic_restricts_the_search_while_it_is_fresh(world: World) -> None:
    fixes = world.peer.publisher(NavSatFix, "/gps/fix", qos_profile_sensor_data)

    def restricted() -> bool:
        """Tell whether an image of place 3 is answered with place 9, and that alone."""
        fix = NavSatFix(latitude=latitude_of(9), longitude=11.0, altitude=500.0, position_covariance_type=2)
        fix.position_covariance = np.diag([25.0, 25.0, 100.0]).ravel()
        fix.status.status = NavSatStatus.STATUS_FIX
        stamp = world.stamp + round((FORGET + 1) * 10**9) + 1
        fix.header.stamp.sec, fix.header.stamp.nanosec = divmod(stamp, 10**9)
        fixes.publish(fix)
        assert world.send(raw(picture(3))) == stamp
        return set(points_from_cloud(world.answer("hypotheses", stamp))["place"]) == {9}

    # it may be lost on its way, or come after the image
    world.peer.until(restricted, "a prior is not heeded")
    values = world.counts()
    assert (values["prior"], values["places within reach"]) == ("topic", "1")
    # neither in a bag that begins anew nor half a minute later
    earlier = world.send(raw(picture(3)), -10.0)
    assert points_from_cloud(world.answer("hypotheses", earlier))["place"][0] == 3
    world.peer.until(restricted, "a prior is not heeded any more")
    later = world.send(raw(picture(3)), FORGET + 1)
    assert points_from_cloud(world.answer("hypotheses", later))["place"][0] == 3
    values = world.counts()
    assert (values["prior"], values["places within reach"]) == ("none", "12")


def test_a_prior_that_is_no_fix_is_left_out(world: World) -> None:
    fixes = world.peer.publisher(NavSatFix, "/gps/fix", qos_profile_sensor_data)

    def refused() -> str:
        fix = NavSatFix(latitude=float("nan"), longitude=float("nan"))
        fix.status.status = NavSatStatus.STATUS_NO_FIX
        fixes.publish(fix)
        return world.counts()["prior refused"]

    assert "status -1" in world.peer.until(refused, "nothing is refused")
    assert points_from_cloud(world.answer("hypotheses", world.send(raw(picture(3)))))["place"][0] == 3


def test_a_prior_by_parameter_restricts_the_search_until_it_is_taken_back(world: World) -> None:
    def give(*numbers: float) -> str:
        """Set the parameter; return why that was refused."""
        value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE_ARRAY, double_array_value=numbers)
        request = SetParameters.Request(parameters=[Parameter(name="prior", value=value)])
        result = world.peer.call(SetParameters, f"{NODE}/set_parameters", request).results[0]
        return "" if result.successful else str(result.reason)

    def places() -> list[int]:
        points = points_from_cloud(world.answer("hypotheses", world.send(raw(picture(3)))))
        return [int(place) for place in points["place"]]

    assert not give(latitude_of(9), 11.0, 40.0)
    assert set(places()) == {8, 9, 10}
    assert world.counts()["prior"] == "parameter"
    assert "'prior': latitude 95" in give(95.0, 11.0, 40.0)
    assert "standard deviation" in give(48.0, 11.0)
    assert set(places()) == {8, 9, 10}
    # where there is no place at all, it is said, and all are searched
    assert not give(-33.9, 151.2, 40.0)
    assert places()[0] == 3
    world.peer.until(
        lambda: "within reach of the prior" in world.peer.kept("/diagnostics")[-1].status[0].message,
        "diagnostics do not say that the prior is of no use",
    )
    assert world.counts()["places within reach"] == "0"
    assert not give(0.0, 0.0, 0.0)
    assert places()[0] == 3
    assert world.counts()["prior"] == "none"


def test_diagnostics_say_what_is_accepted_on_a_calibrated_map(world: World) -> None:
    world.answer("hypotheses", world.send(raw(picture(1))))
    values = world.counts()
    assert values["calibrated"] == "true"
    assert values["accepted above"] == "0.9"
    assert "calibrat" not in world.peer.kept("/diagnostics")[-1].status[0].message


def test_diagnostics_have_the_keys_that_troubleshooting_names(world: World) -> None:
    world.answer("hypotheses", world.send(raw(picture(1))))
    page = (Path(__file__).parents[1] / "docs" / "troubleshooting.md").read_text()
    keys = re.findall(r"^\| `(.+?)` \|", page, re.MULTILINE)
    assert len(keys) > 10
    assert set(keys) <= set(world.until_counted("answered", 1))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("step", ImageMessage(height=4, width=4, encoding="rgb8", step=3, data=bytes(48))),
        ("bytes of data", ImageMessage(height=96, width=128, encoding="rgb8", step=384, data=bytes(100))),
        ("encoding 'no_such'", ImageMessage(height=4, width=4, encoding="no_such", step=12, data=bytes(48))),
        ("0x0", ImageMessage(height=0, width=0, encoding="rgb8", step=0, data=b"")),
        ("32SC2", ImageMessage(height=4, width=4, encoding="32SC2", step=32, data=bytes(128))),
        ("64FC3", ImageMessage(height=4, width=4, encoding="64FC3", step=96, data=bytes(384))),
        ("sides", ImageMessage(height=1, width=2000, encoding="mono8", step=2000, data=bytes(2000))),
    ],
)
def test_a_bad_image_is_counted_and_the_next_one_is_answered(
    world: World, what: str, message: ImageMessage
) -> None:
    before = int(world.counts()["frames refused"])
    world.send(message)

    values = world.until_counted("refused", before + 1)
    assert what in values["last reason"]
    assert values["frames failed"] == "0"
    assert points_from_cloud(world.answer("hypotheses", world.send(raw(picture(1)))))["place"][0] == 1


@pytest.mark.parametrize("big_endian", [False, True])
def test_16_bit_images_are_answered(world: World, big_endian: bool) -> None:
    wide = picture(2).astype(">u2" if big_endian else "<u2") * 257
    message = raw(np.ascontiguousarray(wide), "rgb16")
    message.is_bigendian = big_endian

    assert points_from_cloud(world.answer("hypotheses", world.send(message)))["place"][0] == 2


def test_rows_may_be_padded(world: World) -> None:
    padded = np.zeros((96, 140, 3), np.uint8)
    padded[:, :128] = picture(4)
    message = raw(padded)
    message.width = 128

    assert points_from_cloud(world.answer("hypotheses", world.send(message)))["place"][0] == 4


def test_latest_frame_wins_and_every_frame_is_counted(world: World) -> None:
    before = {name: int(value) for name, value in world.counts().items() if name.startswith("frames")}
    stamps = [world.send(raw(picture(place % 12))) for place in range(60)]

    world.answer("hypotheses", stamps[-1])
    world.until_counted("received", before["frames received"] + 1)
    after = {name: int(value) for name, value in world.counts().items() if name.startswith("frames")}
    new = {name: after[name] - before[name] for name in after}
    assert new["frames received"] == new["frames answered"] + new["frames superseded"]
    assert 0 < new["frames received"] <= 60


def test_the_match_is_shown_only_to_who_looks(world: World) -> None:
    topic = f"{NODE}/match/compressed"
    world.peer.hear(CompressedImage, topic)

    def shown() -> list[CompressedImage]:
        world.send(raw(picture(6)))
        return world.peer.kept(topic)

    message = world.peer.until(shown, "no picture")[0]
    assert bytes(message.data[:2]) == b"\xff\xd8"


def test_localise_sends_the_last_accepted_pose_as_initial_pose(world: World) -> None:
    world.peer.hear(PoseWithCovarianceStamped, "/initialpose")
    world.peer.until(lambda: world.peer.node.count_publishers("/initialpose"), "nobody publishes it")
    stamp = world.send(raw(picture(7)))
    world.answer("pose", stamp)

    def initial_pose() -> list[PoseWithCovarianceStamped]:
        response = world.peer.call(Trigger, f"{NODE}/localise", Trigger.Request())
        assert response.success
        assert "699.9" in response.message
        return world.peer.kept("/initialpose")

    assert world.peer.until(initial_pose, "no initial pose")[0].header.frame_id == "map"


def test_its_topics_and_services_are_those_of_the_tables(world: World) -> None:
    graph, (namespace, name) = world.peer.node, NODE[1:].split("/")
    whose = (name, f"/{namespace}")
    remapped = {"image": "/camera/image_raw", "odometry": "/odom", "prior": "/gps/fix"}
    published = {each.name.replace("~", NODE): [each.type_name] for each in topics.PUBLISHED}
    heard = {remapped[each.name]: [each.type_name] for each in topics.SUBSCRIBED if each.name in remapped}
    services = {each.name.replace("~", NODE): [topics.type_name(each.kind)] for each in topics.SERVICES}
    of_every_node = {"/rosout", "/parameter_events", f"{NODE}/transition_event"}

    there = dict(graph.get_publisher_names_and_types_by_node(*whose))
    assert {topic: kind for topic, kind in there.items() if topic not in of_every_node} == published
    assert dict(graph.get_subscriber_names_and_types_by_node(*whose)) == heard
    assert services.items() <= dict(graph.get_service_names_and_types_by_node(*whose)).items()
    for each in topics.PUBLISHED:
        topic = each.name.replace("~", NODE)
        ours = [info for info in graph.get_publishers_info_by_topic(topic) if info.node_name == name]
        assert [info.qos_profile.reliability for info in ours] == [each.qos.reliability]


def test_every_parameter_is_described_and_numbers_have_a_range(world: World) -> None:
    listed = world.peer.call(ListParameters, f"{NODE}/list_parameters", ListParameters.Request())
    ours = [name for name in listed.result.names if name not in NOT_OURS]
    assert set(ours) == {each.name for each in fields(Parameters)}
    assert {"precision", "filter", "max_speed", "use_odometry"} <= set(ours)
    described = world.peer.call(
        DescribeParameters, f"{NODE}/describe_parameters", DescribeParameters.Request(names=ours)
    )
    for each in described.descriptors:
        assert each.description, each.name
        assert each.type not in (2, 3) or each.integer_range or each.floating_point_range, each.name


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly_when_told_to(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, sent: signal.Signals
) -> None:
    for name, value in private_domain().items():
        monkeypatch.setenv(name, value)
    weights, place_map = files
    command = [sys.executable, "-m", "vpr_ros.node", "--ros-args", "-p", f"map:={place_map}"]
    process = subprocess.Popen(
        [*command, "-p", f"weights:={weights}"], stderr=subprocess.PIPE, env=os.environ.copy(), text=True
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "ready" in line
    process.send_signal(sent)
    _, rest = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    assert "Traceback" not in rest


def test_it_is_discovered_and_can_be_stopped_while_pytorch_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in private_domain().items():
        monkeypatch.setenv(name, value)
    (tmp_path / "torch.py").write_text("import sys\nsys.stdin.read()")  # for as long as we like
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    command = [sys.executable, "-m", "vpr_ros.node"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peer = Peer()
    try:
        peer.until(lambda: f"_{topics.NAME}_starts" in peer.node.get_node_names(), "it is not discovered")
        process.send_signal(signal.SIGINT)
        process.wait(TIMEOUT)
    finally:
        peer.close()
        process.kill()
        _, said = process.communicate()
    assert process.returncode == 0
    assert said == ""


MISTAKES: list[tuple[dict[str, str], str]] = [
    ({}, "parameter 'map' is empty"),
    ({"map": "/no/such/map"}, "not a map"),
    ({"map": "MAP", "weights": "/no/such/file"}, "no such weights file"),
    ({"map": "MAP", "weights": "OTHER"}, "built with other weights"),
    ({"map": "MAP", "weights": "WEIGHTS", "device": "tpu"}, "'device' is 'tpu'"),
    ({"map": "MAP", "weights": "WEIGHTS", "k": "0"}, "k"),
    ({"map": "MAP", "weights": "WEIGHTS", "precision": "0.2"}, "precision"),
    ({"map": "DAMAGED", "weights": "WEIGHTS"}, "calibration.json: damaged"),
    ({"map": "2024"}, "map"),
    ({"map": "~nobody_of_that_name/map"}, "no such user"),
    ({"map": "/" + "x" * 400}, "File name too long"),
    ({"map": "MAP", "weights": "WEIGHTS", "reliability": "maybe"}, "'reliability' is 'maybe'"),
    ({"map": "MAP", "weights": "WEIGHTS", "prior": "[48.0, 11.0, -1.0]"}, "'prior': [48.0, 11.0, -1.0]"),
    ({"map": "MAP", "weights": "WEIGHTS", "prior": "[48, 11, 30]"}, "DOUBLE_ARRAY"),
]
#: Runs the node once for each list of arguments, in a process of its own; what is imported once is not again.
STARTS = """
import json, os, sys
from pathlib import Path
from vpr_ros import node
from vpr_ros.nodes import localiser_node
for number, arguments in enumerate(json.loads(sys.argv[1])):
    if not os.fork():
        os.dup2(os.open(f"{sys.argv[2]}/{number}", os.O_CREAT | os.O_WRONLY), 2)
        sys.argv = ["vpr_localiser", *arguments]
        try:
            node.main()
            code = 0
        except SystemExit as error:
            code = error.code
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.fixture(scope="module")
def ended(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, str]]:
    """Start the node with each of MISTAKES; return with what it ended, and what it said."""
    weights, place_map = files
    folder = tmp_path_factory.mktemp("mistakes")
    damaged = shutil.copytree(place_map, folder / "map")
    (damaged / "calibration.json").write_text("{")
    other = folder / "other.safetensors"
    other.write_bytes(weights.read_bytes())
    _scale_first_tensor(other)
    known = {"MAP": place_map, "WEIGHTS": weights, "DAMAGED": damaged, "OTHER": other}
    starts = []
    for parameters, _ in MISTAKES:
        set_to = [f"{name}:={known.get(value, value)}" for name, value in parameters.items()]
        starts.append(["--ros-args", *(word for each in set_to for word in ("-p", each))])
    run = subprocess.run(
        [sys.executable, "-c", STARTS, json.dumps(starts), folder],
        stdout=subprocess.PIPE,
        text=True,
        timeout=4 * TIMEOUT,
        check=True,
        env=os.environ | private_domain(),
    )
    codes = [int(line) for line in run.stdout.split()]
    return [(code, (folder / str(number)).read_text()) for number, code in enumerate(codes)]


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=[what for _, what in MISTAKES])
def test_a_mistake_is_told_in_one_line(ended: list[tuple[int, str]], number: int) -> None:
    code, said = ended[number]
    assert code == 2
    assert MISTAKES[number][1] in said
    assert len(said.strip().splitlines()) == 1


def test_a_node_that_is_half_made_can_be_destroyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """From Kilted on the context destroys all its nodes, one whose parameters are refused too."""
    made = []

    def refuse(half: LocaliserNode) -> None:
        made.append(half)
        raise InputError("parameter 'device' is 'tpu'")

    for name, value in private_domain().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(localiser_node, "NodeParameters", refuse)
    rclpy.init(args=[])
    try:
        with pytest.raises(InputError):
            LocaliserNode()
        made[0].destroy_node()
    finally:
        rclpy.try_shutdown()


def _scale_first_tensor(file: Path) -> None:
    from vpr_ros.encoder import load_encoder, save_encoder

    encoder = load_encoder(file)
    next(encoder.parameters()).mul_(1.5)
    save_encoder(encoder, file, "a test")


def test_compressed_images_one_by_one_on_a_map_that_is_not_calibrated(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in private_domain().items():
        monkeypatch.setenv(name, value)
    weights, place_map = files
    parameters = {
        "map": place_map,
        "weights": weights,
        "compressed": True,
        "reliability": "reliable",
        "filter": False,
        "precision": 0.6,
    }
    peer = Peer()
    peer.hear(PointCloud2, "/vpr_localiser/hypotheses")
    peer.hear(NavSatFix, "/vpr_localiser/fix")
    peer.hear(PointCloud2, "/vpr_localiser/single/hypotheses")
    peer.hear(DiagnosticArray, "/diagnostics")
    with node_process(parameters, {}, tmp_path / "node.log"):
        images = peer.publisher(CompressedImage, "/image/compressed")
        peer.until(lambda: peer.node.count_publishers("/vpr_localiser/hypotheses"), "not ready")
        for data in (b"", b"garbage", compress(picture(0))[:200]):
            images.publish(CompressedImage(format="jpeg", data=data))
            peer.until(lambda: True, "")

        def answered() -> list[PointCloud2]:
            images.publish(CompressedImage(format="png", data=compress(picture(8), ".png")))
            return peer.kept("/vpr_localiser/hypotheses")

        answer = peer.until(answered, "no answer")
        assert points_from_cloud(answer[0])["place"][0] == 8
        peer.until(
            lambda: any(
                int(value.value) > 0
                for message in peer.kept("/diagnostics")
                for value in message.status[0].values
                if value.key == "frames refused"
            ),
            "nothing refused",
        )
        # what is answered without a calibration is not called known
        fix = peer.until(lambda: peer.kept("/vpr_localiser/fix"), "no fix")[0]
        assert fix.position_covariance_type == NavSatFix.COVARIANCE_TYPE_APPROXIMATED
        peer.until(
            lambda: "is not calibrated" in peer.kept("/diagnostics")[-1].status[0].message,
            "diagnostics do not say that the map is not calibrated",
        )
        status = peer.kept("/diagnostics")[-1].status[0]
        assert status.level == DiagnosticStatus.WARN
        assert "training/calibrate.py" in status.message
        values = {each.key: each.value for each in status.values}
        assert (values["calibrated"], values["accepted above"]) == ("false", "0.6")
        assert not peer.kept("/vpr_localiser/single/hypotheses")
        assert not peer.node.count_subscribers("/odometry")
    peer.close()
