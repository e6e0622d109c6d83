"""ONNX files, run by ONNX Runtime."""

from pathlib import Path

from unmingle.runtime.separator import Run


def open_onnxruntime(path: Path) -> Run:
    """Open an ONNX file with ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = False  # an arena keeps the largest buffers of every length ever seen
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return lambda *inputs: session.run(None, dict(zip(names, inputs, strict=True)))
