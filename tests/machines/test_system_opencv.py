"""An OpenCV that came with the system, as on JetPack and Debian: pip knows nothing of it, and it serves; see docs/machines.md."""

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import util
from pathlib import Path

import cv2
import numpy as np
import pytest
import recorded

ROOT = Path(__file__).parents[2]


def packages() -> Iterator[Path]:
    """What this environment has, but for pip's word of OpenCV, this project and what a robot has not."""
    for module in ("numpy", "cv2", "onnxruntime"):
        spec = util.find_spec(module)
        assert spec is not None and spec.origin is not None
        for place in Path(spec.origin).parents[1].iterdir():
            if not place.name.lower().startswith(
                ("opencv_python-", "fastscnn", "__editable__", "torch", "onnx-", "_virtualenv")
            ):
                yield place


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment of docs/machines.md; gives its folder of programs."""
    pytest.importorskip("pip")
    folder = tmp_path_factory.mktemp("system")
    system = folder / "dist-packages"
    system.mkdir()
    for place in packages():
        if not (system / place.name).exists():
            (system / place.name).symlink_to(place)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    programs: Path = folder / "venv" / "bin"
    told = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([programs / "python", "-c", told], capture_output=True, text=True, check=True).stdout.strip()
    (Path(site) / "system.pth").write_text(str(system))
    install = ["install", "--quiet", "--no-deps", "--disable-pip-version-check", str(ROOT)]
    subprocess.run([sys.executable, "-m", "pip", "--python", programs / "python", *install], check=True, timeout=300)
    return programs


def test_it_segments_and_the_doctor_is_content(robot: Path, tmp_path: Path) -> None:
    model = recorded.unpacked(tmp_path)["cls_256x512_camvid.onnx"]
    cv2.imwrite(str(tmp_path / "in.png"), np.zeros((256, 512, 3), np.uint8))
    done = subprocess.run(
        [robot / "fastscnn-segment", "in.png", "-m", model, "-o", "out.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    done = subprocess.run([robot / "fastscnn-doctor", "--json"], cwd=tmp_path, capture_output=True, text=True)
    found = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert "dist-packages" in found["OpenCV"]["found"]
    assert {found[name]["status"] for name in ("OpenCV", "fastscnn", "commands")} == {"ok"}, found
    known = "from importlib import metadata; print([d.name for d in metadata.distributions() if 'opencv' in d.name])"
    done = subprocess.run([robot / "python", "-c", known], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "[]\n", "pip's OpenCV came along"
