"""`fastscnn-data init`, `recipe` and `example`: from what annotation tools write to a data set, and on to a training."""

from __future__ import annotations

import argparse
import logging
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ...runtime.artifacts.artifact import IGNORE
from ...runtime.artifacts.files import write_atomically
from ...runtime.commands import command
from ...runtime.errors import UsageError
from ..datasets import Sample, open_dataset
from ..labelled.orientation import read_turned
from . import drawn, mapping
from .assemble import Made, Options, assemble
from .recipe import fitted
from .recognise import FORMATS, recognised
from .source import Found, is_image

log = logging.getLogger(__name__)

_LOOKED_AT = 50  # pictures, for the usual size


def init(arguments: Sequence[str]) -> int:
    parser = command.parser(
        "fastscnn-data init",
        "Make a data set of this project's layout of what an annotation tool wrote. The source is not changed.",
    )
    parser.add_argument("source", type=Path, metavar="FOLDER", help="what the tool wrote, unpacked")
    parser.add_argument("-o", "--output", type=Path, default=Path("dataset"), metavar="FOLDER", help="the new data set")
    parser.add_argument("--format", choices=FORMATS, help="read it as this; default: what it looks like")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="where the pictures are, if not in the source")
    parser.add_argument(
        "--map",
        type=Path,
        metavar="YAML",
        help="lines `theirs: yours` that rename and merge classes; `ignore` and `nothing` drop",
    )
    parser.add_argument(
        "--rest", default="background", metavar="CLASS", help="what pixels in no polygon are: a class, or ignore"
    )
    parser.add_argument(
        "--val", type=_share, default=0.2, metavar="SHARE", help="of the pictures, where the source has no split"
    )
    parser.add_argument("--test", type=_share, default=0.0, metavar="SHARE", help="the same")
    parser.add_argument("--seed", type=command.whole, default=0, metavar="N", help="of the split")
    parser.add_argument("--resplit", action="store_true", help="leave the source's own split aside")
    parser.add_argument(
        "--exif",
        choices=("stored", "shown"),
        help="what labels of turned pictures were drawn on; default: what the tool is known to do, else refused",
    )
    parser.add_argument(
        "--levels",
        type=int,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="values of 16-bit pictures that become black and white",
    )
    parser.add_argument(
        "--skip", action="store_true", help="leave out pictures that cannot be taken, instead of stopping"
    )
    return command.run(parser, _init, arguments)


def _init(options: argparse.Namespace) -> None:
    if options.val + options.test >= 1:
        raise UsageError(
            f"--val {options.val:g} and --test {options.test:g} leave nothing to train on; expected less than 1 together"
        )
    if options.levels and options.levels[0] >= options.levels[1]:
        raise UsageError(f"--levels {options.levels[0]} {options.levels[1]} rise nowhere; expected LOW below HIGH")
    source, target = options.source.resolve(), options.output.resolve()
    if target.is_relative_to(source):
        raise UsageError(
            f"{options.output} lies in {options.source}, which is not to be changed; expected another place. Say it with -o"
        )
    found = recognised(options.source, options.images, options.format)
    if len(found.pictures) < 2:
        raise UsageError(
            f"{options.source} has {len(found.pictures)} labelled picture; expected 2 or more, to train and to score"
        )
    if not found.named and options.map is None:
        print(mapping.template(found))
    plan = mapping.plan(found, options.map, options.rest)
    _tell_unlabelled(found)
    made = assemble(
        found,
        plan,
        options.output,
        Options(
            (options.val, options.test), options.seed, options.resplit, options.exif,
            tuple(options.levels) if options.levels else None, options.skip,
        ),
    )  # fmt: skip
    print(_as_text(found, made, plan.rest, options.output))


def _tell_unlabelled(found: Found) -> None:
    """Pictures beside labelled ones that no label is for: sometimes a slip."""
    used = {path.resolve() for p in found.pictures for path in (p.image, p.label)}
    others = [
        path
        for folder in sorted({p.image.resolve().parent for p in found.pictures})
        for path in sorted(folder.iterdir())
        if is_image(path) and path.resolve() not in used
    ]
    if others:
        log.warning("%d pictures have no label and are left out, such as %s", len(others), others[0])


def _as_text(found: Found, made: Made, rest: str, target: Path) -> str:
    total = max(1, int(made.pixels.sum()))
    shares = [f"{name} {made.pixels[i] / total:.1%}" for i, name in enumerate(made.classes.classes)]
    shares += [f"ignored {made.pixels[IGNORE] / total:.1%}"] if made.pixels[IGNORE] else []
    sizes = ", ".join(f"{count} of {size}" for size, count in made.sizes.most_common(3))
    splits = ", ".join(f"{split} {count}" for split, count in made.splits.items())
    lines = [
        f"{found.kind}: {sum(made.splits.values())} pictures ({sizes})",
        f"  {', '.join(shares)}",
        f"  {splits}: {made.how}",
    ]
    if made.rest:
        became = "are ignored" if rest == "ignore" else f"are {rest}"
        lines.append(
            f"  {made.rest:.1%} of the pixels are in no polygon: they {became} (--rest CLASS or --rest ignore changes that)"
        )
    if made.upright:
        lines.append(f"  {made.upright} turned pictures are stored upright now")
    absent = [name for i, name in enumerate(made.classes.classes) if not made.pixels[i]]
    lines += [f"  no pixel of {', '.join(absent)}"] if absent else []
    place = shlex.quote(str(target))
    run = shlex.quote(str(Path("runs") / target.resolve().name / "best.safetensors"))
    usual = made.sizes.most_common(1)[0][0]
    res = "" if len(made.sizes) == 1 else f"--res {usual} "  # one size stands in the weights
    lines += [
        f"wrote {target}. Look at {target / 'preview.png'} first, then:",
        f"  fastscnn-data {place}",
        f"  fastscnn-train {shlex.quote(str(target / 'recipe.yaml'))}",
        f"  fastscnn-export --head cls {res}--checkpoint {run} -o {shlex.quote(target.resolve().name + '.onnx')}",
    ]
    return "\n".join(lines)


def recipe(arguments: Sequence[str]) -> int:
    parser = command.parser(
        "fastscnn-data recipe", "Print a recipe for fastscnn-train that fits a data set's pictures."
    )
    parser.add_argument("root", type=Path, metavar="FOLDER", help="a data set; see fastscnn-data")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="YAML", help="write it there; in the data set itself it needs no data="
    )
    return command.run(parser, _recipe, arguments)


def _recipe(options: argparse.Namespace) -> None:
    command.expect_folder(options.output)
    dataset = open_dataset(options.root, "train")
    every = max(1, len(dataset) // _LOOKED_AT)
    text = fitted(len(dataset), Counter(_size(sample) for sample in dataset.samples[::every]))
    if options.output:
        write_atomically(options.output, text.encode())
        print(options.output)
    else:
        print(text, end="")


def _size(sample: Sample) -> str:
    image, _ = read_turned(sample.image)
    return f"{image.shape[0]}x{image.shape[1]}"


def example(arguments: Sequence[str]) -> int:
    parser = command.parser(
        "fastscnn-data example",
        "Draw pictures of a field with crop and weeds, labelled as labelme does, to try everything with.",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("field"), metavar="FOLDER", help="where to")
    parser.add_argument(
        "--pictures", type=command.positive, default=40, metavar="N", help="how many, eight from a drive"
    )
    parser.add_argument("--res", type=command.resolution, default="240x320", metavar="HxW", help="of each")
    return command.run(parser, _example, arguments)


def _example(options: argparse.Namespace) -> None:
    drawn.write(options.output, options.pictures, options.res)
    print(f"{options.output}: {options.pictures} pictures, each with its labels beside it as JSON")


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share; expected a number from 0 up to, not including, 1")
    return value
