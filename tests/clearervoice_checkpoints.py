"""Checkpoints as ClearerVoice-Studio saves them, by a formula: `from clearervoice_checkpoints import saved,
SMALL`.

What its program printed for them is in clearervoice_outputs.json, written by
benchmarks/make_clearervoice_originals.py. NumPy only up to `saved`, because that script runs without
unmingle.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from asteroid_checkpoints import formula

OUTPUTS = Path(__file__).parent / "clearervoice_outputs.json"
LENGTHS = (1_000, 16_001, 56_789)
#: Sizes as its configuration has them, and the sample rate.
SMALL: dict[str, dict[str, int]] = {
    "moss-2-16k": {
        "encoder_embedding_dim": 16,
        "mossformer_sequence_dim": 16,
        "num_mossformer_layer": 2,
        "encoder_kernel_size": 16,
        "num_spks": 2,
        "sampling_rate": 16_000,
    },
    "moss-3-8k": {
        "encoder_embedding_dim": 12,
        "mossformer_sequence_dim": 12,
        "num_mossformer_layer": 1,
        "encoder_kernel_size": 8,
        "num_spks": 3,
        "sampling_rate": 8_000,
    },
}


def weights(name: str, shape: Sequence[int]) -> np.ndarray:
    """By the formula, but for what is no weight."""
    if name.endswith(("inv_freq", ".freqs")):
        size = 2 * shape[0]
        return (1 / 10_000 ** (np.arange(0, size, 2, dtype=np.float32) / size)).astype(np.float32)
    return formula(name, shape)


def expected(name: str) -> dict[str, Any]:
    """What its program printed: `outputs` for each of `LENGTHS`, every `steps`-th sample; and `shapes`."""
    return json.loads(OUTPUTS.read_text(encoding="utf-8"))["checkpoints"][name]


def saved(folder: Path, name: str = "moss-2-16k", *, prefix: str = "", **changes: Any) -> Path:
    """Write a folder as a training does; `changes` replace tensors (None: none), by their names."""
    import torch

    state = {
        key: torch.from_numpy(weights(key, shape)) for key, shape in expected(name)["shapes"].items()
    } | changes
    state = {prefix + key: tensor for key, tensor in state.items() if tensor is not None}
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}
    torch.save({"model": state, "optimizer": optimizer, "epoch": 1}, folder / "last_best_checkpoint.pt")
    (folder / "last_best_checkpoint").write_text("last_best_checkpoint.pt\n", encoding="utf-8")
    return folder
