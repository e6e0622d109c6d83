"""Magnitudes compared at several resolutions of time and frequency at once."""

import torch
from torch import Tensor, nn

from unmingle.layers.stft import STFT
from unmingle.objectives.loss_inputs import LossInputs, power, spectra
from unmingle.objectives.si_sdr import SILENT


def spectral_convergence(estimate: Tensor, reference: Tensor, mixture: Tensor) -> Tensor:
    """`‖ŝ − s‖ / ‖s‖` of magnitudes `(…, F, N)` → `(…)`; `‖ŝ‖ / ‖x‖` where the reference is silent.

    >>> estimate, reference = torch.tensor([[0.0, 4.0]]), torch.tensor([[3.0, 4.0]])
    >>> round(float(spectral_convergence(estimate, reference, torch.tensor([[5.0, 5.0]]))), 4)
    0.6
    """
    error, energy, whole = (x.square().sum((-2, -1)) for x in (estimate - reference, reference, mixture))
    return ((error + 1e-10) / (torch.where(energy > SILENT * whole, energy, whole) + 1e-10)).sqrt()


def log_magnitude_distance(estimate: Tensor, reference: Tensor) -> Tensor:
    """`mean |ln ŝ − ln s|` of magnitudes above 0: `(…, F, N)` → `(…)`.

    >>> round(float(log_magnitude_distance(torch.tensor([[1.0, 10.0]]), torch.ones(1, 2))), 4)
    1.1513
    """
    return (estimate.log() - reference.log()).abs().mean((-2, -1))


class MultiResolutionSTFT(nn.Module):
    """Mean over resolutions of `spectral_convergence + log_magnitude_distance`, of every estimate and every
    source.

    Differs from the paper: the window is the square root of a Hann window and as long as the transform;
    magnitudes end at −80 dB of full scale.

    Args:
        resolutions: pairs of `n_fft` and `hop` [samples].

    References:
        R. Yamamoto et al., "Parallel WaveGAN", 2020.
    """

    def __init__(
        self, *, resolutions: tuple[tuple[int, int], ...] = ((256, 64), (512, 128), (1024, 256))
    ) -> None:
        super().__init__()
        if not resolutions or any(
            not isinstance(pair, list | tuple) or len(pair) != 2 for pair in resolutions
        ):
            raise ValueError(
                f"resolutions is {resolutions}; expected pairs of n_fft and hop, such as [[256, 64], [1024, "
                "256]]"
            )
        self.stfts = nn.ModuleList(STFT(n_fft=n_fft, hop=hop) for n_fft, hop in resolutions)

    def forward(self, inputs: LossInputs) -> Tensor:
        """`(B, S, S)`."""
        losses = []
        for stft in self.stfts:
            heights = (
                (power(spectra(stft, x)) + 1e-8).sqrt()
                for x in (inputs.estimates, inputs.sources, inputs.mixture[:, None])
            )
            estimates, sources, mixture = heights
            pair = estimates[:, :, None], sources[:, None]
            losses.append(spectral_convergence(*pair, mixture[:, :, None]) + log_magnitude_distance(*pair))
        return torch.stack(losses).mean(0)
