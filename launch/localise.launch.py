"""Start the localiser: `ros2 launch vpr_ros localise.launch.py map:=/path/to/map image:=/camera/image`."""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; the node is put together once they are known."""
    parameters = PathJoinSubstitution([FindPackageShare("vpr_ros"), "config", "localise.yaml"])
    view = PathJoinSubstitution([FindPackageShare("vpr_ros"), "config", "vpr_ros.rviz"])
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "map", default_value="", description="Map folder; empty: what params_file says"
            ),
            DeclareLaunchArgument(
                "weights",
                default_value="",
                description="Weights or ONNX model that the map was built with; empty: what params_file says",
            ),
            DeclareLaunchArgument(
                "image",
                default_value="image",
                description="Image topic, of which <image>/compressed is taken when compressed is true",
            ),
            DeclareLaunchArgument(
                "compressed",
                default_value="",
                choices=["", "true", "false"],
                description="Subscribe CompressedImage instead of Image; empty: what params_file says",
            ),
            DeclareLaunchArgument(
                "odometry", default_value="odometry", description="Odometry topic, taken with use_odometry"
            ),
            DeclareLaunchArgument(
                "prior", default_value="prior", description="NavSatFix topic, taken with use_prior"
            ),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node"),
            DeclareLaunchArgument(
                "params_file", default_value=parameters, description="YAML file with the node's parameters"
            ),
            DeclareLaunchArgument(
                "use_sim_time",
                default_value="",
                choices=["", "true", "false"],
                description="Take the time from /clock; empty: what params_file says",
            ),
            DeclareLaunchArgument(
                "autostart",
                default_value="",
                choices=["", "true", "false"],
                description="false: wait for a lifecycle manager; empty: what params_file says",
            ),
            DeclareLaunchArgument(
                "large_images",
                default_value="false",
                choices=["true", "false"],
                description="Fast DDS takes large images through shared memory; the camera driver "
                "needs the same, by config/fastdds_shared_memory.xml",
            ),
            DeclareLaunchArgument(
                "rviz",
                default_value="false",
                choices=["true", "false"],
                description="true: show it in RViz, where that is installed; for a node without a namespace",
            ),
            DeclareLaunchArgument(
                "log_level", default_value="info", description="debug, info, warn or error"
            ),
            OpaqueFunction(function=_node),
            Node(
                package="rviz2",
                executable="rviz2",
                arguments=["-d", view],
                condition=IfCondition(LaunchConfiguration("rviz")),
            ),
        ]
    )


def _node(context: LaunchContext) -> list[Node]:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    # what is not named stays as params_file has it
    switches = ("compressed", "use_sim_time", "autostart")
    flags = {name: value(name) == "true" for name in switches if value(name)}
    paths = {name: ParameterValue(value(name), value_type=str) for name in ("map", "weights") if value(name)}
    profile = PathJoinSubstitution([FindPackageShare("vpr_ros"), "config", "fastdds_shared_memory.xml"])
    # Kilted's Fast DDS knows the second name, those before it the first
    names = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
    large = value("large_images") == "true"
    logger = ".".join([*filter(None, value("namespace").split("/")), "vpr_localiser"])
    return [
        Node(
            package="vpr_ros",
            executable="vpr_localiser",
            name="vpr_localiser",
            namespace=value("namespace"),
            output="screen",
            additional_env=dict.fromkeys(names, profile) if large else {},
            parameters=[value("params_file"), flags | paths],
            remappings=[
                ("image", value("image")),
                ("image/compressed", f"{value('image')}/compressed"),
                ("odometry", value("odometry")),
                ("prior", value("prior")),
            ],
            arguments=["--ros-args", "--log-level", f"{logger}:={value('log_level')}"],
        )
    ]
