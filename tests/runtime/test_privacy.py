"""Nothing leaves the machine: the kernel kills whatever opens a socket, and nobody leaves a trace in the user's folder."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata, util
from pathlib import Path

import pytest
from emulation import EMULATED

# A seccomp filter: socket(2) ends the process with SIGSYS, in libraries that Python does not see into, too.
REFUSE_SOCKETS = """
import ctypes, platform, struct
number = {"x86_64": 41, "aarch64": 198}[platform.machine()]
load, equal, give = 0x20, 0x15, 0x06
kill, allow = 0x80000000, 0x7FFF0000
program = b"".join(struct.pack("HBBI", *line) for line in [(load, 0, 0, 0), (equal, 0, 1, number), (give, 0, 0, kill), (give, 0, 0, allow)])
kept = ctypes.create_string_buffer(program, len(program))
filter = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(kept)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, filter, 0, 0) == 0, ctypes.get_errno()
"""
SEGMENT = """
import sys, time
import numpy as np
from fastscnn import Segmenter
with Segmenter(sys.argv[1], sys.argv[2]) as segmenter:
    segmenter(np.zeros((96, 128, 3), np.uint8))
time.sleep(0.5)
"""
linux = pytest.mark.skipif(
    sys.platform != "linux" or EMULATED, reason="the filter of system calls is Linux's, and emulators do not obey it"
)


@pytest.fixture
def watched(tmp_path: Path) -> Callable[..., tuple[int, str, set[str]]]:
    """Run code that may open no socket; gives its exit code, what it printed, and the files that it left."""

    def run(code: str, *arguments: object, **environment: str) -> tuple[int, str, set[str]]:
        # On a machine that calls itself CI, ONNX Runtime is silent by itself.
        unset = ("CI", "ORT_DISABLE_TELEMETRY")
        kept = {k: v for k, v in os.environ.items() if k not in unset and not k.startswith("XDG_")}
        done = subprocess.run(
            [sys.executable, "-c", REFUSE_SOCKETS + code, *map(str, arguments)],
            env={**kept, "HOME": str(tmp_path), **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
        return done.returncode, done.stderr, left

    return run


@linux
def test_the_filter_sees_a_socket(watched: Callable[..., tuple[int, str, set[str]]]) -> None:
    assert watched("import socket; socket.socket()")[0] == -signal.SIGSYS
    assert watched("import os; os.getpid()")[0] == 0


@linux
@pytest.mark.parametrize("device", ["cpu", "auto", "openvino"])
def test_a_segmenter_tells_nobody(
    watched: Callable[..., tuple[int, str, set[str]]], exported: Callable[..., Path], device: str
) -> None:
    if device != "cpu" and util.find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    code, printed, left = watched(SEGMENT, exported("cls", (64, 96)), device, FASTSCNN_DEVICE="auto")
    assert code == 0, printed
    assert {name for name in left if not name.startswith(".cache/fastscnn/")} == set()


@linux
def test_it_is_the_switch_that_keeps_them_silent(
    watched: Callable[..., tuple[int, str, set[str]]], exported: Callable[..., Path]
) -> None:
    version = tuple(map(int, metadata.version("onnxruntime").split(".")[:2]))
    if version >= (1, 29):
        _, _, left = watched(SEGMENT, exported("cls", (64, 96)), "cpu", ORT_DISABLE_TELEMETRY="0")
        assert any("deviceid" in name for name in left), "what the user has set stands"
    if util.find_spec("openvino_telemetry") is not None:
        _, _, left = watched("import openvino")
        assert any("intel/" in name for name in left), "a process of its own sends; what it counts lies here"
    elif version < (1, 29):
        pytest.skip("neither package here has telemetry")


def test_the_telemetry_package_itself_is_left_as_it_is() -> None:
    code = "import sys; from fastscnn.runtime import privacy; privacy.engine('json'); assert 'openvino_telemetry' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
