"""transformer: transformers in ONNX, quantised, on onnxruntime."""
