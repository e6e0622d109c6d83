"""Checkpoints as Asteroid saves them, by a formula: `from asteroid_checkpoints import saved, SMALL`.

What Asteroid itself printed for them is in asteroid_outputs.json, written by
benchmarks/make_asteroid_originals.py. NumPy only up to `saved`, because that script runs without unmingle.
"""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

OUTPUTS = Path(__file__).parent / "asteroid_outputs.json"
CONV = {"n_filters": 16, "bn_chan": 8, "hid_chan": 12, "skip_chan": 6, "n_blocks": 3, "n_repeats": 2}
DUAL = {"n_filters": 16, "bn_chan": 8, "hid_size": 6, "chunk_size": 20, "n_repeats": 2}
#: Network, arguments, and samples of the input. Lengths are no multiple of a stride but for two.
SMALL: dict[str, tuple[str, dict[str, Any], int]] = {
    "conv-2-8k-sigmoid": ("ConvTasNet", CONV | {"n_src": 2}, 1001),
    "conv-3-16k-relu": (
        "ConvTasNet",
        CONV | {"n_src": 3, "sample_rate": 16_000, "kernel_size": 32, "stride": 16, "mask_act": "relu"},
        2048,
    ),
    "conv-2-8k-cln-softmax": (
        "ConvTasNet",
        CONV | {"n_src": 2, "norm_type": "cLN", "mask_act": "softmax"},
        999,
    ),
    "conv-2-16k-cln-no-skip": (
        "ConvTasNet",
        CONV | {"n_src": 2, "sample_rate": 16_000, "skip_chan": 0, "norm_type": "cLN", "mask_act": "linear"},
        1003,
    ),
    "conv-1-8k-relu-encoder": (
        "ConvTasNet",
        CONV | {"n_src": 1, "encoder_activation": "relu", "mask_act": "relu", "hid_chan": 3},
        777,
    ),
    "dprnn-2-8k-sigmoid": ("DPRNNTasNet", DUAL | {"n_src": 2}, 1001),
    "dprnn-3-16k-relu": (
        "DPRNNTasNet",
        DUAL | {"n_src": 3, "sample_rate": 16_000, "mask_act": "relu", "encoder_activation": "relu"},
        1448,  # 180 frames, a multiple of half a segment
    ),
    "dprnn-2-8k-ks2": ("DPRNNTasNet", DUAL | {"n_src": 2, "kernel_size": 2, "stride": 1}, 343),
}


def formula(name: str, shape: Sequence[int]) -> np.ndarray:
    """Weights of that name: noise, the same everywhere; norms around 1 and 0.3, PReLUs around 0.25."""
    values = np.random.default_rng(zlib.crc32(name.encode())).uniform(-1, 1, shape)
    if name.endswith("gamma"):
        values = 1 + 0.3 * values
    elif name.endswith("beta") or name.endswith("bias") or "bias_" in name:
        values = 0.3 * values
    elif tuple(shape) == (1,):
        values = 0.25 + 0.1 * values
    else:
        values *= (3 / np.prod(shape[1:])) ** 0.5
    return values.astype(np.float32)


def signal(length: int) -> np.ndarray:
    """Noise whose level goes up and down, `(T,)` float32."""
    rng = np.random.default_rng(length)
    return (0.1 * rng.standard_normal(length) * (1.2 + np.sin(np.arange(length) / 50))).astype(np.float32)


def expected(name: str) -> dict[str, Any]:
    """What Asteroid printed: `outputs`, every `step`-th sample; and `shapes` and `model_args`."""
    return json.loads(OUTPUTS.read_text(encoding="utf-8"))["checkpoints"][name]


def saved(path: Path, name: str = "conv-2-8k-sigmoid", **changes: Any) -> Path:
    """Write a checkpoint as Asteroid does; `changes` replace parts of it, arguments by their name."""
    import torch
    from torch.torch_version import TorchVersion

    known = expected(name)
    checkpoint = {
        "model_name": changes.pop("model_name", SMALL[name][0]),
        "state_dict": {key: torch.from_numpy(formula(key, shape)) for key, shape in known["shapes"].items()}
        | changes.pop("state_dict", {}),
        "model_args": known["model_args"] | changes,
        "infos": {"software_versions": {"torch_version": TorchVersion("2.13.0")}},
    }
    torch.save(checkpoint, path)
    return path
