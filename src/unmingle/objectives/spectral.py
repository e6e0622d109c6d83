"""Permutation-invariant training on spectrograms: magnitudes, or the part of them that has the mixture's
phase.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from unmingle.data.batch import Batch
from unmingle.objectives.pit import best_permutation, given_order, si_sdr_improvement
from unmingle.objectives.si_sdr import pairwise_si_sdr


def phase_sensitive_target(source: Tensor, mixture: Tensor, *, clamp: bool = False) -> Tensor:
    """What of a source lies in the direction of the mixture: `|S| cos(θ_X − θ_S) = Re(S X*) / |X|`, bin by
    bin.

    Where a mask can only scale the mixture, this is the best that it can reach. It is negative where the
    source opposes the mixture.

    Args:
        source, mixture: real and imaginary part `(…, 2, F, N)`.
        clamp: keep it within 0 … |X|, where masks between 0 and 1 can follow.

    Returns:
        `(…, F, N)`; 0 where the mixture is silent.

    A source of magnitude 1, 60° away from the mixture:

    >>> source, mixture = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 3**0.5])
    >>> round(float(phase_sensitive_target(source.reshape(2, 1, 1), mixture.reshape(2, 1, 1))), 4)
    0.5

    References:
        H. Erdogan et al., "Phase-sensitive and recognition-boosted speech separation using deep recurrent
        neural networks", 2015.
    """
    magnitude = mixture.square().sum(-3).sqrt()
    target = (source * mixture).sum(-3) / magnitude.clamp(min=1e-8)
    return torch.minimum(target.relu(), magnitude) if clamp else target


def magnitude_loss(estimate: Tensor, target: Tensor, mixture: Tensor) -> Tensor:
    """`Σ (ŝ − s)² / Σ x²` over all bins of magnitudes `(…, F, N)` → `(…)`; dividing by the mixture makes it
    independent of level.

    One bin, a target that is half of the mixture and an estimate that is silent:

    >>> float(magnitude_loss(torch.tensor([[0.0]]), torch.tensor([[1.0]]), torch.tensor([[2.0]])))
    0.25
    """
    return (estimate - target).square().sum((-2, -1)) / (mixture.square().sum((-2, -1)) + 1e-8)


class SpectrogramPIT(nn.Module):
    """`magnitude_loss` of the masked mixture over the order of the sources that suits the whole utterance
    best (uPIT).

    For a separator that has `masks(mixture)` → `(B, S, F, N)` and the `stft` that they belong to.

    Differs from the paper: the error is divided by the energy of the mixture instead of the number of bins.

    Args:
        target: "phase-sensitive", or "magnitude" for |S|.
        clamp: see `phase_sensitive_target`; the paper does not.
        fix_after: see `WaveformPIT`.

    References:
        M. Kolbæk et al., "Multitalker speech separation with utterance-level permutation invariant training
        of deep recurrent neural networks", 2017.
    """

    def __init__(
        self,
        *,
        target: Literal["phase-sensitive", "magnitude"] = "phase-sensitive",
        clamp: bool = False,
        fix_after: int | None = None,
    ) -> None:
        super().__init__()
        if target not in ("phase-sensitive", "magnitude"):
            raise ValueError(f"no target {target!r}; there are phase-sensitive, magnitude")
        if clamp and target == "magnitude":
            raise ValueError("clamp is for the phase-sensitive target; leave it out")
        self.target, self.clamp, self.fix_after = target, clamp, fix_after

    def forward(self, separator: Any, batch: Batch) -> dict[str, Tensor]:
        """`batch` as for `WaveformPIT`. Returns the loss, `si_sdri` of the waveforms in the best order [dB],
        and that `order` `(B, S)`.
        """
        mixture, sources = batch.mixture, batch.sources
        masks = separator.masks(mixture, **batch.cues).float()
        with torch.autocast(mixture.device.type, enabled=False), torch.no_grad():
            whole = mixture[:, 0].float()
            spectrum = separator.stft(whole)[:, None]  # B 1 2 F N
            references = separator.stft(sources.flatten(0, 1).float()).unflatten(0, sources.shape[:2])
            magnitude = spectrum.square().sum(2).sqrt()
            sensitive = self.target == "phase-sensitive"
            targets = (
                phase_sensitive_target(references, spectrum, clamp=self.clamp)
                if sensitive
                else references.square().sum(2).sqrt()
            )
        losses = magnitude_loss((masks * magnitude)[:, :, None], targets[:, None], magnitude[:, :, None])
        value, order = best_permutation(-losses, given_order(separator, batch))
        with torch.autocast(mixture.device.type, enabled=False), torch.no_grad():
            voices = separator.stft.inverse(
                (masks[:, :, None] * spectrum).flatten(0, 1), mixture.shape[-1]
            ).reshape(sources.shape)
            improvement = si_sdr_improvement(
                pairwise_si_sdr(voices, sources).gather(1, order[:, None])[:, 0], sources, whole
            )
        return {"loss": -value.mean(), "si_sdri": improvement, "order": order}
