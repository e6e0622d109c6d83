"""Asteroid's networks in terms of ours: what `torch.save(model.serialize())` writes becomes a model's
arguments and weights.

Read from Asteroid 0.7.0 (MIT) and asteroid-filterbanks 0.4.0; the tests compare with what it printed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from unmingle.errors import InputError
from unmingle.facts import SAMPLE_RATES
from unmingle.published.checkpoints import read_checkpoint
from unmingle.published.conversion import Choice, Imported, Number, fill, only, taps_first

OPTIONAL = {"causal": False, "encoder_activation": None, "use_mulcat": False}  # newer than some checkpoints


FILTERBANK: dict[str, Number | Choice] = {
    "fb_name": only("FreeFB", "free"),
    "n_filters": Number("n_filters", 1, 8192),
    "kernel_size": Number("kernel_size", 2, 4096, step=2),
    "sample_rate": Number("sample_rate", *SAMPLE_RATES),
    "encoder_activation": Choice(
        ((None, False), ("linear", False), ("relu", True)),
        "encoder_relu",
    ),
    "n_src": Number("n_src", 1, 10),
}
MASKS_ACT = tuple((name, name) for name in ("relu", "sigmoid", "linear"))
ARGUMENTS: dict[str, dict[str, Number | Choice]] = {
    "ConvTasNet": FILTERBANK
    | {
        "bn_chan": Number("n_features", 1, 4096),
        "hid_chan": Number("n_hidden", 1, 8192),
        "skip_chan": Number("n_skip", 0, 4096),
        "conv_kernel_size": Number("tcn_kernel_size", 1, 63, step=2),
        "n_blocks": Number("n_blocks", 1, 12),
        "n_repeats": Number("n_repeats", 1, 16),
        "norm_type": Choice((("gLN", "gLN"), ("cLN", "LN")), "norm"),
        "mask_act": Choice((*MASKS_ACT, ("softmax", "softmax")), "mask"),
        "causal": only(False),
    },
    "DPRNNTasNet": FILTERBANK
    | {
        "stride": Number("stride", 1, 4096),
        "bn_chan": Number("n_features", 1, 4096),
        "hid_size": Number("hidden", 1, 4096),
        "chunk_size": Number("segment_size", 2, 10_000, step=2),
        "n_repeats": Number("n_blocks", 1, 32),
        "norm_type": only("gLN"),
        "mask_act": Choice(MASKS_ACT, "mask"),
        "bidirectional": only(True),
        "rnn_type": only("LSTM"),
        "num_layers": only(1),
        "use_mulcat": only(False),
    },
}
#: What else may stand among the arguments, and what it must be equal to.
FOLLOWING = {
    "ConvTasNet": {"in_chan": "n_filters", "out_chan": "n_filters", "stride": "kernel_size / 2"},
    "DPRNNTasNet": {"in_chan": "n_filters", "out_chan": "n_filters", "hop_size": "chunk_size / 2"},
}
OURS = {"ConvTasNet": "conv-tasnet", "DPRNNTasNet": "dprnn"}
UNUSED = {"DPRNNTasNet": {"dropout"}}  # in training only


def read(path: Path, sample_rate: int | None = None) -> Imported:
    """Our model with the arguments and the weights of an Asteroid checkpoint, which is a dict with
    `model_name`, `model_args` and `state_dict`.

    Args:
        path: of the file.
        sample_rate: of checkpoints that do not say it, as those before Asteroid 0.4 [Hz].

    Raises:
        InputError: something else; a network, an argument or a value that is not known here; tensors that are
            missing, too many or of another shape.
    """
    checkpoint, sha256 = read_checkpoint(path)
    name, values, state = _parts(path, checkpoint)
    arguments = _arguments(path, name, values, sample_rate)
    model: Any = fill(
        path,
        OURS[name],
        arguments,
        lambda shapes: NAMES[name](shapes, arguments),
        state,
        unread=_unread(name, arguments),
        reshape=taps_first,
    )
    return Imported(model, replace(model.facts, head="as-loud"), sha256)


def _parts(path: Path, checkpoint: Any) -> tuple[str, Mapping[str, Any], Mapping[str, Any]]:
    keys = ("model_name", "model_args", "state_dict")
    if not isinstance(checkpoint, Mapping) or not all(key in checkpoint for key in keys):
        raise InputError(
            f"{path}: no checkpoint of Asteroid, which has {', '.join(keys)}; save model.serialize()"
        )
    name, values, state = (checkpoint[key] for key in keys)
    if not isinstance(values, Mapping) or not isinstance(state, Mapping):
        raise InputError(f"{path}: model_args and state_dict are no dictionaries; get the file again")
    if not isinstance(name, str) or name not in ARGUMENTS:
        raise InputError(f"{path}: network {name!r:.80} is not converted yet; known: {', '.join(ARGUMENTS)}")
    return name, values, state


def _arguments(path: Path, name: str, values: Mapping[str, Any], sample_rate: int | None) -> dict[str, Any]:
    """Our model's arguments for theirs; everything is checked against what is known."""
    known, following = ARGUMENTS[name], FOLLOWING[name]
    for key, value in values.items():
        if not isinstance(key, str) or not isinstance(value, bool | int | float | str | None):
            raise InputError(f"{path}: argument {key!r:.40} is no plain value; get the file again")
    given = {key: value for key, value in OPTIONAL.items() if key in known} | dict(values)
    if given.get("sample_rate") is None:
        if sample_rate is None:
            raise InputError(f"{path}: does not say its sample rate; give it with --sample-rate")
        given["sample_rate"] = sample_rate
    elif sample_rate is not None and sample_rate != given["sample_rate"]:
        raise InputError(
            f"{path}: says sample_rate={given['sample_rate']!r:.20}, not {sample_rate}; leave it out"
        )
    unknown = set(given) - set(known) - set(following) - UNUSED.get(name, set())
    if unknown or set(known) - set(given):
        what, some = ("unknown", unknown) if unknown else ("missing", set(known) - set(given))
        raise InputError(f"{path}: {what} arguments of {name}: {', '.join(sorted(map(repr, some))):.80}")
    arguments: dict[str, Any] = {"padded": False} | ({"wide": True} if name == "DPRNNTasNet" else {})
    for key, rule in known.items():
        value = 0 if key == "skip_chan" and given[key] is None else given[key]
        try:
            arguments |= rule.read(value)
        except ValueError as error:
            raise InputError(f"{path}: {name} with {key}={value!r:.40} is not converted; {error}") from None
    for key, formula in following.items():
        other, _, half = formula.partition(" / ")
        if given.get(key) not in (None, given[other] / int(half or 1)):
            raise InputError(
                f"{path}: {name} with {key}={given[key]!r:.40} is not converted; known: {formula}"
            )
    return arguments


def _conv_tasnet(shapes: Mapping[str, Any], arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names of our tensors, and of theirs."""
    yield from _filterbank_names()
    yield from _norm_names("norm", "masker.bottleneck.0")
    yield from _layer_names("bottleneck", "masker.bottleneck.1")
    for k in range(arguments["n_blocks"] * arguments["n_repeats"]):
        ours, theirs = f"tcn.blocks.{k}", f"masker.TCN.{k}"
        yield from _layer_names(f"{ours}.widen.0", f"{theirs}.shared_block.0")
        yield f"{ours}.widen.1.weight", f"{theirs}.shared_block.1.weight"
        yield from _norm_names(f"{ours}.norm_before", f"{theirs}.shared_block.2")
        yield from _layer_names(f"{ours}.depthwise", f"{theirs}.shared_block.3")
        yield f"{ours}.activation.weight", f"{theirs}.shared_block.4.weight"
        yield from _norm_names(f"{ours}.norm_after", f"{theirs}.shared_block.5")
        for own, their in (("residual", "res_conv"), ("skip", "skip_conv")):
            if f"{ours}.{own}.weight" in shapes:
                yield from _layer_names(f"{ours}.{own}", f"{theirs}.{their}")
    yield "mask.0.weight", "masker.mask_net.0.weight"
    yield from _layer_names("mask.1", "masker.mask_net.1")


def _dprnn(shapes: Mapping[str, Any], arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names of our tensors, and of theirs."""
    yield from _filterbank_names()
    yield from _norm_names("norm", "masker.bottleneck.0")
    yield from _layer_names("bottleneck", "masker.bottleneck.1")
    for k in range(arguments["n_blocks"]):
        for own, their in (("within", "intra"), ("across", "inter")):
            ours, theirs = f"blocks.{k}.{own}", f"masker.net.{k}.{their}"
            for key in shapes:
                if key.startswith(f"{ours}.lstm."):
                    yield key, f"{theirs}_RNN.rnn.{key.rpartition('.')[2]}"
            yield from _layer_names(f"{ours}.linear", f"{theirs}_linear")
            yield from _norm_names(f"{ours}.norm", f"{theirs}_norm")
    yield "split.0.weight", "masker.first_out.0.weight"
    yield from _layer_names("split.1", "masker.first_out.1")
    yield from _layer_names("gated", "masker.net_out.0")
    yield from _layer_names("gate", "masker.net_gate.0")
    yield "mask.0.weight", "masker.mask_net.weight"


NAMES = {"ConvTasNet": _conv_tasnet, "DPRNNTasNet": _dprnn}


def _unread(name: str, arguments: Mapping[str, Any]) -> list[str]:
    """Weights that make no difference: of what the last block adds to the residual path, where there are
    skips.
    """
    if name != "ConvTasNet" or not arguments["n_skip"]:
        return []
    last = arguments["n_blocks"] * arguments["n_repeats"] - 1
    return [f"masker.TCN.{last}.res_conv.{kind}" for kind in ("weight", "bias")]


def _filterbank_names() -> Iterator[tuple[str, str]]:
    yield "filterbank.analysis.weight", "encoder.filterbank._filters"
    yield "filterbank.synthesis.weight", "decoder.filterbank._filters"


def _norm_names(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    yield f"{ours}.weight", f"{theirs}.gamma"
    yield f"{ours}.bias", f"{theirs}.beta"


def _layer_names(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    yield f"{ours}.weight", f"{theirs}.weight"
    yield f"{ours}.bias", f"{theirs}.bias"
