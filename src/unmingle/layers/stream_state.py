"""What a causal network keeps between two calls, so that a signal fed in pieces gives what
it gives at once.
"""

from math import prod

import torch
from torch import Tensor


class StreamState:
    """One flat state: each layer takes what it kept in the last call and leaves what the next one needs, in
    the order in which layers are called.

    Args:
        state: `(B, n)`, as `state()` returned it after the last call; zeros before the first sample.
    """

    def __init__(self, state: Tensor) -> None:
        self._before, self._n_taken = state, 0
        self._after: list[Tensor] = []

    def read(self, *shape: int) -> Tensor:
        """The next values that were kept: `(B, *shape)`."""
        start = self._n_taken
        self._n_taken += prod(shape)
        return self._before[:, start : self._n_taken].reshape(-1, *shape)

    def write(self, values: Tensor) -> None:
        """Leave `(B, …)` for the next call, as many values as were taken."""
        self._after.append(values.flatten(1))

    def extend(self, x: Tensor, n: int, n_features: int = 0) -> Tensor:
        """Put the `n` samples or frames that came before in front: `(B, T)` → `(B, n + T)`, or `(B, T, D)` →
        `(B, n + T, D)`.
        """
        longer = torch.cat([self.read(n, *((n_features,) if n_features else ())), x], 1)
        self.write(longer[:, longer.shape[1] - n :])
        return longer

    def overlap_add(self, x: Tensor, n_channels: int, n: int) -> Tensor:
        """Add what reached over the end of the last call, and hold back the last `n` samples: `(B, D, T + n)`
        → `(B, D, T)`.
        """
        summed = torch.cat([x[..., :n] + self.read(n_channels, n), x[..., n:]], -1)
        length = summed.shape[-1] - n
        self.write(summed[..., length:])
        return summed[..., :length]

    def state(self) -> Tensor:
        """What the next call needs: `(B, n)`."""
        return torch.cat(self._after, 1)
