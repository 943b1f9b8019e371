"""Everybody who turns a camera frame into labels or probabilities on a CPU, behind one call each."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime import Segmenter, privacy
from ...runtime.artifacts.artifact import Artifact
from ...runtime.backends.openvino import VARIANTS
from ...runtime.errors import FastSCNNError
from ...runtime.frame import Frame, InputLayout, checked, fitted
from ...runtime.text import first_line
from ..baseline import InGraph, usual_graph

log = logging.getLogger(__name__)

Answer = NDArray[Any]  # (H, W) labels or (C, H, W) probabilities
Run = Callable[[Frame], tuple[Answer, dict[str, float]]]  # with milliseconds of inner stages, where it knows them

OURS = "this runtime"


@dataclass(frozen=True)
class Competitor:
    """One way to run the model; where it cannot run here, why."""

    name: str
    ours: bool
    run: Run | None
    absent: str = ""
    quantised: bool = False  # so that some labels are not float32's
    precision: str = ""  # that it computes in; of ours alone


def competitors(
    model: Path, checkpoint: Path | None, int8: Path | None, threads: int, held: contextlib.ExitStack
) -> Iterator[Competitor]:
    """Open each in turn; those that are not installed or fail to start are given with their reason.

    Args:
        model: a cls or prob file of this project.
        checkpoint: the weights that it was exported from; None for those that ship.
        int8: the same model, quantised.
        held: closes what is opened.
    """
    for device in ("cpu", *(name for name in VARIANTS if name != "openvino-gpu")):
        one = _tried(f"{OURS}, {device}", True, partial(_segmenter, model, device, threads, held))
        yield replace(one, precision=VARIANTS[device][2] if device in VARIANTS else "fp32")
    yield _tried("ONNX Runtime in-graph", False, partial(_onnxruntime, model, threads))
    for precision in ("f32", "bf16"):
        yield _tried(f"OpenVINO {precision} in-graph", False, partial(_openvino, model, precision, threads))
    if int8:
        for device in ("cpu", "openvino"):
            yield replace(
                _tried(f"{OURS}, INT8, {device}", True, partial(_segmenter, int8, device, threads, held)),
                quantised=True,
            )
        for name, run in (("ONNX Runtime", _onnxruntime), ("OpenVINO", partial(_openvino, precision="f32"))):
            peer = _tried(f"{name} INT8 in-graph", False, partial(run, int8, threads=threads))
            yield replace(peer, quantised=True)
    for style in ("eager", "channels-last", "torch.compile"):
        yield _tried(f"PyTorch {style}", False, partial(_pytorch, model, checkpoint, style, threads))


def _tried(name: str, ours: bool, make: Callable[[], Run]) -> Competitor:
    """Opened, and run once on an empty frame: some only fail, or compile, when they run."""
    log.info("opening %s", name)
    try:
        run = make()
        run(np.zeros((64, 64, 3), np.uint8))
        return Competitor(name, ours, run)
    except (ImportError, FastSCNNError) as error:
        return Competitor(name, ours, None, first_line(error))
    except Exception as error:  # another project's, of any type
        log.debug("%s does not run", name, exc_info=True)
        return Competitor(name, ours, None, f"{type(error).__name__}: {first_line(error)}")


def _segmenter(model: Path, device: str, threads: int, held: contextlib.ExitStack) -> Run:
    segmenter = held.enter_context(Segmenter(model, device, threads=threads))
    height, width = segmenter.artifact.height, segmenter.artifact.width

    def run(frame: Frame) -> tuple[Answer, dict[str, float]]:
        result = segmenter(fitted(frame, height, width))
        timings = result.timings
        answer = result.labels if result.probabilities is None else result.probabilities
        return answer, {"prepare": timings.prepare, "forward": timings.forward, "decode": timings.decode}

    return run


def _onnxruntime(model: Path, threads: int) -> Run:
    plain = InGraph(model, threads)
    return lambda frame: (plain(frame), {})


def _openvino(model: Path, precision: str, threads: int) -> Run:
    """As OpenVINO's documentation shows it, without copies of input and result."""
    openvino = privacy.engine("openvino")
    graph, artifact, _ = usual_graph(model)
    core = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ImportError("this processor has no bfloat16 arithmetic")
    options = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    request = core.compile_model(core.read_model(graph), "CPU", options).create_infer_request()
    layout = InputLayout(artifact)

    def run(frame: Frame) -> tuple[Answer, dict[str, float]]:
        image = layout([fitted(checked(frame), artifact.height, artifact.width)] * artifact.batch)
        request.infer([image], share_inputs=True, share_outputs=True)
        return request.get_output_tensor(0).data[0], {}

    return run


def _pytorch(model: Path, checkpoint: Path | None, style: str, threads: int) -> Run:
    """The network as training leaves it, with bilinear upsampling and arg-max or soft-max, normalised by PyTorch."""
    import torch
    from torch.nn import functional

    from ...model.checkpoint import SHIPPED, load
    from ...runtime.artifacts import onnx_file

    torch.set_num_threads(threads)
    artifact: Artifact = onnx_file.artifact(onnx_file.read(model), str(model))
    network = load(checkpoint or SHIPPED).network_for(artifact.head).eval()
    memory = torch.contiguous_format if style == "eager" else torch.channels_last
    network.to(memory_format=memory)  # type: ignore[call-overload]  # it changes modules in place
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (artifact.mean, artifact.std))
    size = (artifact.height, artifact.width)

    def pipeline(frame: torch.Tensor) -> torch.Tensor:
        planes = frame.permute(2, 0, 1)[None].flip(1).float().div(255)
        image = planes.sub(mean).div(std).contiguous(memory_format=memory)
        full = functional.interpolate(network(image), size, mode="bilinear", align_corners=artifact.align_corners)
        if artifact.head == "cls":
            return full.argmax(dim=1)[0].to(torch.uint8)
        return full.sigmoid()[0] if artifact.probability == "sigmoid" else full.softmax(dim=1)[0]

    compiled = torch.compile(pipeline) if style == "torch.compile" else pipeline

    def run(frame: Frame) -> tuple[Answer, dict[str, float]]:
        with torch.inference_mode():
            return compiled(torch.from_numpy(fitted(frame, *size))).numpy(), {}

    return run


@contextlib.contextmanager
def quiet_compiler() -> Iterator[None]:
    """torch.compile tells its own story in warnings and logs; only what it computes is wanted here."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
