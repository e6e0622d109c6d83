"""Another sample rate, with a gradient."""

from functools import lru_cache
from math import ceil, gcd

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

REJECTION_DB = 60.0


@lru_cache
def _filters(up: int, down: int) -> tuple[Tensor, int]:
    """One filter per phase `(up, 1, taps)`, and how many samples before the first one they reach back."""
    cutoff = 0.5 / max(up, down)
    reach = ceil((REJECTION_DB - 8) / (28.714 * cutoff / 10))
    at = np.arange(-reach, reach + 1)
    whole = np.kaiser(2 * reach + 1, 0.1102 * (REJECTION_DB - 8.7)) * np.sinc(2 * cutoff * at)
    whole *= up / whole.sum()
    before, behind = reach // up, ((up - 1) * down + reach) // up
    # Sample n = up · m + i of the output lies at n · down of the filter's grid, sample k = down · m + j of
    # the input at k · up.
    places = np.arange(up)[:, None] * down - np.arange(-before, behind + 1) * up
    taps = np.where(abs(places) <= reach, whole[(places + reach).clip(0, 2 * reach)], 0.0)
    return torch.from_numpy(taps).float()[:, None], before


def resample(samples: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """`(…, T)` → `(…, ⌈T · to_rate / from_rate⌉)`, in float32 and in phase, by a windowed sinc of 60 dB
    rejection.

    The filter is that of Octave's `resample`, which STOI is defined with.
    """
    common = gcd(from_rate, to_rate)
    up, down = to_rate // common, from_rate // common
    if up == down:
        return samples
    filters, before = _filters(up, down)
    length = ceil(samples.shape[-1] * up / down)
    n_steps = ceil(length / up)
    behind = max(0, (n_steps - 1) * down + filters.shape[-1] - before - samples.shape[-1])
    with torch.autocast(samples.device.type, enabled=False):
        padded = functional.pad(samples.float().reshape(-1, 1, samples.shape[-1]), (before, behind))
        phases = functional.conv1d(padded, filters.to(samples.device), stride=down)[..., :n_steps]
    return phases.transpose(1, 2).reshape(*samples.shape[:-1], -1)[..., :length]
