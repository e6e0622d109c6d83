"""Convolutional time-domain audio separation network."""

from torch import Tensor, nn

from unmingle.facts import Facts
from unmingle.layers.filterbank import LearnedFilterbank
from unmingle.layers.norms import NORMS
from unmingle.layers.tcn import TCN


class ConvTasNet(nn.Module):
    """Masks on a learned filterbank, found by a temporal convolutional network.

    Two-millisecond frames of a learned, unconstrained analysis take the place of the spectrogram, so there is no phase to estimate. A stack
    of dilated depthwise convolutions, repeated, sees a second and a half around each frame and gives one mask per voice; a learned synthesis,
    not tied to the analysis, makes waveforms of the masked frames. Letters of the paper: N = `n_filters`, L = `kernel_size`, B = `n_features`,
    H = `n_hidden`, Sc = `n_skip`, P = `tcn_kernel_size`, X = `n_blocks`, R = `n_repeats`.

    Differs from the paper: the last block's residual output, which nothing reads, is left out (4.98 M parameters instead of 5.05 M);
    masks end in a ReLU instead of a sigmoid; the defaults are for 16 kHz, where L is doubled to stay at 2 ms.

    Args:
        n_src: voices to find.
        sample_rate: [Hz].
        n_filters: basis signals of the filterbank.
        kernel_size: their length [samples]; frames overlap by half.
        n_features: channels of the residual path.
        n_hidden: channels inside a block.
        n_skip: channels of the skip path.
        tcn_kernel_size: of the depthwise convolutions [frames], odd.
        n_blocks: blocks per repeat, with dilations 1, 2, 4, ….
        n_repeats: repeats.
        norm: "gLN", or "cLN" for a causal separator.

    References:
        Y. Luo and N. Mesgarani, "Conv-TasNet: surpassing ideal time-frequency magnitude masking for speech separation", 2019.
    """

    def __init__(
        self,
        *,
        n_src: int = 2,
        sample_rate: int = 16_000,
        n_filters: int = 512,
        kernel_size: int = 32,
        n_features: int = 128,
        n_hidden: int = 512,
        n_skip: int = 128,
        tcn_kernel_size: int = 3,
        n_blocks: int = 8,
        n_repeats: int = 3,
        norm: str = "gLN",
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"no norm {norm!r}; there are {', '.join(NORMS)}")
        causal = norm == "cLN"
        self.facts = Facts(sample_rate=sample_rate, n_src=n_src, causal=causal, latency=kernel_size - 1 if causal else 0)
        self.n_src = n_src
        self.filterbank = LearnedFilterbank(n_filters=n_filters, kernel_size=kernel_size, stride=kernel_size // 2)
        self.bottleneck = nn.Sequential(NORMS[norm](n_filters), nn.Conv1d(n_filters, n_features, 1))
        self.tcn = TCN(
            n_features=n_features,
            n_hidden=n_hidden,
            n_skip=n_skip,
            kernel_size=tcn_kernel_size,
            n_blocks=n_blocks,
            n_repeats=n_repeats,
            norm=norm,
        )
        self.mask = nn.Sequential(nn.PReLU(), nn.Conv1d(n_skip, n_src * n_filters, 1), nn.ReLU())

    def forward(self, mixture: Tensor) -> Tensor:
        """`(B, 1, T)` → `(B, S, T)`."""
        frames = self.filterbank(mixture[:, 0])  # B F N
        masks = self.mask(self.tcn(self.bottleneck(frames))).float().unflatten(1, (self.n_src, -1))  # B S F N
        voices = masks * frames[:, None]
        return self.filterbank.inverse(voices.flatten(0, 1), mixture.shape[-1]).unflatten(0, (-1, self.n_src))
