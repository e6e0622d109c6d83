"""Signal-to-distortion ratios of waveforms [dB]; every function takes `(estimate, reference)` and is safe on silence."""

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
