"""Triton's Python backend around a Segmenter."""

import json
import os

import numpy as np
import triton_python_backend_utils as triton

from fastscnn import FastSCNNError, Segmenter, ready_model


class TritonPythonModel:
    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        model = parameters["model"]["string_value"] or os.environ.get("FASTSCNN_MODEL") or ready_model()
        self.segmenter = Segmenter(model, parameters["device"]["string_value"])
        self.segmenter.warm_up()

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        frame = triton.get_input_tensor_by_name(request, "image").as_numpy()
        try:
            result = self.segmenter(frame)
        except FastSCNNError as error:
            return triton.InferenceResponse(error=triton.TritonError(str(error)))
        times, description = result.timings, json.dumps(result.artifact.to_metadata())
        outputs = {
            "labels": result.labels,
            "timings": np.array([times.prepare, times.forward, times.decode], np.float32),
            "description": np.frombuffer(description.encode(), np.uint8),  # class names, palette and the rest
        }
        wanted = request.requested_output_names()
        return triton.InferenceResponse([triton.Tensor(name, outputs[name]) for name in wanted])

    def finalize(self):
        self.segmenter.close()
