"""Networks that mask an STFT: how they go through a whole mixture, and through a stream."""

import torch
from torch import Tensor, nn

from unmingle.layers.stft import STFT
from unmingle.layers.stream_state import StreamState


class MaskedSTFT(nn.Module):
    """From a mixture to the sources, whose spectra `estimate` makes of it.

    Attributes:
        stft: transforms the mixture, and the estimates back.
        n_src: number of sources.
    """

    stft: STFT
    n_src: int

    def estimate(self, samples: Tensor, *past: StreamState) -> Tensor:
        """`(B, T)` → spectra of the sources `(B, S, 2, F, N)`."""
        raise NotImplementedError

    def forward(self, mixture: Tensor) -> Tensor:
        """`(B, 1, T)` → `(B, S, T)`."""
        estimates = self.estimate(mixture[:, 0])
        with torch.autocast(mixture.device.type, enabled=False):
            return self.stft.inverse(estimates.flatten(0, 1), mixture.shape[-1]).unflatten(
                0, (-1, self.n_src)
            )

    def forward_stream(self, samples: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The next `(B, 1, T)`, T a multiple of the hop, and the state `(B, n)` → `(B, S, T)`, late by `n_fft
        − hop` samples, and the next state.

        With a state of zeros it begins. Only a causal one streams.
        """
        past = StreamState(state)
        overlapped = self.stft.synthesise(self.estimate(samples[:, 0], past).flatten(0, 1)).unflatten(
            0, (-1, self.n_src)
        )
        return past.overlap_add(overlapped, self.n_src, self.stft.n_fft - self.stft.hop), past.state()

    def compressed(self, samples: Tensor, exponent: float, *past: StreamState) -> tuple[Tensor, Tensor]:
        """Spectrum `(B, 2, F, N)` of `(B, T)`, and its real part, imaginary part and magnitude `(B, 3, F, N)`
        where the magnitude is raised to `exponent`.
        """
        with torch.autocast(samples.device.type, enabled=False):
            spectrum = self.stft(samples.float(), *past)
            magnitude = (spectrum.square().sum(1, keepdim=True) + 1e-8).sqrt()
            parts = torch.cat([spectrum * magnitude ** (exponent - 1), magnitude**exponent], 1)
        return spectrum, parts
