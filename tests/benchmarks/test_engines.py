"""How operations are counted."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from benchmarks.engines import operations
from sdk import contract


def test_operations_of_a_convolution_and_a_product() -> None:
    """Sums: 8 x 8 x 5 values of 3 x 3 x 2 products, 8 x 8 x 5 -> 7 of 320; each product is two operations. The weights are stored
    in half behind a Cast."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 7])
    nodes = [
        helper.make_node("Cast", ["stored"], ["kernel"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "kernel"], ["maps"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Flatten", ["maps"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "weight"], ["y"], "gemm", transB=1),
    ]
    weights = [
        numpy_helper.from_array(np.ones((5, 2, 3, 3), np.float16), "stored"),
        numpy_helper.from_array(np.ones((7, 320), np.float32), "weight"),
    ]
    graph = helper.make_graph(nodes, "small", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", contract.OPSET)], ir_version=10)
    count = operations(model, {"x": np.zeros((1, 2, 8, 8), np.float32)})
    assert count == 2 * (8 * 8 * 5 * 3 * 3 * 2 + 7 * 320)
