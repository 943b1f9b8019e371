"""bfloat16 on a CPU: taken where the processor has it, and as good as float32."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fastscnn.model.training import Recipe, machine
from fastscnn.model.training.machine import Machine, multiplies_bfloat16, reduced_precision
from fastscnn.model.training.trainer import Trainer

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 avx512_vnni\n", True),
        ("flags\t\t: fpu avx512f amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd bf16 i8mm\n", True),
        ("flags\t\t: fpu avx2 bf16x avx512f\n", False),
        ("model name\t: none\n", False),
        (None, False),
    ],
)
def test_what_processors_tell(text: str | None, found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "cpuinfo")
    assert multiplies_bfloat16() is found


def test_each_device_takes_what_it_has(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    plain = Recipe("/x")
    wanted = replace(plain, bfloat16=True)
    monkeypatch.setattr(machine, "multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 9))
    assert [reduced_precision(r, CPU) for r in (plain, wanted)] == [None, torch.bfloat16]
    assert [reduced_precision(r, GPU) for r in (plain, wanted, replace(wanted, amp=False))] == [
        torch.float16, torch.bfloat16, None
    ]  # fmt: skip
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert reduced_precision(wanted, GPU) is torch.float16
    monkeypatch.setattr(machine, "multiplies_bfloat16", lambda: False)
    with caplog.at_level(logging.WARNING):
        assert reduced_precision(wanted, CPU) is None
    assert "does not multiply bfloat16" in caplog.text


def test_it_learns_as_float32_does(rectangles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "multiplies_bfloat16", lambda: True)  # any processor computes it, in its own time
    recipe = Recipe(
        str(rectangles), epochs=10, batch=3, crop=(96, 96), device="cpu", threads=1, optimizer="adamw", learning_rate=0.01,
        weight_decay=0, evaluate_every=10, scales=(1, 1), dropout=0, lovasz=0.5, ema=0.8,
    )  # fmt: skip
    last = []
    for bfloat16 in (False, True):
        trainer = Trainer(replace(recipe, bfloat16=bfloat16), tmp_path / str(bfloat16), Machine(CPU))
        last.append(trainer.run()[-1])
        assert all(p.dtype is torch.float32 for p in trainer.module.parameters())
    assert last[0]["loss"] != last[1]["loss"], "it was computed otherwise"
    assert last[1]["loss"] == pytest.approx(last[0]["loss"], rel=0.25)
    assert min(row["mean_iou"] for row in last) > 65
