"""The Huber loss of the noise, on scaled decibels."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.layers.stft import STFT
from unmingle.objectives.loss_inputs import LossInputs, power, spectra

CENTRE_DB, SPAN_DB = 6.0, 82.0


def scaled_db(spectrum: Tensor) -> Tensor:
    """`(20 log10|X| − 6) / 82`, at least −1: `(…, 2, F, N)` → `(…, F, N)`.

    >>> scaled_db(torch.tensor([[10 ** (47 / 20)], [0.0]])[..., None]).item()
    0.5
    """
    quietest = 10 ** ((CENTRE_DB - SPAN_DB) / 10)
    return (10 * power(spectrum).clamp(min=quietest).log10() - CENTRE_DB) / SPAN_DB


def noise_huber(estimate: Tensor, noise: Tensor, delta: float = 1.0) -> Tensor:
    """`mean h(n̂ − n)`, `h(d) = d² / 2` up to δ and `δ(|d| − δ / 2)` above it, of scaled decibels: `(…, F,
    N)` → `(…)`.

    >>> float(noise_huber(torch.tensor([[0.5, -1.0]]), torch.tensor([[0.5, 1.0]])))
    0.75
    """
    predicted, true = torch.broadcast_tensors(estimate, noise)
    return functional.huber_loss(predicted, true, reduction="none", delta=delta).mean((-2, -1))


class NoiseHuber(nn.Module):
    """`noise_huber` of what every estimate leaves in the mixture and of what every source leaves there.

    A separator that predicts the noise itself, as `noise_db(mixture)` → `scaled_db` of the noise `(B, F, N)`
    in its own `stft`, is scored on that prediction.

    Args:
        delta: where the loss turns from squared to linear.
        n_fft, hop: of the STFT for a separator that predicts no noise [samples].
    """

    def __init__(self, *, delta: float = 1.0, n_fft: int = 256, hop: int = 64) -> None:
        super().__init__()
        if delta <= 0:
            raise ValueError(f"delta is {delta}; it must be above 0")
        self.delta, self.stft = delta, STFT(n_fft=n_fft, hop=hop)

    def forward(self, inputs: LossInputs) -> Tensor:
        """`(B, S, S)`, or `(B, 1, 1)` of a separator that predicts the noise."""
        separator = inputs.separator
        if hasattr(separator, "noise_db"):
            predicted, noise = (
                separator.noise_db(inputs.batch.mixture, **inputs.batch.cues).float(),
                scaled_db(spectra(separator.stft, inputs.noise)),
            )
            return noise_huber(predicted, noise, self.delta)[:, None, None]
        left, others = (
            scaled_db(spectra(self.stft, x))
            for x in (inputs.mixture[:, None] - inputs.estimates, inputs.others)
        )
        return noise_huber(left[:, :, None], others[:, None], self.delta)
