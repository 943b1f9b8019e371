"""What several processes know of each other's failures."""

import subprocess
import sys

import pytest
from torch import distributed

from fastscnn.model.training import fate
from fastscnn.runtime import SourceError

# A store whose answer comes late, as on a machine with more to do than it has cores; the wait is C++ without the interpreter.
LATE = """
import time
from datetime import timedelta
from torch import distributed
from fastscnn.model.training import fate

store = distributed.TCPStore("127.0.0.1", 0, 1, True)

class Late:
    def add(self, key, amount):
        try:
            store.wait(["never"], timedelta(milliseconds=400))
        except distributed.DistError:
            pass
        return 0

distributed.distributed_c10d._get_default_store = Late
fate._EVERY = 0.0
watch = fate.Fate(0)
time.sleep(0.1)
watch.close()
print("trained")
"""


def test_a_training_that_is_through_does_not_abort_as_it_exits() -> None:
    """PyTorch ends a process whose thread comes back from C++ while the interpreter ends: "terminate called without …"."""
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "trained\n"), done.stderr


def test_who_hears_of_a_failure_is_quiet_though_the_store_went_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process keeps the store: it ends once the others know, and not before."""
    store = distributed.TCPStore("127.0.0.1", 0, 1, True)
    gone = False

    class Store:
        def add(self, key: str, amount: int) -> int:
            if gone:
                raise distributed.DistNetworkError("connection reset by peer")
            return store.add(key, amount)

    monkeypatch.setattr(distributed.distributed_c10d, "_get_default_store", Store)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(fate, "_EVERY", 0.3)
    first, other = fate.Fate(0), fate.Fate(1)
    try:
        with pytest.raises(SourceError):
            first.shared(SourceError("3.png is no image"))
        gone = True
        with pytest.raises(SystemExit):
            other.shared(RuntimeError("gloo: connection closed by peer"))
    finally:
        first.close()
        other.close()
