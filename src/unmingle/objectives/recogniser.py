"""Distance between an estimate and a source as a recogniser sees them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from unmingle.errors import InputError
from unmingle.layers.resample import resample
from unmingle.objectives.loss_inputs import LossInputs

FORMAT = "unmingle-acoustic-1"
RATE = 16_000  # [Hz]
WINDOW, HOP, N_FFT = 400, 160, 512
N_BANDS = 64
FLOOR = 1e-5  # of the mean power: what is 50 dB below it counts as nothing
STRIDE = 2  # bands to features: one per 20 ms


def mel_filters() -> Tensor:
    """Triangular filters `(64, 257)` up to 8 kHz, equally wide in mel."""
    edges = np.linspace(0, 1127 * np.log1p(RATE / 2 / 700), N_BANDS + 2)
    at = 1127 * np.log1p(np.fft.rfftfreq(N_FFT, 1 / RATE) / 700)
    width = edges[1]
    rise, fall = (at - edges[:-2, None]) / width, (edges[2:, None] - at) / width
    return torch.from_numpy(np.minimum(rise, fall).clip(0)).float()


class Block(nn.Module):
    """A convolution in time of each channel, then a mixture of channels, around a shortcut: `(B, C, N)` → the
    same.
    """

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.time = nn.Conv1d(channels, channels, 7, padding=3 * dilation, dilation=dilation, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.wide, self.narrow = nn.Linear(channels, 2 * channels), nn.Linear(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.time(x).mT)
        return x + self.narrow(functional.gelu(self.wide(y))).mT


class AcousticModel(nn.Module):
    """Speech → phones, one per 20 ms. Level does not matter, nor does a constant colour of the sound.

    Args:
        n_phones: kinds of phones, silence among them.
        channels, n_blocks: size.
    """

    filters: Tensor
    window: Tensor

    def __init__(self, *, n_phones: int, channels: int = 160, n_blocks: int = 5) -> None:
        super().__init__()
        self.config = {"n_phones": n_phones, "channels": channels, "n_blocks": n_blocks}
        self.register_buffer("filters", mel_filters(), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        self.begin = nn.Conv1d(N_BANDS, channels, 5, stride=STRIDE, padding=2)
        self.blocks = nn.ModuleList(Block(channels, 1 + index % 3) for index in range(n_blocks))
        self.end = nn.Linear(channels, n_phones)

    def bands(self, samples: Tensor) -> Tensor:
        """Logarithmic mel bands of `(B, T)` at 16 kHz, each without its mean: `(B, 64, N)`, a frame every 10
        ms, the first from the first sample on.
        """
        padded = functional.pad(samples, (0, max(0, WINDOW - samples.shape[-1])))
        frames = padded.unfold(-1, WINDOW, HOP) * self.window
        power = torch.view_as_real(torch.fft.rfft(frames, N_FFT)).square().sum(-1) @ self.filters.mT
        floor = FLOOR * power.mean((1, 2), keepdim=True) + 1e-20
        logarithm = (power + floor).log().mT
        return (logarithm - logarithm.mean(-1, keepdim=True)) / 3

    def features(self, samples: Tensor) -> list[Tensor]:
        """What every block returns for `(B, T)` at 16 kHz, `(B, C, N)` each."""
        x = self.begin(self.bands(samples))
        found = []
        for block in self.blocks:
            x = block(x)
            found.append(x)
        return found

    def forward(self, samples: Tensor) -> Tensor:
        """Scores of the phones before the softmax: `(B, T)` at 16 kHz → `(B, N, P)`."""
        return self.end(self.features(samples)[-1].mT)


def save_acoustic_model(
    path: Path, model: AcousticModel, phones: list[str], training: dict[str, Any]
) -> None:
    """Write weights, the names of the phones and training's account of itself, as safetensors."""
    header = {"format": FORMAT, "config": model.config, "phones": phones, "training": training}
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(state, path, {key: json.dumps(value) for key, value in header.items()})


def load_acoustic_model(path: str | Path) -> AcousticModel:
    """The frozen network of a file that `save_acoustic_model` wrote; InputError if it is none."""
    try:
        with safe_open(path, "pt") as file:
            header = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        reason = f"not an acoustic model ({error})"
        raise InputError(f"{path}: {reason}; make one with benchmarks/train_acoustic_model.py") from None
    if header.get("format") != FORMAT:
        reason = f"not an acoustic model of format {FORMAT}"
        raise InputError(f"{path}: {reason}; make one with benchmarks/train_acoustic_model.py")
    model = AcousticModel(**header["config"])
    model.load_state_dict(state)
    return model.requires_grad_(False)


def distance(estimates: list[Tensor], references: list[Tensor]) -> Tensor:
    """Mean over blocks, channels and frames of the squared difference of features whose frames each have mean
    0 and deviation 1: lists of `(…, C, N)` → `(…)`. 0 if they are equal, 2 if they have nothing in common.

    >>> frames = torch.randn(1, 100, 50, generator=torch.Generator().manual_seed(0))
    >>> distance([frames], [3 * frames]).item() < 1e-6, round(distance([frames], [-frames]).item(), 2)
    (True, 4.0)
    """
    of_blocks = [
        (_normal(estimate) - _normal(reference)).square().mean((-2, -1))
        for estimate, reference in zip(estimates, references, strict=True)
    ]
    return torch.stack(of_blocks).mean(0)


def _normal(features: Tensor) -> Tensor:
    return functional.layer_norm(features.mT, features.shape[-2:-1]).mT


class Recogniser(nn.Module):
    """`distance` of every estimate and every source in the features of a frozen acoustic model.

    It follows what matters for telling phones apart, and not level, so take it beside a term that does, such
    as `waveform`.

    Args:
        weights: file of the acoustic model (benchmarks/train_acoustic_model.py makes one).

    References:
        F. G. Germain et al., "Speech denoising with deep feature losses", 2018, where the features are those
        of a classifier of sounds.
    """

    def __init__(self, *, weights: str) -> None:
        super().__init__()
        self.model = load_acoustic_model(weights)

    def forward(self, inputs: LossInputs) -> Tensor:
        """`(B, S, S)`."""
        rate = inputs.separator.facts.sample_rate
        estimates, sources = (self._features(x, rate) for x in (inputs.estimates, inputs.sources))
        return distance([x[:, :, None] for x in estimates], [x[:, None] for x in sources])

    def _features(self, samples: Tensor, sample_rate: int) -> list[Tensor]:
        """Of `(B, S, T)`: `(B, S, C, N)` for each block, in float32 also under autocast."""
        with torch.autocast(samples.device.type, enabled=False):
            at_rate = resample(samples.float(), sample_rate, RATE)
            return [x.unflatten(0, samples.shape[:2]) for x in self.model.features(at_rate.flatten(0, 1))]
