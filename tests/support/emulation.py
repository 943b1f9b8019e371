"""What an emulated machine cannot tell."""

import os

import pytest

EMULATED = "FASTSCNN_EMULATED" in os.environ  # set by arm64.sh
in_time = pytest.mark.skipif(EMULATED, reason="its time limit is for processors, not for their emulation")
