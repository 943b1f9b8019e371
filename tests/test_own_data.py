"""The tutorial's commands, as printed, on fewer and smaller pictures."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2

ROOT = Path(__file__).parents[1]


def test_from_drawn_pictures_to_overlays(tmp_path: Path) -> None:
    (block,) = re.findall(r"```sh\n(fastscnn-data example.*?)```", (ROOT / "docs/own-data.md").read_text(), re.DOTALL)
    lines = [line.partition("#")[0].strip() for line in block.splitlines()]
    assert len(lines) == 6
    for line in lines:
        name, *words = shlex.split(line.replace("epochs=30", "epochs=2 warmup=0 evaluate_every=2 threads=1"))
        words += ["--pictures", "24", "--res", "96x128"] if words[0] == "example" else []
        done = subprocess.run(
            [Path(sys.executable).with_name(name), *words], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
    overlays = sorted((tmp_path / "overlays").glob("*.jpg"))  # beside them a legend
    assert len(overlays) == len(list((tmp_path / "yard" / "images" / "val").iterdir())) == 8
    assert cv2.imread(str(overlays[0])).shape == (96, 128, 3)
