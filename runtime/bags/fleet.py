"""Many logs: one unit of work each, on this machine's processes or on Ray, and one manifest of all."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from .. import install
from ..artifacts.files import write_atomically
from ..backends.cores import usable_cores
from ..errors import DeviceError, FastSCNNError, OutputError
from ..text import first_line
from .label import digest, label_log
from .labeller import Labeller
from .options import Options
from .reading import find_logs

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
_TRIES = 3  # of a log whose worker was killed
Told = Callable[[str, dict[str, Any]], None]  # a log's name, and its entry


@dataclass(frozen=True)
class Work:
    """A folder of logs, and where their labels go."""

    logs: Path
    output: Path
    labeller: Labeller
    options: Options

    def names(self) -> list[str]:
        """Each log's path within the folder; results of an earlier run that lie inside it are no logs."""
        inside = self.output.resolve()
        found = [path for path in find_logs(self.logs) if inside not in (path.resolve(), *path.resolve().parents)]
        return [str(path.relative_to(self.logs)) for path in found]

    def do(self, name: str) -> dict[str, Any]:
        """One log; a failure is an entry, too, so that others go on."""
        target = self.output / Path(name).with_suffix("")
        try:
            entry = label_log(self.logs / name, target, self.labeller, self.options)
        except FastSCNNError as error:
            entry = {"error": str(error)}
        return {**entry, "source": name, "output": str(target.relative_to(self.output))}


def on_this_machine(work: Work, workers: int, tell: Told) -> dict[str, Any]:
    """Label all logs with so many processes; a log whose process was killed is begun again."""
    threads = work.labeller.threads or max(usable_cores() // workers, 1)
    work = _absolute(work, threads)
    waiting, entries, tries = work.names(), [], 0
    while waiting:
        tries += 1
        broken = False
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            futures = {pool.submit(work.do, name): name for name in waiting}
            for future in as_completed(futures):
                try:
                    entry = future.result()
                except BrokenProcessPool:
                    broken = True
                    continue
                entries.append(entry)
                waiting.remove(futures[future])
                tell(futures[future], entry)
        if broken and tries == _TRIES:
            raise OutputError(
                f"a worker was killed {_TRIES} times (out of memory?); {len(waiting)} of {len(futures)} logs are left. Use fewer "
                "workers, and run again: finished logs are kept"
            )
        if broken:
            log.warning("a worker was killed; %d logs are begun again", len(waiting))
    return _manifest(work, entries)


def on_ray(work: Work, address: str, tell: Told) -> dict[str, Any]:
    """The same by Ray Data, which begins the tasks of killed workers again. All machines must see the same files.

    Args:
        address: of a cluster; "local" starts Ray on this machine for as long as it takes.

    Raises:
        DeviceError: Ray is not installed, or the cluster does not answer.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise DeviceError(f"Ray cannot be imported ({error}). Install it with: {install.command('fleet')}") from None
    _join(ray, address)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        threads = work.labeller.threads or 1
        work = _absolute(work, threads)
        names = work.names()
        rows = ray.data.from_items([{"log": name} for name in names], override_num_blocks=len(names))
        done = rows.map(lambda row: {"entry": json.dumps(work.do(row["log"]))}, num_cpus=threads)
        entries = []
        for row in _rows(done):
            entries.append(json.loads(row["entry"]))
            tell(entries[-1]["source"], entries[-1])
    finally:
        ray.shutdown()
    return _manifest(work, entries)


def _join(ray: Any, address: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    for attempt in range(_TRIES):
        try:
            if address == "local":
                ray.init(include_dashboard=False, num_cpus=usable_cores(), **quiet)
            else:
                ray.init(address=address, **quiet)
            return
        except Exception as error:  # ConnectionError, and Ray's own
            ray.shutdown()
            if address == "local" and "timed out" in str(error) and attempt < _TRIES - 1:
                log.info("Ray did not start in time, as on a busy machine; once more")
                continue
            raise DeviceError(f"Ray at {address} cannot be used ({first_line(error)}). Look at `ray status`") from error


def _absolute(work: Work, threads: int) -> Work:
    """For processes that stand in other folders."""
    labeller = Labeller(Path(work.labeller.model).resolve(), work.labeller.device, threads)
    return Work(work.logs.resolve(), work.output.resolve(), labeller, work.options)


def _rows(dataset: Any) -> Iterator[dict[str, Any]]:
    try:
        yield from dataset.iter_rows()
    except Exception as error:  # what Ray gives up on, after its own retries
        raise OutputError(
            f"Ray gave up ({first_line(error)}). Finished logs are kept: mend the cause and run again"
        ) from error


def _manifest(work: Work, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """What was made of what, by hashes; the same whoever did the work."""
    whole = {
        "model_sha256": digest(Path(work.labeller.model)),
        "options": work.options.as_json(),
        "logs": sorted(entries, key=lambda entry: str(entry["source"])),
    }
    work.output.mkdir(parents=True, exist_ok=True)
    write_atomically(work.output / MANIFEST, (json.dumps(whole, indent=2, sort_keys=True) + "\n").encode())
    return whole
