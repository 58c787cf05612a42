"""A Triton backend named `tensorrt`, for a Triton that has none: PyPI's server brings only its Python backend.

It runs the same ``model.plan`` that NVIDIA's container runs with its own backend, on the packages `tensorrt` and `cuda-python`
of the environment that started the server, and puts waiting requests together into one batch."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

# Behind this environment's own packages, so that NumPy stays the one that Triton's Python backend needs.
sys.path.extend(filter(None, os.environ.get("FACEPARAM_TENSORRT_PATH", "").split(os.pathsep)))

from export.plan import Plan


class TritonPythonModel:
    """One plan."""

    def initialize(self, args):
        config = json.loads(args["model_config"])
        path = Path(args["model_repository"], args["model_version"], config["default_model_filename"])
        self.plan = Plan(path)
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]

    def execute(self, requests):
        batches = [[pb_utils.get_input_tensor_by_name(r, name).as_numpy() for name in self.inputs] for r in requests]
        inputs = {name: np.concatenate(values) for name, values in zip(self.inputs, zip(*batches, strict=True), strict=True)}
        outputs = self.plan.run(inputs, self.outputs)
        edges = np.cumsum([len(batch[0]) for batch in batches])[:-1]
        parts = zip(*(np.split(outputs[name], edges) for name in self.outputs), strict=True)
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor(n, v) for n, v in zip(self.outputs, values, strict=True)])
            for values in parts
        ]

    def finalize(self):
        self.plan.close()
