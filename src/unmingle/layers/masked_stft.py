"""Networks that mask an STFT: how they go through a whole mixture, and through a stream."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.layers import crm
from unmingle.layers.stft import STFT
from unmingle.layers.stream_state import StreamState


class MaskedSTFT(nn.Module, ABC):
    """From a mixture to the sources, whose spectra `estimate` makes of it.

    Attributes:
        stft: transforms the mixture, and the estimates back.
        n_src: number of sources.
        ahead: frames after a window that a causal one waits for before it masks that window.
    """

    stft: STFT
    n_src: int
    ahead: int = 0

    @abstractmethod
    def estimate(self, samples: Tensor, *past: StreamState) -> Tensor:
        """`(B, T)` → spectra of the sources `(B, S, 2, F, N)`, `ahead` frames late."""

    def forward(self, mixture: Tensor) -> Tensor:
        """`(B, 1, T)` → `(B, S, T)`."""
        estimates = self.estimate(functional.pad(mixture[:, 0], (0, self.ahead * self.stft.hop)))
        with torch.autocast(mixture.device.type, enabled=False):
            samples = self.stft.inverse(estimates.flatten(0, 1), mixture.shape[-1])
        # Shapes are the mixture's, which an export keeps open.
        return samples.reshape(mixture.shape[0], self.n_src, mixture.shape[-1])

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

    def delayed(self, masks: Tensor, spectrum: Tensor, *past: StreamState) -> tuple[Tensor, Tensor]:
        """Masks `(…, F, N)`, and the frames of the spectrum `(B, 2, F, N)` that they are for, `ahead` frames
        earlier; without a stream `ahead` frames fewer of either.
        """
        if not self.ahead:
            return masks, spectrum
        n_frames = masks.shape[-1]
        if not past:
            return masks[..., self.ahead :], spectrum[..., : n_frames - self.ahead]
        longer = torch.cat([past[0].read(2, self.stft.n_bins, self.ahead), spectrum], -1)
        past[0].write(longer[..., n_frames:])
        return masks, longer[..., :n_frames]

    def masked(self, masks: Tensor, spectrum: Tensor, *past: StreamState) -> Tensor:
        """Each frame of the spectrum `(B, 2, F, N)` under the complex masks `(B, S, 2, F, N)` for it:
        `(B, S, 2, F, N)`.
        """
        masks, spectrum = self.delayed(masks, spectrum, *past)
        with torch.autocast(masks.device.type, enabled=False):
            return crm.apply(masks, spectrum[:, None])
