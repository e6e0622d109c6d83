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
        unet: arguments of `ErbUNet`, which has one source.
        grouped: arguments of `GTCRN`.

    Raises:
        ValueError: the two differ in sample rate, window or hop, or wait for what comes.

    References:
        X. Rong et al., "GTCRN: a speech enhancement model requiring ultralow computational resources", 2024.
        M. P. Perrone and L. N. Cooper, "When networks disagree: ensemble methods for hybrid neural networks",
        1993.
    """

    def __init__(self, *, unet: Mapping[str, Any] = {}, grouped: Mapping[str, Any] = {}) -> None:  # noqa: B006
        super().__init__()
        self.unet, self.grouped = ErbUNet(**unet), GTCRN(**grouped)
        facts, other = self.unet.facts, self.grouped.facts
        if replace(facts, state=0) != replace(other, state=0):
            raise ValueError("the two differ in sample rate, window or hop; they must be on the same STFT")
        self.n_src, self.stft = 1, self.unet.stft
        late = self.stft.n_fft - self.stft.hop  # samples that only the pair overlaps and adds
        self.facts = replace(facts, state=facts.state + other.state - late)

    def estimate(self, samples: Tensor, *past: StreamState) -> Tensor:
        return (self.unet.estimate(samples, *past) + self.grouped.estimate(samples, *past)) / 2
