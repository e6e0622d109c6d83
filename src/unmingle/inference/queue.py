"""Samples on their way through."""

import numpy as np


class Queue:
    """Samples on their way through: pushed in blocks of any length, looked at and dropped from the front."""

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []

    def __len__(self) -> int:
        return sum(block.shape[-1] for block in self._blocks)

    @property
    def n_channels(self) -> int:
        """Rows of what was pushed `(C, t)`; 0 before anything was."""
        return len(self._blocks[0]) if self._blocks else 0

    def push(self, block: np.ndarray) -> None:
        """Append `(..., t)`."""
        self._blocks.append(block)

    def peek(self, n: int) -> np.ndarray:
        """The first `n` samples, which stay."""
        if len(self._blocks) != 1:
            self._blocks = [np.concatenate(self._blocks, axis=-1)]
        return self._blocks[0][..., :n]

    def take(self, n: int) -> np.ndarray:
        """Remove and return the first `n` samples."""
        joined = self.peek(len(self))
        self._blocks = [joined[..., n:].copy()]
        return joined[..., :n]
