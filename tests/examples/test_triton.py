"""The model repository in NVIDIA's real Triton server, which `nvidia-pytriton` carries; `make triton` installs it."""

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn import Segmenter, ready_model
from fastscnn.model import Street

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".venv" / "triton"
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import cv2, numpy as np
from client import RemoteSegmenter
from tritonclient.utils import InferenceServerException
segmenter = RemoteSegmenter(sys.argv[2])
frame = cv2.imread("street.png")
result = segmenter(frame)
cv2.imwrite("labels.png", result.labels)
cv2.imwrite("overlay.png", result.overlay(frame))
print(",".join(result.artifact.classes), result.timings.total > 0)
try:
    segmenter(np.zeros((8, 8, 5), np.uint8))
except InferenceServerException as error:
    print(error)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server's address. As pytriton starts it: a folder of backends with the stub of this Python's version."""
    if not ENVIRONMENT.is_dir():
        pytest.skip("no Triton server here: make triton installs one")
    (packages,) = ENVIRONMENT.glob("lib/python3.*/site-packages")
    carried = packages / "pytriton" / "tritonserver"
    folder = tmp_path_factory.mktemp("triton")
    shutil.copytree(carried / "backends" / "python", folder / "backends" / "python")
    version = packages.parent.name.removeprefix("python")
    shutil.copy(
        carried / "python_backend_stubs" / version / "triton_python_backend_stub", folder / "backends" / "python"
    )
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    libraries = [carried / "external_libs", packages / "nvidia_pytriton.libs"]
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
        "PATH": f"{ENVIRONMENT / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "FASTSCNN_DEVICE": "cpu",
    }
    log = (folder / "log").open("w")
    running = subprocess.Popen(
        [
            carried / "bin" / "tritonserver",
            f"--model-repository={ROOT / 'examples' / 'triton' / 'models'}",
            f"--backend-directory={folder / 'backends'}",
            f"--http-port={address.partition(':')[2]}",
            "--allow-grpc=false",
            "--allow-metrics=false",
        ],
        env=environment,
        stdout=log,
        stderr=log,
    )
    try:
        deadline = time.monotonic() + 60
        while not ready(address):
            assert running.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            time.sleep(0.2)
        yield address
    finally:
        running.terminate()
        running.wait(60)
        log.close()


def ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/v2/models/fastscnn/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_the_client_gives_the_same_result(server: str, tmp_path: Path) -> None:
    frame, _ = Street(640, 960, classes="camvid").frame(0)  # the model's size: versions of OpenCV resize differently
    cv2.imwrite(str(tmp_path / "street.png"), frame)
    done = subprocess.run(
        [ENVIRONMENT / "bin" / "python", "-c", PROGRAM, ROOT / "examples" / "triton", server],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    with Segmenter(ready_model(), "cpu") as segmenter:
        result = segmenter(frame)
    described, refused = done.stdout.splitlines()
    assert described == f"{','.join(result.artifact.classes)} True"
    assert "expected 3, got 5" in refused or "shape (8, 8, 5)" in refused or "unexpected shape" in refused, refused
    labels = cv2.imread(str(tmp_path / "labels.png"), cv2.IMREAD_UNCHANGED)
    assert np.mean(labels == result.labels) > 0.9999
    assert cv2.imread(str(tmp_path / "overlay.png")).shape == frame.shape
