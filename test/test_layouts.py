"""The layouts for RViz and Foxglove: that what they show is what the node publishes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray

from vpr_ros.hypotheses import POINT
from vpr_ros.nodes import topics
from vpr_ros.nodes.health import Health
from vpr_ros.nodes.localiser_node import STATUS
from vpr_ros.nodes.parameters import Parameters
from vpr_ros.nodes.status import node_status

CONFIG = Path(__file__).resolve().parents[1] / "config"
PUBLISHED = {topic.name.replace("~", f"/{topics.NAME}", 1): topic for topic in topics.PUBLISHED}
#: The message that each of RViz's displays takes; Image takes a compressed one by its topic's last name.
DISPLAYS = {
    "PointCloud2": "sensor_msgs/msg/PointCloud2",
    "PoseArray": "geometry_msgs/msg/PoseArray",
    "PoseWithCovariance": "geometry_msgs/msg/PoseWithCovarianceStamped",
    "Image": "sensor_msgs/msg/CompressedImage",
}


@pytest.fixture(scope="module")
def displays() -> dict[str, dict[str, Any]]:
    """Those of RViz that have a topic, by its name."""
    layout = yaml.safe_load((CONFIG / "vpr_ros.rviz").read_text())["Visualization Manager"]
    assert layout["Global Options"]["Fixed Frame"] == Parameters.map_frame
    return {each["Topic"]["Value"]: each for each in layout["Displays"] if "Topic" in each}


@pytest.fixture(scope="module")
def panels() -> dict[str, dict[str, Any]]:
    """Those of Foxglove, by their kind and name, once each; all of them are in the window."""
    layout = json.loads((CONFIG / "foxglove.json").read_text())
    assert sorted(leaves(layout["layout"])) == sorted(layout["configById"])
    return dict(layout["configById"])


def leaves(layout: Any) -> Iterator[str]:
    if isinstance(layout, str):
        yield layout
    else:
        yield from leaves(layout["first"])
        yield from leaves(layout["second"])


def test_rviz_shows_what_is_published_as_it_is_published(displays: dict[str, dict[str, Any]]) -> None:
    assert set(displays) == {
        topic.name.replace("~", f"/{topics.NAME}", 1)
        for topic in (topics.HYPOTHESES, topics.SINGLE, topics.POSES, topics.POSE, topics.MATCH)
    }
    for name, display in displays.items():
        assert DISPLAYS[display["Class"].removeprefix("rviz_default_plugins/")] == PUBLISHED[name].type_name
        policy = "Best Effort" if PUBLISHED[name].best_effort else "Reliable"
        assert display["Topic"]["Reliability Policy"] == policy


def test_rviz_colours_a_field_of_the_hypotheses(displays: dict[str, dict[str, Any]]) -> None:
    clouds = [each for each in displays.values() if each["Class"].endswith("PointCloud2")]
    assert len(clouds) == 2
    assert all(each["Channel Name"] in (POINT.names or ()) for each in clouds)
    # RViz takes positions of no other type
    assert {str(POINT[name]) for name in "xyz"} == {"float32"}


def test_rviz_draws_the_ellipse_of_the_position_alone(displays: dict[str, dict[str, Any]]) -> None:
    """That of an orientation, of which roll and pitch are unknown, would hide everything."""
    (pose,) = (each for each in displays.values() if each["Class"].endswith("PoseWithCovariance"))
    assert pose["Covariance"]["Position"]["Value"]
    assert not pose["Covariance"]["Orientation"]["Value"]


def test_foxglove_shows_what_is_published_as_it_is_published(panels: dict[str, dict[str, Any]]) -> None:
    space = panels["3D!hypotheses"]
    assert space["followTf"] == Parameters.map_frame
    shown = {name: PUBLISHED[name].kind.__name__ for name in space["topics"]}
    assert sorted(shown.values()) == ["PointCloud2", "PointCloud2", "PoseArray", "PoseWithCovarianceStamped"]
    for name, kind in shown.items():
        if kind == "PointCloud2":
            assert space["topics"][name]["colorField"] in (POINT.names or ())
    assert PUBLISHED[panels["Image!match"]["imageMode"]["imageTopic"]] is topics.MATCH
    assert PUBLISHED[panels["map!fix"]["followTopic"]] is topics.FIX


def test_foxglove_finds_the_node_in_the_diagnostics(panels: dict[str, dict[str, Any]]) -> None:
    summary, detail = panels["DiagnosticSummary!node"], panels["DiagnosticStatusPanel!node"]
    assert {PUBLISHED[each["topicToRender"]] for each in (summary, detail)} == {topics.DIAGNOSTICS}
    assert detail["selectedName"] == STATUS
    assert detail["selectedHardwareId"] == f"/{topics.NAME}"


def test_foxglove_plots_numbers_that_are_published(panels: dict[str, dict[str, Any]]) -> None:
    health = Health()
    health.time({"total": 0.02})
    status = node_status("active", "", None, "", "", health, health.counts(), 1.0)
    status.name = STATUS
    examples = {topics.DIAGNOSTICS: DiagnosticArray(status=[status])}
    paths = [path["value"] for name, panel in panels.items() if "Plot" in name for path in panel["paths"]]
    assert len(paths) == 4
    for path in paths:
        name, dot, within = path.partition(".")
        topic = PUBLISHED[name]
        assert [float(number) for number in found(examples.get(topic, topic.kind()), dot + within)]


def found(message: Any, path: str) -> list[Any]:
    """Return what a path of Foxglove's finds: .field, [number], [:], {field=="text"}, .@function."""
    messages = [message]
    for step in re.findall(r"\.@?\w+|\[.*?\]|\{.*?\}", path):
        if step == "[:]":
            messages = [each for several in messages for each in several]
        elif step.startswith("["):
            messages = [several[int(step[1:-1])] for several in messages]
        elif step.startswith("{"):
            field, text = step[1:-1].split("==")
            messages = [each for each in messages if getattr(each, field) == json.loads(text)]
        elif not step.startswith(".@"):
            messages = [getattr(each, step[1:]) for each in messages]
    return messages
