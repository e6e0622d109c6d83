"""One-and-rest: one voice at a time, for as many voices as there are."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from unmingle.facts import Facts
from unmingle.layers.stft import STFT
from unmingle.models.conv_tasnet import ConvTasNet


class OneAndRest(nn.Module):
    """A network that takes one voice out of a mixture; what is left goes in again, until nobody speaks in it.

    mixture → Conv-TasNet with two outputs, "one" and "rest" → (outside the network, see `heads.py`) rest →
    the same network → … → a rest in which a classifier finds no speech. The classifier is a few convolutions
    on the log spectrogram of what goes in. One network thus serves any number of voices, and counts them: as
    many as the passes before the first "no speech".

    Its third row is the classifier's output, above 0 for speech, constant in time. It is kept as small as a
    waveform, so that a comparison of two runtimes is not about this row alone.

    Differs from the paper: the classifier has a few convolutions (30 thousand parameters) instead of
    AlexNet's, and sees the level of its input: what is far below the level at which chunks are separated is
    no speech; the smaller parts of Conv-TasNet are arguments, the others as there; see `ConvTasNet`.

    Args:
        n_src: fixes the number of voices; None = any.
        sample_rate: [Hz].
        n_filters, kernel_size, n_features, n_hidden, n_skip, n_blocks, n_repeats, encoder_relu: see
        `ConvTasNet`.
        n_fft: window of the classifier's STFT, 32 ms at 8 kHz [samples].
        n_channels: of the classifier's convolutions.

    References:
        N. Takahashi et al., "Recursive speech separation for unknown number of speakers", 2019.
    """

    def __init__(
        self,
        *,
        n_src: int | None = None,
        sample_rate: int = 8_000,
        n_filters: int = 512,
        kernel_size: int = 16,
        n_features: int = 128,
        n_hidden: int = 512,
        n_skip: int = 128,
        n_blocks: int = 8,
        n_repeats: int = 3,
        encoder_relu: bool = False,
        n_fft: int = 256,
        n_channels: int = 32,
    ) -> None:
        super().__init__()
        self.facts = Facts(sample_rate=sample_rate, n_src=n_src, chunk=10 * sample_rate, head="one-and-rest")
        self.network = ConvTasNet(
            n_src=2,
            sample_rate=sample_rate,
            n_filters=n_filters,
            kernel_size=kernel_size,
            n_features=n_features,
            n_hidden=n_hidden,
            n_skip=n_skip,
            n_blocks=n_blocks,
            n_repeats=n_repeats,
            encoder_relu=encoder_relu,
        )
        self.classifier = SpeechClassifier(n_fft, n_channels)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile what the objective calls, which is not the whole."""
        self.network.compile(*args, **kwargs)

    def forward(self, mixture: Tensor) -> Tensor:
        """`(B, 1, T)` → one voice, the rest, and above 0 where the mixture holds speech `(B, 3, T)`."""
        speech = 0.1 * torch.tanh(self.classifier(mixture))
        return torch.cat([self.network(mixture), speech[:, None, None] * torch.ones_like(mixture)], 1)


class SpeechClassifier(nn.Module):
    """Logit of "somebody speaks": `(B, 1, T)` → `(B,)`. Log spectrogram → three convolutions over time → mean
    and maximum → a number.
    """

    def __init__(self, n_fft: int, n_channels: int) -> None:
        super().__init__()
        self.stft = STFT(n_fft=n_fft, hop=n_fft // 2)
        widths = (self.stft.n_bins, n_channels, n_channels, n_channels)
        self.layers = nn.Sequential(
            *(nn.Sequential(nn.Conv1d(i, o, 5, stride=2, padding=2), nn.SiLU()) for i, o in pairwise(widths))
        )
        self.last = nn.Linear(2 * n_channels, 1)

    def forward(self, mixture: Tensor) -> Tensor:
        with torch.autocast(mixture.device.type, enabled=False):
            levels = (self.stft(mixture[:, 0].float()).square().sum(1) + 1e-8).log() / 10 + 1
        features = self.layers(levels)
        return self.last(torch.cat([features.mean(-1), features.amax(-1)], 1))[:, 0].float()
