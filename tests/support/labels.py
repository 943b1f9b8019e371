"""Do two machines give the same labels? Each writes its own, then they are laid side by side.

python tests/support/labels.py ours.npz MODEL…       on each machine
python tests/support/labels.py --compare ours.npz theirs.npz
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import numpy as np

# Share of labels that may differ. In float32 nothing is left to chance but ties; OpenCV's resize rounds otherwise on ARM, by one
# grey level on some 15% of bytes; FP16 is computed in FP16 there; of INT8 single steps fall the other way, as between engines.
BOUNDS = {"fp32": 1e-4, "fp16": 3e-3, "int8": 1.5e-2}
RESIZED = 5e-3  # at least, where frames are resized


def write(target: Path, models: list[Path]) -> None:
    from fastscnn.runtime import DeviceError, ParityError, Segmenter
    from fastscnn.runtime.backends import trial
    from fastscnn.runtime.backends.openvino import installed

    os.environ.pop("FASTSCNN_DEVICE", None)
    found: dict[str, np.ndarray] = {}
    for path in models:
        for device in ("cpu", "openvino") if installed() else ("cpu",):
            try:
                opened = Segmenter(path, device, threads=2)
            except (DeviceError, ParityError) as error:  # refused here: told, and not compared
                print(f"{path.name}: {error}")
                continue
            with opened as segmenter:
                a = segmenter.artifact
                for kind, size in (("as is", (a.height, a.width)), ("resized", (a.height * 3 // 4, a.width * 5 // 4))):
                    labels = [segmenter(trial.scene(*size, seed)).labels for seed in range(3)]
                    found[f"{path.stem} | {a.precision} | {device} | {kind}"] = np.stack(labels)
    np.savez_compressed(target, machine=platform.machine(), **found)


def compare(ours: Path, theirs: Path) -> bool:
    with np.load(ours) as one, np.load(theirs) as other:
        names = [name for name in one.files if name != "machine" and name in other.files]
        assert any(" | cpu | " in name for name in names), "nothing that both have run"
        print(
            f"| model | precision | device | frames | labels of {one['machine']} and {other['machine']} that differ |"
        )
        print("|---|---|---|---|---:|")
        sound = True
        for name in names:
            precision, kind = name.split(" | ")[1], name.split(" | ")[3]
            share = float(np.mean(one[name] != other[name]))
            most = max(BOUNDS[precision], RESIZED if kind == "resized" else 0)
            beside = name.replace(" | openvino | ", " | cpu | ")
            if (
                precision == "int8"
            ):  # OpenVINO has its own arithmetic on each machine, as far apart as two engines on one
                most = max(most, float(np.mean(one[name] != one[beside])))
            sound &= share <= most
            print(f"| {name} | {share:.4%}{'' if share <= most else f' (at most {most:.2%} expected)'} |")
        return sound


if __name__ == "__main__":
    if sys.argv[1] == "--compare":
        raise SystemExit(0 if compare(*map(Path, sys.argv[2:])) else 1)
    write(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
