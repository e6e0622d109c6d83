"""DTLN's networks in terms of ours: a folder with the two ONNX files that its authors publish,
`model_1.onnx`, which masks magnitudes, and `model_2.onnx`, which masks features of samples.

Read from github.com/breizhn/DTLN (MIT) at commit 1de1f15; the tests compare with what its files returned. Of
the files only the weights are taken, by their names; the graphs in them are not run.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmingle.errors import InputError
from unmingle.published.checkpoints import read_onnx
from unmingle.published.conversion import Imported, fill

SAMPLE_RATE = 16_000
FILES = ("model_1.onnx", "model_2.onnx")
NORM = "model_2/instant_layer_normalization_1"
EPSILON = f"{NORM}/add/y:0"
RESOURCE = "ReadVariableOp/resource:0"


def read(path: Path, sample_rate: int | None = None) -> Imported:
    """Our model with the weights of DTLN's two files.

    Args:
        path: of the folder that holds them.
        sample_rate: None, or 16 kHz, for which the network is.

    Raises:
        InputError: something else; tensors that are missing, too many or of another shape.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no folder; give the one that holds DTLN's {' and '.join(FILES)}")
    if sample_rate not in (None, SAMPLE_RATE):
        raise InputError(f"{path}: DTLN is for {SAMPLE_RATE} Hz, not {sample_rate}; leave it out")
    contents = [read_onnx(path / file) for file in FILES]
    state = {key: tensor for tensors, _ in contents for key, tensor in tensors.items()}
    epsilon = state.pop(EPSILON, None)
    if epsilon is None or abs(epsilon.sum().item() - 1e-7) > 1e-9:
        raise InputError(f"{path / FILES[1]}: not DTLN's, whose layer norm adds 1e-7; get the file again")
    model: Any = fill(path, "dtln", {}, lambda _: _names(), state, reshape=_as_ours)
    return Imported(model, model.facts, ", ".join(sha256 for _, sha256 in contents))


def _as_ours(name: str, tensor: Tensor) -> Tensor:
    """In our order of axes and gates: input, forget, cell, output."""
    if name == "encoder.weight":
        return tensor
    if name == "decoder.weight":  # samples, features, 1
        return tensor.transpose(0, 1).transpose(1, 2) if tensor.ndim == 3 else tensor
    if name.startswith("magnitudes.lstm") and tensor.ndim > 1:  # ONNX's: input, output, forget, cell
        halves = tensor[0].chunk(2) if ".bias_" in name else (tensor[0],)
        own = halves[-1 if ".bias_hh" in name else 0]
        if own.shape[0] % 4 == 0:
            first, last, second, third = own.chunk(4)
            return torch.cat([first, second, third, last])
        return own
    return tensor.T if tensor.ndim == 2 else tensor  # Keras's: what comes in first


def _names() -> Iterator[tuple[str, str]]:
    """Names of our tensors, and of theirs."""
    for layer, their in enumerate(("lstm_4", "lstm_5")):
        for own, kind in (("weight_ih", "W"), ("weight_hh", "R"), ("bias_ih", "B"), ("bias_hh", "B")):
            yield f"magnitudes.lstm.{own}_l{layer}", f"{their}_{kind}"
    yield "magnitudes.linear.weight", "dense_2/kernel:0"
    yield "magnitudes.linear.bias", "dense_2/bias:0"
    yield "encoder.weight", "conv1d_2/kernel:0"
    yield "norm.weight", f"{NORM}/mul/{RESOURCE}"
    yield "norm.bias", f"{NORM}/add_1/{RESOURCE}"
    for layer, their in enumerate(("model_2/lstm_6", "model_2/lstm_7")):
        yield f"features.lstm.weight_ih_l{layer}", f"{their}/MatMul/{RESOURCE}"
        yield f"features.lstm.weight_hh_l{layer}", f"{their}/MatMul_1/{RESOURCE}"
        yield f"features.lstm.bias_ih_l{layer}", f"{their}/BiasAdd/{RESOURCE}"
    yield "features.linear.weight", "model_2/dense_3/Tensordot/Reshape_1:0"
    yield "features.linear.bias", f"model_2/dense_3/BiasAdd/{RESOURCE}"
    yield "decoder.weight", "conv1d_3/kernel:0"
