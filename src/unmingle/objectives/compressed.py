"""Distance of complex spectrograms whose magnitudes are compressed, so that faint bins count."""

from torch import Tensor, nn

from unmingle.layers.stft import STFT
from unmingle.objectives.loss_inputs import LossInputs, power, spectra


def compressed(spectrum: Tensor, exponent: float = 0.3) -> Tensor:
    """Magnitude to a power, phase kept: `X |X|^(p − 1)` of `(…, 2, F, N)`; linear below −100 dB, where the
    power's slope would have no bound.

    >>> compressed(torch.tensor([[0.0], [-16.0]])[..., None], 0.5).flatten().tolist()
    [0.0, -4.0]
    """
    return spectrum * (power(spectrum) + 1e-10).pow((exponent - 1) / 2).unsqueeze(-3)


def compressed_distance(estimate: Tensor, reference: Tensor, exponent: float = 0.3) -> Tensor:
    """`mean |Ŝ|Ŝ|^(p − 1) − S|S|^(p − 1)|²` over bins: `(…, 2, F, N)` → `(…)`.

    >>> estimate, source = torch.tensor([[9.0], [0.0]])[..., None], torch.tensor([[0.0], [16.0]])[..., None]
    >>> float(compressed_distance(estimate, source, 0.5))
    25.0

    References:
        A. Ephrat et al., "Looking to listen at the cocktail party", 2018.
    """
    return power(compressed(estimate, exponent) - compressed(reference, exponent)).mean((-2, -1))


class CompressedSpectrum(nn.Module):
    """`compressed_distance` of every estimate and every source, or a part of it and the rest of the same of
    magnitudes alone, `mean (|Ŝ|^p − |S|^p)²`, which phases that cannot be found do not hold back.

    Args:
        exponent: 1 leaves magnitudes as they are.
        magnitude: share of the distance of magnitudes.
        n_fft, hop: of the STFT [samples].

    References:
        S. Braun and I. Tashev, "A consolidated view of loss functions for supervised deep learning-based
        speech enhancement", 2021.
    """

    def __init__(
        self, *, exponent: float = 0.3, magnitude: float = 0.0, n_fft: int = 512, hop: int = 128
    ) -> None:
        super().__init__()
        if not 0 < exponent <= 1:
            raise ValueError(f"exponent is {exponent}; it must be above 0 and at most 1")
        if not 0 <= magnitude <= 1:
            raise ValueError(f"magnitude is {magnitude}; it must be from 0 to 1")
        self.exponent, self.magnitude, self.stft = exponent, magnitude, STFT(n_fft=n_fft, hop=hop)

    def forward(self, inputs: LossInputs) -> Tensor:
        """`(B, S, S)`."""
        estimates, sources = (
            spectra(self.stft, inputs.estimates)[:, :, None],
            spectra(self.stft, inputs.sources)[:, None],
        )
        distance = compressed_distance(estimates, sources, self.exponent)
        if not self.magnitude:
            return distance
        found, wanted = ((power(x) + 1e-10).pow(self.exponent / 2) for x in (estimates, sources))
        of_magnitudes = (found - wanted).square().mean((-2, -1))
        return (1 - self.magnitude) * distance + self.magnitude * of_magnitudes
