"""`fastscnn-import`: somebody else's checkpoint becomes this project's, or a message that names what does not fit."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from ...runtime import install
from ...runtime.commands import command
from ...runtime.errors import ArtifactError, DeviceError, UsageError
from ..classes import CLASS_SETS, ClassSet, made_colours

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(
        "fastscnn-import",
        "Convert a checkpoint of Tramac's Fast-SCNN, MMSegmentation or PaddleSeg, exactly.",
        "fastscnn-import theirs.pth -o model.safetensors",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="weights (.pth, .pdparams); nothing in it is run")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("model.safetensors"), metavar="F", help="this project's checkpoint"
    )
    parser.add_argument(
        "--classes",
        metavar="SET",
        help=f"what the train ids mean: {', '.join(CLASS_SETS)}, or a data set's classes.yaml; "
        "default: what the file says, else the known set of that size",
    )
    parser.add_argument(
        "--ema", action="store_true", help="take the file's averaged weights (ema_state_dict) where it has both kinds"
    )
    return command.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    print(import_checkpoint(options.file, options.output, classes=options.classes, ema=options.ema))


def import_checkpoint(
    source: str | Path,
    output: str | Path = "model.safetensors",
    *,
    classes: str | Path | None = None,
    ema: bool = False,
) -> Path:
    """Recognise, convert, check and write; gives the written file's path.

    Args:
        source: a checkpoint of a known project.
        classes: name of a class set or path of a classes.yaml; None takes what the file says, else the known set of that
            size.
        ema: take `ema_state_dict`, where the file has it beside `state_dict`.

    Raises:
        ArtifactError: not a checkpoint, of an unknown network, with tensors missing, left over or of another shape; by name.
        UsageError: a class set that does not exist or does not fit, or one that is needed and not given.
        OutputError: the result cannot be written.
    """
    try:
        from .. import checkpoint
        from . import containers
        from .convert import converted
    except ImportError as error:
        raise DeviceError(
            f"importing needs torch and safetensors, and {error.name} cannot be imported. "
            f"Install: {install.command('export')}"
        ) from None
    path, target = Path(source), Path(output)
    if target.suffix != ".safetensors":
        raise UsageError(f"{target} does not end in .safetensors, by which a checkpoint of this project is known")
    command.expect_folder(target)
    content = containers.read(path, ema=ema)
    found = converted(path, content)
    log.info("%s", found)
    class_set = _class_set(path, found.network.classes, content.classes, content.palette, classes)
    variant = found.network.variant
    if variant.probability == "sigmoid":
        log.warning(
            "%s is trained with a sigmoid loss: arg-max labels are right, but a soft-max over the logits is not a calibrated "
            "probability. Exports with --head prob give each class's sigmoid; --probability softmax is for weights that "
            "you trained with another loss",
            found.source.project,
        )
    checkpoint.save(target, checkpoint.Checkpoint(found.network, class_set, variant.mean, variant.std))
    log.info("wrote %s: variant %s, classes of %s", target, variant.name, class_set.name)
    return target


def _class_set(
    path: Path,
    count: int,
    named: tuple[str, ...] | None,
    palette: tuple[tuple[int, int, int], ...] | None,
    given: str | Path | None,
) -> ClassSet:
    if given is not None:
        chosen = _chosen(given)
        if len(chosen) != count:
            raise UsageError(
                f"{path} has {count} classes, but {chosen.name} has {len(chosen)}. Choose the class set that it was trained on"
            )
        return chosen
    for known in CLASS_SETS.values():
        if named == known.classes or (named is None and len(known) == count):
            if named is None:
                log.warning("%s does not name its %d classes; taken for those of %s", path, count, known.name)
            return known
    if named is None:
        raise UsageError(
            f"{path} has {count} classes and does not name them; name them with --classes and a data set's classes.yaml"
        )
    if len(named) != count:
        raise ArtifactError(f"{path} names {len(named)} classes but has weights for {count}; it was edited or damaged")
    if palette is None:
        log.warning(
            "%s names its classes without colours: some were made; --classes and a classes.yaml give others", path
        )
    return ClassSet(path.stem, named, palette or made_colours(count))


def _chosen(given: str | Path) -> ClassSet:
    if str(given) in CLASS_SETS:
        return CLASS_SETS[str(given)]
    if Path(given).suffix in (".yaml", ".yml"):
        from ..datasets import read_classes

        return read_classes(Path(given))
    raise UsageError(
        f"class set {str(given)!r} is unknown; expected one of {', '.join(CLASS_SETS)}, or a classes.yaml."
        f"{command.did_you_mean(str(given), list(CLASS_SETS))}"
    )
