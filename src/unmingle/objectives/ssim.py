"""Structural similarity of spectrograms, seen as pictures."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.layers.stft import STFT
from unmingle.objectives.loss_inputs import LossInputs, power, spectra


def ssim(estimate: Tensor, reference: Tensor, *, data_range: float = 1.0, sigma: float = 1.5) -> Tensor:
    """Mean of `(2μₓμᵧ + c₁)(2σₓᵧ + c₂) / ((μₓ² + μᵧ² + c₁)(σₓ² + σᵧ² + c₂))` under a Gaussian window: `(…, F,
    N)` → `(…)`.

    `c₁ = (0.01 L)²`, `c₂ = (0.03 L)²` with L = `data_range`; the window spans 7σ bins, the edges are
    mirrored.

    Two even pictures differ in their means only:

    >>> round(float(ssim(torch.full((16, 16), 0.5), torch.ones(16, 16))), 4)
    0.8

    References:
        Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004.
    """
    x, y = torch.broadcast_tensors(estimate.float(), reference.float())
    reach = int(3.5 * sigma + 0.5)
    window = torch.exp(-(torch.arange(-reach, reach + 1, device=x.device) / sigma).square() / 2)
    window = window / window.sum()
    pictures = torch.stack([x, y, x.square(), y.square(), x * y])
    with torch.autocast(x.device.type, enabled=False):
        padded = functional.pad(pictures.flatten(0, -3)[:, None], 4 * [reach], mode="reflect")
        blurred = functional.conv2d(
            functional.conv2d(padded, window[None, None, :, None]), window[None, None, None]
        )
    mean_x, mean_y, xx, yy, xy = blurred.reshape(pictures.shape)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    spread = (xx - mean_x.square()).clamp(min=0) + (yy - mean_y.square()).clamp(min=0)
    alike = (2 * mean_x * mean_y + c1) * (2 * (xy - mean_x * mean_y) + c2)
    return (alike / ((mean_x.square() + mean_y.square() + c1) * (spread + c2))).mean((-2, -1))


class SSIM(nn.Module):
    """`1 − ssim` of the spectrograms of every estimate and every source, as pictures of decibels.

    0 is `range_db` below the loudest bin of the mixture and whatever is fainter, 1 is that bin: level does
    not matter.

    Args:
        range_db: [dB].
        n_fft, hop: of the STFT [samples].
    """

    def __init__(self, *, range_db: float = 80.0, n_fft: int = 512, hop: int = 128) -> None:
        super().__init__()
        if range_db <= 0:
            raise ValueError(f"range_db is {range_db}; it must be above 0")
        self.range_db, self.stft = range_db, STFT(n_fft=n_fft, hop=hop)

    def forward(self, inputs: LossInputs) -> Tensor:
        """`(B, S, S)`."""
        loudest = power(spectra(self.stft, inputs.mixture[:, None])).amax((-2, -1), keepdim=True) + 1e-10
        estimates, sources = (
            self.picture(spectra(self.stft, x), loudest) for x in (inputs.estimates, inputs.sources)
        )
        return 1 - ssim(estimates[:, :, None], sources[:, None])

    def picture(self, spectrum: Tensor, loudest: Tensor) -> Tensor:
        """`(B, S, 2, F, N)` and the power that becomes 1 → `(B, S, F, N)`."""
        return (
            10 * (power(spectrum) / loudest).clamp(min=10 ** (-self.range_db / 10)).log10() / self.range_db
            + 1
        )
