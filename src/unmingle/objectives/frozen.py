"""Frozen networks that an objective looks through: files of weights, and what they hear."""

import json
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from unmingle.errors import InputError

RATE = 16_000  # [Hz]
WINDOW, HOP, N_FFT = 400, 160, 512
N_BANDS = 64

Network = TypeVar("Network", bound=nn.Module)


def mel_filters() -> Tensor:
    """Triangular filters `(64, 257)` up to 8 kHz, equally wide in mel."""
    edges = np.linspace(0, 1127 * np.log1p(RATE / 2 / 700), N_BANDS + 2)
    at = 1127 * np.log1p(np.fft.rfftfreq(N_FFT, 1 / RATE) / 700)
    width = edges[1]
    rise, fall = (at - edges[:-2, None]) / width, (edges[2:, None] - at) / width
    return torch.from_numpy(np.minimum(rise, fall).clip(0)).float()


class MelPower(nn.Module):
    """Power in mel bands of `(B, T)` at 16 kHz: `(B, 64, N)`, a frame every 10 ms, the first from the first
    sample on.
    """

    filters: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filters", mel_filters(), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        padded = functional.pad(samples, (0, max(0, WINDOW - samples.shape[-1])))
        frames = padded.unfold(-1, WINDOW, HOP) * self.window
        power = torch.view_as_real(torch.fft.rfft(frames, N_FFT)).square().sum(-1)
        return (power @ self.filters.mT).mT


def save_frozen(path: Path, network: nn.Module, **about: Any) -> None:
    """Write weights as safetensors, and what is known about them as its header, values in JSON."""
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(state, path, {key: json.dumps(value) for key, value in about.items()})


def load_frozen(path: str | Path, kind: type[Network], what: str, file_format: str, script: str) -> Network:
    """The frozen network of a file that `save_frozen` wrote.

    Args:
        path: the file; its header holds `format`, and the arguments of `kind` as `config`.
        kind: class of the network.
        what: name of it in messages.
        file_format: what the header must name.
        script: makes such files.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    remedy = f"make one with benchmarks/{script}"
    try:
        with safe_open(path, "pt") as file:
            header = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not {what} ({error}); {remedy}") from None
    if header.get("format") != file_format:
        raise InputError(f"{path}: not {what} of format {file_format}; {remedy}")
    network = kind(**header["config"])
    network.load_state_dict(state)
    return network.requires_grad_(False)
