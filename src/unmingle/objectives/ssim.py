"""Structural similarity of spectrograms, seen as pictures."""

import torch
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure

from unmingle.layers.stft import STFT
from unmingle.objectives.loss_inputs import LossInputs, power, spectra


def ssim(estimate: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity of pictures between 0 and 1, by torchmetrics: `(…, F, N)` → `(…)`.

    Two even pictures differ in their means only:

    >>> round(float(ssim(torch.full((16, 16), 0.5), torch.ones(16, 16))), 4)
    0.8

    References:
        Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004.
    """
    x, y = torch.broadcast_tensors(estimate.float(), reference.float())
    with torch.autocast(x.device.type, enabled=False):
        first, second = (picture.reshape(-1, 1, *picture.shape[-2:]) for picture in (x, y))
        found = structural_similarity_index_measure(first, second, data_range=1.0, reduction="none")
    return torch.as_tensor(found).reshape(x.shape[:-2])


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
