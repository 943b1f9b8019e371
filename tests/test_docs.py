"""Every command and code block that README and docs show: commands are parsed by the programs' own parsers and run small;
what this machine cannot run says why."""

import re
import shlex
from argparse import ArgumentParser
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import cv2
import drawn_cityscapes
import pytest
import torch
from foreign_networks import Ready, write
from recordings import record

from fastscnn.commands import COMMANDS
from fastscnn.export import export
from fastscnn.model import CAMVID, CITYSCAPES, Street
from fastscnn.model.checkpoint import save, untrained
from fastscnn.model.importing.sources import SOURCES
from fastscnn.model.variant import MMSEG
from fastscnn.runtime.commands import command
from fastscnn.runtime.media.sinks import VideoSink

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
PROJECT = (ROOT / "pyproject.toml").read_text()
SIZES = ["resolution=null", "evaluate_at=null", "crop=[64, 64]"]
SHORT = ["epochs=1", "warmup=0", "batch=2", "workers=0", "street=0", *SIZES]

# Pages whose commands and programs have a test of their own; here our commands on them are parsed, and programs compiled.
OWN = {
    "adopt.md": "tests/export/adopt",
    "bags.md": "tests/runtime/bags",
    "cameras.md": "tests/runtime/media",
    "own-data.md": "tests/model",
    "parsers.md": "tests/export",
    "ros.md": "tests/ros",
    "streams.md": "tests/runtime",
}
# Lines of ours that are parsed and not run, and why.
PARSED = {
    r"fastscnn-adopt": "tests/export/adopt",
    r"fastscnn-ros": "needs ROS 2; tests/ros",
    r"fastscnn-(doctor|segment|bench) .*model\.plan": "needs a GPU",
    r"fastscnn-trt verify": "needs a GPU",
    r"fastscnn-trt build .*--dla": "needs classic TensorRT",
    r"fastscnn-trt build .*int8": "tests/export/quantisation/test_engines.py",
    r"fastscnn-quantize .*--sensitivity": "minutes; tests/export/quantisation",
    r"fastscnn-train imagenet": "tests/benchmarks/paper",
    r"fastscnn-train .*--folds": "tests/model/training/test_crossvalidation.py",
    r"python -m fastscnn\.benchmarks": "minutes; tests/benchmarks",
}
# What is added to run the others small.
ADDED = {
    r"fastscnn-view": ["--at", "0", "--frames", "2"],
    r"fastscnn-bench": ["--burn-in", "1", "--frames", "2"],
    r"fastscnn-quantize": ["--least", "0.9"],  # tiny frames
    r"fastscnn-train": SHORT,
    r"fastscnn-trt build": ["--flavour", "rtx", "--target", "sm86"],  # the flavour that builds without a GPU
}
SMALLER = {"1024x2048": "128x192", "512x1024": "64x128", "640x960": "64x96"}
# Other programs, which are not run, and why.
ELSEWHERE = {
    ".": "activates an environment",
    "export": "a path of a Jetson",
    "git": "needs a network",
    "grep": "a file of a Jetson",
    "python3": "makes an environment, as tests/test_package.py does",
    "sudo": "changes the machine",
    "torchrun": "tests/model/training",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the pages speak of, small."""
    root = tmp_path_factory.mktemp("world")
    street = Street(96, 128)
    with VideoSink(root / "clip.mp4", 25) as sink:
        for index in range(4):
            sink.write("", street.frame(index)[0])
    cv2.imwrite(str(root / "street.jpg"), street.frame(0)[0])
    for split in ("train", "val"):
        drawn = Street(96, 128, seed=len(split), classes="camvid")
        for part, folder in enumerate((split, f"{split}annot")):
            (root / "camvid" / folder).mkdir(parents=True)
            for place, name in enumerate(("street", "again")):
                cv2.imwrite(str(root / "camvid" / folder / f"{name}.png"), drawn.frame(40 * place)[part])
    drawn_cityscapes.write(root / "cityscapes", 96, 128)
    (root / "images").symlink_to(root / "camvid" / "train")
    save(root / "weights.safetensors", untrained(CAMVID))
    names = next(source for source in SOURCES if source.variant == MMSEG).names
    state = untrained(CITYSCAPES, variant=MMSEG).network.state_dict()
    torch.save(
        {"meta": {}, "state_dict": {foreign: state[own] for own, foreign in names(state).items()}}, root / "theirs.pth"
    )
    write(root / "theirs.onnx", Ready(), torch.zeros(1, 3, 64, 96))
    record(root / "monday", [street.frame(0)[0]], "mcap")
    export("cls", (128, 192), output=root / "model.onnx")
    (root / "examples").symlink_to(ROOT / "examples")
    return root


def lines(page: Path) -> Iterator[str]:
    """Command lines of a page: of its sh blocks, and of tables that show a command in the first column."""
    text = page.read_text()
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            for part in line.split(" && "):
                if words := shlex.split(part, comments=True):
                    yield shlex.join(words)
    yield from re.findall(r"^\| `(fastscnn-[^`]+)` \|", text, re.MULTILINE)


_seen: set[str] = set()  # a line that two pages show runs once


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands(page: Path, world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(world)
    for line in lines(page):
        line = re.sub(r"^\.venv/bin/", "", line)
        program, *words = shlex.split(line)
        ours = program.startswith("fastscnn") or (program == "python" and words[0] == "-m")
        if line in _seen or program in ELSEWHERE or (page.name in OWN and not ours):
            continue
        _seen.add(line)
        if program == "pip":
            extras = re.findall(r"\w+", "".join(re.findall(r"\[(.*?)\]", line)))
            assert all(re.search(rf"^{extra} = \[", PROJECT, re.MULTILINE) for extra in extras), line
        elif program == "make":
            assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), line
        elif words and words[0].startswith("examples/"):
            assert (ROOT / words[0]).exists(), line  # tests/examples runs them
        else:
            expect_done(line, monkeypatch, run=page.name not in OWN)
        capsys.readouterr()


def expect_done(line: str, monkeypatch: pytest.MonkeyPatch, run: bool) -> None:
    """Run a command of ours in this process, small; or only parse it."""
    for size, smaller in SMALLER.items():
        line = line.replace(size, smaller)
    program, *words = shlex.split(line)
    if program == "fastscnn" and words:
        program, *words = f"fastscnn-{words[0]}", *words[1:]
    if program == "python":
        name = words[1].removeprefix("fastscnn.")
        module, words = f"{name}.cli" if (ROOT / name.replace(".", "/")).is_dir() else name, words[2:]
    else:
        module = COMMANDS[program.removeprefix("fastscnn-")][0] if program != "fastscnn" else "commands"
    for start, added in ADDED.items():
        words = words + added if re.match(start, line) else words
    main = import_module(f"fastscnn.{module}").main
    with monkeypatch.context() as patched:
        if not run or any(re.match(pattern, line) for pattern in PARSED):
            patched.setattr(command, "run", parse)
        if program == "fastscnn":
            patched.setattr("sys.argv", [program])
            assert main() == 0
        else:
            assert main(words) == 0, line


def parse(parser: ArgumentParser, work: object, given: list[str], *, intermixed: bool = False) -> int:
    (parser.parse_intermixed_args if intermixed else parser.parse_args)(given)
    return 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks(page: Path, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As printed, one after the other; a video file stands for the camera, and no window opens."""
    monkeypatch.chdir(world)
    monkeypatch.setattr(cv2, "imshow", lambda name, image: None)
    monkeypatch.setattr(cv2, "waitKey", lambda delay: -1)
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        program = compile(block.replace("VideoCapture(0)", 'VideoCapture("clip.mp4")'), str(page), "exec")
        if page.name not in OWN:
            exec(program, {"__name__": "docs"})


def test_readme_shows_every_command() -> None:
    shown = {line.split()[0] for line in lines(ROOT / "README.md")}
    assert {f"fastscnn-{name}" for name in COMMANDS} <= shown


def test_every_page_is_in_the_sites_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text().partition("nav:")[2].partition("hooks:")[0]
    assert {page.name for page in (ROOT / "docs").glob("*.md")} <= set(re.findall(r": (\S+\.md)$", nav, re.MULTILINE))


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page}: {link}"


def test_pictures_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in (ROOT / "docs" / "pictures").iterdir()}
    assert max(sizes.values()) < 1_500_000 and sum(sizes.values()) < 2_000_000, sizes
