"""The filter of several microphones, over several frames, that comes nearest to an estimate."""

import torch
from torch import Tensor
from torch.nn import functional

LOADING = 1e-3  # of the mean power, added to the powers of all inputs
N_STEPS = 16  # of conjugate gradients


def wiener(spectra: Tensor, estimates: Tensor, n_taps: int = 1) -> Tensor:
    """What a linear filter of microphones makes of them to come nearest to each estimate, bin by bin, over
    all frames: least squares, `w = (E[x xᴴ] + ε)⁻¹ E[x ŝ*]`.

    In real arithmetic and by a fixed number of steps of conjugate gradients, so that it lives inside an
    exported graph for any number of microphones; powers are brought to 1 first, which these need few steps
    for. In another order of the microphones it finds the same.

    Args:
        spectra: of the microphones `(B, C, 2, F, N)`.
        estimates: of the voices `(B, S, 2, F, N)`.
        n_taps: frames that it spans, the present one in the middle; odd.

    Returns:
        `(B, S, 2, F, N)`.

    References:
        Z.-Q. Wang et al., "TF-GridNet: integrating full- and sub-band modeling for speech separation", 2023
        (multi-frame multi-channel Wiener filter).
    """
    n_frames, reach = spectra.shape[-1], n_taps // 2
    padded = functional.pad(spectra, (reach, reach))
    inputs = torch.cat([padded[..., tap : tap + n_frames] for tap in range(n_taps)], 1)
    inputs = inputs.permute(0, 3, 2, 1, 4)  # (B, F, 2, P, N), P = C taps
    power = inputs.square().sum((2, 4), keepdim=True)  # (B, F, 1, P, 1)
    inputs = inputs / (power + 1e-8 * power.amax(3, keepdim=True) + 1e-20).sqrt()
    real, imaginary = inputs[:, :, 0], inputs[:, :, 1]
    # The real form of complex numbers: [[Re, −Im], [Im, Re]].
    rows = torch.cat(
        [torch.cat([real, imaginary], 3), torch.cat([imaginary, -real], 3)], 2
    )  # (B, F, 2 P, 2 N)
    wanted = estimates.permute(0, 3, 2, 4, 1).flatten(2, 3)  # (B, F, 2 N, S)
    square = torch.matmul(rows, rows.transpose(2, 3))
    # As much more loading as there are more microphones: one that is there twice changes nothing.
    loading = LOADING * torch.ones_like(power[:, :, 0]).sum(2, keepdim=True)
    found = conjugate_gradients(square, torch.matmul(rows, wanted), loading)  # (B, F, 2 P, S)
    filtered = torch.matmul(rows.transpose(2, 3), found)  # (B, F, 2 N, S)
    return filtered.reshape(*filtered.shape[:2], 2, n_frames, -1).permute(0, 4, 2, 1, 3)


def conjugate_gradients(square: Tensor, right: Tensor, loading: Tensor) -> Tensor:
    """About `(A + ε)⁻¹ b` of symmetric `A` `(…, P, P)`, `ε` `(…, 1, 1)` and right sides `b` `(…, P, S)`."""
    found = torch.zeros_like(right)
    rest = direction = right
    energy = rest.square().sum(-2, keepdim=True)
    for _ in range(N_STEPS):
        through = torch.matmul(square, direction) + loading * direction
        length = energy / ((direction * through).sum(-2, keepdim=True) + 1e-20)
        found = found + length * direction
        rest = rest - length * through
        following = rest.square().sum(-2, keepdim=True)
        direction = rest + following / (energy + 1e-20) * direction
        energy = following
    return found
