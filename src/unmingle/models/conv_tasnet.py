"""Convolutional time-domain audio separation network."""

from dataclasses import replace

from torch import Tensor, nn

from unmingle.facts import Facts, task_for
from unmingle.layers.filterbank import LearnedFilterbank
from unmingle.layers.masks import MASKS
from unmingle.layers.norms import NORMS
from unmingle.layers.stream_state import StreamState
from unmingle.layers.tcn import TCN


class ConvTasNet(nn.Module):
    """Masks on a learned filterbank, found by a temporal convolutional network.

    Two-millisecond frames of a learned, unconstrained analysis take the place of the spectrogram, so there is
    no phase to estimate. A stack of dilated depthwise convolutions, repeated, sees a second and a half around
    each frame and gives one mask per voice; a learned synthesis, not tied to the analysis, makes waveforms of
    the masked frames. Letters of the paper: N = `n_filters`, L = `kernel_size`, B = `n_features`, H =
    `n_hidden`, Sc = `n_skip`, P = `tcn_kernel_size`, X = `n_blocks`, R = `n_repeats`.

    With cLN it is causal and streams: what it keeps of the past is the last half frame of the mixture, the
    frames that the depthwise convolutions reach back to, the means of the norms, and the half frame of
    estimates that the next frame completes.

    Differs from the paper: the last block's residual output, which nothing reads, is left out (4.98 M
    parameters instead of 5.05 M);
    masks end in a ReLU instead of a sigmoid; the defaults are for 16 kHz, where L is doubled to stay at 2 ms.

    Args:
        n_src: voices to find.
        sample_rate: [Hz].
        n_filters: basis signals of the filterbank.
        kernel_size: their length [samples]; frames overlap by half.
        encoder_relu: frames of the mixture are not negative.
        padded: zeros around the mixture; see `LearnedFilterbank`.
        n_features: channels of the residual path.
        n_hidden: channels inside a block.
        n_skip: channels of the skip path; 0 = without one, what leaves the residual path makes the masks.
        tcn_kernel_size: of the depthwise convolutions [frames], odd.
        n_blocks: blocks per repeat, with dilations 1, 2, 4, ….
        n_repeats: repeats.
        norm: "gLN", "LN" of each frame alone, or "cLN" for a causal separator.
        mask: "relu", "sigmoid", "softmax" for masks that sum to 1, or "linear".

    References:
        Y. Luo and N. Mesgarani, "Conv-TasNet: surpassing ideal time-frequency magnitude masking for speech
        separation", 2019.
    """

    def __init__(
        self,
        *,
        n_src: int = 2,
        sample_rate: int = 16_000,
        n_filters: int = 512,
        kernel_size: int = 32,
        encoder_relu: bool = False,
        padded: bool = True,
        n_features: int = 128,
        n_hidden: int = 512,
        n_skip: int = 128,
        tcn_kernel_size: int = 3,
        n_blocks: int = 8,
        n_repeats: int = 3,
        norm: str = "gLN",
        mask: str = "relu",
    ) -> None:
        super().__init__()
        for what, choice, choices in (("norm", norm, NORMS), ("mask", mask, MASKS)):
            if choice not in choices:
                raise ValueError(f"no {what} {choice!r}; there are {', '.join(choices)}")
        if norm == "cLN" and not padded:
            raise ValueError("one that streams (norm cLN) is padded")
        self.n_src, self.limit = n_src, MASKS[mask]
        self.filterbank = LearnedFilterbank(
            n_filters=n_filters,
            kernel_size=kernel_size,
            stride=kernel_size // 2,
            rectified=encoder_relu,
            padded=padded,
        )
        self.norm = NORMS[norm](n_filters)
        self.bottleneck = nn.Conv1d(n_filters, n_features, 1)
        self.tcn = TCN(
            n_features=n_features,
            n_hidden=n_hidden,
            n_skip=n_skip,
            kernel_size=tcn_kernel_size,
            n_blocks=n_blocks,
            n_repeats=n_repeats,
            norm=norm,
        )
        self.mask = nn.Sequential(nn.PReLU(), nn.Conv1d(self.tcn.n_out, n_src * n_filters, 1))
        self.facts = Facts(sample_rate=sample_rate, task=task_for(n_src), n_src=n_src, chunk=16 * sample_rate)
        if norm == "cLN":
            state = (1 + n_src) * self.filterbank.overlap + sum(
                getattr(layer, "n_kept", 0) for layer in self.modules()
            )
            self.facts = replace(
                self.facts, causal=True, latency=kernel_size - 1, hop=self.filterbank.stride, state=state
            )

    @property
    def receptive_field(self) -> int:
        """Samples of the mixture that one sample of an estimate depends on, apart from the
        norms [samples].
        """
        stride, overlap = self.filterbank.stride, self.filterbank.overlap
        n_frames = self.tcn.receptive_field + -(-overlap // stride)  # of all frames in which the sample lies
        return n_frames * stride + overlap

    def forward(self, mixture: Tensor) -> Tensor:
        """`(B, 1, T)` → `(B, S, T)`."""
        voices = self._voices(self.filterbank(mixture[:, 0]))
        return self.filterbank.inverse(voices.flatten(0, 1), mixture.shape[-1]).unflatten(0, (-1, self.n_src))

    def forward_stream(self, samples: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The next `(B, 1, T)`, T a multiple of the hop, and the state `(B, n)` → `(B, S, T)`, late by
        `overlap` samples, and the next state.

        With a state of zeros it begins. Only a causal one streams.
        """
        past = StreamState(state)
        voices = self._voices(self.filterbank(samples[:, 0], past), past)
        overlapped = self.filterbank.synthesise(voices.flatten(0, 1)).unflatten(0, (-1, self.n_src))
        return past.overlap_add(overlapped, self.n_src, self.filterbank.overlap), past.state()

    def _voices(self, frames: Tensor, *past: StreamState) -> Tensor:
        """Frames of the mixture `(B, F, N)` → of the voices `(B, S, F, N)`."""
        raw = self.mask(self.tcn(self.bottleneck(self.norm(frames, *past)), *past)).float()
        return self.limit(raw.unflatten(1, (self.n_src, -1))) * frames[:, None]
