"""Why an engine does not fit: each reason in words."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastscnn.runtime import Artifact, DeviceError, UsageError, engine_fit, onnx_file, tensorrt_binding
from fastscnn.runtime.gpu import Gpu, first, gpus

from .test_engine_file import describe

ORIN = Gpu("Orin", "sm87", 8 << 30)
