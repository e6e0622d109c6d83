"""Two small causal enhancers side by side, whose estimates are averaged."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from unmingle.layers.masked_stft import MaskedSTFT
from unmingle.layers.stream_state import StreamState
from unmingle.models.erb_unet import ErbUNet
from unmingle.models.gtcrn import GTCRN


class EnhancerPair(MaskedSTFT):
    """The mean of what `ErbUNet` and `GTCRN` make of the same mixture: where two networks that were built and
    trained differently err, they seldom err alike. Both are causal, on the same STFT, so that the pair
    streams a hop at a time with the latency of either.

    Args:
        sample_rate: [Hz].
        n_fft, hop: of the STFT [samples].
        unet, grouped: further arguments of `ErbUNet` and `GTCRN`; their defaults unless given.

    Raises:
        ValueError: arguments that either refuses, or of more than one source, or of frames ahead.

    References:
        X. Rong et al., "GTCRN: a speech enhancement model requiring ultralow computational resources", 2024.
        M. P. Perrone and L. N. Cooper, "When networks disagree: ensemble methods for hybrid neural networks",
        1993.
    """

    def __init__(
        self,
        *,
        sample_rate: int = 16_000,
        n_fft: int = 512,
        hop: int = 256,
        unet: Mapping[str, Any] | None = None,
        grouped: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        shared: dict[str, Any] = {"sample_rate": sample_rate, "n_fft": n_fft, "hop": hop}
        self.unet, self.grouped = ErbUNet(**shared, **unet or {}), GTCRN(**shared, **grouped or {})
        facts, other = self.unet.facts, self.grouped.facts
        if replace(facts, state=0) != replace(other, state=0):
            raise ValueError("unet must have one source and no frames ahead, as grouped has")
        self.n_src, self.stft = 1, self.unet.stft
        late = self.stft.n_fft - self.stft.hop  # samples that only the pair overlaps and adds
        self.facts = replace(facts, state=facts.state + other.state - late)

    def estimate(self, samples: Tensor, *past: StreamState) -> Tensor:
        return (self.unet.estimate(samples, *past) + self.grouped.estimate(samples, *past)) / 2
