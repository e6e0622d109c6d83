"""ClearerVoice-Studio's MossFormer2 in terms of ours: a training's checkpoint, whose weights are under
"model".

Read from github.com/modelscope/ClearerVoice-Studio of 2025 (clearvoice/models/mossformer2_ss, Apache-2.0);
the tests compare with what that printed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmingle.errors import InputError
from unmingle.facts import SAMPLE_RATES
from unmingle.models.mossformer2 import wavenumbers
from unmingle.published.checkpoints import plain_tensor, read_checkpoint
from unmingle.published.conversion import Imported, Number, fill

NAMED_IN = "last_best_checkpoint"  # a text, whose first line is the name of the file with the weights
LARGEST = 1_500_000_000  # the optimizer's state lies in it too [bytes]
BLOCKS = "mask_net.mdl.intra_mdl.mossformerM"
#: Our arguments: of which of their tensors they are which axis, and limits.
SIZES = {
    "n_filters": ("enc.conv1d.weight", 0, Number("n_filters", 2, 4096, step=2)),
    "kernel_size": ("enc.conv1d.weight", 2, Number("kernel_size", 2, 4096, step=2)),
    "n_inner": (f"{BLOCKS}.fsmn.0.norm1.weight", 0, Number("n_inner", 1, 4096)),
    "n_keys": (f"{BLOCKS}.layers.0.qk_offset_scale.gamma", 1, Number("n_keys", 2, 4096, step=2)),
}
LAYERS = {
    "norm": "mask_net.norm",
    "encode": "mask_net.conv1d_encoder",
    "norm_last": "mask_net.mdl.intra_mdl.norm",
    "norm_all": "mask_net.mdl.intra_norm",
    "split.0": "mask_net.prelu",
    "split.1": "mask_net.conv1d_out",
    "value": "mask_net.output.0",
    "gate": "mask_net.output_gate.0",
    "mask": "mask_net.conv1_decoder",
    "filterbank.analysis": "enc.conv1d",
    "filterbank.synthesis": "dec",
}
MIXED = {"0": "mdl.0", "1": "mdl.1", "conv": "mdl.3.sequential.1.conv"}
ATTENTION = {"hidden": "to_hidden", "keys": "to_qk", "out": "to_out"}
MEMORY = {
    "narrow.0": "conv1.0",
    "narrow.1": "conv1.1",
    "narrow.2": "norm1",
    "project.0": "gated_fsmn.fsmn.linear",
    "project.2": "gated_fsmn.fsmn.project",
    "layers.0.conv": "gated_fsmn.fsmn.conv.conv1",
    "layers.0.activation": "gated_fsmn.fsmn.conv.prelu1",
    "layers.1.conv": "gated_fsmn.fsmn.conv.conv2",
    "layers.1.activation": "gated_fsmn.fsmn.conv.prelu2",
    "widen.0": "norm2",
    "widen.1": "conv2",
}


def read(path: Path, sample_rate: int | None = None) -> Imported:
    """Our model with the weights of a MossFormer2 that separates, whose sizes are those of its tensors.

    Args:
        path: of the file, or of a folder where `last_best_checkpoint` says its name.
        sample_rate: which the checkpoint does not say [Hz].

    Raises:
        InputError: something else; no sample rate; tensors that are missing, too many or of another shape.
    """
    path = _weights(path)
    checkpoint, sha256 = read_checkpoint(path, LARGEST)
    state = checkpoint.get("model", checkpoint) if isinstance(checkpoint, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise InputError(f"{path}: no checkpoint of ClearerVoice-Studio, which has weights under 'model'")
    state = {key.removeprefix("module."): value for key, value in state.items()}
    if sample_rate is None:
        raise InputError(f"{path}: does not say its sample rate; give it with --sample-rate")
    arguments = _arguments(path, state) | Number("sample_rate", *SAMPLE_RATES).read(sample_rate)
    model: Any = fill(
        path,
        "mossformer2",
        arguments,
        lambda shapes: _names(shapes, arguments["n_blocks"]),
        state,
        unread=_constants(path, state, arguments),
        reshape=_shaped_as_ours,
    )
    return Imported(model, replace(model.facts, head="as-loud"), sha256)


def _weights(path: Path) -> Path:
    if not path.is_dir():
        return path
    try:
        with (path / NAMED_IN).open(encoding="utf-8") as file:
            name = file.readline(200).strip()
    except (OSError, ValueError):
        raise InputError(f"{path}: has no {NAMED_IN} that names its weights; give their file") from None
    if not name or name in (".", "..") or Path(name).name != name:
        raise InputError(f"{path / NAMED_IN}: {name!r:.80} is no name of a file beside it; give the file")
    return path / name


def _arguments(path: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    """Our model's arguments, from the shapes of their tensors."""
    arguments: dict[str, Any] = {}

    def read(rule: Number, name: str, axis: int, divisor: int = 1) -> None:
        tensor = state.get(name)
        if not isinstance(tensor, Tensor) or tensor.ndim <= axis:
            raise InputError(f"{path}: no weights of a MossFormer2 that separates, such as {name}")
        try:
            arguments.update(rule.read(tensor.shape[axis] / divisor))
        except ValueError as error:
            raise InputError(f"{path}: {name} of {tensor.shape[axis]} is not converted; {error}") from None

    for name, axis, rule in SIZES.values():
        read(rule, name, axis)
    read(Number("n_src", 1, 10), "mask_net.conv1d_out.weight", 0, arguments["n_filters"])
    numbers = {key.removeprefix(f"{BLOCKS}.layers.").partition(".")[0] for key in state if BLOCKS in key}
    arguments["n_blocks"] = sum(number.isdecimal() for number in numbers)
    return arguments


def _constants(path: Path, state: Mapping[str, Any], arguments: Mapping[str, Any]) -> Iterator[str]:
    """What lies among the weights and is none; it must be what ours has."""
    for name, tensor in state.items():
        if name == "mask_net.pos_enc.inv_freq" or name.endswith(".rotary_pos_emb.freqs"):
            size = arguments["n_filters"] if "inv_freq" in name else min(32, arguments["n_keys"])
            found, wanted = plain_tensor(path, name, tensor).float(), wavenumbers(size)
            if found.shape != wanted.shape or not torch.allclose(found, wanted, rtol=1e-5):
                raise InputError(
                    f"{path}: {name:.80} are other positions than are known; it is not converted"
                )
            yield name


def _shaped_as_ours(name: str, tensor: Tensor) -> Tensor:
    """Norms over time have their gains along the first of two axes."""
    return tensor[:, None] if name.endswith((".gain", ".offset")) and ".layers." in name else tensor


def _names(shapes: Mapping[str, Any], n_blocks: int) -> Iterator[tuple[str, str]]:
    """Names of our tensors, and of theirs."""
    layers = dict(LAYERS)
    yield "position_scale", "mask_net.pos_enc.scale"
    for k in range(n_blocks):
        attention, theirs = f"blocks.{k}.0", f"{BLOCKS}.layers.{k}"
        yield f"{attention}.gains", f"{theirs}.qk_offset_scale.gamma"
        yield f"{attention}.offsets", f"{theirs}.qk_offset_scale.beta"
        for own, their in ATTENTION.items():
            yield f"{attention}.{own}.0.gain", f"{theirs}.{their}.mdl.0.g"
            layers |= {f"{attention}.{own}.{a}": f"{theirs}.{their}.{b}" for a, b in MIXED.items()}
        memory, theirs = f"blocks.{k}.1", f"{BLOCKS}.fsmn.{k}"
        layers |= {f"{memory}.{own}": f"{theirs}.{their}" for own, their in MEMORY.items()}
        for own, their in (("value", "to_u"), ("gate", "to_v")):
            layers |= {f"{memory}.{own}.{a}": f"{theirs}.gated_fsmn.{their}.{b}" for a, b in MIXED.items()}
        for number in (0, 1):
            norm = f"{theirs}.gated_fsmn.fsmn.conv.norm{number + 1}"
            yield f"{memory}.layers.{number}.gain", f"{norm}.weight"
            yield f"{memory}.layers.{number}.offset", f"{norm}.bias"
    for own, their in layers.items():
        for kind in ("weight", "bias"):
            if f"{own}.{kind}" in shapes:
                yield f"{own}.{kind}", f"{their}.{kind}"
