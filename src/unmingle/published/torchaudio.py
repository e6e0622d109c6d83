"""torchaudio's Conv-TasNet in terms of ours: the weights of `conv_tasnet_base`, which the bundle
CONVTASNET_BASE_LIBRI2MIX downloads.

Read from torchaudio 2.11.1 (BSD-2-Clause); the tests compare with what it printed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from unmingle.errors import InputError
from unmingle.facts import SAMPLE_RATES
from unmingle.published.checkpoints import read_checkpoint
from unmingle.published.conversion import Imported, Number, fill, taps_first

#: What `conv_tasnet_base` fixes. The weights do not say it: neither how often dilations begin anew, nor what
#: limits the masks.
BASE: dict[str, Any] = {
    "n_filters": 512,
    "kernel_size": 16,
    "n_features": 128,
    "n_hidden": 512,
    "n_skip": 128,
    "n_blocks": 8,
    "n_repeats": 3,
    "mask": "relu",
}
MOST_VOICES = 10


def read(path: Path, sample_rate: int | None = None) -> Imported:
    """Our model with the weights of `conv_tasnet_base`, which are a dict of tensors.

    Args:
        path: of the file.
        sample_rate: which the file does not say [Hz].

    Raises:
        InputError: something else; tensors that are missing, too many or of another shape; no sample rate.
    """
    state, sha256 = read_checkpoint(path)
    last = state.get("mask_generator.output_conv.bias") if isinstance(state, Mapping) else None
    if not isinstance(last, Tensor):
        raise InputError(f"{path}: no weights of torchaudio's ConvTasNet; give its state_dict, as saved")
    n_src, rest = divmod(last.numel(), BASE["n_filters"])
    if rest or not 1 <= n_src <= MOST_VOICES:
        raise InputError(
            f"{path}: {last.numel()} masks of frames, which conv_tasnet_base with 1 to {MOST_VOICES} voices "
            "does not have; other sizes of ConvTasNet are not converted"
        )
    if sample_rate is None:
        raise InputError(
            f"{path}: does not say its sample rate; give it with --sample-rate (8000 for "
            "CONVTASNET_BASE_LIBRI2MIX)"
        )
    try:
        arguments = BASE | {"n_src": n_src} | Number("sample_rate", *SAMPLE_RATES).read(sample_rate)
    except ValueError as error:
        raise InputError(f"{path}: --sample-rate {sample_rate} is not converted; {error}") from None
    model: Any = fill(path, "conv-tasnet", arguments, _names, state, reshape=taps_first)
    return Imported(model, replace(model.facts, head="as-loud"), sha256)


def _names(shapes: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names of our tensors, and of theirs."""
    yield "filterbank.analysis.weight", "encoder.weight"
    yield "filterbank.synthesis.weight", "decoder.weight"
    pairs = {
        "norm": "input_norm",
        "bottleneck": "input_conv",
        "mask.0": "output_prelu",
        "mask.1": "output_conv",
    }
    for k in range(BASE["n_blocks"] * BASE["n_repeats"]):
        ours, theirs = f"tcn.blocks.{k}", f"conv_layers.{k}"
        parts = ("widen.0", "widen.1", "norm_before", "depthwise", "activation", "norm_after")
        pairs |= {f"{ours}.{part}": f"{theirs}.conv_layers.{number}" for number, part in enumerate(parts)}
        pairs |= {f"{ours}.residual": f"{theirs}.res_out", f"{ours}.skip": f"{theirs}.skip_out"}
    for own, their in pairs.items():
        for kind in ("weight", "bias"):
            if f"{own}.{kind}" in shapes:
                yield f"{own}.{kind}", f"mask_generator.{their}.{kind}"
