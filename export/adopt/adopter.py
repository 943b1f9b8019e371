"""The whole way from a foreign ONNX file to one of this project: read, cut, wrap, prove, write; or leave no file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...model.street import drawn
from ...runtime import install
from ...runtime.artifacts import onnx_file, onnx_graph
from ...runtime.artifacts.artifact import HEADS, ORDERS, PROBABILITIES, Artifact, printable
from ...runtime.artifacts.files import write_atomically
from ...runtime.artifacts.onnx_operators import OPERATORS
from ...runtime.artifacts.onnx_wire import ChangedError, MalformedError
from ...runtime.commands import command
from ...runtime.errors import ArtifactError, DeviceError, SourceError, UsageError
from ...runtime.frame import Frame, fitted
from ...runtime.media.sources import Source
from ...runtime.text import shown
from ...version import __version__

if TYPE_CHECKING:
    from .ending import Ending
    from .gate import Parity
    from .normalisation import Normalisation
    from .reading import Foreign
    from .still import Still

log = logging.getLogger(__name__)
FRAMES = 2
_OTHER_TASKS = ("detect", "segment", "classify", "pose", "obb", "depth")  # as Ultralytics' metadata has them


@dataclass(frozen=True)
class Adopted:
    path: Path
    artifact: Artifact
    parity: Parity
    logits: str  # the foreign file's tensor that became `logits`
    left_out: tuple[str, ...]  # its other results
    input: str  # what happens to the pixels, and where that is known from


def adopt(
    model: str | Path,
    output: str | Path | None = None,
    *,
    head: str = "cls",
    resolution: tuple[int, int] | None = None,
    batch: int | None = None,
    classes: str | Path | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    scale: float | None = None,
    normalise: bool = True,
    order: str | None = None,
    at: str | None = None,
    align_corners: bool = False,
    probability: str | None = None,
    licence: str | None = None,
    frames: str | Path | None = None,
    count: int = FRAMES,
) -> Adopted:
    """Adopt, check and write; or leave no file, and what was there as it was.

    Args:
        model: an ONNX file of a network that ends in low-resolution logits, which a bilinear Resize may follow.
        output: default: the model's name with -adopted.
        head: "cls", "prob" or "logits".
        resolution: (height, width), where the file leaves them open.
        batch: frames in a run, where the file leaves it open.
        classes: name of a class set or a file of names; default: what the metadata tells, or numbers.
        mean, std, scale: (pixel · scale - mean) / std, of the network's planes; scale is 1/255 where it is left out.
        normalise: False where pixels from 0 to 255 go in as they are.
        order: "rgb" or "bgr", of the network's planes; default RGB, unless the graph turns them.
        at: the result or tensor to take, where there are several.
        align_corners: how logits are upsampled that the graph itself does not upsample.
        probability: "softmax" or "sigmoid"; default: what the graph has.
        licence: of the network's weights; default: what the metadata tells.
        frames: image, folder or video to prove it on; default: drawn streets.
        count: how many of them at most.

    Raises:
        UsageError: something must be told that the file does not tell, or contradicts it.
        ArtifactError: not an ONNX file, or one that cannot be decoded exactly; says why.
        ParityError: the adopted graph does not compute what the untouched one does.
        DeviceError: onnx or onnxruntime is not installed.
        SourceError: frames that cannot be read.
        OutputError: the file cannot be written.
    """
    try:
        from . import ending as endings
        from . import gate, naming, normalisation, reading, wrapping
        from . import still as stills
    except ImportError as error:
        raise DeviceError(
            f"adopting needs onnx and ONNX Runtime, and {error.name} cannot be imported. Install: {install.command('convert')}"
        ) from None
    path = Path(model)
    for name, value, known in (
        ("head", head, HEADS),
        ("order", order, ORDERS),
        ("probability", probability, PROBABILITIES),
    ):
        if value is not None and value not in known:
            raise UsageError(
                f"{name} {value!r} is unknown; expected one of {', '.join(known)}.{command.did_you_mean(value, known)}"
            )
    target = Path(output or path.with_name(f"{path.stem}-adopted.onnx"))
    command.expect_folder(target)
    if target.resolve() == path.resolve():
        raise UsageError(f"{target} would be both the model and the result. Choose another name with -o")
    foreign = reading.read(path, resolution, batch)
    _expect_semantic(foreign)
    still = stills.still(reading.modern(foreign.model, str(path)), str(path))
    end = endings.find(still, foreign.input, str(path), at, align_corners)
    if head == "prob" and end.before:
        raise UsageError(
            f"{path} takes its {end.before} before it upsamples, so that what it upsamples are probabilities already; expected "
            "--head cls or logits"
        )
    _check_size(still, end, foreign, str(path))
    found = normalisation.entry(still, foreign)
    how = normalisation.choose(
        foreign, found, mean=_three(mean, "mean"), std=_three(std, "std"), scale=scale, as_is=not normalise, order=order
    )
    artifact = _described(
        foreign,
        end,
        how,
        head,
        probability,
        licence,
        naming.class_set(max(end.classes, 2), foreign.metadata, classes, path.name),
    )
    _say(foreign, end, how, artifact)
    made = wrapping.wrapped(still, end, found, how, artifact)
    data = made.SerializeToString()
    onnx_file.artifact(data, str(path))  # as every command will read it
    pictures, origin = _pictures(frames, artifact, count)
    log.info("checking against the untouched file on %s", origin)
    parity = gate.check(foreign, still, end, how, artifact, made, pictures)
    log.info("%s", parity)
    write_atomically(target, data)
    log.info("wrote %s, %.1f MB", target, len(data) / 1e6)
    return Adopted(target, artifact, parity, end.logits, end.left_out, str(how))


def _expect_semantic(foreign: Foreign) -> None:
    task = foreign.metadata.get("task", "")
    if task in _OTHER_TASKS:
        raise ArtifactError(
            f"{foreign.name} says that its task is {task!r}; expected semantic segmentation, one class for each pixel"
        )


def _check_size(still: Still, end: Ending, foreign: Foreign, source: str) -> None:
    """Refuse a graph that claims too much, as the runtime would, before an engine sees it; its own head included."""
    from .still import keep

    whole = type(still.model)()
    whole.CopyFrom(still.model)
    del whole.graph.output[:]
    keep(whole.graph, [end.output, end.logits])
    pixels = foreign.input.batch * foreign.input.height * foreign.input.width
    try:
        found = onnx_graph.elements(memoryview(whole.graph.SerializeToString()), OPERATORS)
        onnx_file.check_size(found, pixels, max(end.classes, 2))
    except (ChangedError, MalformedError) as error:
        raise ArtifactError(
            f"{source} is not taken as it stands: {error}. Simplify it with onnxslim, or export it for a fixed size"
        ) from None


def _three(values: Sequence[float] | None, what: str) -> tuple[float, ...] | None:
    if values is None:
        return None
    if len(values) not in (1, 3):
        raise UsageError(f"{what} has {len(values)} numbers; expected three, or one for all planes")
    return tuple(float(value) for value in (values if len(values) == 3 else [*values] * 3))


def _described(
    foreign: Foreign,
    end: Ending,
    how: Normalisation,
    head: str,
    probability: str | None,
    licence: str | None,
    classes: Any,
) -> Artifact:
    taken = foreign.input
    return Artifact(
        head=head,
        height=taken.height,
        width=taken.width,
        batch=taken.batch,
        input="uint8",
        precision="fp16" if end.dtype == "float16" else "fp32",
        classes=classes.classes,
        palette=classes.palette,
        class_set=classes.name,
        logits_height=end.shape[2],
        logits_width=end.shape[3],
        checkpoint=foreign.digest,
        version=__version__,
        align_corners=end.align_corners,
        probability=probability or ("sigmoid" if end.kind == "sigmoid" and end.classes > 1 else "softmax"),
        network=_short(foreign.metadata.get("description", "").strip() or Path(foreign.name).stem) or "adopted",
        adopted_output=_short(end.output),
        licence=_short(licence if licence is not None else foreign.metadata.get("license", "")),
        **how.described(),
    )


def _short(text: str) -> str:
    text = " ".join(text.split())[:200]
    return text if printable(text) else shown(text)[:200]


def _say(foreign: Foreign, end: Ending, how: Normalisation, artifact: Artifact) -> None:
    """What was found, and whence; nothing is taken in silence."""
    a, (_, channels, rows, columns) = artifact, end.shape
    log.info("network: %s, height=%d width=%d batch=%d", a.network, a.height, a.width, a.batch)
    log.info("input: %s", how)
    behind = f"its own Resize, {'align_corners' if end.align_corners else 'half_pixel'}"
    if not end.upsampled:
        behind = f"no Resize in the graph, so {'align_corners' if end.align_corners else 'half_pixel'} from here"
    log.info(
        "end: %s, %d x %dx%d, 1/%.3g of the picture; %s",
        shown(end.logits),
        channels,
        rows,
        columns,
        a.height / rows,
        behind,
    )
    if end.before:
        log.info("it takes its %s before it upsamples, as it does here", end.before)
    if end.left_out:
        log.info("left out: %s", ", ".join(map(shown, end.left_out)))
    log.info("classes: %d, %s", len(a.classes), ", ".join(a.classes[:4]) + (" …" if len(a.classes) > 4 else ""))
    log.info(
        "licence: %s", a.licence or "the file names none; that of the network's authors holds (--licence notes it)"
    )


def _pictures(source: str | Path | None, artifact: Artifact, count: int) -> tuple[list[Frame], str]:
    height, width = artifact.height, artifact.width
    if source is None:
        return drawn(height, width, count), f"{count} drawn street{'s' if count > 1 else ''}"
    with Source(str(source)) as opened:
        frames = [fitted(named.frame, height, width) for named in islice(opened, count)]
    if not frames:
        raise SourceError(f"{source} gave no frames")
    return frames, f"{len(frames)} frames of {Path(source).name}"
