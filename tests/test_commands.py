"""All console scripts in surroundings that nobody tests: odd locales and folders, no home, Ctrl-C at any time, a clock
that runs backwards. Real processes."""

import argparse
import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastscnn import __version__
from fastscnn import commands as entry
from fastscnn.runtime import OutputError
from fastscnn.runtime.artifacts.default_model import cache
from fastscnn.runtime.backends.choice import DEVICES
from fastscnn.runtime.commands import command, segment
from fastscnn.runtime.media.sinks import VideoSink

ROOT = Path(__file__).parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text()
COMMANDS = re.findall(r"^(fastscnn-\w+) =", PROJECT, re.MULTILINE)
WRONG = {  # arguments that every user gives one day, and the exit code
    "fastscnn-export": (["--head", "cls", "--res", "64x64", "--checkpoint", "absent.pth"], 4),
    "fastscnn-trt": (["inspect", "absent.plan"], 4),
    "fastscnn-segment": (["absent.mp4", "-o", "out.mp4", "-m", "absent.onnx"], 4),
    "fastscnn-view": (["absent.mp4", "-m", "absent.onnx"], 4),
    "fastscnn-bench": (["absent.onnx"], 4),
    "fastscnn-data": (["absent"], 2),
    "fastscnn-train": (["absent.yaml"], 2),
    "fastscnn-eval": (["absent.onnx", "--data", "absent"], 2),
    "fastscnn-import": (["absent.pth"], 4),
    "fastscnn-doctor": (["absent.onnx"], 4),
    "fastscnn-ros": (["-m", "absent.onnx"], 4),  # here there is no ROS; tests/ros have it
    "fastscnn-bag": (["absent", "-o", "out", "-m", "absent.onnx"], 1),
    "fastscnn-adopt": (["absent.onnx"], 4),
    "fastscnn-quantize": (["absent.onnx", "--calibration", "absent"], 4),
}
WITH_TORCH = ("fastscnn-export", "fastscnn-import", "fastscnn-train")
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
ODD = "Straße mit Leerzeichen 道路"

Exported = Callable[..., Path]
Frames = list[np.ndarray]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command in an empty folder with a changed environment; a value of None removes a variable."""

    def go(
        name: str, *arguments: object, environment: dict[str, str | None] | None = None, cwd: Path = tmp_path
    ) -> object:
        changed = {**os.environ, **(environment or {})}
        return subprocess.run(
            [Path(sys.executable).with_name(name), *map(str, arguments)],
            cwd=cwd,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=120,
            env={key: value for key, value in changed.items() if value is not None},
        )

    return go  # type: ignore[return-value]


@pytest.fixture
def clip(frames: Frames, tmp_path: Path) -> Path:
    with VideoSink(tmp_path / "clip.avi", 25) as sink:
        for frame in frames:
            sink.write("", frame)
    return tmp_path / "clip.avi"


def test_every_command_is_here() -> None:
    assert set(COMMANDS) == set(WRONG) == {f"fastscnn-{name}" for name in entry.COMMANDS}


def test_fastscnn_alone_lists_the_commands_a_line_each(run: Run, tmp_path: Path) -> None:
    told = run("fastscnn", environment=ASCII)
    assert told.returncode == 0, told.stderr
    for name, (_, what) in entry.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(what)}$", told.stdout, re.MULTILINE)
    assert max(map(len, told.stdout.splitlines())) <= 80
    for name in re.findall(
        r"^  (\w+)", told.stdout.partition("measurements")[2].partition("first steps")[0], re.MULTILINE
    ):
        assert (ROOT / "benchmarks" / f"{name}.py").exists() or (ROOT / "benchmarks" / name / "__main__.py").exists()
    assert run("fastscnn", "--version").stdout == f"fastscnn {__version__}\n"
    module = subprocess.run([sys.executable, "-m", "fastscnn"], capture_output=True, text=True, cwd=tmp_path)
    assert (module.returncode, module.stdout) == (0, told.stdout)


def test_fastscnn_runs_them_and_knows_a_slip(run: Run, exported: Exported, clip: Path, tmp_path: Path) -> None:
    done = run("fastscnn", "segment", clip, "-m", exported(), "-o", "out.avi")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.avi").exists()
    done = run("fastscnn", "segment", clip, "-m", "absent.onnx")
    assert done.returncode == 4 and done.stderr.startswith("fastscnn-segment: absent.onnx does not exist")
    done = run("fastscnn", "segmnt")
    assert done.returncode == 2 and done.stdout == ""
    assert "'segmnt' is no command; expected one of segment, view, " in done.stderr
    assert done.stderr.endswith("Did you mean 'segment'?\n")


@pytest.mark.parametrize("name", entry.COMMANDS)
def test_help_has_examples_that_parse_exit_codes_and_device_names(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = import_module(f"fastscnn.{entry.COMMANDS[name][0]}").main
    with pytest.raises(SystemExit):
        main(["--help"])
    told = capsys.readouterr().out
    assert re.search(r"^exit codes:\n  0 ", told, re.MULTILINE)
    assert "(default: None)" not in told and "(default: False)" not in told
    if "--device" in told:
        assert all(re.search(rf"^  {device} ", told, re.MULTILINE) for device in DEVICES)
    examples = re.findall(r"^  (\S.*)$", re.split(r"^examples?:$", told, flags=re.MULTILINE)[1].partition("exit codes")[0], re.MULTILINE)  # fmt: skip
    assert examples

    def parse(parser: argparse.ArgumentParser, work: object, given: list[str], *, intermixed: bool = False) -> int:
        (parser.parse_intermixed_args if intermixed else parser.parse_args)(given)
        return 0

    monkeypatch.setattr(command, "run", parse)
    for example in examples:
        program, *words = shlex.split(example)
        if program == "torchrun":
            continue
        assert program == f"fastscnn-{name}" and main(words) == 0, example


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_file_is_one_sentence_and_debug_shows_the_traceback(run: Run, name: str) -> None:
    arguments, code = WRONG[name]
    if name not in WITH_TORCH:  # whose own tests have cases of it, and take seconds to start
        done = run(name, *arguments)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        assert done.stderr.splitlines()[-1].startswith(f"{name}: ")
    done = run(name, *arguments, "--debug")
    assert done.returncode == code
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"{name}: ")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_name_that_is_too_long_is_one_sentence(run: Run, name: str) -> None:
    arguments, _ = WRONG[name]
    done = run(name, *(re.sub("absent", "x" * 300, argument) for argument in arguments))
    assert done.returncode in (1, 2, 4), done.stderr
    assert "fault of the program" not in done.stderr and "Traceback" not in done.stderr


def test_an_output_that_takes_nothing_is_one_sentence(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        doctor = [Path(sys.executable).with_name("fastscnn-doctor"), "--json"]
        done = subprocess.run(doctor, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "the output cannot be used (No space left on device)" in done.stderr
    assert "fault of the program" not in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_help_on_a_terminal_that_knows_only_ascii(run: Run, name: str) -> None:
    done = run(name, "--help", environment=ASCII)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:")


@pytest.mark.parametrize("environment", [{}, ASCII], ids=["utf-8", "ascii"])
def test_folders_with_spaces_and_letters_of_the_world(
    run: Run, exported: Exported, clip: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    place = tmp_path / ODD
    place.mkdir()
    model = shutil.copy(exported(resolution=(64, 64)), place / "Modell ü.onnx")
    shutil.copy(clip, place / "Fahrt ü.avi")
    report = place / "Bericht ü.json"
    done = run("fastscnn-segment", place / "Fahrt ü.avi", "-m", model, "-o", place / "aus ü.mp4", "--json", report, environment=environment)  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = run("fastscnn-segment", "Fahrt ü.avi", "-m", "Modell ü.onnx", "--as", "labels", "-o", "Bilder ü", environment=environment, cwd=place)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list((place / "Bilder ü").glob("*.png"))) == 6
    capture = cv2.VideoCapture(str(place / "aus ü.mp4"))
    assert capture.read()[0]
    assert report.exists()
    assert {path.name for path in place.iterdir()} == {
        "Modell ü.onnx", "Fahrt ü.avi", "aus ü.mp4", "Bericht ü.json", "Bilder ü"
    }  # fmt: skip
    done = run("fastscnn-bench", model, "--burn-in", 1, "--frames", 2, environment=environment)
    assert done.returncode == 0, done.stderr
    done = run("fastscnn-segment", place / "fehlt ü.avi", "-m", model, "-o", "x.avi", environment=environment)
    assert (done.returncode, "does not exist" in done.stderr) == (1, True), done.stderr


def test_an_export_into_such_a_folder(run: Run, tmp_path: Path) -> None:
    place = tmp_path / ODD
    place.mkdir()
    path = place / "Modell ü.onnx"
    done = run("fastscnn-export", "--head", "cls", "--res", "64x64", "-o", path, environment=ASCII)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{path}\n"
    done = run("fastscnn-doctor", path, environment=ASCII)
    assert done.returncode == 0, done.stderr


def test_without_a_home(run: Run, exported: Exported, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = {"HOME": None, "XDG_CACHE_HOME": None}
    done = run("fastscnn-segment", clip, "-m", exported(), "-o", "out.avi", environment=nowhere)
    assert done.returncode == 0, done.stderr
    for name in nowhere:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", lambda _: {}["a user in no list, as containers have"])
    with pytest.raises(OutputError, match="HOME or XDG_CACHE_HOME"):
        cache()
    assert segment.main([str(clip), "-o", str(clip.with_name("again.avi"))]) == 1


@pytest.fixture
def sealed(tmp_path: Path) -> Iterator[Path]:
    """A folder that nobody can write into, root neither."""
    place = tmp_path / "sealed"
    place.mkdir()
    if os.geteuid() != 0:
        place.chmod(0o555)
        yield place
        return
    if (
        shutil.which("mount") is None
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", place], capture_output=True).returncode
    ):
        pytest.skip("root writes everywhere, and mounting a read-only tmpfs is not allowed here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_with_a_home_that_cannot_be_written(
    run: Run, exported: Exported, clip: Path, sealed: Path, tmp_path: Path
) -> None:
    home: dict[str, str | None] = {"HOME": str(sealed), "XDG_CACHE_HOME": None}
    done = run("fastscnn-segment", clip, "-m", exported(), "-o", "out.avi", environment=home)
    assert done.returncode == 0, done.stderr
    done = run("fastscnn-segment", clip, "-o", "again.avi", environment=home)
    assert done.returncode == 1
    assert "sealed/.cache/fastscnn cannot be written" in done.stderr
    assert "XDG_CACHE_HOME" in done.stderr
    assert not (tmp_path / "again.avi").exists()
    done = run("fastscnn-doctor", environment=home)
    assert done.returncode == 0, done.stderr
    assert re.search(r"warning +cache .*sealed/.cache/fastscnn", " ".join(done.stdout.split()))


def test_ctrl_c_while_libraries_load(tmp_path: Path) -> None:
    """From the first library on, which is within the first 0.2 seconds, no Python traceback is shown."""
    program = [Path(sys.executable).with_name("fastscnn-segment"), "absent.mp4", "-o", "out.mp4", "-m", "absent.onnx"]
    hits = 0
    for delay in (0, 0, 0.02, 0.05, 0.1, 0.2):
        running = subprocess.Popen(program, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 30
        while "numpy" not in mapped(running.pid) and running.poll() is None:
            assert time.monotonic() < deadline
        time.sleep(delay)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=30)
        assert "Traceback" not in told, told
        assert running.returncode in (-signal.SIGINT, 130, 4), told  # 4: it was done before
        hits += running.returncode == -signal.SIGINT
    assert hits >= 1, "no signal fell into the imports"


def mapped(process: int) -> str:
    try:
        return Path(f"/proc/{process}/maps").read_text()
    except OSError:
        return ""


def test_these_tests_hear_ctrl_c_where_their_caller_ignores_it() -> None:
    """As under nohup: what the one above starts would otherwise inherit that, and never end."""
    code = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.executable, sys.argv[1:])"
    )
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"{__file__}::test_ctrl_c_while_libraries_load"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_ctrl_c_that_the_caller_has_switched_off_stays_off(tmp_path: Path) -> None:
    """As for a job that a script puts in the background."""
    code = "import signal, subprocess, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.exit(subprocess.run(sys.argv[1:]).returncode)"
    probe = (
        "import signal, sys; from fastscnn import commands; import fastscnn.runtime.commands.segment as segment\n"
        "segment.main = lambda: print(signal.getsignal(signal.SIGINT)) or 0\n"
        "sys.exit(commands.segment())"
    )
    for words in ([sys.executable, "-c", code], []):
        done = subprocess.run(
            [*words, sys.executable, "-c", probe],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        expected = "Handlers.SIG_IGN" if words else "<built-in function default_int_handler>"
        assert done.stdout.strip() in (expected, expected.rpartition(".")[2], "1"), done.stderr


def test_a_missing_package_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    code = "import sys; sys.argv[0] = '/usr/bin/fastscnn-segment'; from fastscnn import commands; sys.exit(commands.segment())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    done = subprocess.run([sys.executable, "-c", code, "x"], capture_output=True, text=True, env=environment)
    assert done.returncode == 4
    assert done.stderr.startswith("fastscnn-segment: a package that it needs cannot be imported (libGL.so.1: ")
    assert len(done.stderr.splitlines()) == 1
    done = subprocess.run([sys.executable, "-c", code, "--debug"], capture_output=True, text=True, env=environment)
    assert (done.returncode, "Traceback" in done.stderr) == (4, True)


BACKWARDS = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
static long steps;
static long back(void) { return 3600 * __sync_add_and_fetch(&steps, 1); }
int clock_gettime(clockid_t clock, struct timespec *t) {
    int (*real)(clockid_t, struct timespec *) = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(clock, t);
    if (clock == CLOCK_REALTIME) t->tv_sec -= back();
    return code;
}
int gettimeofday(struct timeval *t, void *zone) {
    struct timespec now; clock_gettime(CLOCK_REALTIME, &now);
    t->tv_sec = now.tv_sec; t->tv_usec = now.tv_nsec / 1000; return 0;
}
time_t time(time_t *t) { struct timespec now; clock_gettime(CLOCK_REALTIME, &now); if (t) *t = now.tv_sec; return now.tv_sec; }
"""

ROBOT = """
import itertools, sys, time
import numpy as np
from fastscnn import Segmenter
print(time.time() - time.time() > 3000)
with Segmenter(sys.argv[1], threads=1, deadline_ms=30000) as segmenter:
    segmenter.warm_up()
    frames = itertools.repeat(np.zeros((64, 64, 3), np.uint8), 20)
    frames_again = itertools.repeat(np.ones((64, 64, 3), np.uint8))
    with segmenter.stream(frames, drop="oldest") as stream:
        timings = [result.timings for result in stream]
    timings += [segmenter(next(frames_again)).timings for _ in range(3)]
    stages = [time for one in timings for time in (one.prepare, one.forward, one.decode)]
    print(min(stages) > 0, max(stages) < 30000, segmenter.latency.misses, 0 < segmenter.latency.percentile(0), segmenter.latency.p99 < 30000)
"""


def test_a_clock_that_is_set_back_all_the_time(exported: Exported, clip: Path, tmp_path: Path) -> None:
    """Every look at the wall clock, by whatever library, is an hour before the last."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    (tmp_path / "back.c").write_text(BACKWARDS)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "back.so", tmp_path / "back.c", "-ldl"], check=True)
    paths = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "LD_PRELOAD": str(tmp_path / "back.so"), "PYTHONPATH": paths}
    model = exported(resolution=(64, 64))
    done = subprocess.run(
        [sys.executable, "-c", ROBOT, model], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.stdout == "True\nTrue True 0 True True\n", done.stderr
    program = Path(sys.executable).with_name("fastscnn-segment")
    words = [program, clip, "-m", model, "-o", "out.avi"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert re.search(r"6 frames, \d+\.\d frames/s", done.stderr)
