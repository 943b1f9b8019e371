"""`fastscnn-trt inspect`: an engine's description for people, and for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...runtime.artifacts import engine_file
from ...runtime.artifacts.engine_file import EngineDescription
from ...runtime.artifacts.engine_fit import misfits
from ...runtime.artifacts.tensorrt_binding import NAMES
from ...runtime.text import shown


def inspect(path: str | Path) -> tuple[EngineDescription, list[str]]:
    """The description of a whole, unmixed pair, and why it does not run here (nothing where it does). Needs no GPU.

    Raises:
        ArtifactError: a plan or description that is missing, damaged, or not the other's.
    """
    _, description = engine_file.read(path)
    return description, misfits(description)


def as_json(description: EngineDescription, reasons: Sequence[str]) -> dict[str, Any]:
    """The description as in the file, the kernels' binaries by their size, and `fits`, `misfits`."""
    content = description.to_json()
    if description.kernels:
        sizes = {target: len(binary) for target, binary in description.kernels.binaries.items()}
        content["kernels"] = {"digest": description.kernels.digest, **sizes}
    return {**content, "fits": not reasons, "misfits": list(reasons)}


def as_text(path: str | Path, description: EngineDescription, reasons: Sequence[str], layers: bool) -> str:
    """A page for a terminal; `layers` lists each one."""
    a, d = description.artifact, description
    where = f" on {d.device}" if d.device else ", without a GPU"
    head = "inside the engine" if d.head_inside else "left to the decode"
    basis = "read off the engine" if d.precision_from == "inspector" else "fixed by the network's types"
    convolutions = Counter(layer.precision or "not told" for layer in d.layers for _ in layer.convolutions)
    memory = "not known before a GPU opens it" if d.memory is None else f"{d.memory / 1e6:.1f} MB of activations"
    rows = [
        (
            "model",
            f"{a.head} height={a.height} width={a.width} batch={a.batch}, {len(a.classes)} classes ({a.class_set})",
        ),
        ("weights", a.checkpoint if a.trained else "random: labels are meaningless"),
        ("source", f"{d.source}, sha256 {d.source_sha256[:12]}…"),
        (
            "built",
            f"{d.built} with {NAMES[d.flavour]} {d.version} for {', '.join(d.targets)}{where}, in {d.seconds:.1f} s",
        ),
        ("system", d.system + (", version-compatible" if d.version_compatible else "")),
        ("precision", f"{d.precision}, {basis}; convolutions: {_counted(convolutions)}"),
        ("head", f"{head}; decode kernels: {_kernels(d)}"),
        ("memory", f"{d.size / 1e6:.1f} MB on disk, {memory}"),
        *(("output" if t.output else "input", f"{t.name} {t.dtype} {'x'.join(map(str, t.shape))}") for t in d.tensors),
        ("layers", str(len(d.layers)) + ("" if layers else " (--layers lists them)")),
    ]
    lines = [str(path), *(f"  {name:<10} {value}" for name, value in rows)]
    if layers:
        lines += [f"    {layer.precision or '-':<5} {shown(layer.kind):<20} {shown(layer.name)}" for layer in d.layers]
    lines += ["  fits       yes"] if not reasons else ["  fits       no:", *(f"    - {reason}" for reason in reasons)]
    return "\n".join(lines)


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {precision}" for precision, number in counts.most_common()) or "none named"


def _kernels(description: EngineDescription) -> str:
    if description.kernels is None:
        return "none needed" if description.head_inside else "none"
    return ", ".join(description.kernels.binaries)
