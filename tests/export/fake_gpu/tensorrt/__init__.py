"""A stand-in for TensorRT, as far as export/ uses it: a "plan" is the ONNX file, and ONNX Runtime runs it on the CPU.

The environment variable FAKE_TENSORRT makes it misbehave: "refuse" (the parser), "fail" (the builder), "die" (the process),
"fp32" (an engine that is not in FP16), "wrong" (an engine that gives other answers)."""

import ctypes
import json
import os
import signal
from enum import IntEnum
from types import SimpleNamespace

import numpy as np

__version__ = "11.0.0"
MODE = os.environ.get("FAKE_TENSORRT", "")
HEAVY = {"Conv": "CONVOLUTION", "Gemm": "MATRIX_MULTIPLY", "MatMul": "MATRIX_MULTIPLY"}

NetworkDefinitionCreationFlag = IntEnum("NetworkDefinitionCreationFlag", ["STRONGLY_TYPED"], start=0)
BuilderFlag = IntEnum("BuilderFlag", ["TF32"])
ProfilingVerbosity = IntEnum("ProfilingVerbosity", ["DETAILED"])
LayerInformationFormat = IntEnum("LayerInformationFormat", ["JSON"])
TensorIOMode = IntEnum("TensorIOMode", ["INPUT", "OUTPUT"])


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = range(3)


class Logger(ILogger):
    def __init__(self, severity: int) -> None:
        pass


class IProgressMonitor:
    pass


class Network:
    """The parsed file: inputs, and the heavy layers with their types."""

    def __init__(self) -> None:
        self.file, self.inputs, self.layers = b"", [], []

    num_inputs = property(lambda self: len(self.inputs))
    num_layers = property(lambda self: len(self.layers))

    def get_input(self, i: int) -> SimpleNamespace:
        return self.inputs[i]

    def get_layer(self, i: int) -> SimpleNamespace:
        return self.layers[i]


class OnnxParser:
    def __init__(self, network: Network, logger: ILogger) -> None:
        self.network, self.num_errors = network, int(MODE == "refuse")

    def parse_from_file(self, path: str) -> bool:
        import onnx

        from export.onnx_files import half_layers

        model = onnx.load(path)
        half = set(half_layers(model))
        self.network.file = model.SerializeToString()
        for value in model.graph.input:
            shape = tuple(d.dim_value or -1 for d in value.type.tensor_type.shape.dim)
            self.network.inputs.append(SimpleNamespace(name=value.name, shape=shape))
        for node in model.graph.node:
            if node.op_type in HEAVY:
                kind = SimpleNamespace(name="HALF" if node.name in half else "FLOAT")
                layer = SimpleNamespace(
                    name=node.name, type=SimpleNamespace(name=HEAVY[node.op_type]), get_output_type=lambda _, kind=kind: kind
                )
                self.network.layers.append(layer)
        return MODE != "refuse"

    def get_error(self, i: int) -> SimpleNamespace:
        return SimpleNamespace(node_name=lambda: "network/Odd_7", node_operator=lambda: "Odd", desc=lambda: "unknown operator")


class Config:
    def __init__(self) -> None:
        self.profiles, self.flags_cleared = [], []
        self.cache = SimpleNamespace(serialize=lambda: b"timings")

    def add_optimization_profile(self, profile: "Profile") -> None:
        self.profiles.append(profile)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags_cleared.append(flag)

    def create_timing_cache(self, known: bytes) -> bytes:
        return known

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        return True

    def get_timing_cache(self) -> SimpleNamespace:
        return self.cache


class Profile:
    def __init__(self) -> None:
        self.shapes = {}

    def set_shape(self, name: str, low: tuple, usual: tuple, high: tuple) -> None:
        self.shapes[name] = (low, usual, high)


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self.logger = logger

    def create_network(self, flags: int) -> Network:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return Network()

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        if MODE == "die":
            os.kill(os.getpid(), signal.SIGABRT)
        if MODE == "fail":
            self.logger.log(ILogger.ERROR, f"no tactic for {network.layers[0].name} (myelin)")
            return None
        config.progress_monitor.phase_start("Tactics", None, 2)
        assert config.progress_monitor.step_complete("Tactics", 0)
        config.progress_monitor.phase_finish("Tactics")
        assert BuilderFlag.TF32 in config.flags_cleared
        layers = [
            {"Name": f"__myl_{i}", "Metadata": f"[ONNX Layer: {layer.name}]", "Outputs": [{"Format/Datatype": _type_word(layer)}]}
            for i, layer in enumerate(network.layers)
        ]
        head = {"shapes": config.profiles[0].shapes, "layers": layers}
        return json.dumps(head).encode() + b"\n" + network.file


def _type_word(layer: SimpleNamespace) -> str:
    half = layer.get_output_type(0).name == "HALF" and MODE != "fp32"
    return "Half" if half else "Float"


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        pass

    def deserialize_cuda_engine(self, plan: bytes) -> "Engine":
        return Engine(plan)


class Engine:
    def __init__(self, plan: bytes) -> None:
        import onnxruntime

        head, _, file = plan.partition(b"\n")
        self.head = json.loads(head)
        self.session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        self.io = {v.name: v for v in (*self.session.get_inputs(), *self.session.get_outputs())}
        self.num_io_tensors = len(self.io)

    def get_tensor_name(self, i: int) -> str:
        return list(self.io)[i]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.head["shapes"] else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, *self.io[name].shape[1:])

    def get_tensor_dtype(self, name: str) -> str:
        return self.io[name].type

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[list[int]]:
        return self.head["shapes"][name]

    def create_execution_context(self) -> "Context":
        return Context(self)

    def create_engine_inspector(self) -> SimpleNamespace:
        return SimpleNamespace(get_engine_information=lambda _: json.dumps({"Layers": self.head["layers"]}))


def nptype(kind: str) -> type:
    return {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}[kind]


class Context:
    def __init__(self, engine: Engine) -> None:
        self.engine, self.addresses, self.shapes = engine, {}, {}

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        self.shapes[name] = shape

    def execute_async_v3(self, stream: int) -> bool:
        inputs = {name: self._memory(name, shape) for name, shape in self.shapes.items()}
        names = [name for name in self.engine.io if name not in inputs]
        for name, values in zip(names, self.engine.session.run(names, inputs), strict=True):
            self._memory(name, values.shape)[...] = values + (0.5 if MODE == "wrong" else 0)
        return True

    def _memory(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        kind = np.dtype(nptype(self.engine.get_tensor_dtype(name)))
        size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        return np.frombuffer((ctypes.c_char * size).from_address(self.addresses[name]), kind).reshape(shape)
