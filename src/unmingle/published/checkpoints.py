"""Reading checkpoints of others as data: tensors and plain values, never code."""

import hashlib
import io
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor
from torch.torch_version import TorchVersion

from unmingle.errors import InputError

LARGEST_BYTES = 500_000_000  # of a checkpoint, packed and unpacked


class _NumberKind:
    """Stands for NumPy's dtype of a number, and is nothing but its name."""

    def __init__(self, name: str, *_: Any) -> None:
        self.name = name

    def __setstate__(self, _: Any) -> None:
        """The order of bytes and the like, which are as everywhere."""


def _number(kind: _NumberKind, content: bytes) -> Any:
    """A number of NumPy's, such as a figure that was measured, as a plain one."""
    if not isinstance(kind, _NumberKind) or kind.name not in ("f4", "f8", "i4", "i8"):
        raise ValueError("no number")
    return np.frombuffer(content, f"<{kind.name}", 1)[0].item()


#: What a checkpoint may name besides tensors and containers: the version of PyTorch, a string; and numbers of
#: NumPy's, read by what stands here in the place of its own.
HARMLESS: list[Any] = [
    TorchVersion,
    (_NumberKind, "numpy.dtype"),
    (_number, "numpy.core.multiarray.scalar"),
    (_number, "numpy._core.multiarray.scalar"),
]


def read_checkpoint(path: Path, largest: int | None = None) -> tuple[Any, str]:
    """What `torch.save` wrote into a file, of tensors and plain values only, and the file's SHA-256.

    Raises:
        InputError: not a file, larger than `largest` (`LARGEST_BYTES` unless given), truncated, or holding
            anything but tensors and plain values; code in it is not run.
    """
    content, sha256 = read_bytes(path, "give a checkpoint that 'torch.save' wrote", largest)
    stream = io.BytesIO(content)
    try:
        if zipfile.is_zipfile(stream):
            with zipfile.ZipFile(stream) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > (largest or LARGEST_BYTES):
                    raise too_large(path, largest)
                if (damaged := archive.testzip()) is not None:  # PyTorch does not look at the checksums
                    raise ValueError(f"{damaged} is damaged")
        stream.seek(0)
        with warnings.catch_warnings(), torch.serialization.safe_globals(HARMLESS):
            warnings.simplefilter("ignore")
            values = torch.load(stream, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # whatever a damaged file leads to
        raise InputError(f"{path}: {_reason(error)}") from None
    return values, sha256


def read_onnx(path: Path) -> tuple[dict[str, Tensor], str]:
    """The weights of an ONNX file, float32, by their names, and the file's SHA-256; its graph is not looked
    at. The format has no checksums: a changed weight goes unseen.

    Raises:
        InputError: not a file, larger than `LARGEST_BYTES`, truncated, no ONNX, or with weights that lie in
            another file.
    """
    content, sha256 = read_bytes(path, "give an ONNX file")
    return {each.name: tensor for each, tensor in _onnx_tensors(path, _onnx_graph(path, content))}, sha256


def onnx_operands(path: Path, content: bytes) -> dict[str, Tensor]:
    """The weights of convolutions, GRUs and sums of products in an ONNX file's content, by the operation's
    name and the number of its input, such as `/conv/Conv.1`.

    Raises:
        InputError: as `read_onnx` raises it for the file at `path`.
    """
    graph = _onnx_graph(path, content)
    tensors = {each.name: tensor for each, tensor in _onnx_tensors(path, graph)}
    return {
        f"{node.output[0].removesuffix('_output_0')}.{number}": tensors[name]
        for node in graph.node
        if node.op_type in ("Conv", "ConvTranspose", "Einsum", "GRU")
        for number, name in enumerate(node.input)
        if name in tensors
    }


def _onnx_graph(path: Path, content: bytes) -> Any:
    import onnx

    try:
        return onnx.ModelProto.FromString(content).graph
    except Exception:  # whatever a damaged file leads to
        raise _no_onnx(path) from None


def _onnx_tensors(path: Path, graph: Any) -> list[tuple[Any, Tensor]]:
    """Float32 ones, of initialisers and constants; the latter are called as what they are put out as."""
    import onnx

    try:
        constants = [
            node for node in graph.node if node.op_type == "Constant" and node.attribute[0].HasField("t")
        ]
        for node in constants:
            node.attribute[0].t.name = node.output[0]
        tensors = [*graph.initializer, *(node.attribute[0].t for node in constants)]
        if any(each.data_location == onnx.TensorProto.EXTERNAL for each in tensors):
            raise ValueError("elsewhere")
        found = [each for each in tensors if each.data_type == onnx.TensorProto.FLOAT]
        if not found:
            raise ValueError("none")
        return [(each, torch.from_numpy(onnx.numpy_helper.to_array(each).copy())) for each in found]
    except Exception:  # whatever a damaged file leads to
        raise _no_onnx(path) from None


def _no_onnx(path: Path) -> InputError:
    return InputError(
        f"{path}: no whole ONNX file with its weights (truncated, changed, or something else); get it again"
    )


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file of safetensors, which can hold nothing else, and the file's SHA-256.

    Raises:
        InputError: not a file, larger than `LARGEST_BYTES`, or truncated. It has no checksums: a changed
            weight goes unseen.
    """
    content, sha256 = read_bytes(path, "give a file of safetensors")
    try:
        return safetensors.torch.load(content), sha256
    except Exception:  # whatever a damaged file leads to
        raise InputError(
            f"{path}: no whole file of safetensors (truncated, changed, or something else); get it again"
        ) from None


def read_bytes(path: Path, wanted: str, largest: int | None = None) -> tuple[bytes, str]:
    """A file that is there, can be read and is not too large, and its SHA-256; InputError if it is not."""
    try:
        if not path.is_file():
            raise InputError(f"{path}: no such file; {wanted}")
        if path.stat().st_size > (largest or LARGEST_BYTES):
            raise too_large(path, largest)
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return content, hashlib.sha256(content).hexdigest()


def too_large(path: Path, largest: int | None = None) -> InputError:
    return InputError(
        f"{path}: larger than {(largest or LARGEST_BYTES) // 10**6} MB, which no model here is; not opened"
    )


def _reason(error: Exception) -> str:
    """What is wrong with a file that could not be loaded, and what to do, of the loader's error."""
    if found := re.search(r"GLOBAL ([\w.]{1,80})", str(error)):
        return (
            f"holds code or a class ({found[1]}), which is not run; save tensors and plain values only, as "
            "Asteroid's serialize() returns them"
        )
    return (
        "no whole checkpoint of PyTorch (truncated, changed, or something else); give the file that "
        "torch.save wrote, or get it again"
    )


def plain_tensor(path: Path, name: str, value: Any) -> Tensor:
    """A tensor of a checkpoint, if it is of finite real numbers; InputError if not."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or not value.is_floating_point():
        raise InputError(f"{path}: {name:.80} is no tensor of real numbers; get the file again")
    return value
