"""The embedded client with its networks in eager torch, for `benchmarks.serving`.

Decoding, quality and the rest are the embedded client's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.torch_networks import served
from sdk import FaceParamClient, contract
from sdk.embedded import EmbeddedBackend
from sdk.models import find_models


class TorchBackend(EmbeddedBackend):
    """Each photo on one thread of torch; several photos at a time in threads, as with ONNX Runtime."""

    def __init__(self) -> None:
        super().__init__(find_models(), threads=1)
        torch.set_num_threads(1)
        self._networks = served()
        self._models = contract.models(self.schema)

    def wait_until_ready(self, seconds: float) -> None:
        """Nothing to do: the networks have been made."""

    def _run(self, name: str, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        model = self._models[name]
        inputs = [torch.from_numpy(np.ascontiguousarray(tensors[tensor]))[None] for tensor in model.input_names]
        with torch.inference_mode():
            values = self._networks[name](*inputs)
        return {output: value[0].numpy() for output, value in zip(model.output_names, values, strict=True)}


def torch_client() -> FaceParamClient:
    """A client of :class:`TorchBackend`."""
    return FaceParamClient.using(TorchBackend())
