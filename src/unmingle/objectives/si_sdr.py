"""Signal-to-distortion ratios of waveforms [dB]; every function takes `(estimate, reference)` and is safe on silence."""

import torch
from torch import Tensor

EPS = 1e-8


def snr(estimate: Tensor, reference: Tensor, eps: float = EPS) -> Tensor:
    """`10 log10(|s|² / |ŝ − s|²)` over the last axis: `(…, T)`, `(…, T)` → `(…)`."""
    noise = (estimate - reference).square().sum(-1)
    return 10 * ((reference.square().sum(-1) + eps) / (noise + eps)).log10()


def si_sdr(estimate: Tensor, reference: Tensor, eps: float = EPS) -> Tensor:
    """`10 log10(|αs|² / |αs − ŝ|²)` with `α = ⟨ŝ, s⟩ / |s|²` over the last axis, means removed: `(…, T)`, `(…, T)` → `(…)`.

    References:
        J. Le Roux et al., "SDR – half-baked or well done?", 2019.
    """
    estimate = estimate - estimate.mean(-1, keepdim=True)
    reference = reference - reference.mean(-1, keepdim=True)
    scale = ((estimate * reference).sum(-1, keepdim=True) + eps) / (reference.square().sum(-1, keepdim=True) + eps)
    target = scale * reference
    return 10 * ((target.square().sum(-1) + eps) / ((target - estimate).square().sum(-1) + eps)).log10()


def energies(estimates: Tensor, references: Tensor, *, centred: bool) -> tuple[Tensor, Tensor, Tensor]:
    """`|ŝᵢ|²`, `|sⱼ|²` and `⟨ŝᵢ, sⱼ⟩` of all pairs: `(B, I, T)`, `(B, J, T)` → `(B, I, 1)`, `(B, 1, J)`, `(B, I, J)`.

    `centred` means of the signals without their means.
    Ratios for all pairs follow from these three, so that no signal per pair is made. What they differ by is known to about −60 dB of the energies,
    in float32 whatever autocast says.
    """
    with torch.autocast(estimates.device.type, enabled=False):
        estimates, references = estimates.float(), references.float()
        own, other = estimates.square().sum(-1)[:, :, None], references.square().sum(-1)[:, None]
        cross = estimates @ references.transpose(1, 2)
        if centred:
            length = estimates.shape[-1]
            mine, theirs = estimates.mean(-1)[:, :, None], references.mean(-1)[:, None]
            own, other, cross = own - length * mine.square(), other - length * theirs.square(), cross - length * mine * theirs
        return own, other, cross


def pairwise_si_sdr(estimates: Tensor, references: Tensor, eps: float = EPS) -> Tensor:
    """`si_sdr` of all pairs, to 60 dB: `(B, I, T)`, `(B, J, T)` → `(B, I, J)`."""
    own, other, cross = energies(estimates, references, centred=True)
    target = cross.square() / (other + eps)
    return 10 * ((target + eps) / ((own - target).clamp(min=0) + eps)).log10()
