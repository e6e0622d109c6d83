"""Short-time Fourier transform and its inverse as real-valued convolutions, so that they live inside an
exported graph.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.layers.stream_state import StreamState

#: Windows of a length, squared.
TAPERS: dict[str, Callable[[int], Tensor]] = {
    "hann": lambda n: torch.hann_window(n, periodic=True, dtype=torch.float64),
    "vorbis": lambda n: (
        (torch.pi / 2 * ((torch.arange(n) + 0.5).double() * torch.pi / n).sin() ** 2).sin() ** 2
    ),
}


class STFT(nn.Module):
    """Analysis and synthesis with the square root of a Hann window, or with another window.

    Synthesis divides by the sum of the squared windows that a sample lies in, so `inverse(forward(x))` is `x`
    for every length: the signal is padded by `window - hop` before and by `window - 1` behind, and the
    padding is cut off again.

    Args:
        n_fft: transform length [samples].
        hop: distance between frames, at most half a window [samples].
        window: its length, `n_fft` unless given; a shorter one is filled up with zeros, which are not
            computed [samples].
        taper: "hann", or "vorbis", which is flatter in the middle.

    References:
        D. W. Griffin and J. S. Lim, "Signal estimation from modified short-time Fourier transform", 1984.
    """

    analysis: Tensor
    synthesis: Tensor
    scale: Tensor

    def __init__(self, *, n_fft: int, hop: int, window: int | None = None, taper: str = "hann") -> None:
        super().__init__()
        self.n_fft, self.hop, self.window, self.n_bins = n_fft, hop, window or n_fft, n_fft // 2 + 1
        if not 2 * hop <= self.window <= n_fft:
            raise ValueError(
                f"window ({self.window}) must be at least twice as long as hop ({hop}) and at most as long "
                f"as n_fft ({n_fft})"
            )
        squared = TAPERS[taper](self.window)
        turn = (
            2 * torch.pi / n_fft * torch.outer(torch.arange(self.n_bins), torch.arange(self.window)).double()
        )
        analysis = torch.cat([turn.cos(), -turn.sin()]) * squared.sqrt() / n_fft**0.5
        # Every bin but the first, and the last of an even transform, stands for two of the full transform.
        scale = torch.full((self.n_bins, 1), 2.0, dtype=torch.float64)
        scale[0] = 1.0
        if n_fft % 2 == 0:
            scale[-1] = 1.0
        n_hops = -(-self.window // hop)
        # Repeats every hop.
        overlapped = functional.pad(squared, (0, n_hops * hop - self.window)).reshape(n_hops, hop).sum(0)
        synthesis = analysis / overlapped.repeat(n_hops)[: self.window]
        if self.window % hop == 0 and (taper == "hann" or self.window == 2 * hop):
            # the overlap is the same everywhere, and both filters can be one tensor, which an export holds
            # once
            scale, synthesis = scale / (self.window / hop / 2), analysis
        self.register_buffer("analysis", analysis.float()[:, None], persistent=False)
        self.register_buffer("synthesis", synthesis.float()[:, None], persistent=False)
        self.register_buffer("scale", torch.cat([scale, scale]).float(), persistent=False)

    def forward(self, samples: Tensor, *past: StreamState) -> Tensor:
        """`(B, T)` → real and imaginary part `(B, 2, F, N)`.

        With a `past`, T is a multiple of `hop`, and the T / `hop` frames that end in these samples come out.
        """
        if past:
            padded = past[0].extend(samples, self.window - self.hop)[:, None]
        else:
            padded = functional.pad(samples[:, None], (self.window - self.hop, self.window - 1))
        frames = functional.conv1d(padded, self.analysis, stride=self.hop)
        return frames.reshape(frames.shape[0], 2, self.n_bins, frames.shape[-1])

    def inverse(self, spectrum: Tensor, length: int) -> Tensor:
        """`(B, 2, F, N)` → `(B, length)`; `length` is that of the signal that was analysed [samples]."""
        start = self.window - self.hop
        return self.synthesise(spectrum)[:, start : start + length]

    def synthesise(self, spectrum: Tensor) -> Tensor:
        """`(B, 2, F, N)` → `(B, N · hop + window − hop)`, of which the first and the last `window − hop`
        samples belong to further frames too.
        """
        return functional.conv_transpose1d(
            spectrum.flatten(1, 2) * self.scale, self.synthesis, stride=self.hop
        )[:, 0]
