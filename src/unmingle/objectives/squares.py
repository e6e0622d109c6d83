"""Squared errors of samples or bins, plain or weighted by the true noise."""

from typing import Literal

from torch import Tensor, nn

from unmingle.layers.stft import STFT
from unmingle.objectives.loss_inputs import LossInputs, spectra


def mse(estimate: Tensor, reference: Tensor) -> Tensor:
    """`mean |ŝ − s|²` of `(…, P, M)` → `(…)`: M samples (P = 1), or M bins of a real and an imaginary part (P
    = 2).

    >>> float(mse(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0]])))
    2.0
    """
    return (estimate - reference).square().sum(-2).mean(-1)


def noise_weighted_mse(estimate: Tensor, reference: Tensor, noise: Tensor) -> Tensor:
    """`mean(|ŝ − s|² |n|)` of `(…, P, M)` → `(…)`: errors count where the noise was. See `mse`.

    >>> estimate, source = torch.tensor([[3.0, 5.0]]), torch.tensor([[1.0, 0.0]])
    >>> float(noise_weighted_mse(estimate, source, torch.tensor([[-0.5, 0.0]])))
    1.0
    """
    return ((estimate - reference).square().sum(-2) * noise.square().sum(-2).sqrt()).mean(-1)


class Domain(nn.Module):
    """Samples as they are, or the bins of their STFT: `(…, T)` → `(…, P, M)`, P = 1 or 2."""

    def __init__(self, *, domain: str, n_fft: int, hop: int) -> None:
        super().__init__()
        if domain not in ("waveform", "spectrogram"):
            raise ValueError(f"no domain {domain!r}; there are waveform, spectrogram")
        self.stft = STFT(n_fft=n_fft, hop=hop) if domain == "spectrogram" else None

    def forward(self, samples: Tensor) -> Tensor:
        return samples[..., None, :] if self.stft is None else spectra(self.stft, samples).flatten(-2)


class MSE(nn.Module):
    """`mse` of every estimate and every source.

    Args:
        domain: "waveform", or "spectrogram" for the complex bins of an STFT, whose mean square is half of
            that of the samples.
        n_fft, hop: of that STFT [samples].
    """

    def __init__(
        self, *, domain: Literal["waveform", "spectrogram"] = "waveform", n_fft: int = 512, hop: int = 128
    ) -> None:
        super().__init__()
        self.domain = Domain(domain=domain, n_fft=n_fft, hop=hop)

    def forward(self, inputs: LossInputs) -> Tensor:
        """`(B, S, S)`."""
        return mse(self.domain(inputs.estimates)[:, :, None], self.domain(inputs.sources)[:, None])


class NoiseWeightedMSE(nn.Module):
    """`noise_weighted_mse` of every estimate and every source, with all that the mixture holds besides the
    sources as the noise.

    Args:
        domain, n_fft, hop: see `MSE`.
    """

    def __init__(
        self, *, domain: Literal["waveform", "spectrogram"] = "waveform", n_fft: int = 512, hop: int = 128
    ) -> None:
        super().__init__()
        self.domain = Domain(domain=domain, n_fft=n_fft, hop=hop)

    def forward(self, inputs: LossInputs) -> Tensor:
        """`(B, S, S)`."""
        noise = self.domain(inputs.noise)[:, None, None]
        return noise_weighted_mse(
            self.domain(inputs.estimates)[:, :, None], self.domain(inputs.sources)[:, None], noise
        )
