"""How much of the voice and of everything else is in an estimate."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from unmingle.objectives.loss_inputs import LossInputs
from unmingle.objectives.si_sdr import SILENT

RIDGE = 1e-7  # relative to the mixture's energy; keeps the projection defined where voice or noise is silent


class Projection(NamedTuple):
    """`v* = a v + b n + r`: `a`, `b` `(…)` and `rest` `(…, T)`, in which nothing of v and n is left."""

    a: Tensor
    b: Tensor
    rest: Tensor


def project(estimate: Tensor, voice: Tensor, noise: Tensor) -> Projection:
    """Least-squares projection of an estimate on the voice and the noise: three times `(…, T)`.

    >>> voice, noise = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([1.0, 1.0, 0.0])
    >>> found = project(torch.tensor([3.0, 2.0, 1.0]), voice, noise)
    >>> round(float(found.a), 4), round(float(found.b), 4), float(found.rest[2])
    (1.0, 2.0, 1.0)
    """
    ridge = RIDGE * (voice + noise).square().sum(-1) + 1e-8
    vv, nn_, vn = voice.square().sum(-1) + ridge, noise.square().sum(-1) + ridge, (voice * noise).sum(-1)
    with_voice, with_noise = (estimate * voice).sum(-1), (estimate * noise).sum(-1)
    # By Gram and Schmidt: what the noise has besides the voice. The ridge keeps it above 0.
    apart = nn_ - vn.square() / vv
    b = (with_noise - with_voice * vn / vv) / apart.clamp(min=1e-8)
    a = (with_voice - b * vn) / vv
    return Projection(a, b, estimate - a[..., None] * voice - b[..., None] * noise)


def projection_loss(estimate: Tensor, voice: Tensor, noise: Tensor) -> Tensor:
    """`(a − 1)² + b² + |r|² / |v|²` of `v* = a v + b n + r`: three times `(…, T)` → `(…)`.

    Where the voice is silent, `b² + |r|² / |n|²`: a has no meaning there.

    The mixture itself, given back where voice and noise are orthogonal, has a = b = 1:

    >>> voice, noise = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    >>> round(float(projection_loss(torch.tensor([1.0, 1.0]), voice, noise)), 4)
    1.0
    """
    found = project(estimate, voice, noise)
    energy, whole = voice.square().sum(-1), (voice + noise).square().sum(-1)
    voiced = energy > SILENT * whole
    scale = torch.where(voiced, energy, whole) + 1e-8
    return (
        torch.where(voiced, (found.a - 1).square(), 0.0)
        + found.b.square()
        + found.rest.square().sum(-1) / scale
    )


class ProjectionLoss(nn.Module):
    """`projection_loss` of every estimate on every source; what the mixture holds besides that source, other
    voices included, is the noise.
    """

    def forward(self, inputs: LossInputs) -> Tensor:
        """`(B, S, S)`."""
        return projection_loss(inputs.estimates[:, :, None], inputs.sources[:, None], inputs.others[:, None])
