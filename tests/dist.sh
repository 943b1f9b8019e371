#!/usr/bin/env bash
# What `make dist` ends with: wheel and source, each installed in an empty environment without PyTorch, segment a picture.
# usage: tests/dist.sh PYTHON FOLDER-OF-BOTH
set -euo pipefail
python=$1 dist=$(realpath "$2") constraints=$(realpath constraints.txt)
empty=$(mktemp -d)
trap 'rm -rf "$empty"' EXIT
export XDG_CACHE_HOME=$empty/cache
"$python" -m venv "$empty/robot"
cd "$empty"
for package in "$dist"/*.whl "$dist"/*.tar.gz; do
    robot/bin/python -m pip --disable-pip-version-check install --quiet --force-reinstall --constraint "$constraints" "$package[cpu]"
    robot/bin/python -c "import cv2; from fastscnn.model import Street; cv2.imwrite('street.png', Street(540, 960).frame(0)[0])"
    robot/bin/fastscnn-segment street.png
    robot/bin/python -m fastscnn segment street.png --as labels
    robot/bin/python - <<'PROOF'
import importlib.util, cv2
labels = cv2.imread("street-labels.png", cv2.IMREAD_UNCHANGED)
assert importlib.util.find_spec("torch") is None and labels.shape == (540, 960) and len(set(labels.ravel())) >= 4
PROOF
    rm street*.png
    decode=$(robot/bin/python -c "from fastscnn.runtime.decode.decoder import described; print(described())")
    echo "$(basename "$package"): installed, and segments without PyTorch; decode: $decode"
done
# A machine without a compiler: the source package installs there, too.
CC=false robot/bin/python -m pip --disable-pip-version-check install --quiet --force-reinstall --no-deps --no-cache-dir "$dist"/*.tar.gz
robot/bin/python -c "from fastscnn.runtime.decode.decoder import described as d; assert d().startswith('NumPy'), d(); print('without a compiler:', d())"
