"""Weights of the training floor, run by PyTorch."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from unmingle.catalog import Card
from unmingle.errors import UsageError
from unmingle.runtime.separator import Separator


def open_torch(path: Path, card: Card | None = None) -> Separator:
    if not path.is_file():
        raise UsageError(
            f"{path}: PyTorch needs these weights, which are not there; use the openvino or onnxruntime "
            "backend"
        )
    if not find_spec("torch"):
        raise UsageError(f"{path}: needs PyTorch; pip install 'unmingle[train]', or use an exported .onnx")
    import torch

    from unmingle.weights_file import load_model

    model: Any = load_model(path)
    if card is None:
        n = sum(parameter.numel() for parameter in model.parameters())
        card = Card(path.stem, model.name, model.facts, n, path.stat().st_size, None, config=model.config)

    network = model.forward_stream if model.facts.state else model

    def run(*inputs: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            outputs = network(*map(torch.from_numpy, inputs))
        return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]

    return Separator(run, card=card, backend="torch")
