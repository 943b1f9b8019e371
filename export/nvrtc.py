"""NVRTC through ctypes: NVIDIA's compiler as a library, for machines that have no CUDA toolkit."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..runtime.errors import DeviceError

_Handle = ctypes.c_void_p


class Nvrtc:
    """One loaded library. Threads may share it.

    Raises:
        DeviceError: none can be found or loaded, or it is older than CUDA 11.1, the first that gives cubins.
    """

    def __init__(self) -> None:
        found = list(_places())
        failures = []
        for place in found:
            try:
                self._library = ctypes.CDLL(place)
                self._library.nvrtcGetCUBINSize  # noqa: B018 (an attribute that older libraries lack)
                break
            except (OSError, AttributeError) as error:
                failures.append(str(error))
        else:
            raise DeviceError(
                f"found {'; '.join(failures) if failures else 'no NVRTC library'}; expected libnvrtc of CUDA 11.1 or later. "
                "Install it: pip install nvidia-cuda-nvrtc, or nvidia-cuda-nvrtc-cu12 for devices with CUDA 12"
            )
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        self.version = f"NVRTC {major.value}.{minor.value}"

    def compile(self, name: str, files: Mapping[str, str], options: Sequence[str]) -> tuple[bytes, str]:
        """Compile the file `name`, which may include the others; gives the cubin and the compiler's log.

        Raises:
            DeviceError: the compiler refuses; the message is its log.
        """
        program = _Handle()
        headers = {key.encode(): text.encode() for key, text in files.items() if key != name}
        strings = ctypes.c_char_p * len(headers)
        self._check(
            self._library.nvrtcCreateProgram(
                ctypes.byref(program),
                files[name].encode(),
                name.encode(),
                len(headers),
                strings(*headers.values()),
                strings(*headers),
            )
        )
        try:
            listed = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
            status = self._library.nvrtcCompileProgram(program, len(options), listed)
            log = self._read(program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
            if status:
                raise DeviceError(log.strip() or self._error(status))
            return self._read(program, "CUBIN"), log
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _read(self, program: _Handle, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._check(getattr(self._library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
        buffer = ctypes.create_string_buffer(size.value)
        self._check(getattr(self._library, f"nvrtcGet{what}")(program, buffer))
        return buffer.raw

    def _check(self, status: int) -> None:
        if status:
            raise DeviceError(f"NVRTC failed: {self._error(status)}")

    def _error(self, status: int) -> str:
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
        return str(self._library.nvrtcGetErrorString(status).decode())


def _places() -> Iterator[str]:
    """Libraries to try: a pip package's, then the toolkit's, then the system's."""
    spec = importlib.util.find_spec("nvidia")  # a namespace that NVIDIA's packages share
    for root in (spec.submodule_search_locations or []) if spec else []:
        yield from map(str, sorted(Path(root).glob("*/lib/libnvrtc.so*"), reverse=True))
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if variable in os.environ:
            yield from map(str, sorted(Path(os.environ[variable]).glob("lib64/libnvrtc.so*"), reverse=True))
    system = ctypes.util.find_library("nvrtc")
    if system:
        yield system
