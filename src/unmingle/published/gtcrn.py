"""GTCRN's checkpoints in terms of ours: a file of `torch.save` with the network's weights, as its authors'
training writes it.

Read from github.com/Xiaobin-Rong/gtcrn (MIT) at commit 3862c44; the tests compare with what it printed.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from unmingle.errors import InputError
from unmingle.published.checkpoints import read_checkpoint
from unmingle.published.conversion import Imported, fill

SAMPLE_RATE = 16_000
N_DOWN, N_TEMPORAL, N_BLOCKS = 2, 3, 2
NORM = ("weight", "bias", "running_mean", "running_var")


def read(path: Path, sample_rate: int | None = None) -> Imported:
    """Our model with the weights of a GTCRN checkpoint: of the network's `state_dict()`, or of a dict that
    has it as `model`. What else is in that, such as the optimizer's state, is not looked at.

    Args:
        path: of the file.
        sample_rate: None, or 16 kHz, for which the network is.

    Raises:
        InputError: something else; tensors that are missing, too many or of another shape.
    """
    checkpoint, sha256 = read_checkpoint(path)
    state = checkpoint.get("model", checkpoint) if isinstance(checkpoint, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise InputError(f"{path}: no checkpoint of GTCRN, which is a dict with its weights as model")
    if sample_rate not in (None, SAMPLE_RATE):
        raise InputError(f"{path}: GTCRN is for {SAMPLE_RATE} Hz, not {sample_rate}; leave it out")
    counts = [key for key in state if key.endswith("num_batches_tracked")]
    model: Any = fill(path, "gtcrn", {}, _names, state, unread=counts, reshape=_as_convolution)
    return Imported(model, model.facts, sha256)


def _as_convolution(name: str, tensor: Tensor) -> Tensor:
    """The decoder's temporal layers are transposed convolutions in theirs: the same ones, backwards."""
    if not name.startswith("decoder") or tensor.ndim != 4:
        return tensor
    if name.endswith("depthwise.weight"):
        return tensor.flip(2, 3)
    return tensor.transpose(0, 1) if ".widen." in name or ".narrow." in name else tensor


def _names(shapes: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names of our tensors, and of theirs."""
    yield "gather", "erb.erb_fc.weight"
    yield "spread", "erb.ierb_fc.weight"
    for part, their, first_temporal in (
        ("encoder", "encoder.en_convs", N_DOWN),
        ("decoder", "decoder.de_convs", 0),
    ):
        for k in range(N_DOWN + N_TEMPORAL):
            if first_temporal <= k < first_temporal + N_TEMPORAL:
                yield from _temporal_names(f"{part}.{k}", f"{their}.{k}")
            else:
                yield from _layer_names(f"{part}.{k}.conv", f"{their}.{k}.conv")
                yield from _norm_names(f"{part}.{k}.norm", f"{their}.{k}.bn")
                if f"{part}.{k}.activation.weight" in shapes:
                    yield f"{part}.{k}.activation.weight", f"{their}.{k}.act.weight"
    for k in range(N_BLOCKS):
        for own, their in (("points", "intra"), ("time", "inter")):
            ours, theirs = f"blocks.{k}.{own}", f"dpgrnn{k + 1}.{their}"
            for half in range(2):
                yield from _gru_names(shapes, f"{ours}.halves.{half}", f"{theirs}_rnn.rnn{half + 1}")
            yield from _layer_names(f"{ours}_linear", f"{theirs}_fc")
            yield from _layer_names(f"{ours}_norm", f"{theirs}_ln")


def _temporal_names(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    yield from _layer_names(f"{ours}.widen.0", f"{theirs}.point_conv1")
    yield from _norm_names(f"{ours}.widen.1", f"{theirs}.point_bn1")
    yield f"{ours}.widen.2.weight", f"{theirs}.point_act.weight"
    yield from _layer_names(f"{ours}.depthwise", f"{theirs}.depth_conv")
    yield from _norm_names(f"{ours}.norm", f"{theirs}.depth_bn")
    yield f"{ours}.activation.weight", f"{theirs}.depth_act.weight"
    yield from _layer_names(f"{ours}.narrow.0", f"{theirs}.point_conv2")
    yield from _norm_names(f"{ours}.narrow.1", f"{theirs}.point_bn2")
    for kind in ("weight", "bias"):
        for gate in ("ih", "hh"):
            yield f"{ours}.attention.gru.{kind}_{gate}_l0", f"{theirs}.tra.att_gru.{kind}_{gate}_l0"
    yield from _layer_names(f"{ours}.attention.linear", f"{theirs}.tra.att_fc")


def _gru_names(shapes: Mapping[str, Any], ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    for key in shapes:
        if key.startswith(f"{ours}."):
            yield key, f"{theirs}.{key.rpartition('.')[2]}"


def _norm_names(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    for kind in NORM:
        yield f"{ours}.{kind}", f"{theirs}.{kind}"


def _layer_names(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    yield f"{ours}.weight", f"{theirs}.weight"
    yield f"{ours}.bias", f"{theirs}.bias"
