"""Checkpoints as TIGER's authors save them, by a formula: `from tiger_checkpoints import saved, SMALL`.

What their program printed for them is in tiger_outputs.json, written by benchmarks/make_tiger_originals.py.
NumPy only up to `saved`, because that script runs without unmingle.
"""

import json
from pathlib import Path
from typing import Any

from asteroid_checkpoints import formula

OUTPUTS = Path(__file__).parent / "tiger_outputs.json"
LENGTHS = (1_000, 16_001, 56_789)
UNUSED = {"att_kernel_size": 8, "att_stride": 1}
#: Arguments as config.json has them.
SMALL: dict[str, dict[str, int]] = {
    "tiger-2-16k": UNUSED
    | {
        "out_channels": 8,
        "in_channels": 12,
        "num_blocks": 2,
        "upsampling_depth": 5,
        "att_n_head": 4,
        "att_hid_chan": 2,
        "win": 640,
        "stride": 160,
        "num_sources": 2,
        "sample_rate": 16_000,
    },
    "tiger-3-22k": UNUSED
    | {
        "out_channels": 6,
        "in_channels": 6,
        "num_blocks": 3,
        "upsampling_depth": 3,
        "att_n_head": 1,
        "att_hid_chan": 3,
        "win": 1024,
        "stride": 512,
        "num_sources": 3,
        "sample_rate": 22_050,
    },
}


def expected(name: str) -> dict[str, Any]:
    """What TIGER's authors' program printed: `outputs` for each of `LENGTHS`, every `steps`-th sample; and
    `shapes`.
    """
    return json.loads(OUTPUTS.read_text(encoding="utf-8"))["checkpoints"][name]


def saved(
    folder: Path, name: str = "tiger-2-16k", *, weights: str = "model.safetensors", **changes: Any
) -> Path:
    """Write a folder as save_pretrained does; `changes` replace arguments, and tensors (None: none)."""
    import torch
    from safetensors.torch import save_file

    state = {
        key: torch.from_numpy(formula(key, shape)) for key, shape in expected(name)["shapes"].items()
    } | changes.pop("state_dict", {})
    state = {key: tensor for key, tensor in state.items() if tensor is not None}
    folder.mkdir(parents=True, exist_ok=True)
    if weights == "model.safetensors":
        save_file(state, folder / weights)
    else:
        torch.save(state, folder / weights)
    config = json.dumps(SMALL[name] | changes, sort_keys=True, indent=2)
    (folder / "config.json").write_text(config, encoding="utf-8")
    return folder
