"""What is installed, and that what describes it is true."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[zipfile.ZipInfo]:
    """Build the package as `pip install .` does, from a copy, and list what it holds."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    tracked = [
        "vpr_ros",
        "launch",
        "config",
        "resource",
        "package.xml",
        "setup.py",
        "setup.cfg",
        "pyproject.toml",
    ]
    subprocess.run(["cp", "-r", *(str(ROOT / name) for name in tracked), str(source)], check=True)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*build, "--wheel-dir", str(out), str(source)], check=True, cwd=out)
    with zipfile.ZipFile(next(out.glob("*.whl"))) as opened:
        return opened.infolist()


@pytest.mark.parametrize(
    "name",
    [
        "share/ament_index/resource_index/packages/vpr_ros",
        "share/vpr_ros/package.xml",
        "share/vpr_ros/launch/localise.launch.py",
        "share/vpr_ros/launch/replay.launch.py",
        "share/vpr_ros/config/localise.yaml",
        "share/vpr_ros/config/fastdds_shared_memory.xml",
        "share/vpr_ros/config/fastdds_udp.xml",
        "share/vpr_ros/config/foxglove.json",
        "share/vpr_ros/config/vpr_ros.rviz",
        "lib/vpr_ros/vpr_localiser",
        "lib/vpr_ros/replay",
    ],
)
def test_the_prefix_gets_what_ros_looks_for(wheel: list[zipfile.ZipInfo], name: str) -> None:
    found = [entry for entry in wheel if entry.filename.endswith(f".data/data/{name}")]
    assert len(found) == 1
    if name.startswith("lib/"):
        assert (found[0].external_attr >> 16) & 0o111 == 0o111  # may be executed


def test_the_default_model_is_installed_and_neither_tests_nor_demo(wheel: list[zipfile.ZipInfo]) -> None:
    names = [entry.filename for entry in wheel]
    assert "vpr_ros/models/alexnet-netvlad-256.safetensors" in names
    assert "vpr_ros/drives/datasets/msls.py" in names
    assert {name.split("/")[0] for name in names if name.endswith(".py") and "/data/" not in name} == {
        "vpr_ros"
    }


def test_package_xml_is_of_format_3_and_names_what_the_code_imports() -> None:
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    assert package.get("format") == "3"
    assert package.findtext("license") == "Apache-2.0"
    assert package.findtext("export/build_type") == "ament_python"
    named = {each.text for each in package.findall("exec_depend")}
    text = "".join(file.read_text() for file in [*ROOT.glob("vpr_ros/**/*.py"), *ROOT.glob("launch/*.py")])
    for module in (
        "rclpy",
        "cv_bridge",
        "launch_ros",
        "std_msgs",
        "std_srvs",
        "sensor_msgs",
        "geometry_msgs",
    ):
        assert f"from {module}" in text
        assert module in named
    assert {"diagnostic_msgs", "rcl_interfaces", "rosgraph_msgs", "sensor_msgs_py"} <= named


#: The floor of each room and folder of vpr_ros; everything else is on the second.
FLOORS = {
    **dict.fromkeys(("errors", "command", "version", "files", "threads"), 0),
    **dict.fromkeys(("encoder", "encoders", "netvlad", "trunks", "geodesy", "metrics"), 1),
    **dict.fromkeys(("messages", "bench_localise"), 3),
    **dict.fromkeys(("node", "nodes", "node_process", "replay", "bench_node"), 4),
    **dict.fromkeys(("replays/through_node", "replays/player", "replays/recorder"), 4),
    **dict.fromkeys(("benches/camera", "benches/listener", "benches/traffic"), 4),
}
#: Of the top floor's folder, what a node without ROS would need as well.
WITHOUT_ROS = {f"nodes/{name}" for name in ("health", "map_root", "silent_loss", "stamps", "watchdog")}


def floor(room: str) -> int:
    if room in WITHOUT_ROS:
        return 2
    return FLOORS.get(room, FLOORS.get(room.split("/", maxsplit=1)[0], 2))


def imported(file: Path) -> Iterator[tuple[str, bool]]:
    """Yield the modules that a file imports, and whether it does so at its beginning."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((each.name, node in tree.body) for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (f"{node.module}.{each.name}" for each in node.names)
            yield from ((each, node in tree.body) for each in (node.module, *names))


def test_a_module_imports_only_from_its_floor_and_below() -> None:
    for file in ROOT.glob("vpr_ros/**/*.py"):
        room = file.relative_to(ROOT / "vpr_ros").with_suffix("").as_posix()
        for module, first in imported(file):
            assert module.split(".")[0] not in ("training", "demo", "test"), file
            path = module.replace(".", "/").removeprefix("vpr_ros/")
            if first and module.startswith("vpr_ros.") and (ROOT / "vpr_ros" / f"{path}.py").is_file():
                assert floor(path) <= floor(room), f"{file}: {module}"


def test_the_ros_client_library_is_on_the_top_floor_alone() -> None:
    package = ROOT / "vpr_ros"
    for file in [*package.glob("**/*.py"), *ROOT.glob("training/**/*.py")]:
        room = file.relative_to(package if file.is_relative_to(package) else ROOT).with_suffix("").as_posix()
        if floor(room) < 3:
            libraries = {module.split(".")[0] for module, _ in imported(file)}
            assert not libraries & {"rclpy", "sensor_msgs", "cv_bridge"}, file


@pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None,
    reason="launch_ros is not installed: a ROS distribution has it",
)
@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        (
            "localise.launch.py",
            "map weights image compressed odometry prior namespace params_file use_sim_time autostart "
            "large_images rviz log_level",
        ),
        (
            "replay.launch.py",
            "bag map out weights compressed rate odometry_topic arguments namespace params_file",
        ),
    ],
)
def test_a_launch_file_declares_its_arguments(file: str, wanted: str) -> None:
    from launch.actions import DeclareLaunchArgument
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    from launch import LaunchContext

    description = get_launch_description_from_python_launch_file(str(ROOT / "launch" / file))
    arguments = [each for each in description.entities if isinstance(each, DeclareLaunchArgument)]
    assert {each.name for each in arguments} == set(wanted.split())
    assert all(each.description for each in arguments)
    assert LaunchContext() is not None


@pytest.mark.parametrize(
    "command",
    [
        *("training/build_map.py", "training/evaluate.py", "training/export.py"),
        *("training/make_default_model.py", "training/panorama.py", "training/paper.py"),
    ],
)
def test_every_option_of_a_command_is_described(command: str) -> None:
    shown = subprocess.run(
        [sys.executable, str(ROOT / command), "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "200"},
        cwd="/",
    ).stdout
    options = [line for line in shown.splitlines() if line.startswith("  --") and "(" in line]
    assert len(options) > 3
    for line in options:
        assert not line.split(None, 2)[-1].startswith("(type"), line
