"""Distance between an estimate and a source as a recogniser sees them."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.layers.resample import resample
from unmingle.objectives.frozen import N_BANDS, RATE, MelPower, load_frozen, save_frozen
from unmingle.objectives.loss_inputs import LossInputs

FORMAT = "unmingle-acoustic-1"
FLOOR = 1e-5  # of the mean power: what is 50 dB below it counts as nothing
STRIDE = 2  # bands to features: one per 20 ms


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

    def __init__(self, *, n_phones: int, channels: int = 160, n_blocks: int = 5) -> None:
        super().__init__()
        self.config = {"n_phones": n_phones, "channels": channels, "n_blocks": n_blocks}
        self.power = MelPower()
        self.begin = nn.Conv1d(N_BANDS, channels, 5, stride=STRIDE, padding=2)
        self.blocks = nn.ModuleList(Block(channels, 1 + index % 3) for index in range(n_blocks))
        self.end = nn.Linear(channels, n_phones)

    def bands(self, samples: Tensor) -> Tensor:
        """Logarithmic mel bands of `(B, T)` at 16 kHz, each without its mean: `(B, 64, N)`, a frame every 10
        ms, the first from the first sample on.
        """
        power = self.power(samples)
        floor = FLOOR * power.mean((1, 2), keepdim=True) + 1e-20
        logarithm = (power + floor).log()
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
    save_frozen(path, model, format=FORMAT, config=model.config, phones=phones, training=training)


def load_acoustic_model(path: str | Path) -> AcousticModel:
    """The frozen network of a file that `save_acoustic_model` wrote; InputError if it is none."""
    return load_frozen(path, AcousticModel, "an acoustic model", FORMAT, "train_acoustic_model.py")


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
