"""Small frames on pinned threads while the machine is this program's own, on free ones beside others."""

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from fastscnn.model.street import Street
from fastscnn.runtime.backends import beside
from fastscnn.runtime.backends.cores import usable_cores
from fastscnn.runtime.backends.openvino import OpenVinoBackend

pytest.importorskip("openvino")
pytestmark = pytest.mark.skipif(usable_cores() < 2, reason="one core")


def _pinning(request: object) -> bool:
    return bool(request.get_compiled_model().get_property("ENABLE_CPU_PINNING"))  # type: ignore[attr-defined]


def test_frames_beside_others_run_unpinned_and_are_the_same(
    exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = Street(256, 512, seed=3).frame(0)[0][None]
    with closing(OpenVinoBackend(exported("cls", (256, 512), classes="camvid"), threads=usable_cores())) as backend:
        assert _pinning(backend._request)
        assert backend._beside is not None
        monkeypatch.setattr(backend._beside, "_company", lambda: False)
        alone = backend.logits(frame)
        assert backend._beside._maker is None, "it is made where nobody needs it"
        monkeypatch.setattr(backend._beside, "_company", lambda: True)
        backend.logits(frame)  # does not wait for it
        assert backend._beside._maker is not None
        backend._beside._maker.join()
        request = backend._beside.now()
        assert not _pinning(request)
        monkeypatch.setattr(backend, "_request", None)  # which must not be asked now
        assert np.array_equal(backend.logits(frame), alone)


def test_what_cannot_be_made_is_done_without() -> None:
    def fails() -> None:
        raise RuntimeError("no memory")

    other = beside.Beside(fails)
    other._there, other._since = True, float("inf")
    assert other.now() is None
    other.close()
    assert other.now() is None


@pytest.mark.parametrize(("batch", "spare"), [(1, 1), (2, 0)])
def test_with_cores_to_spare_and_for_more_pixels_nothing_is_pinned(
    exported: Callable[..., Path], batch: int, spare: int
) -> None:
    path = exported("cls", (256, 512), classes="camvid", batch=batch)
    with closing(OpenVinoBackend(path, threads=usable_cores() - spare)) as backend:
        assert backend._beside is None
        assert not _pinning(backend._request)


def test_a_busy_program_is_seen_and_its_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    other = beside.Beside(lambda: "made")
    assert not other._company(), "nothing is known before the first half second"
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        deadline = time.monotonic() + 20
        while other.now() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert other.now() == "made"
    finally:
        burner.kill()
        burner.wait()
    monkeypatch.setattr(beside, "_GLANCE", 0.0)
    for cores in (0.01, None):  # None where nothing tells
        monkeypatch.setattr(beside.Busy, "cores", lambda self, cores=cores: cores)
        assert other.now() is None
    other.close()
