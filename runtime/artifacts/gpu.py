"""Which GPUs this machine has, asked of the CUDA driver alone: no CUDA package is needed, and no context is made."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from ..errors import DeviceError

_LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


@dataclass(frozen=True)
class Gpu:
    """One device, as the driver numbers them."""

    name: str  # such as "Orin"
    target: str  # compute capability as compilers write it, such as "sm87"
    memory: int  # bytes; on a Jetson shared with the CPU


def gpus() -> list[Gpu]:
    """The devices that this process may use, at least one.

    Raises:
        DeviceError: no driver, a driver that does not start, or no device.
    """
    try:
        driver = ctypes.CDLL(_LIBRARY)
    except OSError:
        raise DeviceError(
            f"no CUDA driver: {_LIBRARY} is not installed. In a container, start it with the NVIDIA runtime (--gpus all)"
        ) from None
    count = ctypes.c_int()
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if code == _NO_DEVICE or (code == 0 and count.value == 0):
        raise DeviceError("the CUDA driver finds no GPU. Look at `nvidia-smi` and at CUDA_VISIBLE_DEVICES")
    if code:
        raise DeviceError(
            f"the CUDA driver does not start (error {code}). Look at `nvidia-smi`, or restart the machine"
        )
    return [_describe(driver, index) for index in range(count.value)]


def first() -> Gpu | None:
    """The device that engines are built and run on, or None on a machine without one."""
    try:
        return gpus()[0]
    except DeviceError:
        return None


def _describe(driver: ctypes.CDLL, index: int) -> Gpu:
    name = ctypes.create_string_buffer(256)
    memory = ctypes.c_size_t()
    major, minor = ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceGetName(name, len(name), index)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), index)
    driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, index)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, index)
    return Gpu(name.value.decode(errors="replace"), f"sm{major.value}{minor.value}", memory.value)
