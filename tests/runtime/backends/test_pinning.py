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
from fastscnn.runtime.backends import busy
from fastscnn.runtime.backends.cores import usable_cores
from fastscnn.runtime.backends.openvino import OpenVinoBackend

pytest.importorskip("openvino")
pytestmark = pytest.mark.skipif(usable_cores() < 2, reason="one core")


def _pinning(request: object) -> bool:
    return bool(request.get_compiled_model().get_property("ENABLE_CPU_PINNING"))  # type: ignore[attr-defined]


def test_each_frame_takes_the_copy_that_suits_the_machine(
    exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = Street(256, 512, seed=3).frame(0)[0]
    with closing(OpenVinoBackend(exported("cls", (256, 512), classes="camvid"), threads=usable_cores())) as backend:
        assert _pinning(backend._request_alone)
        assert not _pinning(backend._request)
        labels = []
        for there in (False, True):
            monkeypatch.setattr(busy.Company, "there", lambda self, there=there: there)
            other = "_request_alone" if there else "_request"
            monkeypatch.setattr(backend, other, None)  # the one that must not be asked
            labels.append(backend.labels(backend.logits(frame[None])[0]))
            monkeypatch.undo()
        assert np.array_equal(*labels)


@pytest.mark.parametrize(("batch", "spare"), [(1, 1), (2, 0)])
def test_with_cores_to_spare_and_for_more_pixels_nothing_is_pinned(
    exported: Callable[..., Path], batch: int, spare: int
) -> None:
    path = exported("cls", (256, 512), classes="camvid", batch=batch)
    with closing(OpenVinoBackend(path, threads=usable_cores() - spare)) as backend:
        assert backend._request is backend._request_alone
        assert not _pinning(backend._request)


def test_a_busy_program_is_seen_and_its_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    company = busy.Company()
    assert not company.there(), "nothing is known before the first half second"
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        deadline = time.monotonic() + 20
        while not company.there() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert company.there()
    finally:
        burner.kill()
        burner.wait()
    monkeypatch.setattr(busy.Busy, "cores", lambda self: 0.01)
    monkeypatch.setattr(busy, "_GLANCE", 0.0)
    assert not company.there()
    monkeypatch.setattr(busy.Busy, "cores", lambda self: None)  # where nothing tells
    assert not company.there()
