"""Weights of the classic separators and enhancers, for unmingle: each NAME.onnx beside its card."""
