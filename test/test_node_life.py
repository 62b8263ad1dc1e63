"""The life of the managed node, over its services, as a lifecycle manager and an operator see it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters, SetParametersAtomically
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image as ImageMessage
from sensor_msgs.msg import PointCloud2
from std_srvs.srv import Trigger

from test.brittle_node import RED
from test.ros_graph import Peer, private_domain
from test.small_world import picture, small_map, small_weights
from vpr_ros.messages import points_from_cloud, stamp_to_ns
from vpr_ros.node_process import NodeProcess, node_process

NODE = "/robot/vpr_localiser"
HYPOTHESES = f"{NODE}/hypotheses"
IDS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "cleanup": Transition.TRANSITION_CLEANUP,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "shutdown": Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
    "create": Transition.TRANSITION_CREATE,
    "destroy": Transition.TRANSITION_DESTROY,
    "nonsense": 200,
}
#: How each state is reached from each other one of these three.
WAYS = {
    ("unconfigured", "inactive"): ["configure"],
    ("unconfigured", "active"): ["configure", "activate"],
    ("inactive", "unconfigured"): ["cleanup"],
    ("inactive", "active"): ["activate"],
    ("active", "inactive"): ["deactivate"],
    ("active", "unconfigured"): ["deactivate", "cleanup"],
}
LEGAL = {
    "unconfigured": {"configure", "shutdown"},
    "inactive": {"activate", "cleanup"},
    "active": {"deactivate"},
    "finalized": set(),
}


class Life:
    """A node that is managed from here, whose engine breaks on RED."""

    def __init__(self, peer: Peer, process: NodeProcess, maps: Path) -> None:
        self.peer, self.process, self.maps = peer, process, maps
        self.stamp = 10**9
        self.images = peer.node.create_publisher(ImageMessage, "/robot/image", 10)
        peer.hear(PointCloud2, HYPOTHESES)
        peer.hear(DiagnosticArray, "/diagnostics")

    @property
    def state(self) -> str:
        response = self.peer.call(GetState, f"{NODE}/get_state", GetState.Request())
        return str(response.current_state.label)

    def change(self, transition: str) -> bool:
        """Ask for a transition; tell whether it went well."""
        asked = ChangeState.Request(transition=Transition(id=IDS[transition]))
        self.process.check()
        return bool(self.peer.call(ChangeState, f"{NODE}/change_state", asked).success)

    def bring_to(self, state: str) -> None:
        """Bring it to a state, with the good map, and see that images reach it where it is active."""
        if self.state != state:
            self.set(map=str(self.maps / "good"))
            for transition in WAYS[self.state, state]:
                assert self.change(transition), transition
        if state == "active":
            self.peer.until(self.images.get_subscription_count, "it does not hear images")

    def set(self, **values: object) -> list[str]:
        """Set parameters one by one; return the reason of each that was refused."""
        request = SetParameters.Request(parameters=as_parameters(values))
        response = self.peer.call(SetParameters, f"{NODE}/set_parameters", request)
        return [result.reason for result in response.results if not result.successful]

    def set_all(self, **values: object) -> str:
        """Set parameters together; return why that was refused."""
        request = SetParametersAtomically.Request(parameters=as_parameters(values))
        service = f"{NODE}/set_parameters_atomically"
        result = self.peer.call(SetParametersAtomically, service, request).result
        return "" if result.successful else str(result.reason)

    def get(self, name: str) -> ParameterValue:
        request = GetParameters.Request(names=[name])
        return self.peer.call(GetParameters, f"{NODE}/get_parameters", request).values[0]

    def load_map(self) -> Trigger.Response:
        return self.peer.call(Trigger, f"{NODE}/load_map", Trigger.Request())

    def send(self, image: np.ndarray, stamp: int | None = None) -> int:
        """Send an image, by default a second after the last; return its stamp."""
        if stamp is None:
            self.stamp += 10**9
        message = ImageMessage(height=96, width=128, encoding="rgb8", step=384, data=image.tobytes())
        sent = self.stamp if stamp is None else stamp
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(sent, 10**9)
        self.images.publish(message)
        return sent

    def answered(self, image: np.ndarray, stamp: int | None = None) -> np.ndarray:
        """Return the points for an image."""
        kept = self.peer.kept(HYPOTHESES)
        kept.clear()
        sent = self.send(image, stamp)
        return points_from_cloud(
            self.peer.until(
                lambda: [each for each in kept if stamp_to_ns(each.header.stamp) == sent], "no answer"
            )[0]
        )

    def status(self) -> tuple[DiagnosticStatus, dict[str, str]]:
        """Return what the next diagnostics say."""
        kept = self.peer.kept("/diagnostics")
        kept.clear()
        self.peer.until(lambda: self.process.check() or kept, "diagnostics have stopped")
        return kept[-1].status[0], {each.key: each.value for each in kept[-1].status[0].values}

    def now(self) -> int:
        """Return the seconds of the node's clock when it last reported."""
        return int(self.peer.kept("/diagnostics")[-1].header.stamp.sec)

    def until_status(self, words: str) -> DiagnosticStatus:
        """Wait until diagnostics say these words."""
        return self.peer.until(
            lambda: (status := self.status()[0]) and words in status.message and status, f"no {words!r}"
        )

    def until_counted(self, name: str, before: dict[str, str], more: int = 1) -> dict[str, str]:
        """Wait until so many more are counted."""
        wanted = int(before[name]) + more
        return self.peer.until(
            lambda: int((values := self.status()[1])[name]) >= wanted and values, f"no more {name}"
        )


def as_parameters(values: dict[str, object]) -> list[Parameter]:
    return [Parameter(name=name, value=as_value(value)) for name, value in values.items()]


def as_value(value: object) -> ParameterValue:
    if isinstance(value, bool):
        return ParameterValue(type=1, bool_value=value)
    if isinstance(value, int):
        return ParameterValue(type=2, integer_value=value)
    if isinstance(value, float):
        return ParameterValue(type=3, double_value=value)
    return ParameterValue(type=4, string_value=str(value))


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    folder = tmp_path_factory.mktemp("life")
    weights = small_weights(folder / "weights.safetensors")
    maps = folder / "maps"
    small_map(maps / "good", weights)
    small_map(maps / "short", weights, places=5)
    damaged = shutil.copytree(maps / "good", maps / "damaged")
    (damaged / "places.npy").write_bytes(b"nothing")
    small_map(folder / "outside", weights)
    (maps / "link").symlink_to(folder / "outside")
    parameters = {
        "autostart": False,
        "map": maps / "good",
        "map_root": maps,
        "weights": weights,
        "device": "cpu",
        "reliability": "reliable",
        "image_timeout": 1.0,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in private_domain().items():
            patch.setenv(name, value)
        peer = Peer()
        remappings = {"__ns": "/robot"}
        with node_process(parameters, remappings, folder / "node.log", "test.brittle_node") as process:
            yield Life(peer, process, maps)
        peer.close()


def test_it_waits_for_its_manager(life: Life) -> None:
    assert life.state == "unconfigured"
    status, values = life.status()
    assert (status.level, status.message, values["state"]) == (
        DiagnosticStatus.OK, "unconfigured", "unconfigured",
    )  # fmt: skip


@pytest.mark.parametrize("state", ["unconfigured", "inactive", "active"])
def test_an_illegal_request_is_refused_and_changes_nothing(life: Life, state: str) -> None:
    life.bring_to(state)
    for transition in IDS.keys() - LEGAL[state]:
        assert not life.change(transition), transition
        assert life.state == state
    unknown = ChangeState.Request(transition=Transition(label="no such label"))
    assert not life.peer.call(ChangeState, f"{NODE}/change_state", unknown).success
    assert life.state == state


def test_it_answers_while_active_and_only_then(life: Life) -> None:
    for _ in range(3):  # and as often as one likes
        life.bring_to("active")
        assert life.answered(picture(4))["place"][0] == 4
        life.bring_to("inactive")
        life.peer.until(lambda: not life.images.get_subscription_count(), "it still hears images")
        before = life.status()[1]
        life.peer.kept(HYPOTHESES).clear()
        for place in range(5):
            life.send(picture(place))
        life.status()
        status, after = life.status()
        assert status.message == "inactive"
        assert not life.peer.kept(HYPOTHESES)
        assert after["frames received"] == before["frames received"]


def test_cleaned_up_it_has_neither_map_nor_topics(life: Life) -> None:
    life.bring_to("inactive")
    assert "map" in life.status()[1]
    life.bring_to("unconfigured")
    assert "map" not in life.status()[1]
    life.peer.until(lambda: not life.peer.node.count_publishers(HYPOTHESES), "it still publishes")
    assert "configure" in life.load_map().message


@pytest.mark.parametrize(("name", "why"), [("damaged", "places.npy: damaged"), ("none", "not a map")])
def test_a_map_that_does_not_open_leads_back_to_unconfigured(life: Life, name: str, why: str) -> None:
    life.bring_to("unconfigured")
    assert not life.set(map=str(life.maps / name))
    assert not life.change("configure")
    assert life.state == "unconfigured"
    assert why in life.until_status("unconfigured: ").message
    assert life.status()[0].level == DiagnosticStatus.ERROR
    life.bring_to("active")
    assert life.answered(picture(1))["place"][0] == 1


def test_one_image_that_breaks_the_engine_is_lost_and_three_in_a_row_end_it(life: Life) -> None:
    life.bring_to("active")
    before = life.status()[1]
    for _ in range(4):  # never three in a row
        life.send(RED)
        before = life.until_counted("frames failed", before)
        assert life.answered(picture(2))["place"][0] == 2
    assert "the engine broke" in before["last reason"]

    for _ in range(3):
        life.send(RED)
        before = life.until_counted("frames failed", before)
    status = life.until_status("3 images in a row failed")
    assert status.level == DiagnosticStatus.ERROR
    assert "the engine broke" in status.message
    assert life.state == "unconfigured"
    life.bring_to("active")
    assert life.answered(picture(2))["place"][0] == 2


def test_another_map_is_loaded_while_images_are_answered(life: Life) -> None:
    """Every image of the time is answered; the new map has no place 11, the old one has."""
    life.bring_to("active")
    before = life.status()[1]
    assert life.answered(picture(11))["place"][0] == 11
    assert not life.set(map=str(life.maps / "short"))
    assert life.answered(picture(11))["place"][0] == 11  # setting it alone changes nothing
    response = life.load_map()
    assert response.success
    assert response.message.startswith("5 places of ")
    assert life.answered(picture(11))["place"].max() < 5
    after = life.status()[1]
    assert after["places"] == "5"
    assert int(after["frames answered"]) == int(before["frames answered"]) + 3
    assert life.answered(picture(3))["place"][0] == 3


@pytest.mark.parametrize(("name", "why"), [("damaged", "places.npy: damaged"), ("none", "not a map")])
def test_a_map_that_is_refused_leaves_the_old_one(life: Life, name: str, why: str) -> None:
    life.bring_to("active")
    life.set(map=str(life.maps / "good"))
    assert life.load_map().success
    life.set(map=str(life.maps / name))
    response = life.load_map()
    assert not response.success
    assert why in response.message
    assert "\n" not in response.message
    assert life.answered(picture(11))["place"][0] == 11


def test_a_map_that_was_replaced_on_disk_is_picked_up(life: Life) -> None:
    life.bring_to("active")
    replaced = life.maps / "replaced"
    shutil.copytree(life.maps / "good", replaced)
    life.set(map=str(replaced))
    assert life.load_map().message.startswith("12 ")
    shutil.rmtree(replaced)
    shutil.copytree(life.maps / "short", replaced)
    assert life.answered(picture(11))["place"][0] == 11
    assert life.load_map().message.startswith("5 ")


@pytest.mark.parametrize(
    "name",
    ["ROOT/../outside", "ROOT/link", "/etc", "ROOT", "/dev/zero", "~/map", "../outside", ""],
)
def test_nothing_but_what_lies_below_the_root_may_be_named(life: Life, name: str) -> None:
    life.bring_to("active")
    before = life.get("map").string_value
    assert life.set(map=name.replace("ROOT", str(life.maps)))
    assert life.get("map").string_value == before


def test_a_name_of_any_length_is_refused_in_one_line(life: Life) -> None:
    life.bring_to("active")
    life.set(map=str(life.maps / ("x" * 100_000)))
    response = life.load_map()
    assert not response.success
    assert life.answered(picture(1))["place"][0] == 1


def test_a_set_with_one_bad_value_changes_nothing(life: Life) -> None:
    life.bring_to("active")
    before = life.get("k").integer_value
    for bad in (
        {"precision": float("nan")},
        {"max_speed": -1.0},
        {"map": "/etc"},
        {"weights": "/etc/passwd"},
        {"filter": 3},
    ):
        assert life.set_all(k=before + 1, **bad)
        assert life.get("k").integer_value == before
    assert not life.set_all(k=before + 1, precision=0.9)
    assert life.get("k").integer_value == before + 1
    life.set(k=before)


def test_settings_take_effect_while_it_runs(life: Life) -> None:
    life.bring_to("active")
    life.set(map=str(life.maps / "good"))
    assert life.load_map().success
    assert not life.set_all(k=1, filter=False, precision=0.75)
    assert len(life.answered(picture(3))) == 1
    assert life.status()[1]["accepted above"] == "0.75"
    assert not life.set_all(k=20, filter=True, precision=0.99)
    assert len(life.answered(picture(3))) > 1


def test_outputs_are_published_as_wanted(life: Life) -> None:
    topic = f"{NODE}/single/hypotheses"
    life.peer.hear(PointCloud2, topic)
    life.bring_to("active")
    life.peer.until(lambda: life.answered(picture(3)) is not None and life.peer.kept(topic), "no single")
    life.set(publish_single=False)
    life.answered(picture(3))
    life.status()
    life.peer.kept(topic).clear()
    life.answered(picture(3))
    life.status()
    assert not life.peer.kept(topic)
    life.set(publish_single=True)


def test_no_more_images_are_answered_than_the_rate_allows(life: Life) -> None:
    life.bring_to("active")
    life.set(max_rate=0.01)
    before = life.status()[1]
    for number in range(4):  # one by one: one that is not taken yet may be replaced by the next
        life.send(picture(1))
        life.until_counted("frames received", before, number + 1)
    after = life.until_counted("frames over_rate", before, 2)
    assert int(after["frames answered"]) <= int(before["frames answered"]) + 2
    life.set(max_rate=0.0)


def test_what_is_fixed_says_so(life: Life) -> None:
    for name, value in {"weights": "x", "map_root": "/", "device": "cuda", "use_odometry": True}.items():
        assert "read-only" in life.set(**{name: value})[0]


def test_a_bag_that_begins_anew_resets_what_is_known(life: Life) -> None:
    life.bring_to("active")
    life.stamp += 10 * 10**9
    life.answered(picture(3))
    before = life.status()[1]
    assert life.answered(picture(4), stamp=10**9)["place"][0] == 4  # a loop
    assert life.answered(picture(5), stamp=2 * 10**9)["place"][0] == 5
    life.stamp = 3 * 10**9
    assert int(life.status()[1]["clock jumps"]) == int(before["clock jumps"]) + 1


def test_a_simulated_clock_that_goes_back_resets_what_is_known_once(life: Life) -> None:
    life.bring_to("active")
    assert not life.set(use_sim_time=True)
    clock = life.peer.publisher(Clock, "/clock")

    def tell(seconds: int) -> None:
        message = Clock()
        message.clock.sec = seconds

        def followed() -> bool:
            clock.publish(message)  # best effort: the first may be lost
            life.status()
            return life.now() == seconds

        life.peer.until(followed, "its clock does not follow")

    tell(100)
    life.answered(picture(3), stamp=100 * 10**9)
    before = int(life.status()[1]["clock jumps"])
    tell(3)
    assert int(life.status()[1]["clock jumps"]) == before + 1
    assert life.answered(picture(4), stamp=3 * 10**9)["place"][0] == 4
    assert int(life.status()[1]["clock jumps"]) == before + 1
    assert not life.set(use_sim_time=False)
    life.stamp = 4 * 10**9


def test_stamps_that_cannot_be_are_counted(life: Life) -> None:
    life.bring_to("active")
    life.answered(picture(3))
    before = life.status()[1]
    life.send(picture(3), life.stamp - 10**8)
    assert "before the image before it" in life.until_counted("frames out_of_order", before)["last reason"]
    life.send(picture(3), 2**31 * 10**9 - 1)
    assert "ahead of" in life.until_counted("frames future", before)["last reason"]
    kept = life.peer.kept(HYPOTHESES)
    kept.clear()
    life.send(picture(3), 0)
    life.until_counted("frames unstamped", before)
    life.peer.until(lambda: kept, "an image without a stamp is not answered")
    assert kept[0].header.stamp.sec > 10**9  # by the clock of this machine
    life.answered(picture(3), stamp=life.stamp + 1)


def test_it_says_that_no_images_come_and_why(life: Life) -> None:
    life.bring_to("active")
    life.answered(picture(3))
    status = life.until_status("no image for ")
    assert status.level == DiagnosticStatus.WARN
    assert "/peer publishes /robot/image, and nothing arrives" in status.message

    def recovered() -> bool:
        life.answered(picture(3))
        return "no image" not in life.status()[0].message

    life.peer.until(recovered, "it does not recover")


def test_two_nodes_of_one_domain_keep_apart(life: Life, tmp_path: Path) -> None:
    weights = life.maps.parent / "weights.safetensors"
    parameters = {"map": life.maps / "short", "weights": weights, "device": "cpu", "reliability": "reliable"}
    life.bring_to("active")
    life.set(map=str(life.maps / "good"))
    assert life.load_map().success
    other_topic = "/other/vpr_localiser/hypotheses"
    life.peer.hear(PointCloud2, other_topic)
    with node_process(parameters, {"__ns": "/other"}, tmp_path / "other.log") as other:
        mine, life.images = life.images, life.peer.publisher(ImageMessage, "/other/image")
        kept = life.peer.kept(HYPOTHESES)
        kept.clear()

        def heard() -> list[PointCloud2]:
            other.check()
            life.send(picture(3))
            return life.peer.kept(other_topic)

        answer = points_from_cloud(life.peer.until(heard, "the other one does not answer")[0])
        assert len(answer) <= 5
        assert not kept
        life.images = mine
        assert life.answered(picture(11))["place"][0] == 11
        life.status()
        heard_there = [stamp_to_ns(each.header.stamp) for each in life.peer.kept(other_topic)]
        assert life.stamp not in heard_there


def test_shut_down_it_is_finalized_and_lives_on(life: Life) -> None:
    """The last test of this file: from here there is no way back."""
    life.bring_to("unconfigured")
    assert life.change("shutdown")
    assert life.state == "finalized"
    for transition in IDS:
        assert not life.change(transition), transition
    assert life.status()[0].message == "finalized"
