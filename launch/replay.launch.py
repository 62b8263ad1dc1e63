"""Replay a bag through the localiser: `ros2 launch vpr_ros replay.launch.py bag:=DRIVE map:=MAP out:=DIR`.

Starts the node as localise.launch.py does, sends it the drive, and ends with it; watch it in RViz meanwhile.
"""

import shlex

from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import ExecutableInPackage, FindPackageShare

from launch import LaunchContext, LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; the processes are put together once they are known."""
    parameters = PathJoinSubstitution([FindPackageShare("vpr_ros"), "config", "localise.yaml"])
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="Bag, or folder of images with images.csv"),
            DeclareLaunchArgument("map", description="Map folder"),
            DeclareLaunchArgument("out", description="Folder for the report"),
            DeclareLaunchArgument(
                "weights",
                default_value="",
                description="Weights file that the map was built with; empty: what params_file says",
            ),
            DeclareLaunchArgument(
                "compressed",
                default_value="true",
                choices=["true", "false"],
                description="Whether the bag holds CompressedImage, as a folder does; false: Image",
            ),
            DeclareLaunchArgument(
                "rate", default_value="1.0", description="Times as fast as it was recorded"
            ),
            DeclareLaunchArgument(
                "odometry_topic",
                default_value="",
                description="Odometry in the bag by which the filter shall move; empty: none",
            ),
            DeclareLaunchArgument(
                "arguments",
                default_value="",
                description="More for the replay, such as \"--truth survey.csv --require 'recall@1>=0.8'\"",
            ),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node"),
            DeclareLaunchArgument(
                "params_file", default_value=parameters, description="YAML file with the node's parameters"
            ),
            OpaqueFunction(function=_processes),
        ]
    )


def _processes(context: LaunchContext) -> list[Node | ExecuteProcess]:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    namespace = "/".join(["", *filter(None, value("namespace").split("/"))])
    paths = {name: ParameterValue(value(name), value_type=str) for name in ("map", "weights") if value(name)}
    # the recording is the clock, and none of its images may be lost on the way
    flags = {"compressed": value("compressed") == "true", "use_sim_time": True, "reliability": "reliable"}
    odometry = ["--odometry-topic", value("odometry_topic")] if value("odometry_topic") else []
    if odometry:
        flags["use_odometry"] = True
    replay = [ExecutableInPackage(package="vpr_ros", executable="replay"), value("bag")]
    replay += ["--node", f"{namespace.rstrip('/')}/vpr_localiser"]
    for option in ("map", "out", "rate"):
        replay += [f"--{option}", value(option)]
    return [
        Node(
            package="vpr_ros",
            executable="vpr_localiser",
            name="vpr_localiser",
            namespace=value("namespace"),
            output="screen",
            parameters=[value("params_file"), flags | paths],
        ),
        ExecuteProcess(
            cmd=[*replay, *odometry, *shlex.split(value("arguments"))],
            output="screen",
            on_exit=Shutdown(reason="the replay has ended"),
        ),
    ]
