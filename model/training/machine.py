"""The devices and processes of a run, as torchrun or nobody set them up."""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from ...runtime.errors import DeviceError, UsageError
from .fate import Fate
from .recipe import Recipe

log = logging.getLogger(__name__)

_PATIENCE = timedelta(hours=2)  # while the first process validates
_BFLOAT16_SINCE = (8, 0)  # compute capability, Ampere
_CPUINFO = Path("/proc/cpuinfo")
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # of malloc.h


@dataclass(frozen=True)
class Machine:
    """This process's place among all of them."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def main(self) -> bool:
        return self.rank == 0

    def summed(self, values: torch.Tensor) -> torch.Tensor:
        """Over all processes; a copy."""
        total = values.detach().clone()
        if self.world > 1:
            distributed.all_reduce(total)
        return total

    def from_main(self, value: Any) -> Any:
        """The first process's value, in all of them."""
        if self.world > 1:
            holder = [value]
            distributed.broadcast_object_list(holder)
            value = holder[0]
        return value

    def gathered(self, names: Sequence[str]) -> list[str]:
        """Everybody's names; all processes must ask."""
        if self.world == 1:
            return list(names)
        lists: list[Any] = [None] * self.world
        distributed.all_gather_object(lists, list(names))
        return [name for part in lists for name in part]

    def wait(self) -> None:
        """Until every process is here."""
        if self.world > 1:
            distributed.barrier()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Whatever ends one process ends all, within seconds, and the one that it happened to tells why."""
        if self.world == 1:
            yield
            return
        fate = Fate(self.rank)
        try:
            yield
        except BaseException as error:
            fate.shared(error)
        finally:
            fate.close()
        distributed.destroy_process_group()


def enter(recipe: Recipe) -> Machine:
    """Choose the device and, under torchrun, join the process group.

    Raises:
        DeviceError: the recipe wants a GPU and there is none.
        UsageError: the batch does not divide among the processes.
    """
    has_gpu = torch.cuda.is_available()
    if recipe.device == "cuda" and not has_gpu:
        raise DeviceError("device is 'cuda', but PyTorch finds no GPU. Use device=cpu or device=auto")
    use_gpu = has_gpu and recipe.device != "cpu"
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    if not use_gpu:
        keep_freed_memory()
    world, rank = (int(os.environ.get(name, default)) for name, default in (("WORLD_SIZE", "1"), ("RANK", "0")))
    if recipe.batch % world or recipe.batch // world < 2:
        raise UsageError(
            f"batch is {recipe.batch} for {world} processes; expected a multiple of {world}, 2 or more for each"
        )
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if use_gpu and local >= torch.cuda.device_count():
        raise DeviceError(
            f"process {local} of this machine has no GPU of its own; PyTorch finds {torch.cuda.device_count()}. "
            "Start one process for each: torchrun --nproc-per-node"
        )
    device = torch.device("cuda", local) if use_gpu else torch.device("cpu")
    if use_gpu:
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
    if world > 1:
        distributed.init_process_group("nccl" if use_gpu else "gloo", timeout=_PATIENCE)
        if not use_gpu and rank == 0 and not recipe.freeze_norm:
            log.warning(
                "SyncBatchNorm exists on GPUs only: each of the %d processes normalises over its own images", world
            )
    return Machine(device, rank, world)


def reduced_precision(recipe: Recipe, device: torch.device) -> torch.dtype | None:
    """What the network computes in besides float32, as the recipe wants it and this device has it."""
    if device.type == "cuda":
        if not recipe.amp:
            return None
        has = torch.cuda.get_device_capability(device) >= _BFLOAT16_SINCE
        return torch.bfloat16 if recipe.bfloat16 and has else torch.float16
    if recipe.bfloat16 and not multiplies_bfloat16():
        log.warning("this processor does not multiply bfloat16: training in float32, which takes longer")
        return None
    return torch.bfloat16 if recipe.bfloat16 else None


def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for it (AVX512-BF16, AMX, Arm's BF16), without which it is slower than float32."""
    try:
        text = _CPUINFO.read_text()
    except OSError:  # not Linux
        return False
    lines = (line for line in text.splitlines() if line.startswith(("flags", "Features")))
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(next(lines, "").split()))


def keep_freed_memory() -> None:
    """Let malloc keep what is freed.

    glibc gives each activation's pages back to the kernel, which clears them anew at every layer of every step.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc
        return
    for option, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**28)):
        mallopt(option, value)
