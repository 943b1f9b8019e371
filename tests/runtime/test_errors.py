"""The tree of errors is drawn as it is, and every message's class tells its exit code."""

import ast
import re
from pathlib import Path

import fastscnn
from fastscnn import runtime
from fastscnn.runtime import errors
from fastscnn.runtime.errors import FastSCNNError

ROOT = Path(__file__).parents[2]


def branches(kind: type[FastSCNNError], depth: int = 0) -> set[tuple[str, int, int]]:
    """(name, depth, exit code) of a class and all below it, but for those that never leave their own package."""
    found = {(kind.__name__, depth, kind.exit_code)}
    public = [below for below in kind.__subclasses__() if below.__module__ == errors.__name__]
    return found.union(*(branches(below, depth + 1) for below in public))


def test_the_drawn_tree_is_the_real_one() -> None:
    drawn = re.findall(r"^    ((?:[│├└─ ]{4})*)(\w+Error) +(\d)  ", errors.__doc__ or "", re.MULTILINE)
    assert {(name, len(indent) // 4, int(code)) for indent, name, code in drawn} == branches(FastSCNNError)
    assert issubclass(errors.UsageError, ValueError)


def test_all_errors_stand_in_the_tree_and_are_public() -> None:
    """No class of another file is an error that users meet; the few private ones begin with an underscore."""
    inside = {name for name, _, _ in branches(FastSCNNError)}
    elsewhere = set()
    for floor in ("runtime", "model", "export", "benchmarks"):
        for path in (ROOT / floor).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef) and node.name.endswith("Error") and path.name != "errors.py":
                    elsewhere.add(node.name)
    caught = {  # by their own package, which gives one of the tree instead
        "UnansweredError",  # of processes apart
        "UntriedError",  # of the trial of engines that is held in one, and
        "UnrunError",  # of a file that no engine runs
        "ClosedError",  # of sources that another thread closed
        "DriverError",  # of TensorRT's driver and
        "RefusedError",  # calls
        "MalformedError",  # of Protocol Buffers, and
        "ChangedError",  # of graphs that other tools changed
    }
    assert {name for name in elsewhere if not name.startswith("_")} == caught
    assert inside - {"TrainingError"} <= set(runtime.__all__), (
        "which is raised on a floor that the runtime does not know"
    )


def test_the_package_hands_on_the_whole_tree() -> None:
    for name, _, _ in branches(FastSCNNError):
        assert getattr(fastscnn, name) is getattr(errors, name) and name in fastscnn.__all__
