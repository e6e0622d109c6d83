"""Short-time Fourier transform of frames that are centred on their samples, as `torch.stft` and `torch.istft`
make it, as real-valued convolutions.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class CentredSTFT(nn.Module):
    """Analysis and synthesis with a Hann window. The first frame's middle is the first sample; what its first
    half lacks is the signal mirrored at its end, and the same behind.

    Synthesis divides by the sum of the squared windows that a sample lies in. `torch.stft` refuses a signal
    that is no longer than half a window; this one mirrors it again and again.

    Args:
        n_fft: transform length, which is the window's; even [samples].
        hop: distance between frames, at most half a window [samples].

    References:
        D. W. Griffin and J. S. Lim, "Signal estimation from modified short-time Fourier transform", 1984.
    """

    filters: Tensor
    squared: Tensor
    scale: Tensor

    def __init__(self, *, n_fft: int, hop: int) -> None:
        super().__init__()
        if n_fft % 2 or not 1 <= hop <= n_fft // 2:
            raise ValueError(f"n_fft ({n_fft}) must be even, and at least twice as long as hop ({hop})")
        self.n_fft, self.hop, self.n_bins = n_fft, hop, n_fft // 2 + 1
        window = torch.hann_window(n_fft, periodic=True, dtype=torch.float64)
        turns = torch.outer(torch.arange(self.n_bins), torch.arange(n_fft)) % n_fft
        turn = 2 * torch.pi / n_fft * turns.double()
        # Every bin but the first and the last stands for two of the full transform.
        scale = torch.full((self.n_bins, 1), 2 / n_fft, dtype=torch.float64)
        scale[[0, -1]] = 1 / n_fft
        filters = torch.cat([turn.cos(), -turn.sin()]) * window
        self.register_buffer("filters", filters.float()[:, None], persistent=False)
        self.register_buffer("squared", window.square().float()[None, None], persistent=False)
        self.register_buffer("scale", torch.cat([scale, scale]).float(), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """`(B, T)` → real and imaginary part `(B, 2, F, N)`, N = 1 + T // `hop`."""
        length, half = samples.shape[-1], self.n_fft // 2
        last = length - 1
        place = torch.arange(-half, length + half, device=samples.device)
        place = torch.remainder(place, 2 * last + (length == 1))  # back and forth; a lone sample is repeated
        mirrored = samples[:, torch.minimum(place, 2 * last - place)]
        frames = functional.conv1d(mirrored[:, None], self.filters, stride=self.hop)
        return frames.reshape(samples.shape[0], 2, self.n_bins, frames.shape[-1])

    def inverse(self, spectrum: Tensor, length: int) -> Tensor:
        """`(B, 2, F, N)` → `(B, length)`; `length` is that of the signal that was analysed [samples]."""
        overlapped = functional.conv_transpose1d(
            spectrum.flatten(1, 2) * self.scale, self.filters, stride=self.hop
        )
        windows = functional.conv_transpose1d(
            torch.ones_like(spectrum[:1, :1, 0]), self.squared, stride=self.hop
        )
        inside = slice(self.n_fft // 2, self.n_fft // 2 + length)
        return overlapped[:, 0, inside] / windows[:, 0, inside]
