"""Networks to ONNX, ONNX to TensorRT plans, and the model repository that Triton loads."""
