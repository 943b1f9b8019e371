"""Is an adopted file the network that it came from? The untouched graph and ours, in ONNX Runtime, on the same frames.

Three things are compared: the logits before the head; then, of our logits, our head and our decode against the head of
their graph, so that rounding in the network excuses no fault behind it; and the labels of both files as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from ...runtime.artifacts.artifact import OUTPUTS, Artifact
from ...runtime.artifacts.onnx_file import IR_VERSION, LOGITS
from ...runtime.backends.agreement import clear, share
from ...runtime.backends.cores import usable_cores
from ...runtime.backends.onnxruntime import open_session
from ...runtime.decode.decoder import Decoder, argmax
from ...runtime.errors import ParityError
from ...runtime.frame import Frame
from ..builder import GraphBuilder, copy, value_info
from ..tolerance import HALF_ROUNDING, HEAD, TOLERANCE
from .ending import Ending
from .normalisation import Normalisation
from .reading import Foreign
from .still import Still, keep
from .wrapping import INPUT

_DIGIT = 2.0**-23  # of float32, relative
_TIE = 1e-5  # share of the logits' range by which two classes may differ where rounding alone decides


@dataclass(frozen=True)
class Parity:
    """How far an adopted file's results lie from the untouched file's on the same frames."""

    frames: int
    logits: float  # largest difference, as a share of the logits' range
    tolerance: float
    agreement: float  # share of pixels with the same label
    ties: int  # pixels whose labels differ where the two best classes lie closer than the bound
    probabilities: float | None  # largest difference, of the same logits; None where nobody asks for any

    def __str__(self) -> str:
        return (
            f"on {self.frames} frame{'s' if self.frames > 1 else ''}: logits within {self.logits:.1e} of their range "
            f"(bound {self.tolerance:.0e}), labels equal on {self.agreement:.4%} of pixels"
            + (f" (the other {self.ties:,} are ties)" if self.ties else "")
            + (f", probabilities within {self.probabilities:.0e}" if self.probabilities is not None else "")
        )


def check(
    foreign: Foreign,
    still: Still,
    ending: Ending,
    normalisation: Normalisation,
    artifact: Artifact,
    model: onnx.ModelProto,
    frames: Sequence[Frame],
) -> Parity:
    """Compare on frames uint8 (H, W, 3) BGR of the model's resolution.

    Raises:
        ParityError: names what differs.
    """
    theirs, ours = _Theirs(foreign, still, ending, artifact), _Ours(model, artifact)
    tolerance = TOLERANCE[artifact.precision]
    parting, ties, pixels = 0.0, 0, 0
    chances: list[float] = []
    with closing(Decoder.of(artifact, usable_cores())) as decoder:
        for frame in frames:
            batch = np.stack([frame] * artifact.batch)
            expected, results = theirs(prepared(batch, foreign, normalisation))
            logits, made = ours(batch)
            if not np.isfinite(expected).all():
                raise ParityError(f"{foreign.name} itself gives logits that are no numbers; its weights are damaged")
            with np.errstate(invalid="ignore"):
                difference = share(logits, expected)
            if not difference <= tolerance:  # also true of NaN
                raise ParityError(
                    f"the adopted network's logits part from {foreign.name}'s by {difference:.1e} of their range; at most {tolerance:.0e} "
                    "is expected. Either its input is not what was told, or the network loses its digits by itself: rounding alone moves it"
                )
            parting = max(parting, difference)
            one = _Behind(artifact, ending, logits[0], theirs.behind(logits))
            labels = decoder.labels(logits[0])
            one.expect(labels, "the decode")
            if artifact.head == "cls":
                one.expect(made[0], "the head")
            if one.probable:
                chances.append(one.expect_near(decoder.probabilities(logits[0]), "the decode"))
                if artifact.head == "prob":
                    chances.append(one.expect_near(made[0], "the head"))
            bound = 2 * difference + _TIE if artifact.precision == "fp32" else tolerance
            ties += _differing(labels, results, logits[0], artifact, bound, f"{foreign.name} as it is")
            pixels += labels.size
    return Parity(len(frames), parting, tolerance, 1 - ties / pixels, ties, max(chances, default=None))


class _Behind:
    """What their head makes of our logits, and what ours must therefore make of them."""

    def __init__(self, artifact: Artifact, ending: Ending, logits: NDArray[Any], results: Results) -> None:
        self._artifact, self._logits, self._results = artifact, logits, results
        decided = results.kind not in ("labels", "scores")
        self.probable = not ending.before and (artifact.head == "prob" or decided)

    def expect(self, labels: NDArray[np.uint8], what: str) -> None:
        bound = _TIE if self._artifact.precision == "fp32" else TOLERANCE[self._artifact.precision]
        _differing(
            labels, self._results, self._logits, self._artifact, bound, f"the file's own head where {what} is ours"
        )

    def expect_near(self, probabilities: NDArray[np.float32], what: str) -> float:
        expected = self._results.probabilities(self._artifact.probability == "sigmoid")[0]
        error = float(np.abs(probabilities - expected).max())
        bound = HEAD + self._misplaced()
        if self._artifact.precision == "fp16":
            bound += HALF_ROUNDING * float(np.abs(self._logits).max())
        if not error <= bound:
            raise ParityError(
                f"the probabilities of {what} part by {error:.1e} from those of the file's own head for the same logits; at most "
                f"{bound:.0e} is expected"
            )
        return error

    def _misplaced(self) -> float:
        """What a Resize adds by itself, whose positions between pixels are float32: a last digit, times the steepest step."""
        steps = [float(np.abs(np.diff(self._logits.astype(np.float32), axis=axis)).max(initial=0)) for axis in (1, 2)]
        return _DIGIT * max(self._logits.shape[1:]) * max(steps)


def _differing(
    labels: NDArray[np.uint8],
    results: Results,
    logits: NDArray[Any],
    artifact: Artifact,
    bound: float,
    what: str,
) -> int:
    """Pixels whose label differs, all of them ties.

    Raises:
        ParityError: where one is none.
    """
    truth = results.labels()[0]
    differing = labels != truth
    if not differing.any():
        return 0
    untied = differing & clear(logits, labels.shape, bound, artifact.align_corners)
    if results.kind not in ("labels", "scores"):  # two classes can both be certain, and equal in float32
        values = results.probabilities(False)[0]
        own, best = (np.take_along_axis(values, one[None].astype(np.intp), 0)[0] for one in (labels, truth))
        untied &= np.abs(own - best) > HEAD
    if untied.any():
        raise ParityError(
            f"{int(untied.sum()):,} of {labels.size:,} pixels have another label than in {what}, although their two best classes lie "
            "further apart than rounding reaches"
        )
    return int(differing.sum())


@dataclass(frozen=True)
class Results:
    """What their head made, brought to (N, C, H, W) scores or (N, H, W) labels."""

    values: NDArray[Any]
    kind: str

    def labels(self) -> NDArray[np.uint8]:
        if self.kind == "labels":
            return self.values.astype(np.uint8)
        return np.stack([argmax(one) for one in self.values])

    def probabilities(self, sigmoid: bool) -> NDArray[np.float32]:
        """Theirs, or made of their scores; (N, C, H, W)."""
        if self.kind == "log-softmax":
            return np.exp(self.values)
        if self.kind != "scores":
            return self.values
        if sigmoid:
            return 1 / (1 + np.exp(-self.values))
        exponentials = np.exp(self.values - self.values.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def canonical(values: NDArray[Any], ending: Ending, kind: str, axes: str) -> Results:
    """What a result of a foreign graph holds, whatever the order of its axes."""
    values = values.reshape([side for side, letter in zip(values.shape, axes, strict=True) if letter != "1"])
    axes = axes.replace("1", "")
    for letter, at in (("N", 0), ("C", 1)):
        if letter not in axes and (letter == "N" or kind != "labels"):
            values, axes = np.expand_dims(values, 0), letter + axes
        if letter in axes:
            values = np.moveaxis(values, axes.index(letter), at)
            rest = axes.replace(letter, "")
            axes = rest[:at] + letter + rest[at:]
    if kind == "labels":
        return Results(values, kind)
    values = values.astype(np.float32)
    if ending.classes == 1:
        values = np.concatenate([1 - values if kind == "sigmoid" else np.zeros_like(values), values], axis=1)
    return Results(values, "softmax" if ending.classes == 1 and kind == "sigmoid" else kind)


def prepared(frames: NDArray[np.uint8], foreign: Foreign, normalisation: Normalisation) -> NDArray[Any]:
    """(N, H, W, 3) BGR → what the untouched graph takes."""
    planes = frames[..., ::-1] if normalisation.order == "rgb" else frames
    if foreign.input.dtype != "uint8":
        affine = normalisation.affine
        planes = planes * affine.gain.astype(np.float32) + affine.offset.astype(np.float32)
    if foreign.input.layout == "NCHW":
        planes = planes.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(planes, np.dtype(foreign.input.dtype))


class _Theirs:
    """The untouched graph, as far as the chosen result hangs on it, and its head alone."""

    def __init__(self, foreign: Foreign, still: Still, ending: Ending, artifact: Artifact) -> None:
        self._input, self._ending = foreign.input.name, ending
        self._size = (artifact.height, artifact.width)
        whole = onnx.ModelProto()
        whole.CopyFrom(foreign.model)
        wanted = [ending.logits, *([ending.output] if ending.upsampled else [])]
        told = {value.name: value.SerializeToString() for value in whole.graph.output}
        del whole.graph.output[:]
        for name in wanted:
            whole.graph.output.append(
                onnx.ValueInfoProto.FromString(told[name]) if name in told else onnx.ValueInfoProto(name=name)
            )
        keep(whole.graph, wanted)
        self._whole = open_session(whole.SerializeToString(), foreign.name, "cpu", usable_cores())
        head = _own_head(still, ending) if ending.upsampled else _usual_head(ending, artifact, self._size)
        self._head = open_session(head.SerializeToString(), f"the head of {foreign.name}", "cpu", usable_cores())

    def __call__(self, image: NDArray[Any]) -> tuple[NDArray[Any], Results]:
        """Logits as ours are, (N, C, h, w), and the file's own result."""
        logits, *result = self._whole.run(None, {self._input: image})
        if self._ending.layout == "NHWC":
            logits = logits.transpose(0, 3, 1, 2)
        if self._ending.classes == 1:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        if not result:
            return logits, self.behind(logits)
        return logits, canonical(result[0], self._ending, self._ending.kind, self._ending.axes)

    def behind(self, logits: NDArray[Any]) -> Results:
        """Their head's result for our logits; of one that gives labels, the scores that they are made of."""
        theirs = logits[:, 1:] if self._ending.classes == 1 else logits
        if self._ending.layout == "NHWC":
            theirs = theirs.transpose(0, 2, 3, 1)
        (values,) = self._head.run(None, {self._ending.logits: np.ascontiguousarray(theirs)})
        decided = self._ending.upsampled and self._ending.kind != "labels"
        kind, axes = (self._ending.kind, self._ending.axes) if decided else ("scores", self._ending.layout)
        return canonical(values, self._ending, kind, axes)


def _own_head(still: Still, ending: Ending) -> onnx.ModelProto:
    head = onnx.ModelProto()
    head.CopyFrom(still.model)
    graph = head.graph
    result = ending.scores if ending.kind == "labels" else ending.output
    kept = [copy(node) for node in graph.node if ending.logits not in node.output]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(kept)
    shape = tuple(ending.shape["NCHW".index(letter)] for letter in ending.layout)
    graph.input.append(value_info(ending.logits, ending.dtype, shape))
    graph.output.append(onnx.ValueInfoProto(name=result))
    keep(graph, [result])
    return head


def _usual_head(ending: Ending, artifact: Artifact, size: tuple[int, int]) -> onnx.ModelProto:
    """What users put behind logits that the graph does not upsample: a bilinear Resize."""
    builder = GraphBuilder(artifact.precision)
    full = {**dict(zip("NCHW", ending.shape, strict=True)), "H": size[0], "W": size[1]}
    result = builder.resize("scores", ending.logits, [full[letter] for letter in ending.layout], ending.align_corners)
    before = [ending.shape["NCHW".index(letter)] for letter in ending.layout]
    graph = helper.make_graph(
        builder.nodes,
        "head",
        [value_info(ending.logits, ending.dtype, before)],
        [onnx.ValueInfoProto(name=result)],
        builder.initializers,
    )
    return helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", builder.opset)])


class _Ours:
    """The adopted file as it stands, with its logits beside its result."""

    def __init__(self, model: onnx.ModelProto, artifact: Artifact) -> None:
        watched = onnx.ModelProto()
        watched.CopyFrom(model)
        self._names = list(dict.fromkeys([LOGITS, OUTPUTS[artifact.head]]))
        if artifact.head != "logits":
            kind = TensorProto.FLOAT16 if artifact.precision == "fp16" else TensorProto.FLOAT
            watched.graph.output.append(helper.make_tensor_value_info(LOGITS, kind, None))
        self._session = open_session(watched.SerializeToString(), "the adopted graph", "cpu", usable_cores())

    def __call__(self, batch: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any]]:
        found = self._session.run(self._names, {INPUT: batch})
        return found[0], found[-1]
