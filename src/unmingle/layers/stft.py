"""Short-time Fourier transform and its inverse as real-valued convolutions, so that they live inside an exported graph."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.layers.past import Past


class STFT(nn.Module):
    """Analysis and synthesis with the square root of a Hann window.

    Window times window sums to a constant when `n_fft` is a multiple of `hop` and at least `2 * hop`, so `inverse(forward(x))` is `x`
    for every length: the signal is padded by `n_fft - hop` before and by `n_fft - 1` behind, and the padding is cut off again.

    Args:
        n_fft: window and transform length [samples].
        hop: distance between frames [samples].

    References:
        D. W. Griffin and J. S. Lim, "Signal estimation from modified short-time Fourier transform", 1984.
    """

    analysis: Tensor
    synthesis: Tensor

    def __init__(self, *, n_fft: int, hop: int) -> None:
        super().__init__()
        if n_fft % hop or n_fft < 2 * hop:
            raise ValueError(f"n_fft ({n_fft}) must be a multiple of hop ({hop}) and at least twice as long")
        self.n_fft, self.hop, self.n_bins = n_fft, hop, n_fft // 2 + 1
        window = torch.hann_window(n_fft, periodic=True, dtype=torch.float64).sqrt()
        turn = 2 * torch.pi / n_fft * torch.outer(torch.arange(self.n_bins), torch.arange(n_fft)).double()
        analysis = torch.cat([turn.cos(), -turn.sin()]) * window / n_fft**0.5
        # Every bin but the first and the last stands for two of the full transform.
        weight = torch.full((self.n_bins, 1), 2.0, dtype=torch.float64)
        weight[0] = weight[-1] = 1.0
        synthesis = analysis * torch.cat([weight, weight]) / (n_fft / hop / 2)
        self.register_buffer("analysis", analysis.float()[:, None], persistent=False)
        self.register_buffer("synthesis", synthesis.float()[:, None], persistent=False)

    def forward(self, samples: Tensor, *past: Past) -> Tensor:
        """`(B, T)` → real and imaginary part `(B, 2, F, N)`.

        With a `past`, T is a multiple of `hop`, and the T / `hop` frames that end in these samples come out.
        """
        if past:
            padded = past[0].extend(samples, self.n_fft - self.hop)[:, None]
        else:
            padded = functional.pad(samples[:, None], (self.n_fft - self.hop, self.n_fft - 1))
        frames = functional.conv1d(padded, self.analysis, stride=self.hop)
        return frames.reshape(frames.shape[0], 2, self.n_bins, frames.shape[-1])

    def inverse(self, spectrum: Tensor, length: int) -> Tensor:
        """`(B, 2, F, N)` → `(B, length)`; `length` is that of the signal that was analysed [samples]."""
        start = self.n_fft - self.hop
        return self.synthesise(spectrum)[:, start : start + length]

    def synthesise(self, spectrum: Tensor) -> Tensor:
        """`(B, 2, F, N)` → `(B, N · hop + n_fft − hop)`, of which the first and the last `n_fft − hop` samples belong to further frames too."""
        return functional.conv_transpose1d(spectrum.flatten(1, 2), self.synthesis, stride=self.hop)[:, 0]
