"""Print an interpreter of a version of Python that this machine has: on PATH, or one that pyenv keeps.

python tests/support/pythons.py 3.10
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path


def find(version: str) -> str | None:
    """The path of one, which has been started; None where there is none."""
    candidates = [shutil.which(f"python{version}")]
    if pyenv := shutil.which("pyenv"):
        root = subprocess.run([pyenv, "root"], capture_output=True, text=True).stdout.strip()
        candidates += map(str, sorted(Path(root).glob(f"versions/{version}.*/bin/python")))
    for place in filter(None, candidates):
        told = subprocess.run([place, "--version"], capture_output=True, text=True)
        if told.returncode == 0 and told.stdout.startswith(f"Python {version}."):
            return str(place)
    return None


if __name__ == "__main__":
    found = find(sys.argv[1])
    if found is None:
        raise SystemExit(f"no Python {sys.argv[1]} on this machine, neither on PATH nor with pyenv")
    print(found)
