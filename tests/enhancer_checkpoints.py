"""Checkpoints of published enhancers, by a formula: `from enhancer_checkpoints import saved, expected`.

What the originals returned for them is in enhancer_outputs.json, written by
benchmarks/make_enhancer_originals.py. NumPy only up to `saved`, because that script runs without unmingle.
"""

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from asteroid_checkpoints import formula, signal

OUTPUTS = Path(__file__).parent / "enhancer_outputs.json"
LENGTH = 5_001  # of the input [samples]
LOUDER = 3.0  # than asteroid_checkpoints.signal


def weights(name: str, shape: Sequence[int]) -> np.ndarray:
    """Of that name, by the formula; variances and the gains of norms around 1."""
    if name == "erb.ierb_fc.weight":  # in GTCRN's code, the same memory as erb_fc's, transposed
        return formula("erb.erb_fc.weight", shape[::-1]).T.copy()
    values = formula(name, shape)
    if "Einsum" in name or "GRU" in name:  # DeepFilterNet's, whose last axis or the one before is summed over
        values *= np.float32((np.prod(shape[1:]) / shape[1 if "Einsum" in name else -1]) ** 0.5)
    around_1 = name.endswith("running_var") or (len(shape) == 1 and shape[0] > 1 and name.endswith("weight"))
    return 1 + 0.3 * values / max(float(np.abs(values).max()), 1.0) if around_1 else values


def mixture() -> np.ndarray:
    """What the originals heard, `(T,)` float32."""
    return LOUDER * signal(LENGTH)


def expected(name: str) -> dict[str, Any]:
    """What the original returned: `outputs`, every `step`-th sample; and `shapes` of its weights."""
    return json.loads(OUTPUTS.read_text(encoding="utf-8"))[name]


def state(name: str) -> dict[str, Any]:
    """Weights as its original has them, as arrays."""
    return {key: weights(key, shape) for key, shape in expected(name)["shapes"].items()}


def saved_gtcrn(path: Path, **changes: Any) -> Path:
    """Write a checkpoint as GTCRN's training does; `changes` replace weights, None leaves one out."""
    import torch

    tensors = {key: torch.from_numpy(value) for key, value in state("gtcrn").items()}
    tensors |= {key: torch.tensor(7) for key in tensors if key.endswith("num_batches_tracked")}
    model = {key: value for key, value in (tensors | changes).items() if value is not None}
    torch.save({"epoch": 3, "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}, "model": model}, path)
    return path


def saved_deepfilternet(path: Path, config: str = "", **changes: Any) -> Path:
    """Write an archive as DeepFilterNet3's authors do, with only those operations that have weights; `config`
    is put behind its configuration, `changes` replace weights, None leaves one out.
    """
    import onnx

    known = expected("deepfilternet")
    arrays = state("deepfilternet") | changes
    files = {"config.ini": (known["config"] + config).encode()}
    for graph in ("enc", "erb_dec", "df_dec"):
        operands: dict[str, dict[int, Any]] = {}
        for key, value in arrays.items():
            operation, _, number = key.rpartition(".")
            if value is not None and operation.startswith(f"{graph}/"):
                operands.setdefault(operation, {})[int(number)] = value
        nodes, tensors = [], []
        for operation, some in operands.items():
            inputs = ["x", *(f"{operation}.{number}" if number in some else "" for number in (1, 2, 3))]
            kind = operation.rpartition("/")[2].partition("_")[0]
            output = f"{operation.removeprefix(graph)}_output_0"
            nodes.append(onnx.helper.make_node(kind, inputs, [output]))
            tensors += [onnx.numpy_helper.from_array(value, f"{operation}.{n}") for n, value in some.items()]
        model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "weights", [], [], tensors))
        files[f"{graph}.onnx"] = model.SerializeToString()
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"tmp/export/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def saved_dtln(folder: Path, **changes: Any) -> Path:
    """Write the weights of DTLN's two ONNX files, by which it is known, without their graphs; `changes`
    replace some, None leaves one out.
    """
    import onnx

    epsilon = "model_2/instant_layer_normalization_1/add/y:0"
    arrays = state("dtln") | {epsilon: np.array(1e-7, np.float32)} | changes
    folder.mkdir(exist_ok=True)
    for number, is_there in ((1, lambda key: key.startswith(("lstm_", "dense_"))), (2, lambda _: True)):
        some = {key: arrays.pop(key) for key in list(arrays) if is_there(key)}
        tensors = [
            onnx.numpy_helper.from_array(value, key) for key, value in some.items() if value is not None
        ]
        model = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], [], tensors))
        (folder / f"model_{number}.onnx").write_bytes(model.SerializeToString())
    return folder
