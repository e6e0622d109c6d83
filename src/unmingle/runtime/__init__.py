"""Separators that run: OpenVINO, ONNX Runtime or PyTorch behind one call."""
