"""TIGER's checkpoints in terms of ours: what `save_pretrained(FOLDER)` of its authors' program writes,
config.json and model.safetensors.

Read from github.com/JusperLee/TIGER of January 2025 (look2hear/models/tiger.py, Apache-2.0 by its README of
that time, MIT since); the tests compare with what that printed.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmingle.errors import InputError
from unmingle.facts import SAMPLE_RATES
from unmingle.models.tiger import widths
from unmingle.published.checkpoints import plain_tensor, read_checkpoint, read_safetensors
from unmingle.published.conversion import Imported, Number, fill

WEIGHTS = ("model.safetensors", "pytorch_model.bin", "best_model.pth")
LARGEST_CONFIG = 100_000  # of config.json [bytes]
#: Their arguments, and the values that those have which config.json leaves out.
ARGUMENTS = {
    "out_channels": (Number("n_features", 1, 4096), 128),
    "in_channels": (Number("n_hidden", 1, 8192), 512),
    "num_blocks": (Number("n_blocks", 1, 64), 16),
    "upsampling_depth": (Number("n_levels", 3, 12), 4),
    "att_n_head": (Number("n_heads", 1, 64), 4),
    "att_hid_chan": (Number("n_keys", 1, 256), 4),
    "win": (Number("n_fft", 2, 65_536, step=2), 2048),
    "stride": (Number("hop", 1, 32_768), 512),
    "num_sources": (Number("n_src", 2, 10), 2),
    "sample_rate": (Number("sample_rate", *SAMPLE_RATES), 44_100),
}
WALKS = {"frequency": "separator.freq_path", "time": "separator.frame_path"}
PROJECTION = {
    "linear.weight": "conv.weight",
    "linear.bias": "conv.bias",
    "slopes": "act.weight",
    "gain": "norm.gamma",
    "bias": "norm.beta",
}
SELECTION = {"fine": "local_embedding", "coarse": "global_embedding", "weight": "global_act"}
UNUSED = ("att_kernel_size", "att_stride")  # their network takes them and does nothing with them


def read(path: Path, sample_rate: int | None = None) -> Imported:
    """Our model with the arguments and the weights of a TIGER checkpoint.

    Args:
        path: of the folder, or of the file with the weights, beside which config.json lies.
        sample_rate: None, or what config.json says [Hz].

    Raises:
        InputError: a file is missing or something else; an argument or a value that is not known here;
            tensors that are missing, too many or of another shape.
    """
    folder = path if path.is_dir() else path.parent
    arguments = _arguments(folder / "config.json", sample_rate)
    weights = _weights(path)
    reader = read_safetensors if weights.suffix == ".safetensors" else read_checkpoint
    state, sha256 = reader(weights)
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]  # as their training saves it
    if not isinstance(state, Mapping):
        raise InputError(f"{weights}: holds no dictionary of weights; get the file again")
    try:
        state = _joined(weights, state, dict(_parts(arguments)))
        model: Any = fill(
            weights,
            "tiger",
            arguments,
            lambda shapes: _names(shapes, arguments),
            state,
            unread=_unread(arguments),
            reshape=_flat,
        )
    except ValueError as error:  # of the arguments together
        raise InputError(f"{folder / 'config.json'}: not converted; {error}") from None
    return Imported(model, model.facts, sha256)


def _weights(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in WEIGHTS:
        if (path / name).is_file():
            return path / name
    raise InputError(
        f"{path}: holds none of {', '.join(WEIGHTS)}; give the folder that save_pretrained wrote"
    )


def _arguments(path: Path, sample_rate: int | None) -> dict[str, Any]:
    """Our model's arguments for those in config.json."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_CONFIG + 1)
        values = json.loads(content) if len(content) <= LARGEST_CONFIG else None
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); it must lie beside the weights"
        ) from None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise InputError(f"{path}: no JSON of arguments; get the file again")
    if unknown := set(values) - set(ARGUMENTS) - set(UNUSED):
        raise InputError(f"{path}: unknown arguments of TIGER: {', '.join(sorted(map(repr, unknown))):.80}")
    arguments: dict[str, Any] = {}
    for key, (rule, otherwise) in ARGUMENTS.items():
        value = values.get(key, otherwise)
        try:
            arguments |= rule.read(value)
        except ValueError as error:
            raise InputError(f"{path}: TIGER with {key}={value!r:.40} is not converted; {error}") from None
    if sample_rate not in (None, arguments["sample_rate"]):
        raise InputError(
            f"{path}: says sample_rate={arguments['sample_rate']}, not {sample_rate}; leave it out"
        )
    return arguments


def _parts(arguments: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Which of their tensors are one of ours: those of bands of one width, and those of the heads."""
    first = 0
    bands = widths(arguments["n_fft"] // 2 + 1, arguments["sample_rate"])
    for group, (count, _) in enumerate(bands):
        for ours, theirs in (
            ("norm.weight", "BN.{}.0.weight"),
            ("norm.bias", "BN.{}.0.bias"),
            ("encode.weight", "BN.{}.1.weight"),
            ("encode.bias", "BN.{}.1.bias"),
            ("activation.weight", "mask.{}.0.weight"),
            ("decode.weight", "mask.{}.1.weight"),
            ("decode.bias", "mask.{}.1.bias"),
        ):
            yield f"bands.{group}.{ours}", [theirs.format(first + k) for k in range(count)]
        first += count
    for walk, path in WALKS.items():
        for own, their in (("query", "Queries"), ("key", "Keys"), ("value", "Values")):
            for ours, theirs in PROJECTION.items():
                heads = [f"{path}.1.{their}.{k}.{theirs}" for k in range(arguments["n_heads"])]
                yield f"{walk}.attention.{own}.{ours}", heads


def _joined(path: Path, state: Mapping[str, Any], parts: Mapping[str, list[str]]) -> dict[str, Any]:
    """Their tensors, where those that are one of ours are joined and called as that."""
    state = dict(state)
    for ours, theirs in parts.items():
        if missing := [name for name in theirs if name not in state]:
            raise InputError(f"{path}: lacks weights, such as {missing[0]!r:.80}; get the file again")
        try:
            state[ours] = torch.cat([plain_tensor(path, name, state.pop(name)) for name in theirs])
        except RuntimeError:
            raise InputError(f"{path}: {theirs[0]:.80} and others do not fit; get the file again") from None
    return state


def _names(shapes: Mapping[str, Any], arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names of our tensors, and of theirs."""
    for ours, _ in _parts(arguments):
        yield ours, ours
    for walk, path in WALKS.items():
        yield from _scales_names(shapes, f"{walk}.scales", f"{path}.0", arguments["n_levels"])
        for ours, theirs in PROJECTION.items():
            yield f"{walk}.attention.project.{ours}", f"{path}.1.attn_concat_proj.{theirs}"
        yield f"{walk}.norm.weight", f"{path}.2.gamma"
        yield f"{walk}.norm.bias", f"{path}.2.beta"
    yield "gain", "separator.concat_block.0.weight"
    yield "offset", "separator.concat_block.0.bias"
    yield "activation.weight", "separator.concat_block.1.weight"


def _scales_names(
    shapes: Mapping[str, Any], ours: str, theirs: str, n_levels: int
) -> Iterator[tuple[str, str]]:
    layers = [("widen.0", "proj_1x1.conv"), ("widen.1", "proj_1x1.norm")]
    yield f"{ours}.widen.2.weight", f"{theirs}.proj_1x1.act.weight"
    for k in range(n_levels):
        layers += [(f"down.{k}.0", f"spp_dw.{k}.conv"), (f"down.{k}.1", f"spp_dw.{k}.norm")]
    for k, name in ((0, "fc1.conv"), (1, "fc1.norm"), (2, "dwconv"), (4, "fc2.conv"), (5, "fc2.norm")):
        layers.append((f"everything.{k}", f"globalatt.{name}"))
    for k in range(n_levels - 1):
        for own, their in (("select", "loc_glo_fus"), ("up", "last_layer")):
            for part, name in SELECTION.items():
                for number, layer in enumerate(("conv", "norm")):
                    layers.append((f"{own}.{k}.{part}.{number}", f"{their}.{k}.{name}.{layer}"))
    layers.append(("narrow", "res_conv"))
    for own, their in layers:
        for kind in ("weight", "bias"):
            if f"{ours}.{own}.{kind}" in shapes:
                yield f"{ours}.{own}.{kind}", f"{theirs}.{their}.{kind}"


def _unread(arguments: Mapping[str, Any]) -> Iterator[str]:
    """Weights that make no difference: what is selected at the coarsest scale."""
    for path in WALKS.values():
        for name in SELECTION.values():
            for layer in ("conv.weight", "norm.weight", "norm.bias"):
                yield f"{path}.0.loc_glo_fus.{arguments['n_levels'] - 1}.{name}.{layer}"


def _flat(name: str, tensor: Tensor) -> Tensor:
    """Norms of a walk are of four axes in theirs."""
    return tensor.flatten() if tensor.ndim == 4 and ".norm." in name else tensor
