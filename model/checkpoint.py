"""Weights on disk: safetensors with variant, class set and normalisation inside, or a plain PyTorch state dict.

Nothing in a file is ever executed: safetensors cannot, and pickles are read with `weights_only=True`.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
import warnings
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..runtime.artifacts.artifact import IGNORE, printable
from ..runtime.artifacts.files import whole, write_atomically
from ..runtime.errors import ArtifactError, UsageError
from ..runtime.text import shown
from . import pickles
from .classes import CLASS_SETS, ClassSet
from .network import FastSCNN
from .variant import PAPER, Variant

MEAN, STD = PAPER.mean, PAPER.std
SHIPPED = Path(__file__).parent / "weights" / "camvid.safetensors"  # README.md beside it says what they are
_TRAINING = "network."  # what WithAuxiliaryHeads, which only training has, puts before the network's own keys
BEST = "best.safetensors"  # in the folder of a training
_CLASSIFIER = "classifier.conv.weight"
MAXIMUM_BYTES = 4 << 30  # with an optimiser's state, a training of this network has 20 MB
EXPECTED = "a checkpoint (.safetensors, .pth)"


@dataclass(frozen=True)
class Checkpoint:
    """A network in evaluation mode and what its numbers mean."""

    network: FastSCNN
    classes: ClassSet
    mean: tuple[float, float, float] = MEAN  # RGB, of pixels scaled to 0-1
    std: tuple[float, float, float] = STD
    resolution: tuple[int, int] | None = None  # height, width that whole images were evaluated at; None: as they are
    digest: str = "random"  # sha256 of the file, or "random" where there was none
    balanced: tuple[
        float, ...
    ] = ()  # what was added to each class's bias for the sake of the mean IoU; empty: not known
    temperature: tuple[float, float] = (
        1.0,
        1.0,
    )  # that logits want to be divided by for probabilities: without, with that

    def network_for(self, head: str) -> FastSCNN:
        """The network whose logits are what a head wants: labels keep the balanced biases, probabilities leave them out.

        The temperature is in the last layer's weights then, so that no engine pays for it. A copy where anything changes.
        """
        probable = head == "prob"
        temperature = self.temperature[0 if probable else 1]
        if temperature == 1 and not (probable and self.balanced):
            return self.network
        network = copy.deepcopy(self.network)
        last = network.classifier.conv
        assert last.bias is not None
        with torch.no_grad():
            if probable and self.balanced:
                last.bias -= torch.tensor(self.balanced, device=last.bias.device)
            last.weight /= temperature
            last.bias /= temperature
        return network


def untrained(classes: ClassSet, seed: int = 0, variant: Variant = PAPER) -> Checkpoint:
    """Random weights: right in shape and speed, meaningless in labels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FastSCNN(len(classes), variant)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):  # as if trained: every channel on a scale and place of its own
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.normal_(module.bias, std=0.5)
            elif isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="linear")
    return Checkpoint(network.eval(), classes, variant.mean, variant.std)


def save(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write safetensors, atomically.

    Raises:
        OutputError: when the file cannot be written.
    """
    from safetensors.torch import save as serialised

    described: dict[str, Any] = {
        "class_set": checkpoint.classes.name,
        "classes": checkpoint.classes.classes,
        "palette": checkpoint.classes.palette,
        "mean": checkpoint.mean,
        "std": checkpoint.std,
        "resolution": checkpoint.resolution,
        "variant": {k: v for k, v in asdict(checkpoint.network.variant).items() if k not in ("mean", "std")},
    }
    if checkpoint.balanced or checkpoint.temperature != (1.0, 1.0):
        described |= {"balanced": checkpoint.balanced, "temperature": checkpoint.temperature}
    tensors = {name: tensor.contiguous() for name, tensor in checkpoint.network.state_dict().items()}
    write_atomically(path, serialised(tensors, {"fastscnn": json.dumps(described)}))


def load(path: str | Path, classes: ClassSet | None = None) -> Checkpoint:
    """Read a checkpoint that `save` or `torch.save(network.state_dict(), …)` wrote.

    Args:
        classes: what the train ids mean, for files that do not say so themselves; others must say the same.

    Raises:
        ArtifactError: no such file, not a checkpoint, missing or left-over keys, wrong shapes; each by name.
        UsageError: `classes` has another number or other names than the file, or is needed and not given.
    """
    path = Path(path)
    data, described, tensors = _read(path)
    if _CLASSIFIER not in tensors or tensors[_CLASSIFIER].ndim != 4:
        raise ArtifactError(
            f"{path} has no {_CLASSIFIER}; expected a checkpoint of this project's network. Convert others with fastscnn-import"
        )
    count = int(tensors[_CLASSIFIER].shape[0])
    if not 2 <= count <= IGNORE:  # before a network of that many is made
        raise ArtifactError(f"{path} has a classifier of {count:,} classes; expected 2 to {IGNORE}. It is damaged")
    classes = _class_set(path, described, count, classes)
    variant = _variant(path, described)
    network = FastSCNN(count, variant)
    _check_keys(path, network.state_dict(), tensors)
    network.load_state_dict(tensors)
    mean, std = (tuple(described.get(key, default)) for key, default in (("mean", MEAN), ("std", STD)))
    return Checkpoint(
        network.eval(),
        classes,
        mean,
        std,
        _resolution(path, described),
        hashlib.sha256(data).hexdigest(),
        *_calibration(path, described, count),
    )


def tensors_of(path: Path) -> dict[str, Tensor]:
    """A checkpoint's tensors by the network's own names, unchecked.

    Raises:
        ArtifactError: no such file, not a checkpoint, or one of another variant than the paper's.
    """
    _, described, tensors = _read(path)
    if (variant := _variant(path, described)).name != PAPER.name:
        raise ArtifactError(
            f"{path} holds weights of the variant {variant.name!r}; expected {PAPER.name!r}, which they would not fit"
        )
    return tensors


def _read(path: Path) -> tuple[bytes, dict[str, Any], dict[str, Tensor]]:
    data = whole(path, MAXIMUM_BYTES, EXPECTED)
    described, tensors = _tensors(path, data)
    if any(name.startswith(_TRAINING) for name in tensors):
        tensors = {n.removeprefix(_TRAINING): t for n, t in tensors.items() if n.startswith(_TRAINING)}
    return data, described, tensors


def _tensors(path: Path, data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load as parsed

        try:
            tensors = parsed(data)
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            return _described(path, json.loads(header.get("__metadata__", {}).get("fastscnn", "{}"))), tensors
        except (SafetensorError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
            raise ArtifactError(
                f"{path} is truncated or not safetensors ({shown(error):.300}); copy it again"
            ) from error
    content = unpickled(path, data, inert=True)
    expect_no_module(path, content)
    if isinstance(content, dict) and {"recipe", "module", "optimizer"} <= content.keys():
        raise ArtifactError(
            f"{path} is a training's state, from which fastscnn-train --resume goes on; expected weights. "
            f"Those of that training are in {path.with_name(BEST)}"
        )
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()
    ):
        raise ArtifactError(f"{path} holds a {type(content).__name__}; expected a state dict of tensors by name")
    return {}, content


def unpickled(path: Path, data: bytes | None = None, *, inert: bool = False) -> Any:
    """What `torch.save` wrote, without running any of it.

    Args:
        data: the file's bytes, where they have been read already.
        inert: take files that hold objects of other libraries, too, as `pickles.Inert`; else they are refused.

    Raises:
        ArtifactError: damaged, of another origin, or with objects in it that only code could make.
    """
    data = whole(path, MAXIMUM_BYTES, EXPECTED) if data is None else data
    try:
        _expect_stored(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch, about what is old or odd in the file
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever its parser meets
        if inert:
            with contextlib.suppress(Exception):  # then what PyTorch's reader said is told
                _expect_stored(data)
                return pickles.read(data)
        # The first sentence: after it PyTorch advises to load the file unsafely.
        reason = str(error).strip().splitlines()[0].split(". ")[0] if str(error).strip() else type(error).__name__
        raise ArtifactError(
            f"{path} is damaged, not a PyTorch checkpoint, or holds more than tensors ({shown(reason):.200}); "
            "expected a state dict, saved with torch.save(network.state_dict(), path)"
        ) from error


def expect_no_module(path: Path, content: Any) -> None:
    """Refuse what `torch.save(network, path)` writes, by its reason.

    Raises:
        ArtifactError: names the class that the file wants to have made.
    """
    held = content.values() if isinstance(content, dict) else [content]
    for value in held:
        weights = isinstance(value, dict) and any(isinstance(inner, Tensor) for inner in value.values())
        if weights or isinstance(value, Tensor):
            return
    module = next((v for v in held if isinstance(v, pickles.Inert) and v.name != pickles.Inert.name), None)
    if module is not None:
        raise ArtifactError(
            f"{path} holds a whole object of {shown(module.name)}, pickled by torch.save(network, path), which only its own code "
            "can make again; expected a state dict. Where it was made, write torch.save(network.state_dict(), path)"
        )


def _expect_stored(data: bytes) -> None:
    """Refuse archives that grow when they are unpacked; `torch.save` compresses nothing."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
    if any(e.compress_type != zipfile.ZIP_STORED for e in entries) or sum(e.file_size for e in entries) > len(data):
        raise ValueError("it would grow when it is unpacked, which no checkpoint does")


def _resolution(path: Path, described: dict[str, Any]) -> tuple[int, int] | None:
    found = described.get("resolution")
    if found is None:
        return None
    if not isinstance(found, list) or len(found) != 2 or not all(type(side) is int and side >= 64 for side in found):
        raise ArtifactError(f"{path} was trained at the resolution {found!r}; expected height and width. It was edited")
    return found[0], found[1]


def _calibration(path: Path, described: dict[str, Any], count: int) -> tuple[tuple[float, ...], tuple[float, float]]:
    """Balanced biases and temperatures; none for files that do not say."""
    balanced, temperature = described.get("balanced", []), described.get("temperature", [1.0, 1.0])
    sound = isinstance(balanced, list) and isinstance(temperature, list)
    sound = sound and len(balanced) in (0, count) and len(temperature) == 2
    sound = sound and all(isinstance(v, (int, float)) and abs(v) < 100 for v in [*balanced, *temperature])
    if not sound or not all(0.05 <= t <= 20 for t in temperature):
        raise ArtifactError(
            f"{path} has the temperature {temperature!r:.80} and balanced biases {balanced!r:.80}; expected two numbers from 0.05 to "
            f"20, and none or {count}. It was edited"
        )
    return tuple(map(float, balanced)), (float(temperature[0]), float(temperature[1]))


def _variant(path: Path, described: dict[str, Any]) -> Variant:
    """The paper's for files that do not say: they were written before there were others."""
    if "variant" not in described:
        return PAPER
    try:
        return Variant.of({**described["variant"], "mean": described["mean"], "std": described["std"]})
    except (TypeError, ValueError) as error:
        raise ArtifactError(
            f"{path} has a variant that cannot be built ({error}); it was edited, or written by a later version"
        ) from error


def _described(path: Path, fields: Any) -> dict[str, Any]:
    """The description inside a safetensors file, or nothing where there is none."""
    if fields == {}:
        return {}
    try:
        names, palette = fields["classes"], fields["palette"]
        numbers = [*fields["mean"], *fields["std"]]
        sound = len(palette) == len(names) and all(map(printable, [fields["class_set"], *names]))
        sound = sound and all(len(c) == 3 and all(type(v) is int and 0 <= v <= 255 for v in c) for c in palette)
        sound = sound and len(fields["mean"]) == 3 and len(numbers) == 6
        sound = sound and all(isinstance(v, (int, float)) and abs(v) < 1e3 for v in numbers) and min(numbers[3:]) > 1e-6
    except (KeyError, TypeError):
        sound = False
    if not sound:
        raise ArtifactError(
            f"{path} has a description that is incomplete or damaged; save it again with fastscnn.model.checkpoint.save"
        )
    return dict(fields)


def _class_set(path: Path, described: dict[str, Any], count: int, given: ClassSet | None) -> ClassSet:
    if given is not None:
        if len(given) != count:
            raise UsageError(
                f"{path} has {count} classes, but {given.name} has {len(given)}. Choose the class set that it was trained on"
            )
        named = tuple(described.get("classes", given.classes))
        if named != given.classes:
            ids = [i for i, (own, other) in enumerate(zip(named, given.classes, strict=True)) if own != other]
            raise UsageError(
                f"{path} was trained on {described['class_set']}, whose class {ids[0]} is {named[ids[0]]!r}, "
                f"but {given.name} has {given.classes[ids[0]]!r} there; expected the same classes in the same order"
            )
        return given
    if "classes" in described:
        palette = tuple(tuple(colour) for colour in described["palette"])
        if len(described["classes"]) != count:
            raise ArtifactError(
                f"{path} names {len(described['classes'])} classes but has weights for {count}; it was edited or damaged"
            )
        return ClassSet(described["class_set"], tuple(described["classes"]), palette)
    fitting = [known for known in CLASS_SETS.values() if len(known) == count]
    if not fitting:
        sizes = ", ".join(f"{known.name} ({len(known)})" for known in CLASS_SETS.values())
        raise UsageError(
            f"{path} has {count} classes and does not name them; the known sets are {sizes}. Save it with fastscnn.model.checkpoint.save"
        )
    return fitting[0]


def _check_keys(path: Path, expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    optional = {name for name in expected if name.endswith("num_batches_tracked")}
    for what, names in (
        ("misses", expected.keys() - found.keys() - optional),
        ("has, beyond the network,", found.keys() - expected.keys()),
    ):
        if names:
            listed = ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise ArtifactError(
                f"{path} {what} {listed}; expected this project's network. Convert weights of other projects with fastscnn-import"
            )
    for name in optional - found.keys():
        found[name] = expected[name]
    for name, tensor in expected.items():
        if tensor.shape != found[name].shape:
            raise ArtifactError(f"{path}: {name} has shape {tuple(found[name].shape)}; expected {tuple(tensor.shape)}")
        if not plain(found[name]) or not bool(found[name].isfinite().all()):
            raise ArtifactError(f"{path}: {name} holds numbers that are not finite and real; expected trained weights")


def plain(tensor: Tensor) -> bool:
    """Real numbers in memory: not complex, sparse, quantised, or without any content."""
    return (
        tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_quantized
        and not tensor.is_complex()
    )
