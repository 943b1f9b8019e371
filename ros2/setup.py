"""For colcon: what `ros2 run` and `ros2 launch` look for. The node itself is in the Python package, which pip installs."""

from setuptools import setup

setup(
    name="fastscnn",
    version="0.2.0",
    packages=[],
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/fastscnn"]),
        ("share/fastscnn", ["package.xml"]),
        ("share/fastscnn/launch", ["launch/segment.launch.py"]),
        ("share/fastscnn/config", ["config/segmentation.yaml"]),
        # As data, because an installed script would get the interpreter that colcon runs on, not the one that has fastscnn.
        ("lib/fastscnn", ["scripts/segment"]),
    ],
)
