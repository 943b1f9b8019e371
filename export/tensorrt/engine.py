"""The whole way from an ONNX file to an engine with its description: find, check, build, read back, write."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ...runtime.artifacts import engine_file, onnx_file
from ...runtime.artifacts.artifact import Artifact
from ...runtime.artifacts.engine_file import EngineDescription
from ...runtime.artifacts.engine_fit import system
from ...runtime.artifacts.files import write_atomically
from ...runtime.artifacts.gpu import Gpu, gpus
from ...runtime.artifacts.tensorrt_binding import NAMES, Binding, find
from ...runtime.commands import command
from ...runtime.errors import BuildError, DeviceError, ParityError, UsageError
from . import cache, decode_kernels, explain
from .capabilities import Capabilities, capabilities
from .engine_builder import EngineBuilder, Plan, strongly_typed
from .half import converter, to_half
from .options import BuildOptions, check_supported, targets
from .progress import Progress
from .readback import Readback

log = logging.getLogger(__name__)
_GRACE = 5.0  # seconds for TensorRT to notice that the build is not wanted any more
_building = threading.Lock()  # builds at once would spoil each other's timings and mix their errors
_abandoned = threading.Event()
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Built:
    path: Path
    description: EngineDescription
    reused: bool  # the engine was there already


def build(
    model: str | Path,
    output: str | Path | None = None,
    options: BuildOptions | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Built:
    """Build an engine and leave it at `output` with its description beside it, or leave what was there.

    What a timing cache learnt is kept all the same.

    Args:
        model: a file that fastscnn-export wrote.
        output: default: the model's path with the suffix .plan.
        options: default: FP16 for this GPU, ending at the logits.
        force: build even where the same engine is there already.
        progress: where to show phase and time; log lines without it.

    Raises:
        UsageError: an option that the installed TensorRT would not heed, or one file for two purposes.
        ArtifactError: a model that is not one.
        DeviceError: no TensorRT, no GPU where one is needed, a graph or target that it does not take.
        BuildError: TensorRT ran out of memory or tactics.
        ParityError: convolutions in FP32 in an FP16 engine.
        OutputError: the files cannot be written.
    """
    options, progress = options or BuildOptions(), progress or Progress()
    expect_distinct(files(model, output, options.timing_cache))
    source = onnx_file.read(model)
    artifact = onnx_file.artifact(source, str(model))
    if options.precision == "fp32" and artifact.precision == "fp16":
        raise UsageError(
            f"{model} is an FP16 graph; expected an FP32 one for --precision fp32. Export it again without --precision fp16"
        )
    quantised = artifact.precision == "int8"
    if quantised and options.dla is not None:
        raise UsageError(f"{model} is an INT8 file, whose quantisers the DLA does not take; build without --dla")
    path = destination(model, output)
    command.expect_folder(path, engine_file.description_path(path), options.timing_cache)
    binding = _binding(options.flavour)
    can = capabilities(binding)
    check_supported(options, binding, can)
    gpu = _gpu(binding, can)
    chosen = targets(options, can, gpu)
    device = "" if can.cross_build or gpu is None else gpu.name
    converts = options.precision == "fp16" and artifact.precision != "fp16" and strongly_typed(options, can)
    key = cache.key(source, binding, options, chosen, device, converter() if converts else "")
    reused = None if force else cache.find(path, key)
    if reused is not None:
        plan, description = reused
        log.info("%s is there already, built from the same file with the same options; --force builds it anew", path)
    else:
        log.info(
            "building with %s for %s: head=%s height=%d width=%d precision=%s",
            binding.name, ", ".join(chosen), artifact.head, artifact.height, artifact.width, options.precision,
        )  # fmt: skip
        opens_here = gpu is not None and gpu.target in chosen
        job = EngineBuilder(
            binding, can, options, chosen, opens_here, progress, _earlier(options.timing_cache), quantised
        )
        made = _run(job, source, artifact, str(model), converts)
        if options.timing_cache is not None and made.timing_cache is not None:
            write_atomically(
                options.timing_cache, made.timing_cache
            )  # also where the engine is refused: it took minutes
        _check_precision(made.found, options, job)
        plan = made.data
        description = _describe(made, job, artifact, source, Path(model).name, device, key)
    complete = description
    if not decode_kernels.complete(description):
        progress.phase("compiling the decode kernels")
        kernels = _in_thread(lambda: decode_kernels.compiled(chosen, description.kernels), progress)
        complete = dataclasses.replace(description, kernels=kernels)
    progress.clear()
    if reused is None or complete != description:
        engine_file.write(path, plan, complete)
        log.info("wrote %s, %.1f MB, %s, in %.1f s", path, len(plan) / 1e6, complete.precision, progress.seconds)
    return Built(path, complete, reused is not None)


def destination(model: str | Path, output: str | Path | None) -> Path:
    return Path(output) if output is not None else Path(model).with_suffix(".plan")


def files(model: str | Path, output: str | Path | None, timing_cache: Path | None) -> dict[str, Path]:
    """What a build reads and writes, by its purpose."""
    path = destination(model, output)
    named = {"the model": Path(model), "the engine": path, "its description": engine_file.description_path(path)}
    return named if timing_cache is None else {**named, "the timing cache": timing_cache}


def expect_distinct(purposes: Mapping[str, Path]) -> None:
    """Refuse one file for two purposes, links followed: the later would destroy the earlier.

    Raises:
        UsageError: names both purposes.
    """
    taken: dict[Path, str] = {}
    for purpose, path in purposes.items():
        other = taken.setdefault(path.resolve(), purpose)
        if other != purpose:
            raise UsageError(
                f"{path} would be both {other} and {purpose}; expected a file for each. Choose another name"
            )


def abandoned() -> bool:
    """Whether a build was interrupted, so that threads of TensorRT may run on and crash an interpreter that ends around them."""
    return _abandoned.is_set()


def _binding(flavour: str | None) -> Binding:
    try:
        return find(flavour)
    except DeviceError as missing:
        if flavour == "tensorrt":
            try:
                gpus()
            except DeviceError as error:  # then an installed one would not build here either
                raise DeviceError(f"{missing}. {explain.elsewhere(NAMES[flavour], str(error))}") from None
        raise


def _gpu(binding: Binding, can: Capabilities) -> Gpu | None:
    try:
        return gpus()[0]
    except DeviceError as error:
        if not can.cross_build:
            raise explain.no_builder(binding, [], str(error)) from None
        return None


def _earlier(timing_cache: Path | None) -> bytes:
    try:
        return timing_cache.read_bytes() if timing_cache else b""
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UsageError(
            f"{timing_cache} cannot be read ({error.strerror}); expected a timing cache or no file"
        ) from error


def _run(job: EngineBuilder, source: bytes, artifact: Artifact, name: str, converts: bool) -> Plan:
    """Prepare the graph and build it in a thread of its own, while this one shows progress and hears Ctrl-C."""

    def work() -> Plan:
        head_inside = job.options.head_in_engine or artifact.head == "logits"
        graph = source if head_inside else onnx_file.without_head(source, name)
        with _building:  # held by the worker, which may outlive an interrupted call
            if job.progress.cancelled.is_set():
                raise BuildError("interrupted before it began")
            if converts:
                job.progress.phase("converting the graph to FP16")
                graph = to_half(graph, artifact, head_inside and artifact.head != "logits", name)
            return job.run(graph, onnx_file.nodes(graph))

    return _in_thread(work, job.progress)


def _in_thread(work: Callable[[], _Result], progress: Progress) -> _Result:
    results: list[_Result] = []
    failures: list[BaseException] = []

    def target() -> None:
        try:
            results.append(work())
        except BaseException as error:
            failures.append(error)

    worker = threading.Thread(target=target, name="fastscnn-trt-build", daemon=True)
    worker.start()
    try:
        progress.wait(worker)
    except BaseException:
        progress.clear()
        progress.cancelled.set()
        _abandoned.set()
        log.info("stopping")
        worker.join(_GRACE)
        raise
    if failures:
        progress.clear()
        raise failures[0]
    return results[0]


def _check_precision(found: Readback, options: BuildOptions, job: EngineBuilder) -> None:
    strong = job.strong
    if job.quantised and not found.integer and not found.unknown:
        raise ParityError(
            "the model is an INT8 file and no convolution of the engine runs in INT8; nothing was written. Build it with another "
            "TensorRT, or from the FP32 file"
        )
    if options.precision == "fp32" or options.allow_fp32_layers or not (found.full or found.unknown):
        return
    listed = found.full or found.unknown
    names = ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
    what = "runs in FP32" if found.full else "has a precision that TensorRT does not tell"
    raise ParityError(
        f"an FP16 engine was asked for and {names or 'no convolution'} {what}; nothing was written. "
        + ("Export with --precision fp16" if strong else "Give it more --workspace, or a higher --opt-level")
        + ", or accept it with --allow-fp32-layers"
    )


def _describe(
    made: Plan, job: EngineBuilder, artifact: Artifact, source: bytes, name: str, device: str, key: str
) -> EngineDescription:
    found, options = made.found, job.options
    return EngineDescription(
        artifact=dataclasses.replace(artifact, precision=options.precision),
        flavour=job.binding.flavour,
        version=job.binding.version,
        targets=job.targets,
        device=device,
        system=system(),
        version_compatible=options.version_compatible,
        dla=options.dla,
        precision=found.precision,
        precision_from=found.precision_from,
        tensors=found.tensors,
        layers=found.layers,
        memory=found.memory,
        options=cache.recorded(options),
        source=name,
        source_sha256=engine_file.digest(source),
        key=key,
        seconds=round(job.progress.seconds, 2),
        built=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        size=len(made.data),
        sha256=engine_file.digest(made.data),
        kernels=None,
    )
