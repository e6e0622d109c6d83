"""SpeechBrain's SepFormer and RE-SepFormer in terms of ours: a folder with hyperparams.yaml and three files
of weights, as they lie on the hub and as a training leaves them.

Read from SpeechBrain 1.1.2 (Apache-2.0); the tests compare with what it printed. Its YAML names classes to
make and functions to call. Here nothing is made or called: tags are read as what they name
(`published.hyperparams`), and what they name is compared with what is known.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from unmingle.errors import InputError
from unmingle.facts import SAMPLE_RATES
from unmingle.layers.attention import positional_waves
from unmingle.published.checkpoints import plain_tensor, read_checkpoint
from unmingle.published.conversion import Choice, Imported, Number, fill, only
from unmingle.published.hyperparams import Hyperparams, Made

PARTS = ("encoder", "masknet", "decoder")
DUAL, EFFICIENT = "speechbrain.lobes.models.dual_path", "speechbrain.lobes.models.resepformer"
SEPFORMER, RESEPFORMER = f"{DUAL}.Dual_Path_Model", f"{EFFICIENT}.ResourceEfficientSeparator"
KERNEL, N_FILTERS = Number("kernel_size", 2, 4096, step=2), Number("n_filters", 1, 8192)
N_SRC, N_BLOCKS = Number("n_src", 1, 10), Number("n_blocks", 1, 16)
TRANSFORMER: dict[str, Number | Choice] = {
    "num_layers": Number("n_layers", 1, 32),
    "d_model": Number("n_features", 2, 4096, step=2),
    "nhead": Number("n_heads", 1, 64),
    "d_ffn": Number("hidden", 1, 16_384),
    "use_positional_encoding": only(True),
    "norm_before": only(True),
    "activation": only("relu"),
    "attention_type": only("regularMHA"),
    "input_shape": only(None),
    "kdim": only(None),
    "vdim": only(None),
}
#: Of each class: its arguments that make a difference, and what they may be.
ARGUMENTS: dict[str, dict[str, Number | Choice]] = {
    f"{DUAL}.Encoder": {"kernel_size": KERNEL, "out_channels": N_FILTERS, "in_channels": only(1)},
    f"{DUAL}.Decoder": {
        "kernel_size": KERNEL,
        "in_channels": N_FILTERS,
        "out_channels": only(1),
        "stride": Number("stride", 1, 2048),
        "bias": only(False),
    },
    f"{DUAL}.SBTransformerBlock": TRANSFORMER,
    f"{EFFICIENT}.SBTransformerBlock_wnormandskip": TRANSFORMER
    | {"causal": only(False), "use_norm": only(True), "use_skip": only(True), "norm_type": only("gln")},
    SEPFORMER: {
        "num_spks": N_SRC,
        "in_channels": N_FILTERS,
        "out_channels": Number("n_features", 2, 4096, step=2),
        "num_layers": N_BLOCKS,
        "K": Number("segment_size", 2, 10_000, step=2),
        "norm": only("ln"),
        "linear_layer_after_inter_intra": only(False),
        "skip_around_intra": only(True),
        "use_global_pos_enc": only(False),
    },
    RESEPFORMER: {
        "num_spk": N_SRC,
        "input_dim": N_FILTERS,
        "layer": N_BLOCKS,
        "segment_size": Number("segment_size", 1, 10_000),
        "causal": only(False),
        "mem_type": only("av"),
        "nonlinear": only("relu"),
    },
}
#: What SpeechBrain takes where an argument is not given.
DEFAULTS: dict[str, Any] = {
    "activation": "relu",
    "attention_type": "regularMHA",
    "input_shape": None,
    "kdim": None,
    "vdim": None,
    "use_positional_encoding": False,
    "norm_before": False,
    "norm": "ln",
    "norm_type": "gln",
    "linear_layer_after_inter_intra": True,
    "skip_around_intra": True,
    "use_global_pos_enc": False,
    "use_norm": True,
    "use_skip": True,
    "nonlinear": "relu",
    "num_spks": 2,
    "num_spk": 2,
    "stride": 1,
    "bias": True,
}
DEFAULTS_OF: dict[str, dict[str, Any]] = {
    f"{DUAL}.Encoder": {"in_channels": 1},
    f"{EFFICIENT}.SBTransformerBlock_wnormandskip": {"causal": False},
    RESEPFORMER: {"causal": True, "mem_type": "hc"},
}
UNUSED = {"dropout", "unit", "max_length"}  # in training only, or with other memories
OURS = {SEPFORMER: "sepformer", RESEPFORMER: "resepformer"}
#: By network, the arguments that are transformers, and the class that they must be of.
TRANSFORMERS = {
    SEPFORMER: (("intra_model", "inter_model"), f"{DUAL}.SBTransformerBlock"),
    RESEPFORMER: (("seg_model", "mem_model"), f"{EFFICIENT}.SBTransformerBlock_wnormandskip"),
}


def read(path: Path, sample_rate: int | None = None) -> Imported:
    """Our model with the arguments and the weights of a folder of SpeechBrain.

    Args:
        path: of the folder, which holds hyperparams.yaml, encoder.ckpt, masknet.ckpt and decoder.ckpt.
        sample_rate: of folders that do not say it [Hz].

    Raises:
        InputError: something else or something is missing; a network, an argument or a value that is not
            known here; tensors that are missing, too many or of another shape.
    """
    if not path.is_dir():
        raise InputError(
            f"{path}: no folder; give the one that holds hyperparams.yaml and {', '.join(PARTS)}.ckpt"
        )
    values = Hyperparams.read(path / "hyperparams.yaml")
    name, arguments = _arguments(values, sample_rate)
    state: dict[str, Any] = {}
    hashes = {}
    for part in PARTS:
        file = path / f"{part}.ckpt"
        tensors, hashes[part] = read_checkpoint(file)
        if not isinstance(tensors, Mapping):
            raise InputError(f"{file}: no dictionary of weights; get the file again")
        state |= {f"{part}.{key}": value for key, value in tensors.items()}
    _check_positions(path, state)
    model: Any = fill(path, name, arguments, NAMES[name], state, unread=filter(_is_position, state))
    return Imported(model, replace(model.facts, head="as-loud"), hashes["masknet"])


def _arguments(values: Hyperparams, sample_rate: int | None) -> tuple[str, dict[str, Any]]:
    """Our model's name and arguments for theirs; everything is checked against what is known."""
    modules = values.modules(PARTS)
    network = modules["masknet"].name
    if network not in OURS:
        raise values.error(f"network {network!r:.80} is not converted yet; known: {', '.join(OURS)}")
    for part in ("encoder", "decoder"):
        if modules[part].name != f"{DUAL}.{part.title()}":
            raise values.error(
                f"{part} {modules[part].name!r:.80} is not converted; known: {DUAL}.{part.title()}"
            )
    encoder, decoder = (_read(values, modules[part]) for part in ("encoder", "decoder"))
    mask = _read(values, modules["masknet"])
    keys, kind = TRANSFORMERS[network]
    transformers = []
    for key in keys:
        made = values.resolve(modules["masknet"].arguments.get(key))
        if not isinstance(made, Made) or made.name != kind:
            raise values.error(f"{key} is not converted unless it is a {kind}")
        transformers.append(_read(values, made))
    if transformers[0] != transformers[1]:
        raise values.error(f"{keys[0]} and {keys[1]} differ in their sizes, which is not converted")
    within = transformers[0]
    _same(values, "numbers of filters", encoder["n_filters"], decoder["n_filters"], mask["n_filters"])
    _same(values, "lengths of filters", encoder["kernel_size"], decoder["kernel_size"])
    _same(values, "half a filter and the stride", encoder["kernel_size"] // 2, decoder["stride"])
    _same(
        values, "widths of the transformers", within["n_features"], mask.get("n_features", mask["n_filters"])
    )
    if within["n_features"] % within["n_heads"]:
        raise values.error(f"d_model={within['n_features']} is no multiple of nhead={within['n_heads']}")
    if "num_spks" in values:
        _same(values, "numbers of voices", values.resolve(values["num_spks"]), mask["n_src"])
    rate = _sample_rate(values, sample_rate)
    if network == RESEPFORMER:
        within.pop("n_features")
    return OURS[network], {"kernel_size": encoder["kernel_size"]} | within | mask | rate


def _read(values: Hyperparams, made: Made) -> dict[str, Any]:
    """What our model calls the arguments of one of their classes, with its defaults."""
    known, name = ARGUMENTS[made.name], made.name.rpartition(".")[2]
    given = {
        key: value
        for key, value in (DEFAULTS | DEFAULTS_OF.get(made.name, {}) | dict(made.arguments)).items()
        if key in known or key in made.arguments
    }
    models = TRANSFORMERS[made.name][0] if made.name in TRANSFORMERS else ()
    unknown = set(given) - set(known) - UNUSED - set(models)
    if unknown or set(known) - set(given):
        what, some = ("unknown", unknown) if unknown else ("missing", set(known) - set(given))
        raise values.error(f"{what} arguments of {name}: {', '.join(sorted(map(repr, some))):.80}")
    arguments: dict[str, Any] = {}
    for key, rule in known.items():
        value = values.resolve(given[key])
        try:
            arguments |= rule.read(value)
        except ValueError as error:
            raise values.error(f"{name} with {key}={value!r:.40} is not converted; {error}") from None
    return arguments


def _same(values: Hyperparams, what: str, *numbers: Any) -> None:
    if any(number != numbers[0] for number in numbers):
        raise values.error(f"{what} that differ ({', '.join(f'{each!r:.20}' for each in numbers)})")


def _sample_rate(values: Hyperparams, given: int | None) -> dict[str, Any]:
    said = values.resolve(values["sample_rate"]) if "sample_rate" in values else None
    if said is None and given is None:
        raise values.error("does not say its sample rate; give it with --sample-rate")
    if None not in (said, given) and said != given:
        raise values.error(f"says sample_rate={said!r:.20}, not {given}; leave it out")
    rate = given if said is None else said
    try:
        return Number("sample_rate", *SAMPLE_RATES).read(rate)
    except ValueError as error:
        raise values.error(f"sample_rate={rate!r:.20} is not converted; {error}") from None


def _is_position(name: str) -> bool:
    """Whether a tensor says where in a sequence a vector is; ours are computed."""
    return name.startswith("masknet.") and name.endswith(".pos_enc.pe")


def _check_positions(path: Path, state: Mapping[str, Any]) -> None:
    """InputError if positions are not the sines and cosines that our transformer adds."""
    for name in filter(_is_position, state):
        found = plain_tensor(path, name, state[name])
        waves = found.squeeze(0)
        fits = waves.ndim == 2 and waves.numel() and waves.shape[1] % 2 == 0
        # Far away, one bit of a frequency moves a phase.
        if not fits or not torch.allclose(waves.float(), positional_waves(*waves.shape), atol=0.05):
            raise InputError(
                f"{path}: {name:.80} are not the positions that are known here; get the file again"
            )


def _sepformer(shapes: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names of our tensors, and of theirs."""
    yield from _filterbank_names()
    pairs = {
        "norm": "norm",
        "bottleneck": "conv1d",
        "split.0": "prelu",
        "split.1": "conv2d",
        "gated.0": "output.0",
        "gate.0": "output_gate.0",
        "mask.0": "end_conv1x1",
    }
    for block in _numbers(shapes, "blocks"):
        for own, their in (("within", "intra"), ("across", "inter")):
            ours, theirs = f"blocks.{block}", f"dual_mdl.{block}.{their}"
            pairs[f"{ours}.norm_{own}"] = f"{theirs}_norm"
            pairs |= _transformer(shapes, f"{ours}.{own}", f"{theirs}_mdl.mdl")
    yield from _tensors(shapes, pairs)


def _resepformer(shapes: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names of our tensors, and of theirs."""
    yield from _filterbank_names()
    pairs = {"mask.0": "model.output_fc.0", "mask.1": "model.output_fc.1"}
    for own, their in (("segments", "seg_model"), ("memories", "mem_model")):
        for number in _numbers(shapes, own):
            ours, theirs = f"{own}.{number}", f"model.{their}.{number}"
            pairs[f"{ours}.norm"] = f"{theirs}.norm"
            pairs |= _transformer(shapes, f"{ours}.transformer", f"{theirs}.mdl")
    yield from _tensors(shapes, pairs)


NAMES = {"sepformer": _sepformer, "resepformer": _resepformer}


def _filterbank_names() -> Iterator[tuple[str, str]]:
    yield "filterbank.analysis.weight", "encoder.conv1d.weight"
    yield "filterbank.synthesis.weight", "decoder.weight"


def _transformer(shapes: Mapping[str, Any], ours: str, theirs: str) -> dict[str, str]:
    pairs = {f"{ours}.norm": f"{theirs}.norm.norm"}
    for number in _numbers(shapes, f"{ours}.layers"):
        own, their = f"{ours}.layers.{number}", f"{theirs}.layers.{number}"
        pairs |= {
            f"{own}.norm_before": f"{their}.norm1.norm",
            f"{own}.attention.query_key_value": f"{their}.self_att.att.in_proj_",
            f"{own}.attention.out": f"{their}.self_att.att.out_proj",
            f"{own}.norm_between": f"{their}.norm2.norm",
            f"{own}.widen": f"{their}.pos_ffn.ffn.0",
            f"{own}.narrow": f"{their}.pos_ffn.ffn.3",
        }
    return pairs


def _tensors(shapes: Mapping[str, Any], pairs: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Of pairs of layers, the pairs of their tensors."""
    for own, their in pairs.items():
        for kind in ("weight", "bias"):
            if f"{own}.{kind}" in shapes:
                yield f"{own}.{kind}", f"masknet.{their}{'' if their.endswith('_') else '.'}{kind}"


def _numbers(shapes: Mapping[str, Any], prefix: str) -> list[int]:
    """The numbers of the layers that are called so."""
    return sorted(
        {int(key[len(prefix) + 1 :].split(".")[0]) for key in shapes if key.startswith(f"{prefix}.")}
    )
