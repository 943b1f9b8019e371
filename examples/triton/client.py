"""The same Result from a Triton server as from a Segmenter in the program itself.

    tritonserver --model-repository=examples/triton/models
    python examples/triton/client.py street.jpg

Needs: pip install 'tritonclient[http]'
"""

import json
import sys

import cv2
import numpy as np
import tritonclient.http as triton

from fastscnn.runtime import Artifact, Result, Timings


class RemoteSegmenter:
    """Frames uint8 (H, W, 3) BGR go to a server; a Result comes back. Errors of the server are InferenceServerException."""

    def __init__(self, url: str = "localhost:8000", model: str = "fastscnn") -> None:
        self.client, self.model = triton.InferenceServerClient(url), model
        answer = self._ask(np.zeros((64, 64, 3), np.uint8), "description")
        self.artifact = Artifact.from_metadata(json.loads(answer.as_numpy("description").tobytes()), model)

    def __call__(self, frame: np.ndarray) -> Result:
        answer = self._ask(frame, "labels", "timings")
        times = Timings(*map(float, answer.as_numpy("timings")))
        labels = answer.as_numpy("labels")
        return Result(self.artifact, times, labels.shape, labels, None, None, None)

    def _ask(self, frame: np.ndarray, *outputs: str) -> triton.InferResult:
        image = triton.InferInput("image", list(frame.shape), "UINT8")
        image.set_data_from_numpy(np.ascontiguousarray(frame))
        return self.client.infer(self.model, [image], outputs=[triton.InferRequestedOutput(name) for name in outputs])


if __name__ == "__main__":
    segmenter = RemoteSegmenter(*sys.argv[2:])
    frame = cv2.imread(sys.argv[1])
    result = segmenter(frame)
    cv2.imwrite("remote.png", result.overlay(frame))
    print(f"remote.png: {', '.join(segmenter.artifact.classes)}; {result.timings.total:.1f} ms on the server")
