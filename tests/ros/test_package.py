"""The folder for colcon: what it installs, where `ros2 run` and `ros2 launch` look; its parameters are the node's."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from robots import Process

ROOT = Path(__file__).parents[2]


def test_it_installs_and_runs_as_ros2_run_does(tmp_path, domain, model) -> None:
    source, prefix = tmp_path / "source", tmp_path / "install"
    shutil.copytree(ROOT / "ros2", source)
    # What colcon calls: setup.py with the folders of its workspace.
    command = [sys.executable, "-W", "ignore", "setup.py", "-q", "install", "--prefix", prefix]
    done = subprocess.run(
        [*command, "--record", tmp_path / "files", "--single-version-externally-managed"],
        cwd=source,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (prefix / "share/ament_index/resource_index/packages/fastscnn").is_file()
    assert (prefix / "share/fastscnn/launch/segment.launch.py").is_file()
    program = prefix / "lib/fastscnn/segment"
    assert os.access(program, os.X_OK)
    found = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    parameters = prefix / "share/fastscnn/config/segmentation.yaml"
    words = ["--ros-args", "--params-file", parameters, "-p", f"model:={model}", "-r", "__node:=eyes"]
    node = Process(program, *words, **found)
    node.wait_for("/image: subscribed")
    assert node.end() == 0


def test_the_file_of_parameters_and_the_launch_file_name_what_there_is() -> None:
    from fastscnn.runtime.ros.parameters import _TABLE

    given = yaml.safe_load((ROOT / "ros2/config/segmentation.yaml").read_text())["/**"]["ros__parameters"]
    assert given == {name: default for name, default, *_ in _TABLE}
    assert {type(value) for value in given.values()} == {type(default) for _, default, *_ in _TABLE}
    launch = ast.parse((ROOT / "ros2/launch/segment.launch.py").read_text())
    tables = {n.targets[0].id: ast.literal_eval(n.value) for n in launch.body if isinstance(n, ast.Assign)}
    assert set(tables["REMAPPED"]) < set(tables["ARGUMENTS"])
    import fastscnn

    for name in ("package.xml", "setup.py"):
        assert (ROOT / "ros2" / name).read_text().count(fastscnn.__version__) == 1, name
