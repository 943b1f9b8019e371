"""The steps of `python -m fastscnn.benchmarks.gpu`, each by itself: it makes what it needs, once, and gives numbers."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...export import export
from ...export.tensorrt import BuildOptions, build
from ...export.tolerance import TOLERANCE
from ...model.street import Street
from ...runtime import Segmenter
from ...runtime.artifacts import onnx_file
from ...runtime.artifacts.artifact import HEADS
from ...runtime.artifacts.gpu import gpus
from ...runtime.artifacts.tensorrt_binding import find
from ...runtime.backends import agreement
from ...runtime.backends.tensorrt import MODES
from ...runtime.errors import DeviceError, ParityError, SourceError
from ...runtime.frame import Frame, fitted
from ...runtime.media.sources import Source
from ..engine import report as engine_report
from ..engine import timing as engine_timing
from ..protocol import Summary, resident_bytes

_DISTINCT = 8
_CHECKED = 3  # frames compared with ONNX Runtime on the CPU
_LEAST = 0.998  # share of pixels with the same label
_PROBABILITY = {"fp32": 1e-3, "fp16": 2e-2}  # largest difference
_THREADS = 8


@dataclass(frozen=True)
class Bench:
    """What the steps share; models and engines are made when the first of them asks."""

    folder: Path
    resolutions: tuple[tuple[int, int], ...]
    count: int
    soak: int
    source: str | None = None  # image, folder or video; None draws a street

    def frames(self, resolution: tuple[int, int]) -> list[Frame]:
        return _frames(self.source, resolution)

    def model(self, head: str, resolution: tuple[int, int], **options: Any) -> Path:
        kind = "-".join([head, "x".join(map(str, resolution)), *map(str, options.values())])
        path = self.folder / f"{kind}.onnx"
        return path if path.exists() else export(head, resolution, output=path, **options)

    def engine(self, head: str, resolution: tuple[int, int]) -> Path:
        options = BuildOptions(timing_cache=self.folder / "timing.cache")
        return build(self.model(head, resolution), options=_supported(options)).path

    def plain(self, head: str, resolution: tuple[int, int]) -> Path:
        options = BuildOptions(timing_cache=self.folder / "timing.cache", head_in_engine=True)
        model = self.model(head, resolution, input="float")
        return build(model, model.with_name(f"{model.stem}-plain.plan"), _supported(options)).path


def steps(bench: Bench) -> list[tuple[str, Callable[[], Any]]]:
    """Name and work, most telling first, so that a run that is cut short has said the most."""
    first, *others = bench.resolutions
    todo: list[tuple[str, Callable[[], Any]]] = [
        ("gpu", lambda: [vars(gpu) for gpu in gpus()]),
        ("cls", lambda: measured(bench, "cls", first, layers=True)),
        ("correctness cls", lambda: correct(bench, "cls", first)),
        ("baseline", lambda: against_baseline(bench, first)),
    ]
    for head in HEADS[1:]:
        todo.append((head, functools.partial(measured, bench, head, first)))
        todo.append((f"correctness {head}", functools.partial(correct, bench, head, first)))
    for size in others:
        todo.append((f"cls {size[0]}x{size[1]}", functools.partial(measured, bench, "cls", size)))
    todo += [
        ("other frame sizes", lambda: resizing(bench, first)),
        ("memory modes", lambda: memory_modes(bench, first)),
        ("threads", lambda: threads(bench, first)),
        ("torch eager", lambda: torch_rate(bench, first, compiled=False)),
        ("torch compile", lambda: torch_rate(bench, first, compiled=True)),
        ("soak", lambda: soaked(bench, first)),
    ]
    return todo


def measured(bench: Bench, head: str, size: tuple[int, int], layers: bool = False) -> dict[str, Any]:
    """What `fastscnn-bench` tells of one engine."""
    with Segmenter(bench.engine(head, size), "cuda") as segmenter:
        report = engine_report.measure(
            segmenter, bench.frames(size), burn_in=bench.count, count=bench.count, layers=layers
        )
        report["classes"] = len(segmenter.artifact.classes)
    numbers = report["stages"]
    report["sentence"] = (
        f"forward {numbers[engine_timing.FORWARD]['median']:.3f} ms ({report['floor_ratio']:.2f}x the floor of {report['floor']['bytes']:,} bytes, {report['classes']} classes), decode "
        f"{report['decode_share']:.1%} of it, forward+decode {report['forward_and_decode_per_second']:,.0f}/s, frame to "
        f"result {report['frame_to_result']['median']:.3f} ms, pipelined {report['pipelined_per_second']:,.0f}/s"
    )
    return report


def correct(bench: Bench, head: str, size: tuple[int, int]) -> dict[str, Any]:
    """Against FP32 ONNX Runtime on the CPU.

    Raises:
        ParityError: too many other labels, or probabilities or logits too far away.
    """
    shares: list[float] = []
    errors: dict[str, list[float]] = {}
    with (
        Segmenter(bench.engine(head, size), "cuda") as ours,
        Segmenter(bench.model(head, size), "cpu") as theirs,
    ):
        for frame in bench.frames(size)[:_CHECKED]:
            found, wanted = ours(frame), theirs(frame)
            shares.append(float(np.mean(found.labels == wanted.labels)))
            if found.probabilities is not None and wanted.probabilities is not None:
                error = float(np.abs(found.probabilities - wanted.probabilities).max())
                errors.setdefault("probabilities", []).append(error)
            if found.logits is not None and wanted.logits is not None:
                errors.setdefault("logits", []).append(agreement.share(found.logits, wanted.logits))
        precision = ours.artifact.precision
    _expect_same_labels(min(shares))
    worst = {name: float(np.max(values)) for name, values in errors.items()}  # keeps NaN
    words = f"labels agree on {min(shares):.4%} of pixels"
    for name, bound in (("probabilities", _PROBABILITY[precision]), ("logits", TOLERANCE[precision])):
        if name in worst:
            unit = " of their range" if name == "logits" else ""
            if not worst[name] <= bound:
                raise ParityError(f"{name} part by {worst[name]:.2e}{unit}; expected at most {bound:.0e} in {precision}")  # fmt: skip
            words += f", {name} within {worst[name]:.1e}{unit}"
    return {"labels": shares, **worst, "sentence": words}


def against_baseline(bench: Bench, size: tuple[int, int]) -> dict[str, Any]:
    with Segmenter(bench.engine("cls", size), "cuda") as segmenter:
        found = engine_report.compared_with_baseline(
            segmenter, bench.frames(size), bench.plain("cls", size), bench.count, bench.count
        )
    return {**found, "sentence": f"{found['ratio']:.2f} times as fast as {found['name']}; {found['agreement']}"}


def resizing(bench: Bench, size: tuple[int, int]) -> dict[str, Any]:
    """Frames of half and of one and a half times the size, resized on the GPU.

    Raises:
        ParityError: too many labels that differ from those of frames that the CPU resizes.
    """
    found: dict[str, Any] = {}
    with Segmenter(bench.engine("cls", size), "cuda") as ours, Segmenter(bench.model("cls", size), "cpu") as theirs:
        for scale in (0.5, 1.5):
            frame = np.asarray(cv2.resize(bench.frames(size)[0], None, fx=scale, fy=scale), np.uint8)
            share = float(np.mean(ours(frame).labels == theirs(frame).labels))
            _expect_same_labels(share)
            times = Summary.of(engine_timing.wall_times(ours, [frame], bench.count // 4, bench.count))
            found[f"{frame.shape[0]}x{frame.shape[1]}"] = {"labels": share, **times.as_dict()}
    words = ", ".join(f"{name} {value['median']:.3f} ms" for name, value in found.items())
    return {**found, "sentence": words}


def memory_modes(bench: Bench, size: tuple[int, int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for mode in MODES:
        try:
            with Segmenter(bench.engine("cls", size), "cuda", memory=mode) as segmenter:
                times = engine_timing.wall_times(segmenter, bench.frames(size), bench.count // 4, bench.count)
                found[mode] = Summary.of(times).as_dict()
        except DeviceError as error:
            found[mode] = {"failed": str(error)}
    words = ", ".join(f"{mode} {v['median']:.3f} ms" if "median" in v else f"{mode} –" for mode, v in found.items())
    return {**found, "sentence": words}


def threads(bench: Bench, size: tuple[int, int]) -> dict[str, Any]:
    """Eight threads share one Segmenter; every result must be its own frame's."""
    frames = bench.frames(size)
    with Segmenter(bench.engine("cls", size), "cuda") as segmenter, ThreadPoolExecutor(_THREADS) as pool:
        wanted = [segmenter(frame).labels for frame in frames]
        rounds = max(1, bench.count // len(frames))
        started = time.perf_counter()
        found = list(pool.map(lambda index: np.array_equal(segmenter(frames[index]).labels, wanted[index]), list(range(len(frames))) * rounds))  # fmt: skip
        rate = len(found) / (time.perf_counter() - started)
    if not all(found):
        raise ParityError(f"{found.count(False)} of {len(found)} results are another frame's; expected none")
    return {"per_second": rate, "sentence": f"{_THREADS} threads, {rate:,.0f} frames/s, every result its own frame's"}


def torch_rate(bench: Bench, size: tuple[int, int], *, compiled: bool) -> dict[str, Any]:
    """The network alone in PyTorch, FP16 and channels last, by CUDA events."""
    import torch

    from ...model.network import FastSCNN

    if not torch.cuda.is_available():
        raise DeviceError("this PyTorch has no CUDA; install one that has to compare with it")
    classes = len(onnx_file.artifact(onnx_file.read(bench.model("cls", size)), "the model").classes)
    network: Any = FastSCNN(classes).eval().cuda().half()
    network = network.to(memory_format=torch.channels_last)
    event: Any = functools.partial(torch.cuda.Event, enable_timing=True)
    run: Callable[..., Any] = torch.compile(network, mode="reduce-overhead") if compiled else network
    image = torch.rand(1, 3, *size, device="cuda", dtype=torch.half).to(memory_format=torch.channels_last)
    times = []
    with torch.inference_mode():
        for index in range(2 * bench.count):
            begun, ended = event(), event()
            begun.record()
            run(image)
            ended.record()
            ended.synchronize()
            if index >= bench.count:
                times.append(begun.elapsed_time(ended))
    summary = Summary.of(np.array(times))
    return {**summary.as_dict(), "sentence": f"forward {summary.median:.3f} ms, {summary.frames_per_second:,.0f}/s"}


def soaked(bench: Bench, size: tuple[int, int]) -> dict[str, Any]:
    """Frames through `stream` for as long as was asked; the speed of the end against that of the begin, and memory."""
    frames = bench.frames(size)
    arrived: list[float] = []
    with Segmenter(bench.engine("cls", size), "cuda") as segmenter:
        before = resident_bytes() or 0
        begun = time.perf_counter()
        for _ in segmenter.stream(_for(bench.soak, frames)):
            arrived.append(time.perf_counter())
        grown = (resident_bytes() or 0) - before
    gaps = np.diff(np.array([begun, *arrived])) * 1e3
    tenth = max(1, len(gaps) // 10)
    slower = float(np.median(gaps[-tenth:]) / np.median(gaps[:tenth]))
    result = {"frames": len(gaps), "p99": float(np.percentile(gaps, 99)), "longest": float(gaps.max()), "slower": slower, "grown": grown}  # fmt: skip
    words = f"{len(gaps):,} frames in {bench.soak} s, p99 gap {result['p99']:.2f} ms, longest {result['longest']:.2f} ms, the end {slower:.2f}x the begin, {grown / 1e6:+.0f} MB"
    return {**result, "sentence": words}


def sentence(result: Any) -> str:
    """What the table says of a step."""
    if isinstance(result, Mapping):
        return str(result.get("sentence", ""))
    return ", ".join(f"{gpu['name']} ({gpu['target']}, {gpu['memory'] / 1e9:.0f} GB)" for gpu in result)


@functools.cache
def _frames(source: str | None, resolution: tuple[int, int]) -> list[Frame]:
    if source is None:
        street = Street(*resolution)
        return [street.frame(index * 10)[0] for index in range(_DISTINCT)]
    with Source(source) as opened:
        frames = [fitted(named.frame, *resolution) for named in islice(opened, _DISTINCT)]
    if not frames:
        raise SourceError(f"{source} gave no frames; expected an image, a folder of images or a video")
    return frames


def _expect_same_labels(share: float) -> None:
    if share < _LEAST:
        raise ParityError(f"labels agree on {share:.4%} of pixels; expected at least {_LEAST:.1%}")


def _supported(options: BuildOptions) -> BuildOptions:
    """Without the timing cache where the flavour has none."""
    return options if find().flavour == "tensorrt" else replace(options, timing_cache=None)


def _for(seconds: float, frames: Sequence[Frame]) -> Any:
    ends = time.perf_counter() + seconds
    for frame in cycle(frames):
        if time.perf_counter() > ends:
            return
        yield frame
