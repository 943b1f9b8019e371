"""Several processes that end together: the first that fails tells the others through the group's store, and says why once."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

from torch import distributed

from ...runtime.errors import FAILED, FastSCNNError, TrainingError

log = logging.getLogger(__name__)

_FAILURES = "fastscnn/failures"  # how many processes have failed
_HEARD = "fastscnn/heard"  # how many but the first know of it
_EVERY = 2.0  # seconds between two looks
_GRACE = 10.0  # seconds in which a process that hears of it may end by itself, before it is ended
_ERROR_FILE = "TORCHELASTIC_ERROR_FILE"  # where torchrun wants the reason, which it prints last


class Fate:
    """Looks every two seconds whether another process has failed; one that waits for it in NCCL would wait for hours."""

    def __init__(self, rank: int) -> None:
        self._rank = rank
        self._store = distributed.distributed_c10d._get_default_store()
        self._store.add(_FAILURES, 0)
        self._heard, self._hearing = False, threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="fastscnn-fate", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._done.set()
        self._thread.join(_GRACE)  # one that still asks the store while the interpreter ends aborts the process

    def shared(self, error: BaseException) -> NoReturn:
        """Raise `error` where it is the first of all; end quietly where it only follows from another's."""
        first = not self._heard
        with contextlib.suppress(Exception):  # the store lives in the first process, which may be gone
            first = self._store.add(_FAILURES, 1) == 1
            self._hear()
            if self._rank == 0 and not (first and _of_the_group(error)):  # then some are gone, and hear of nothing
                self._wait_until_heard()
        if not first:
            raise SystemExit(FAILED)
        if _of_the_group(error):
            error = TrainingError(
                "another process of this run ended without a word, and this one cannot go on alone; expected all of them. Look "
                "into its machine's log (out of memory, for one), then go on with --resume"
            )
        self._leave_word(error)
        raise error

    def _hear(self) -> None:
        with self._hearing:
            if not self._heard and self._rank:
                self._store.add(_HEARD, 1)
            self._heard = True

    def _wait_until_heard(self) -> None:
        """Or the others would find no store, and take it for a process that ended without a word."""
        until = time.monotonic() + 2 * _EVERY + 1
        while self._store.add(_HEARD, 0) < distributed.get_world_size() - 1 and time.monotonic() < until:
            time.sleep(0.05)

    def _leave_word(self, error: BaseException) -> None:
        """For torchrun, whose own report would else be the last that one sees, and says nothing."""
        place = os.environ.get(_ERROR_FILE)
        if not place or not isinstance(error, FastSCNNError) or "--debug" in sys.argv:
            return
        said = f"fastscnn-train: {error}"
        report = {"message": {"message": said, "extraInfo": {"py_callstack": said, "timestamp": str(int(time.time()))}}}
        try:
            Path(place).write_text(json.dumps(report))
        except OSError:
            return
        raise SystemExit(error.exit_code)

    def _watch(self) -> None:
        while not self._done.wait(_EVERY):
            try:
                failed = self._store.add(_FAILURES, 0) > 0
                if failed:
                    self._hear()
            except Exception:  # the store's process is gone, and with it the run
                failed = True
            if failed and not self._done.wait(_GRACE):
                os._exit(FAILED)  # the main thread may be in a collective that never returns


def _of_the_group(error: BaseException) -> bool:
    """Whether it only says that another process does not answer."""
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in ("gloo", "onnection", "NCCL"))
    )
