"""One log, labelled: the unit of work, done at once or not at all, and done only once."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..artifacts.files import there, unwritable
from ..artifacts.folders import PartialFolder
from ..errors import FastSCNNError, OutputError, UsageError
from ..text import first_line
from .labeller import Labeller
from .options import Options
from .reading import Bag
from .shares import Shares
from .writing import LabelledBag

ENTRY = "fastscnn.json"  # in each labelled log's folder: what it was made of, with hashes
PREFIX = "/segmentation"  # of the topics that are added, as the node has them
_AT_ONCE = 1 << 20  # bytes
Told = Callable[[int, int], None]  # messages read so far, and in all


def label_log(
    source: Path, target: Path, labeller: Labeller, options: Options, tell: Told = lambda done, total: None
) -> dict[str, Any]:
    """Label a recording into the folder `target`: the bag, `shares.csv`, `shares.png` and this entry as `fastscnn.json`.

    Where `target` holds the result of the same log, model and options, nothing is done.

    Returns:
        The entry of the manifest: names, hashes and counts; nothing of time or machine, so equal work gives equal entries.

    Raises:
        UsageError: `target` holds something else.
        SourceError: a recording that is damaged or has no pictures.
        OutputError: no space, no permission. Nothing is left behind.
    """
    task: dict[str, Any] = {
        "source": source.name,
        "source_sha256": digest(source),
        "model_sha256": digest(Path(labeller.model)),
    }
    task["options"] = options.as_json()
    if (entry := finished(target, task)) is not None:
        return entry
    with Bag(source) as bag, _explained(target), PartialFolder(target) as part:
        found = _labelled(bag, part.place, target.name, labeller, options, task, tell)
        files = {str(p.relative_to(part.place)): digest(p) for p in sorted(part.place.rglob("*")) if p.is_file()}
        entry = {**task, **found, "files": files}
        (part.place / ENTRY).write_text(json.dumps(entry, indent=2, sort_keys=True) + "\n")
        try:
            part.finish()
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if finished(target, task) is None:  # another process was as fast; its result is the same
                raise
    return entry


def finished(target: Path, task: dict[str, Any]) -> dict[str, Any] | None:
    """The entry of a result that is there and was made of the same; None where there is none.

    Raises:
        UsageError: something else is there.
    """
    if not there(target):
        return None
    try:
        entry: dict[str, Any] = json.loads((target / ENTRY).read_text())
        differs = [key for key in task if entry.get(key) != task[key]]
    except (OSError, ValueError, AttributeError):
        raise UsageError(f"{target} exists and is no labelled log; choose another place, or remove it") from None
    if differs:
        raise UsageError(
            f"{target} was made with another {' and '.join(key.removesuffix('_sha256') for key in differs)}; choose another "
            "place, or remove it"
        )
    return entry


def digest(path: Path) -> str:
    """sha256 of a file, or of a folder's files with their names."""
    total = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        if file != path:
            total.update(f"{file.relative_to(path)}\0{file.stat().st_size}\0".encode(errors="surrogateescape"))
        with file.open("rb") as opened:
            while part := opened.read(_AT_ONCE):
                total.update(part)
    return total.hexdigest()


def window(bag: Bag, options: Options) -> tuple[int, int | None]:
    """Log times in nanoseconds between which messages are taken."""
    start = bag.start + round(options.start * 1e9)
    return start, None if options.end is None else bag.start + round(options.end * 1e9)


def _labelled(
    bag: Bag, folder: Path, name: str, labeller: Labeller, options: Options, task: dict[str, Any], tell: Told
) -> dict[str, Any]:
    images = bag.image_topics(list(options.topics))
    wanted = {one.id for one in images}
    topics = sorted({one.topic for one in images})
    segmenter = labeller.segmenter
    artifact = segmenter.artifact
    about = {"classes": list(artifact.classes), "palette": [list(colour) for colour in artifact.palette], **task}
    bases = {topic: PREFIX if len(topics) == 1 else f"{PREFIX}{topic}" for topic in topics}
    shares, seen, kept = Shares(artifact), dict.fromkeys(topics, 0), 0
    with LabelledBag(folder, name, bag, artifact, about) as out:
        if not options.only_masks:
            for connection in bag.connections:
                out.declare(connection)
        only = images if options.only_masks else None
        for done, (connection, at, data) in enumerate(bag.read(only, *window(bag, options)), 1):
            if not options.only_masks:
                out.copy(connection, at, data)
                kept += 1
            if connection.id in wanted:
                seen[connection.topic] += 1
                if (seen[connection.topic] - 1) % options.every == 0:
                    header, frame = bag.picture(connection, data)
                    result = segmenter(frame)
                    base = bases[connection.topic]
                    out.mask(base, header, at, result.labels)
                    if options.overlay:
                        out.overlay(base, header, at, result.overlay(frame))
                    shares.count(connection.topic, header.stamp, result.labels)
            tell(done, bag.messages)
    (folder / "shares.csv").write_bytes(shares.csv())
    (folder / "shares.png").write_bytes(shares.png())
    counts = {"topics": topics, "messages_copied": kept, "images": sum(seen.values()), "masks": len(shares)}
    return {**counts, "class_share": shares.total()}


@contextmanager
def _explained(target: Path) -> Iterator[None]:
    """What goes wrong while writing, as one sentence; SQLite has errors of its own for a full disk."""
    try:
        yield
    except OSError as error:
        raise unwritable(target, error) from error
    except FastSCNNError:
        raise
    except Exception as error:
        if type(error).__module__.split(".")[0] in ("apsw", "sqlite3"):
            raise OutputError(
                f"{target} cannot be written ({first_line(error)}). Free some space or choose another place"
            ) from error
        raise
