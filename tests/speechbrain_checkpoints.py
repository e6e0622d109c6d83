"""Folders as SpeechBrain saves them, and weights of torchaudio's Conv-TasNet, by a formula.

What SpeechBrain itself printed is in speechbrain_outputs.json, written by
benchmarks/make_speechbrain_originals.py. NumPy only up to `saved`, because that script runs without unmingle.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from asteroid_checkpoints import formula as plain_formula

OUTPUTS = Path(__file__).parent / "speechbrain_outputs.json"
PARTS = ("encoder", "masknet", "decoder")
DUAL = {"n_filters": 16, "n_features": 8, "hidden": 12, "n_heads": 2, "n_layers": 2, "segment_size": 20}
EFFICIENT = {"n_filters": 8, "n_features": 8, "hidden": 12, "n_heads": 2, "n_layers": 1, "segment_size": 15}
#: Network, sizes, and samples of the input.
SMALL: dict[str, tuple[str, dict[str, Any], int]] = {
    "sepformer-2-8k": ("SepFormer", DUAL | {"n_src": 2}, 1001),
    "sepformer-3-8k-even": (
        "SepFormer",
        DUAL | {"n_src": 3, "n_filters": 12},
        888,
    ),  # 110 frames: 5½ segments
    "sepformer-1-16k": ("SepFormer", DUAL | {"n_src": 1, "sample_rate": 16_000, "n_blocks": 1}, 2000),
    "resepformer-2-8k": ("RE-SepFormer", EFFICIENT | {"n_src": 2}, 1003),
    "resepformer-3-8k-whole": ("RE-SepFormer", EFFICIENT | {"n_src": 3, "n_blocks": 3}, 728),  # 90 frames
}
FULL: dict[str, tuple[str, dict[str, Any]]] = {
    "sepformer-2-8k": ("SepFormer", {"n_src": 2}),
    "sepformer-3-8k": ("SepFormer", {"n_src": 3}),
    "sepformer-1-16k": ("SepFormer", {"n_src": 1, "sample_rate": 16_000}),
    "resepformer-2-8k": (
        "RE-SepFormer",
        {"n_src": 2, "n_filters": 128, "n_features": 128, "segment_size": 150},
    ),
}
USUAL = {
    "sample_rate": 8_000,
    "n_filters": 256,
    "kernel_size": 16,
    "n_features": 256,
    "hidden": 1024,
    "n_heads": 8,
    "n_layers": 8,
    "segment_size": 250,
    "n_blocks": 2,
}
LOBES = "speechbrain.lobes.models"


def hyperparams(network: str, sizes: dict[str, Any], *, aliases: bool = False) -> str:
    """The file as it lies on the hub, with `!ref` for what stands above; or, with `aliases`, as SpeechBrain
    writes it when a training begins.
    """
    it = USUAL | sizes
    efficient = network == "RE-SepFormer"
    kind = "resepformer.SBTransformerBlock_wnormandskip" if efficient else "dual_path.SBTransformerBlock"
    more = "  use_norm: true\n  use_skip: true\n" if efficient else ""
    names = {
        "encoder": "Encoder",
        "decoder": "Decoder",
        "masknet": "MaskNet",
        "first": "within",
        "second": "across",
    }
    anchor = {key: f"&id00{k} " if aliases else "" for k, key in enumerate(names)}
    ref = {key: f"*id00{k}" if aliases else f"!ref <{name}>" for k, (key, name) in enumerate(names.items())}
    n_src = it["n_src"] if aliases else "!ref <num_spks>"
    transformers = "\n".join(
        f"""{names[key]}: {anchor[key]}!new:{LOBES}.{kind}
  num_layers: {it["n_layers"]}
  d_model: {it["n_features"]}
  nhead: {it["n_heads"]}
  d_ffn: {it["hidden"]}
  dropout: 0
  use_positional_encoding: true
  norm_before: true
{more}"""
        for key in ("first", "second")
    )
    masknet = (
        f"""resepformer.ResourceEfficientSeparator
  input_dim: {it["n_filters"]}
  num_spk: {n_src}
  causal: false
  unit: 256
  segment_size: {it["segment_size"]}
  layer: {it["n_blocks"]}
  mem_type: av
  seg_model: {ref["first"]}
  mem_model: {ref["second"]}
"""
        if efficient
        else f"""dual_path.Dual_Path_Model
  num_spks: {n_src}
  in_channels: {it["n_filters"]}
  out_channels: {it["n_features"]}
  num_layers: {it["n_blocks"]}
  K: {it["segment_size"]}
  intra_model: {ref["first"]}
  inter_model: {ref["second"]}
  norm: ln
  linear_layer_after_inter_intra: false
  skip_around_intra: true
"""
    )
    training = """seed: 1234
__set_seed: !apply:torch.manual_seed [1234]
output_folder: results/1234
optimizer: !name:torch.optim.Adam
  lr: 0.00015
  weight_decay: 0
"""
    return f"""# a comment
{training if aliases else ""}sample_rate: {it["sample_rate"]}
num_spks: {it["n_src"]}

Encoder: {anchor["encoder"]}!new:{LOBES}.dual_path.Encoder
  kernel_size: {it["kernel_size"]}
  out_channels: {it["n_filters"]}

{transformers}
MaskNet: {anchor["masknet"]}!new:{LOBES}.{masknet}
Decoder: {anchor["decoder"]}!new:{LOBES}.dual_path.Decoder
  in_channels: {it["n_filters"]}
  out_channels: 1
  kernel_size: {it["kernel_size"]}
  stride: {it["kernel_size"] // 2}
  bias: false

modules:
  encoder: {ref["encoder"]}
  decoder: {ref["decoder"]}
  masknet: {ref["masknet"]}

pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
  loadables:
    encoder: {ref["encoder"]}
    masknet: {ref["masknet"]}
    decoder: {ref["decoder"]}
"""


def formula(name: str, shape: Sequence[int]) -> np.ndarray:
    """Weights of that name: noise, the same everywhere; norms around 1; positions as the paper has them."""
    if name.endswith("pos_enc.pe"):
        frequencies = 10_000 ** -(np.arange(0, shape[2], 2) / shape[2])
        phases = np.arange(shape[1])[:, None] * frequencies
        return np.stack([np.sin(phases), np.cos(phases)], -1).reshape(shape).astype(np.float32)
    if len(shape) == 1 and shape[0] > 1 and name.endswith("weight"):
        return (1 + 0.2 * plain_formula(name, shape)).astype(np.float32)
    return plain_formula(name, shape)


def expected(name: str) -> dict[str, Any]:
    """What SpeechBrain printed: `outputs`, every `step`-th sample; and the `shapes` of each file. Of
    "torchaudio", what its Conv-TasNet printed.
    """
    return json.loads(OUTPUTS.read_text(encoding="utf-8"))["checkpoints"][name]


def saved(folder: Path, name: str = "sepformer-2-8k", *, aliases: bool = False) -> Path:
    """Write a folder as it lies on the hub."""
    import torch

    folder.mkdir()
    (folder / "hyperparams.yaml").write_text(hyperparams(*SMALL[name][:2], aliases=aliases), encoding="utf-8")
    for part, shapes in expected(name)["shapes"].items():
        state = {key: torch.from_numpy(formula(key, shape)) for key, shape in shapes.items()}
        torch.save(state, folder / f"{part}.ckpt")
    return folder


def saved_conv_tasnet(path: Path, change: dict[str, Any] | None = None) -> Path:
    """Write the weights of torchaudio's `conv_tasnet_base`."""
    import torch

    shapes = expected("torchaudio")["shapes"]
    state = {key: torch.from_numpy(plain_formula(key, shape)) for key, shape in shapes.items()}
    torch.save(state | (change or {}), path)
    return path
