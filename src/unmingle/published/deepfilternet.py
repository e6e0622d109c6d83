"""DeepFilterNet3 in terms of ours: `DeepFilterNet3_onnx.tar.gz` as its authors publish it, an archive of
three ONNX files and the configuration of their training.

Read from github.com/Rikorose/DeepFilterNet (MIT or Apache 2.0) at commit d375b2d; the tests compare with what
its files returned. Of the files only the weights are taken, by the operations that use them; the graphs in
them are not run. Batch norms, which were folded into the weights there, become norms that change nothing.
"""

import configparser
import io
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmingle.errors import InputError
from unmingle.published.checkpoints import LARGEST_BYTES, onnx_operands, read_bytes, too_large
from unmingle.published.conversion import Imported, fill

FOLDER = "tmp/export"
GRAPHS = ("enc", "erb_dec", "df_dec")
#: What its configuration must say of the network, and may say no more of.
KNOWN: dict[str, dict[str, str]] = {
    "df": {
        "sr": "48000",
        "fft_size": "960",
        "hop_size": "480",
        "nb_erb": "32",
        "nb_df": "96",
        "norm_tau": "1",
        "lsnr_max": "35",
        "lsnr_min": "-15",
        "min_nb_erb_freqs": "2",
        "pad_mode": "output",
        "df_order": "5",
        "df_lookahead": "2",
    },
    "deepfilternet": {
        "conv_lookahead": "2",
        "conv_ch": "64",
        "conv_depthwise": "True",
        "emb_hidden_dim": "256",
        "emb_num_layers": "3",
        "enc_linear_groups": "32",
        "linear_groups": "16",
        "conv_dec_mode": "transposed",
        "convt_depthwise": "False",
        "mask_pf": "False",
        "df_hidden_dim": "256",
        "df_num_layers": "2",
        "dfop_method": "df",
        "group_shuffle": "False",
        "conv_kernel": "1,3",
        "df_gru_skip": "groupedlinear",
        "df_pathway_kernel_size_t": "5",
        "enc_concat": "False",
        "conv_kernel_inp": "3,3",
        "emb_gru_skip": "none",
        "df_n_iter": "1",
        "convt_kernel": "1,3",
        "lsnr_dropout": "False",
    },
}
#: Our convolutions, and the operations that they are in theirs.
CONVOLUTIONS: dict[str, tuple[str, ...]] = {
    "bands.0": ("enc/erb_conv0/1/Conv",),
    "bands.1": ("enc/erb_conv1/0/Conv", "enc/erb_conv1/1/Conv"),
    "bands.2": ("enc/erb_conv2/Conv", "enc/erb_conv2/Conv_1"),
    "bands.3": ("enc/erb_conv3/0/Conv", "enc/erb_conv3/1/Conv"),
    "bins.0": ("enc/df_conv0/1/Conv", "enc/df_conv0/2/Conv"),
    "bins.1": ("enc/df_conv1/Conv", "enc/df_conv1/Conv_1"),
    "paths.0": ("erb_dec/conv3p/0/Conv",),
    "paths.1": ("erb_dec/conv2p/Conv",),
    "paths.2": ("erb_dec/conv1p/Conv",),
    "paths.3": ("erb_dec/conv0p/Conv",),
    "ups.0": ("erb_dec/convt3/Conv", "erb_dec/convt3/Conv_1"),
    "ups.1": ("erb_dec/convt2/0/ConvTranspose", "erb_dec/convt2/1/Conv"),
    "ups.2": ("erb_dec/convt1/ConvTranspose", "erb_dec/convt1/Conv"),
    "ups.3": ("erb_dec/conv0_out/0/Conv",),
    "filters_path": ("df_dec/df_convp/df_convp.1/Conv", "df_dec/df_convp/df_convp.2/Conv"),
}
CHANNELS = (1, 10, 64)  # that come out of them; of each there is a norm that changes nothing: it adds 1e-5
LINEAR = {
    "bins_linear": "enc/df_fc_emb/0/Einsum",
    "memory.squeeze": "enc/emb_gru/linear_in/0/Einsum",
    "memory.expand": "enc/emb_gru/linear_out/0/Einsum",
    "gains_memory.squeeze": "erb_dec/emb_gru/linear_in/Einsum",
    "gains_memory.expand": "erb_dec/emb_gru/linear_out/Einsum",
    "filters_memory.squeeze": "df_dec/df_gru/linear_in/linear_in.0/Einsum",
    "filters_skip": "df_dec/df_skip/Einsum",
    "filters_linear": "df_dec/df_out/df_out.0/Einsum",
}
GRUS = {
    "memory.gru": ("enc/emb_gru/GRU",),
    "gains_memory.gru": ("erb_dec/emb_gru/GRU", "erb_dec/emb_gru/GRU_1"),
    "filters_memory.gru": ("df_dec/df_gru/gru/GRU", "df_dec/df_gru/gru/GRU_1"),
}


def read(path: Path, sample_rate: int | None = None) -> Imported:
    """Our model with the weights of DeepFilterNet3's archive.

    Args:
        path: of the archive.
        sample_rate: None, or 48 kHz, for which the network is.

    Raises:
        InputError: something else; a configuration of another network; tensors that are missing, too many or
            of another shape.
    """
    content, sha256 = read_bytes(path, "give DeepFilterNet3_onnx.tar.gz")
    if sample_rate not in (None, int(KNOWN["df"]["sr"])):
        raise InputError(
            f"{path}: DeepFilterNet3 is for {KNOWN['df']['sr']} Hz, not {sample_rate}; leave it out"
        )
    files = _unpacked(path, content)
    check_config(path, files["config.ini"])
    state: dict[str, Tensor] = {}
    for graph in GRAPHS:
        operands = onnx_operands(path, files[f"{graph}.onnx"])
        state |= {f"{graph}{key}": tensor for key, tensor in operands.items()}
    for size in CHANNELS:
        state |= {f"ones {size}": torch.ones(size), f"variances {size}": torch.full((size,), 1 - 1e-5)}
    model: Any = fill(path, "deepfilternet", {}, _names, state, reshape=_as_ours)
    return Imported(model, model.facts, sha256)


def _unpacked(path: Path, content: bytes) -> dict[str, bytes]:
    """The archive's files that are known, by their names; nothing is written anywhere."""
    names = [*(f"{graph}.onnx" for graph in GRAPHS), "config.ini"]
    try:
        packed = zlib.decompressobj(31)  # with gzip's header, and the checksum at its end
        unpacked = packed.decompress(content, LARGEST_BYTES + 1)
        if len(unpacked) > LARGEST_BYTES:
            raise too_large(path)
        if not packed.eof:
            raise ValueError("truncated")
        with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as archive:
            members = {name: archive.extractfile(f"{FOLDER}/{name}") for name in names}
            return {name: member.read() for name, member in members.items() if member}
    except InputError:
        raise
    except Exception:  # whatever a damaged file leads to
        raise InputError(
            f"{path}: no whole archive of DeepFilterNet3's ONNX files (truncated, changed, or something "
            "else); get DeepFilterNet3_onnx.tar.gz again"
        ) from None


def check_config(path: Path, content: bytes) -> None:
    """Whether a configuration is that of the network that is known here; InputError if not."""
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read_string(content.decode())
        found = {section: dict(config[section]) for section in KNOWN}
    except (configparser.Error, UnicodeDecodeError, KeyError):
        raise InputError(
            f"{path}: config.ini is not that of a DeepFilterNet; get the archive again"
        ) from None
    for section, known in KNOWN.items():
        for key in sorted(set(known) | set(found[section])):
            said, wanted = found[section].get(key), known.get(key)
            if said != wanted:
                raise InputError(
                    f"{path}: config.ini with {key}={said!r:.40} is not converted; known: {wanted or 'none'}"
                )


def _as_ours(name: str, tensor: Tensor) -> Tensor:
    """ONNX's order of a GRU's gates is update, reset, new; its biases are one tensor."""
    if ".gru." not in name or tensor.ndim < 2:
        return tensor
    tensor = tensor[0]
    if ".bias_" in name:
        tensor = tensor.chunk(2)["bias_hh" in name]
    parts = tensor.chunk(3)
    return torch.cat([parts[1], parts[0], *parts[2:]]) if len(parts) == 3 else tensor


def _names(shapes: Mapping[str, torch.Size]) -> Iterator[tuple[str, str]]:
    """Names of our tensors, and of theirs; means of norms are left out."""
    for ours, operations in CONVOLUTIONS.items():
        size = shapes[f"{ours}.norm.weight"][0]
        for own, their in zip(("conv", "mix"), operations, strict=False):
            yield f"{ours}.{own}.weight", f"{their}.1"
        yield f"{ours}.norm.weight", f"ones {size}"
        yield f"{ours}.norm.running_var", f"variances {size}"
        yield f"{ours}.norm.bias", f"{operations[-1]}.2"
    for ours, their in LINEAR.items():
        yield f"{ours}.weight", f"{their}.1"
    for ours, layers in GRUS.items():
        for number, their in enumerate(layers):
            for own, kind in (("weight_ih", 1), ("weight_hh", 2), ("bias_ih", 3), ("bias_hh", 3)):
                yield f"{ours}.{own}_l{number}", f"{their}.{kind}"
