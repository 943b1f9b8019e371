"""Runs where one parser is installed and nothing else: `parse.py KIND (MODEL INPUT.npy RESULT RESULT.npy)…`.

What fails is told on stderr, and leaves no result.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def onnxruntime(model: str, image: Any, _: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]


def openvino(model: str, image: Any, _: str) -> Any:
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled({"image": image})[0]


def opencv(model: str, image: Any, _: str) -> Any:
    import cv2

    network = cv2.dnn.readNetFromONNX(model)
    network.setInput(image)
    return network.forward()


def tract(model: str, image: Any, _: str) -> Any:
    import tract

    return tract.onnx().load(model).into_model().into_runnable().run([image])[0].to_numpy()


def mnn(model: str, image: Any, result: str) -> Any:
    import MNN

    converted = f"{model}.mnn"
    words = ["-f", "ONNX", "--modelFile", model, "--MNNModel", converted, "--bizCode", "MNN"]
    # The converter is a main program, which ends the process that calls it.
    code = f"import sys; sys.argv = ['mnnconvert', *{words!r}]; from MNN.tools import mnnconvert; mnnconvert.main()"
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    module = MNN.nn.load_module_from_file(converted, ["image"], [result])
    kind = MNN.expr.uint8 if image.dtype == np.uint8 else MNN.expr.float
    given = MNN.expr.placeholder(list(image.shape), MNN.expr.NCHW, kind)
    given.write(image)
    (found,) = module.forward([given])
    return MNN.expr.convert(found, MNN.expr.NCHW).read()


def ncnn(model: str, image: Any, _: str) -> Any:
    """Converted by pnnx, without its float16 weights; ncnn takes one image and no batch."""
    import ncnn

    # Its Python side wants PyTorch; the program beside it does not.
    (place,) = importlib.util.find_spec("pnnx").submodule_search_locations  # type: ignore[union-attr, misc]
    program = Path(place) / "pnnx"
    program.chmod(0o755)
    own = shutil.copy(
        model, Path(model).with_name("model.onnx")
    )  # it writes other names than the file's where that has hyphens
    shape = f"inputshape=[{','.join(map(str, image.shape))}]{'u8' if image.dtype == np.uint8 else ''}"
    done = subprocess.run([program, own, shape, "fp16=0"], capture_output=True, text=True, cwd=Path(model).parent)
    stem = str(Path(own).with_suffix(""))
    network = ncnn.Net()
    network.opt.use_fp16_storage = network.opt.use_fp16_packed = network.opt.use_fp16_arithmetic = False
    if network.load_param(f"{stem}.ncnn.param") or network.load_model(f"{stem}.ncnn.bin"):
        unknown = [line for line in done.stderr.splitlines() + done.stdout.splitlines() if "ignore" in line]
        raise SystemExit(f"ncnn does not load what pnnx wrote{': ' * bool(unknown)}{', '.join(unknown[:2])}")
    extractor = network.create_extractor()
    extractor.input("in0", ncnn.Mat(image[0]).clone())
    code, found = extractor.extract("out0")
    if code:
        raise SystemExit(f"ncnn ends with code {code}")
    return np.array(found)[None]


PARSERS: dict[str, Callable[[str, Any, str], Any]] = {
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "opencv": opencv,
    "tract": tract,
    "mnn": mnn,
    "ncnn": ncnn,
}


def main(kind: str, *words: str) -> None:
    for model, image, result, target in zip(*(words[start::4] for start in range(4)), strict=True):
        try:
            np.save(target, PARSERS[kind](model, np.load(image), result))
        except (Exception, SystemExit) as error:  # each parser has its own
            lines = [line for line in str(error).splitlines() if line.strip(" >\t")] or [type(error).__name__]
            print(f"{target}: {lines[-1 if kind == 'opencv' else 0].strip(' >')[:200]}", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
