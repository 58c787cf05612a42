"""The model files as ONNX Runtime sessions, tuned for one photo at a time on a few CPU threads.

A session is made when it is first used, under a lock, and then shared by all threads: `run` of ONNX Runtime is
thread-safe.

ONNX Runtime's wheels (1.31 on Linux) report their use to Microsoft and keep a device id on disk. Here they do not: whose
face is solved, and when, is nobody's business. Set ``ORT_DISABLE_TELEMETRY=0`` to allow it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.contract import Model, Tensor
from sdk.errors import ModelContractError, ModelError

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # heeded only when it is set before the import
import onnxruntime as ort

_ONNX_TYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}


class Session:
    """One model file, loaded when first run and checked against its contract."""

    def __init__(self, model: Model, path: Path, threads: int) -> None:
        self._model = model
        self._path = path
        self._threads = threads
        self._lock = threading.Lock()
        self._session: ort.InferenceSession | None = None

    def load(self) -> ort.InferenceSession:
        """The session, made now if this is the first call.

        Raises:
            ModelContractError: the file is damaged, or its inputs and outputs are not the contract's.
        """
        if self._session is None:
            with self._lock:
                if self._session is None:
                    self._session = self._make()
        return self._session

    def run(self, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the model on a batch: its inputs are among `tensors`, by name. All outputs of the contract by name, batch axis
        first.

        Raises:
            ModelError: ONNX Runtime failed, or an output is not finite.
        """
        session = self.load()
        names = list(self._model.output_names)
        try:
            values = session.run(names, {name: tensors[name] for name in self._model.input_names})
        except Exception as error:  # ONNX Runtime's exceptions share no public base class
            raise ModelError(f"the model {self._model.name!r} ({self._path}) failed: {error}") from error
        for name, value in zip(names, values, strict=True):
            if not np.isfinite(value).all():
                raise ModelError(f"output {name!r} of the model {self._model.name!r} ({self._path}) is not finite")
        return dict(zip(names, values, strict=True))

    def _make(self) -> ort.InferenceSession:
        try:
            session = ort.InferenceSession(str(self._path), session_options(self._threads), providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelContractError(f"ONNX Runtime cannot load {str(self._path)!r}: {error}") from error
        for kind, tensors, nodes in (
            ("input", self._model.inputs, session.get_inputs()),
            ("output", self._model.outputs, session.get_outputs()),
        ):
            found = {node.name: node for node in nodes}
            for tensor in tensors:
                self._check(kind, tensor, found.get(tensor.name))
        return session

    def _check(self, kind: str, tensor: Tensor, node: Any) -> None:
        wanted = f"{kind} {tensor.name!r} of {tensor.dtype} [batch, {', '.join(map(str, tensor.shape))}]"
        if node is None:
            raise ModelContractError(f"{str(self._path)!r} has no {wanted}")
        shape = tuple(node.shape[1:])
        fits = len(shape) == len(tensor.shape) and all(
            size == wish or not isinstance(size, int) for size, wish in zip(shape, tensor.shape, strict=True)
        )
        if _ONNX_TYPES.get(node.type) != tensor.dtype or not fits:
            raise ModelContractError(f"{str(self._path)!r}: {wanted} expected, found {node.type} {node.shape}")


def session_options(threads: int) -> ort.SessionOptions:
    """One photo or batch at a time on so many threads, which sleep rather than spin while they wait."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # errors are raised, not printed
    # Idle threads sleep rather than spin: a game server has other work for its cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return options
