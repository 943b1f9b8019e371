"""The compiled kernels of an engine's description, loaded for the GPU that is here."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...artifacts.engine_file import EngineDescription
from ...decode import kernels
from ...decode.kernels import Launch
from .context import Context


def binary(description: EngineDescription, target: str) -> bytes | str:
    """The cubin for a GPU such as "sm87", or in words why there is none that these launches would fit."""
    held = description.kernels
    if held is None:
        return "the engine's description holds no kernels"
    if held.digest != kernels.digest():
        return "the engine's kernels are those of another version of this program"
    if target not in held.binaries:
        return f"the engine's kernels are for {', '.join(held.binaries) or 'nothing'}, not {target}"
    return held.binaries[target]


class Module:
    """A loaded cubin; made, used and dropped with the context current."""

    def __init__(self, context: Context, cubin: bytes) -> None:
        self._module: Any = context.cuda.module_from_buffer(cubin)
        self._functions: dict[str, Any] = {}

    def launch(self, launch: Launch, pointers: tuple[int, ...], stream: Any) -> None:
        """Put one launch into the stream; `pointers` are device addresses."""
        function = self._functions.get(launch.entry)
        if function is None:
            function = self._functions[launch.entry] = self._module.get_function(launch.entry)
        function(*map(np.uintp, pointers), *launch.numbers, grid=launch.grid, block=launch.block, stream=stream)

    def close(self) -> None:
        self._functions.clear()
        self._module = None
