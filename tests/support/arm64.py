"""`make arm64`: this checkout on an emulated ARM64 machine, beside the machine that runs this.

python tests/support/arm64.py TESTS…    without any: only the labels
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import recorded

SUPPORT = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastscnn" / "arm64"
# Frames as they are and resized, through every precision; weights that were trained, as ties of random ones say nothing.
MODELS = [
    *(f"{head}_256x512_camvid{end}.onnx" for head in ("cls", "prob") for end in ("", "_int8")),
    "cls_256x512_camvid_precision-fp16.onnx",
]


def inside(*command: str, check: bool = True) -> int:
    started = time.monotonic()
    program = [str(SUPPORT / "arm64.sh"), *command]
    done = subprocess.run(program, env={**os.environ, "PYTHON": sys.executable})
    print(f"$ {' '.join(command)}: exit code {done.returncode}, {time.monotonic() - started:.0f} s", flush=True)
    if check and done.returncode:
        raise SystemExit(done.returncode)
    return done.returncode


def main(tests: list[str]) -> int:
    if platform.machine() in ("aarch64", "arm64"):
        raise SystemExit("this machine is one; run: make test-robot")
    inside("sh", "-c", "rm -rf /out/*; mkdir -p /out/models; uname -m")
    (out,) = CACHE.glob("*/out") if "ARM64_ROOT" not in os.environ else Path(os.environ["ARM64_ROOT"]).glob("*/out")
    everything = recorded.unpacked(out / "models")
    models = [everything[name] for name in MODELS]
    models += [Path(shutil.copy(extra, out / "models")) for extra in sys.argv[1:] if extra.endswith(".onnx")]
    inside("python3", "tests/support/labels.py", "/out/arm64.npz", *(f"/out/models/{model.name}" for model in models))
    ours = subprocess.run([sys.executable, SUPPORT / "labels.py", out / "here.npz", *models])
    same = subprocess.run([sys.executable, SUPPORT / "labels.py", "--compare", out / "here.npz", out / "arm64.npz"])
    tests = [name for name in tests if not name.endswith(".onnx")]
    if not tests:
        return ours.returncode or same.returncode
    doctor = inside("fastscnn-doctor", f"/out/models/{MODELS[0]}", check=False)
    passed = inside(
        "python3",
        "-m",
        "pytest",
        *["-p", "no:cacheprovider", "--numprocesses", "auto", "--dist", "loadfile", "-m"],
        "not torch",
        "--durations=5",
        *tests,
        check=False,
    )
    return doctor or ours.returncode or same.returncode or passed


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
