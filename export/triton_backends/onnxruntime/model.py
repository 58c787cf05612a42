"""A Triton backend named `onnxruntime`, for a Triton that has none: PyPI's server brings only its Python backend.

It loads the same ``model.onnx`` that NVIDIA's container runs with its own backend, and puts waiting requests together
into one batch."""

import json
import os

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils

from sdk.sessions import session_options

LARGEST = 8
"""Photos that are computed at once: on a CPU more take memory and save no time."""


class TritonPythonModel:
    """One ONNX file."""

    def initialize(self, args):
        config = json.loads(args["model_config"])
        path = os.path.join(args["model_repository"], args["model_version"], config["default_model_filename"])
        options = session_options(int(os.environ.get("FACEPARAM_THREADS", "1")))
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]

    def execute(self, requests):
        batches = [[pb_utils.get_input_tensor_by_name(r, name).as_numpy() for name in self.inputs] for r in requests]
        inputs = {name: np.concatenate(values) for name, values in zip(self.inputs, zip(*batches, strict=True), strict=True)}
        count = len(inputs[self.inputs[0]])
        runs = [
            self.session.run(self.outputs, {name: values[first : first + LARGEST] for name, values in inputs.items()})
            for first in range(0, count, LARGEST)
        ]
        outputs = [np.concatenate(values) for values in zip(*runs, strict=True)]
        edges = np.cumsum([len(batch[0]) for batch in batches])[:-1]
        parts = zip(*(np.split(values, edges) for values in outputs), strict=True)
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor(n, v) for n, v in zip(self.outputs, values, strict=True)])
            for values in parts
        ]
