"""`make test-ros`: an environment with the real ROS 2, and the tests that need it.

Where the wheels do not install (another processor or Python, no package index) it says so and passes.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PINS = HERE / "pins.txt"
MESSAGES = HERE / "vision_msgs"


def main() -> int:
    place = Path(sys.argv[1]).resolve()
    reason = prepare(place)
    if reason:
        print(f"the tests with ROS 2 are skipped: {reason}")
        return 0
    built = place / "vision_msgs"
    environment = os.environ | {
        "FASTSCNN_EXPORTER": sys.executable,  # this one has torch
        "PYTHONPATH": str(next(built.glob("lib/python3*/site-packages"))),
        "LD_LIBRARY_PATH": str(built / "lib"),
        "OMP_NUM_THREADS": "1",
    }
    tests = sys.argv[2:] or [str(HERE)]
    deprecated = "ignore:module 'sre_:DeprecationWarning"  # of a parser that the wheels bring along
    options = ["-rs", f"--confcutdir={HERE}", "--durations=8", "--numprocesses=2", "-W", deprecated]
    program = [place / "bin/python", "-m", "pytest", *options, *tests]
    return subprocess.run(program, cwd=ROOT, env=environment).returncode


def prepare(place: Path) -> str:
    """Install what is missing; gives the reason where that is not possible."""
    stamp = place / "ready"
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in (PINS, *sorted(MESSAGES.rglob("*.*"))))).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return ""
    if sys.platform != "linux" or os.uname().machine != "x86_64" or sys.version_info[:2] != (3, 11):
        return f"their wheels are for Python 3.11 on x86-64 Linux; this is {sys.version.split()[0]} on {sysconfig.get_platform()}"
    if missing := [name for name in ("cmake", "g++") if not shutil.which(name)]:
        return f"{' and '.join(missing)} missing, which build vision_msgs. Install cmake and g++"
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    python = place / "bin/python"
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--no-compile"]
    done = subprocess.run([*pip, "-r", PINS], capture_output=True, text=True)
    if done.returncode:
        return f"the wheels do not install ({(done.stderr.strip().splitlines() or ['no message'])[-1]})"
    subprocess.run([*pip, "--editable", ROOT], check=True)
    build_messages(place)
    stamp.write_text(wanted)
    return ""


def build_messages(place: Path) -> None:
    """Build vision_msgs from its definitions. The wheels' CMake files name folders of the machine that built them."""
    include = sysconfig.get_paths()["include"]
    packages = place / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    for path in (place / "share").rglob("*.cmake"):
        text = path.read_text()
        mended = re.sub(r"/opt/python/[\w-]+/include/python3\.\d+", include, text)
        mended = re.sub(r"/opt/python/[\w-]+/lib/python3\.\d+/site-packages", str(packages), mended)
        if mended != text:
            path.write_text(mended)
    tree = place / "build-vision-msgs"
    environment = os.environ | {"AMENT_PREFIX_PATH": str(place), "PATH": f"{place / 'bin'}:{os.environ['PATH']}"}
    configure = [
        f"-DCMAKE_PREFIX_PATH={place}",
        f"-DCMAKE_INSTALL_PREFIX={place / 'vision_msgs'}",
        f"-DPython3_EXECUTABLE={place / 'bin/python'}",
        "-DBUILD_TESTING=OFF",
    ]
    commands = (
        ["cmake", "-S", MESSAGES, "-B", tree, *configure],
        ["cmake", "--build", tree, "--parallel", "2"],
        ["cmake", "--install", tree],
    )
    for command in commands:
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"vision_msgs does not build:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")


if __name__ == "__main__":
    sys.exit(main())
