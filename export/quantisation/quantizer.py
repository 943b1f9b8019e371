"""The whole way from an FP32 file to an INT8 file: choose frames, find ranges, insert Q/DQ, check, write."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ...runtime import install
from ...runtime.artifacts import engine_file, onnx_file
from ...runtime.artifacts.artifact import Artifact
from ...runtime.artifacts.files import write_atomically
from ...runtime.artifacts.onnx_unsigned import unsigned
from ...runtime.commands import command
from ...runtime.errors import ArtifactError, DeviceError, ParityError, UsageError
from ...version import __version__

if TYPE_CHECKING:
    from .agreement import Agreement
    from .sensitivity import Cost

log = logging.getLogger(__name__)
FRAMES = 40
PERCENTILE = 99.99
LEAST = 0.97


@dataclass(frozen=True)
class Quantised:
    path: Path
    artifact: Artifact
    agreement: (
        Agreement  # with the FP32 file on frames that were held back; the graph as it stands, for TensorRT and OpenVINO
    )
    unsigned: Agreement  # the same as the runtime computes it in ONNX Runtime
    held_back: int  # frames
    full: tuple[str, ...]  # convolutions that stay in float32
    costs: tuple[Cost, ...]  # of every convolution where they were asked for


def quantise(
    model: str | Path,
    calibration: str | Path,
    output: str | Path | None = None,
    *,
    frames: int = FRAMES,
    percentile: float = PERCENTILE,
    least: float = LEAST,
    full: Sequence[str] = (),
    sensitivity: bool = False,
    progress: bool = False,
) -> Quantised:
    """Quantise, check and write; or leave no file, and what was there as it was.

    Args:
        model: an FP32 file that fastscnn-export wrote.
        calibration: a folder of images like those that the robot will see; no labels are needed.
        output: default: the model's name with -int8.
        frames: how many of the images at most; a quarter of them only checks.
        percentile: of an activation's values, those that its range holds.
        least: share of pixels whose label must be the FP32 file's.
        full: names of further convolutions that stay in float32, beside the first and the last.
        sensitivity: also find what every convolution costs.
        progress: show it on stderr.

    Raises:
        UsageError: a model that is not FP32, or an option out of range.
        ArtifactError: a model that is not one.
        DeviceError: onnx or onnxruntime is not installed.
        SourceError: a folder without images, or with one that cannot be read.
        ParityError: too many labels differ.
        OutputError: the file cannot be written.
    """
    source = onnx_file.read(model)
    artifact = onnx_file.artifact(source, str(model))
    _expect_fp32(artifact, str(model))
    if not 50 < percentile <= 100 or not 0 <= least <= 1:
        raise UsageError(
            f"percentile {percentile:g} and least agreement {least:g}; expected above 50 up to 100, and a share from 0 to 1"
        )
    target = Path(output or Path(model).with_name(f"{Path(model).stem}-int8.onnx"))
    command.expect_folder(target)
    if target.resolve() == Path(model).resolve():
        raise UsageError(f"{target} would be both the model and the result. Choose another name with -o")
    try:
        import onnx

        from . import agreement, qdq
        from . import calibration as calibrating
        from . import sensitivity as sensitivities
    except ImportError as error:
        raise DeviceError(
            f"quantising needs onnx and ONNX Runtime, and {error.name} cannot be imported. Install: {install.command('convert')}"
        ) from None
    network = onnx.load_model_from_string(onnx_file.without_head(source, str(model)))
    kept = (*qdq.first_and_last(network), *_known(full, qdq.convolutions(network)))
    chosen = calibrating.choose(Path(calibration), frames)
    images = chosen.batches(chosen.calibration, artifact)
    held_back = chosen.batches(chosen.held_back, artifact)
    log.info("finding the ranges on %d frames of %s", len(chosen.calibration), calibration)
    with _bar(len(images), "ranges", progress) as bar:
        ranges = calibrating.ranges(network, images, percentile, bar.update)
    costs: list[Cost] = []
    if sensitivity:
        few = held_back[: sensitivities.FRAMES]
        with _bar(len(qdq.convolutions(network)), "sensitivity", progress) as bar:
            costs = sensitivities.sensitivity(network, artifact, ranges, kept, few, bar.update)
    described = dataclasses.replace(
        artifact,
        precision="int8",
        version=__version__,
        source=engine_file.digest(source),
        calibration=chosen.digest,
        calibration_frames=len(chosen.calibration),
    )
    quantised = qdq.with_qdq(network, ranges, kept)
    _put_head(quantised, onnx.load_model_from_string(source), described)
    onnx.checker.check_model(quantised, full_check=True)
    data = bytes(quantised.SerializeToString())
    log.info("checking on %d frames that were held back", len(chosen.held_back))
    cut = onnx_file.without_head(data, str(target))
    runs = [agreement.runner(graph, str(target)) for graph in (cut, unsigned(cut))]
    reference = agreement.runner(network.SerializeToString(), str(model))
    with _bar(len(held_back), "check", progress) as bar:
        as_it_stands, as_run = agreement.compare(artifact, reference, runs, held_back, bar.update)
    worst = min(as_it_stands, as_run, key=lambda found: found.pixels)
    if not worst.pixels >= least:
        raise ParityError(
            f"the INT8 graph parts from {model}: {worst}; expected the same label on at least {least:.2%} of pixels; nothing was "
            "written. Give more frames like the robot's, or keep the layers that --sensitivity shows in float32 with --full"
        )
    write_atomically(target, data)
    log.info("wrote %s, %.1f MB", target, len(data) / 1e6)
    return Quantised(target, described, as_it_stands, as_run, len(chosen.held_back), kept, tuple(costs))


def _expect_fp32(artifact: Artifact, source: str) -> None:
    if artifact.precision == "int8":
        raise UsageError(f"{source} is quantised already; expected the FP32 file that it was made from")
    if artifact.precision != "fp32":
        raise UsageError(
            f"{source} is an {artifact.precision.upper()} graph; expected an FP32 one, because rounding twice costs accuracy. "
            "Export it again without --precision fp16"
        )


def _known(names: Sequence[str], convolutions: Sequence[str]) -> list[str]:
    if not convolutions:
        raise ArtifactError("the graph has no convolutions; it was edited. Export it again with fastscnn-export")
    for name in names:
        if name not in convolutions:
            raise UsageError(
                f"the graph has no convolution {name!r}; --sensitivity lists them.{command.did_you_mean(name, convolutions)}"
            )
    return list(names)


def _put_head(network: Any, whole: Any, artifact: Artifact) -> None:
    """The FP32 file's head behind the quantised network's logits, and the description."""
    from onnx import helper

    if artifact.head != "logits":
        network.graph.value_info.extend(v for v in whole.graph.value_info if v.name == onnx_file.LOGITS)
        made, constants = onnx_file.head(whole.SerializeToString())
        constants -= {tensor.name for tensor in network.graph.initializer}
        network.graph.node.extend(n for n in whole.graph.node if made.intersection(n.output))
        network.graph.initializer.extend(t for t in whole.graph.initializer if t.name in constants)
        del network.graph.output[:]
        network.graph.output.extend(whole.graph.output)
    del network.metadata_props[:]
    helper.set_model_props(network, artifact.to_metadata())


def _bar(total: int, what: str, shown: bool) -> Any:
    return tqdm(total=total, desc=what, leave=False, disable=None if shown else True)
