"""Triton's `schema`: the text of ``schema.json``, so that any client can ask what the parameters are called."""

from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from sdk.models import SCHEMA_FILE


class TritonPythonModel:
    """Requests hold nothing."""

    def initialize(self, args):
        text = (Path(args["model_repository"]).parent / SCHEMA_FILE).read_bytes()
        self.text = np.array([text], object)

    def execute(self, requests):
        return [pb_utils.InferenceResponse([pb_utils.Tensor("schema", self.text)]) for _ in requests]
