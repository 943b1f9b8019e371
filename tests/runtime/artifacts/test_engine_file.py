"""The pair of engine and description: whole, or refused with the reason."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fastscnn.runtime import Artifact, ArtifactError, OutputError
from fastscnn.runtime.artifacts import engine_file, onnx_file
from fastscnn.runtime.artifacts.engine_file import EngineDescription, EngineLayer, EngineTensor, Kernels
from fastscnn.runtime.artifacts.files import held, write_together

Exported = Callable[..., Path]


def describe(artifact: Artifact, plan: bytes, **changes: Any) -> EngineDescription:
    values: dict[str, Any] = {
        "artifact": artifact,
        "flavour": "tensorrt",
        "version": "10.3.0",
        "targets": ("sm87",),
        "device": "Orin",
        "system": "Linux aarch64",
        "version_compatible": False,
        "dla": None,
        "precision": "fp16",
        "precision_from": "inspector",
        "tensors": (
            EngineTensor("image", False, "uint8", (1, 128, 256, 3)),
            EngineTensor("logits", True, "float16", (1, 19, 16, 32)),
        ),
        "layers": (EngineLayer("a + b", "CaskConvolution", "fp16", ("a",)), EngineLayer("c", "NoOp", None, ())),
        "memory": 5_000_000,
        "options": {"precision": "fp16", "workspace": 1 << 30},
        "source": "m.onnx",
        "source_sha256": "0" * 64,
        "key": "1" * 64,
        "seconds": 3.5,
        "built": "2026-01-01T00:00:00+00:00",
        "size": len(plan),
        "sha256": engine_file.digest(plan),
        "kernels": Kernels("2" * 64, {"sm87": b"\x7fELF\x00cubin"}),
    }
    return EngineDescription(**{**values, **changes})


@pytest.fixture(scope="module")
def artifact(exported: Exported) -> Artifact:
    return onnx_file.artifact(onnx_file.read(exported()), "m")


@pytest.fixture
def pair(artifact: Artifact, tmp_path: Path) -> Path:
    path = tmp_path / "e.plan"
    engine_file.write(path, b"plan", describe(artifact, b"plan"))
    return path


def test_what_is_written_is_read(artifact: Artifact, pair: Path) -> None:
    assert engine_file.read(pair) == (b"plan", describe(artifact, b"plan"))
    assert pair.read_bytes() == b"plan", "the plan is TensorRT's own bytes, for trtexec"
    content = json.loads(engine_file.description_path(pair).read_text())
    assert content["head"] == "cls" and content["classes"][0] == "road", "the artefact's fields, one key each"
    assert set(content["kernels"]) == {"digest", "sm87"}
    assert content["engine"]["sha256"] == engine_file.digest(b"plan")
    without = describe(artifact, b"plan", kernels=None)
    engine_file.write(pair, b"plan", without)
    assert engine_file.read(pair)[1] == without


def test_head_inside(artifact: Artifact) -> None:
    ends = (EngineTensor("image", False, "uint8", (1, 2, 2, 3)), EngineTensor("labels", True, "uint8", (1, 2, 2)))
    assert describe(artifact, b"", tensors=ends).head_inside
    assert not describe(artifact, b"").head_inside


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.write_bytes(b"plam"), "is not the engine that e.plan.json describes .*damaged.*another build"),
        (lambda p: p.write_bytes(b"pla"), r"\(3 bytes\) is not the engine .* \(4 bytes"),
        (lambda p: p.unlink(), "does not exist; expected an engine"),
        (lambda p: engine_file.description_path(p).unlink(), "has no description beside it"),
        (lambda p: engine_file.description_path(p).write_text("{"), "is not JSON"),
        (lambda p: engine_file.description_path(p).write_text("[]"), "holds no description"),
        (lambda p: engine_file.description_path(p).write_text("{}"), "format None"),
        (lambda p: engine_file.description_path(p).write_bytes(b"\xff\xfe"), "is not JSON"),
    ],
)
def test_damage_is_refused(pair: Path, damage: Callable[[Path], Any], message: str) -> None:
    damage(pair)
    with pytest.raises(ArtifactError, match=message) as caught:
        engine_file.read(pair)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("engine", "flavour"), "onnx", "flavour is 'onnx'; expected one of tensorrt, rtx"),
        (("engine", "targets"), ["orin"], "targets is"),
        (("engine", "precision"), "int4", "precision is 'int4'"),
        (("engine", "sha256"), "x", "expected 64 hexadecimal digits"),
        (("engine", "size"), -1, "size is -1"),
        (("engine", "tensors"), [{"name": "image"}], "lacks 'shape'"),
        (("engine", "tensors"), [], "tensors is"),
        (("engine", "tensors"), 3, "cannot be understood"),
        (("engine", "unheard_of"), 1, "cannot be understood .*unheard_of"),
        (("kernels",), {"digest": "2", "sm87": "no base64!"}, "cannot be understood"),
        (("kernels",), {"digest": "2", "sm87": ""}, "kernels is"),
        (("kernels",), [], None),
        (("layers",), [{"name": 1, "kind": "", "precision": None, "convolutions": []}], "layers is"),
        (
            ("engine", "source"),
            "../../etc/passwd",
            "source is '../../etc/passwd'; expected the name of a file in the engine's",
        ),
        (("engine", "source"), "..", "source is"),
        (("engine", "source"), "a\\b.onnx", "source is"),
        (
            ("engine", "device"),
            "\x1b]0;owned\x07",
            r"device is '\\x1b\]0;owned\\x07'; expected a short text of one line",
        ),
        (("engine", "version"), "10.3\n10.4", "version is"),
        (("engine", "size"), 10**400, "size is"),
        (("engine", "seconds"), 10**400, "seconds is"),
        (("engine", "targets"), ["sm\u0968\u0969"], "targets is"),
        (
            ("engine", "tensors"),
            [{"name": "a", "output": True, "dtype": "uint8", "shape": [1 << 40]}] * 2,
            "tensors is",
        ),
        (("kernels",), {"digest": "", "sm87": ""}, "kernels is"),
        (("kernels",), {"digest": "2" * 64, "\x1b[2J": ""}, "kernels is"),
        (("classes",), "ab", "classes is 'ab'"),
        (("classes",), ["road", "\x1b[2J"], "classes is"),
        (("classes",), ["road", "a" * 201], "classes is"),
        (("class_set",), "x\u202ey", "class_set is"),
        (("palette",), {"a": 1}, "palette is"),
        (("mean",), "abc", "mean is"),
        (("std",), [1e-300, 1, 1], "std is"),
        (("height",), 1 << 20, "height is 1048576"),
        (("head",), "argmax", "head is 'argmax'"),
        (("format",), 99, "format 99"),
    ],
)
def test_nonsense_is_refused(pair: Path, where: tuple[str, ...], value: Any, message: str | None) -> None:
    beside = engine_file.description_path(pair)
    content = json.loads(beside.read_text())
    place = content
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    beside.write_text(json.dumps(content))
    if message is None:
        assert engine_file.read(pair)[1].kernels is None
        return
    with pytest.raises(ArtifactError, match=message):
        engine_file.read(pair)


@pytest.mark.parametrize("key", ["mem\x1b[2Jry", "a\u202eb", "x" * 5000])
def test_messages_hold_nothing_that_a_terminal_obeys(pair: Path, key: str) -> None:
    """Found by fuzzing: Python quotes an unknown keyword as it is."""
    beside = engine_file.description_path(pair)
    content = json.loads(beside.read_text())
    content["engine"][key] = 1
    beside.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match="unexpected keyword") as caught:
        engine_file.read(pair)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 600


@pytest.mark.parametrize("key", ["classes", "engine", "layers"])
def test_missing_keys_are_named(pair: Path, key: str) -> None:
    beside = engine_file.description_path(pair)
    content = json.loads(beside.read_text())
    del content[key]
    beside.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=f"lacks '{key}'"):
        engine_file.read(pair)


def test_a_failed_write_leaves_the_old_pair(artifact: Artifact, pair: Path) -> None:
    with pytest.raises(OutputError):
        engine_file.write(pair.parent / "absent" / "e.plan", b"new", describe(artifact, b"new"))
    assert engine_file.read(pair)[0] == b"plan"
    assert sorted(p.name for p in pair.parent.iterdir()) == ["e.plan", "e.plan.json"]


def test_a_description_that_cannot_be_written_leaves_the_old_pair(artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "e.plan"
    beside = engine_file.description_path(path)
    beside.mkdir()
    for before in (None, b"old"):
        if before:
            path.write_bytes(before)
        with pytest.raises(OutputError, match=r"e\.plan\.json cannot be written"):
            engine_file.write(path, b"new", describe(artifact, b"new"))
        assert (path.read_bytes() if path.exists() else None) == before
        assert {p.name for p in tmp_path.iterdir()} - {"e.plan"} == {"e.plan.json"}


def test_without_links_the_old_file_is_copied(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", refused)
    test_a_description_that_cannot_be_written_leaves_the_old_pair(artifact, tmp_path)


def refused(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def test_a_reader_waits_for_the_build_that_is_replacing_the_pair(artifact: Artifact, pair: Path) -> None:
    """It may look between the two replacements, however long the writer then takes."""
    beside = engine_file.description_path(pair)
    late = pair.parent / "late"
    with ThreadPoolExecutor(1) as pool:
        with held(pair.parent):
            beside.rename(late)
            read = pool.submit(engine_file.read, pair)
            time.sleep(0.5)
            assert not read.done()
            late.rename(beside)
        assert read.result() == (b"plan", describe(artifact, b"plan"))


def test_fields_younger_than_the_description_have_their_defaults(artifact: Artifact, pair: Path) -> None:
    beside = engine_file.description_path(pair)
    content = json.loads(beside.read_text())
    del content["align_corners"], content["probability"]
    beside.write_text(json.dumps(content))
    found = engine_file.read(pair)[1].artifact
    assert (found.align_corners, found.probability) == (False, "softmax")


def test_an_interrupt_between_the_two_files_completes_the_pair(
    artifact: Artifact, pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, replaced = Path.replace, []

    def replace(self: Path, target: Path) -> Path:
        replaced.append(target)
        done = honest(self, target)
        if len(replaced) == 1:
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        engine_file.write(pair, b"newer", describe(artifact, b"newer"))
    assert engine_file.read(pair)[0] == b"newer"
    assert sorted(p.name for p in pair.parent.iterdir()) == ["e.plan", "e.plan.json"]


def test_a_reader_completes_the_pair_that_a_killed_build_left(artifact: Artifact, pair: Path) -> None:
    honest = Path.replace

    def write_and_die() -> None:
        def replace(self: Path, target: Path) -> Path:
            if target.suffix == ".json":
                os.kill(os.getpid(), signal.SIGKILL)
            return honest(self, target)

        Path.replace = replace  # type: ignore[method-assign, assignment]
        engine_file.write(pair, b"newer", describe(artifact, b"newer"))

    process = multiprocessing.get_context("fork").Process(target=write_and_die)
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert json.loads(engine_file.description_path(pair).read_text())["engine"]["size"] == len(b"plan"), "mixed"
    assert engine_file.read(pair) == (b"newer", describe(artifact, b"newer"))


def _write_for_ever(path: Path, content: bytes, description: EngineDescription) -> None:
    while True:
        engine_file.write(path, content, description)


def test_many_writers_never_leave_a_mixture(artifact: Artifact, pair: Path) -> None:
    """Processes that replace the pair all the time and are killed at last; readers see one of theirs, never a mixture."""
    contents = [bytes([value]) * 200_000 for value in range(3)]
    context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
    writers = [
        context.Process(target=_write_for_ever, args=(pair, content, describe(artifact, content)), daemon=True)
        for content in contents
    ]
    seen = set()
    try:
        for writer in writers:
            writer.start()
        until = time.monotonic() + 2
        while time.monotonic() < until:
            plan, description = engine_file.read(pair)
            assert engine_file.digest(plan) == description.sha256
            seen.add(plan[:1])
    finally:
        for writer in writers:
            if writer.pid:
                os.kill(writer.pid, signal.SIGKILL)  # wherever it is
                writer.join()
    assert len(seen) > 1, "the writers never came into each other's way"
    write_together({pair: b"last", engine_file.description_path(pair): b"{}"})  # the dead hold no lock
    assert pair.read_bytes() == b"last"
