"""ros2 launch fastscnn segment.launch.py image:=/camera/color/image_raw mask_size:=cloud cloud:=/camera/depth/points"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = {
    "model": ("", "file that fastscnn-export or fastscnn-trt wrote; empty: the weights that ship"),
    "image": ("image", "topic of the images"),
    "camera_info": ("camera_info", "topic of the camera's matrix"),
    "cloud": ("cloud", "topic of the point cloud, for mask_size:=cloud"),
    "mask_size": ("input", "input, model, grid, cloud, or HEIGHTxWIDTH"),
    "name": ("segmentation", "of the node, and so of its topics"),
    "namespace": ("", "of the node"),
    "autostart": ("true", "configure and activate by itself"),
}
REMAPPED = ("image", "camera_info", "cloud")


def generate_launch_description() -> LaunchDescription:
    """The node alone; a file of parameters may stand in for the one that ships."""
    defaults = PathJoinSubstitution([FindPackageShare("fastscnn"), "config", "segmentation.yaml"])
    arguments = [
        DeclareLaunchArgument(name, default_value=value, description=about)
        for name, (value, about) in ARGUMENTS.items()
    ]
    arguments.append(DeclareLaunchArgument("parameters", default_value=defaults, description="file of parameters"))
    kinds = {"model": str, "mask_size": str, "autostart": bool}
    given = {name: ParameterValue(LaunchConfiguration(name), value_type=kind) for name, kind in kinds.items()}
    node = LifecycleNode(
        package="fastscnn",
        executable="segment",
        name=LaunchConfiguration("name"),
        namespace=LaunchConfiguration("namespace"),
        parameters=[LaunchConfiguration("parameters"), given],
        remappings=[(name, LaunchConfiguration(name)) for name in REMAPPED],
        output="screen",
    )
    return LaunchDescription([*arguments, node])
