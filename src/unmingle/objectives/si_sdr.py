"""Signal-to-distortion ratios of waveforms [dB]; every function takes `(estimate, reference)` and is safe on
silence.
"""

from typing import NamedTuple

import torch
from torch import Tensor

EPS = 1e-8
SILENT = 1e-6  # energy, relative to the mixture, below which a source is absent


def snr(estimate: Tensor, reference: Tensor, eps: float = EPS) -> Tensor:
    """`10 log10(|s|² / |ŝ − s|²)` over the last axis: `(…, T)`, `(…, T)` → `(…)`."""
    noise = (estimate - reference).square().sum(-1)
    return 10 * ((reference.square().sum(-1) + eps) / (noise + eps)).log10()


def si_sdr(estimate: Tensor, reference: Tensor, eps: float = EPS) -> Tensor:
    """`10 log10(|αs|² / |αs − ŝ|²)` with `α = ⟨ŝ, s⟩ / |s|²` over the last axis, means removed: `(…, T)`,
    `(…, T)` → `(…)`.

    References:
        J. Le Roux et al., "SDR – half-baked or well done?", 2019.
    """
    estimate = estimate - estimate.mean(-1, keepdim=True)
    reference = reference - reference.mean(-1, keepdim=True)
    scale = ((estimate * reference).sum(-1, keepdim=True) + eps) / (
        reference.square().sum(-1, keepdim=True) + eps
    )
    target = scale * reference
    return 10 * ((target.square().sum(-1) + eps) / ((target - estimate).square().sum(-1) + eps)).log10()


class Energies(NamedTuple):
    """`own`: `|ŝᵢ|²` `(B, I, 1)`; `other`: `|sⱼ|²` `(B, 1, J)`; `cross`: `⟨ŝᵢ, sⱼ⟩` `(B, I, J)`."""

    own: Tensor
    other: Tensor
    cross: Tensor


def energies(estimates: Tensor, references: Tensor) -> tuple[Energies, Energies]:
    """Of all pairs of signals as they are, and of the same without their means: `(B, I, T)`, `(B, J, T)` →
    two `Energies`.

    Ratios for all pairs follow from them, so that no signal per pair is made. What they differ by is known to
    about −60 dB of the energies, in float32 also under autocast.
    """
    with torch.autocast(estimates.device.type, enabled=False):
        estimates, references = estimates.float(), references.float()
        length = estimates.shape[-1]
        own, other = (
            torch.linalg.vecdot(estimates, estimates)[:, :, None],
            torch.linalg.vecdot(references, references)[:, None],
        )
        cross = estimates @ references.transpose(1, 2)
        mine, theirs = estimates.mean(-1)[:, :, None], references.mean(-1)[:, None]
        centred = Energies(
            own - length * mine.square(), other - length * theirs.square(), cross - length * mine * theirs
        )
        return Energies(own, other, cross), centred


def si_sdr_of(centred: Energies, eps: float = EPS) -> Tensor:
    """SI-SDR from the energies of signals without their means: `(B, I, J)` [dB]."""
    target = centred.cross.square() / (centred.other + eps)
    return 10 * ((target + eps) / ((centred.own - target).clamp(min=0) + eps)).log10()


def pairwise_si_sdr(estimates: Tensor, references: Tensor) -> Tensor:
    """`si_sdr` of all pairs, to 60 dB: `(B, I, T)`, `(B, J, T)` → `(B, I, J)`."""
    return si_sdr_of(energies(estimates, references)[1])
