"""Recurrent masks on a spectrogram, trained with utterance-level permutations: uPIT-LSTM and uPIT-BLSTM."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.facts import Facts, task_for
from unmingle.layers.masked_stft import MaskedSTFT
from unmingle.layers.masks import MASKS
from unmingle.layers.norms import NORMS, CumulativeLayerNorm
from unmingle.layers.stft import STFT
from unmingle.layers.stream_state import StreamState

ACTIVATIONS = ("relu", "sigmoid", "softmax")


class UPIT(MaskedSTFT):
    """Magnitudes of the mixture in, one mask per voice out, the mixture's phase kept.

    |STFT| → recurrent layers over time → one linear layer to `n_src` masks → masks on the mixture's STFT →
    inverse STFT. The network is as plain as can be; what is new is how it is trained: the order of the voices
    that suits the whole utterance best is the one that is learnt (`objectives/spectral.py`), so a voice stays
    on one output without any tracking.

    The defaults are the paper's BLSTM for 8 kHz, 46.4 M parameters: recurrent layers 45.9 M, masks 0.5 M.
    `causal=True, hidden=1792` is its LSTM, 65.7 M counted in the same way; the 46.3 M that are printed for it
    elsewhere do not belong to three layers of 1792 units.

    Differs from the paper: the features are normalised over each mixture (over its frames so far, if causal)
    and not over the training set,
    so no statistics are needed and its level does not matter; dropout is between the recurrent layers only;
    the second, stacked network is left out.

    Args:
        n_src: voices to find.
        sample_rate: [Hz].
        n_fft: window of the STFT, 32 ms at 8 kHz; frames overlap by half [samples].
        causal: recurrent layers run forward only; it streams then, a hop at a time.
        ahead: frames after the window that a causal one waits for, half a window of latency each.
        hidden: units of each direction of the recurrent layers.
        n_layers: number of them.
        dropout: between the recurrent layers.
        mask: "relu", "sigmoid", or "softmax" for masks that sum to 1.

    References:
        D. Yu et al., "Permutation invariant training of deep models for speaker-independent multi-talker
        speech separation", 2017. M. Kolbæk et al., "Multitalker speech separation with utterance-level
        permutation invariant training of deep recurrent neural networks", 2017.
    """

    def __init__(
        self,
        *,
        n_src: int = 2,
        sample_rate: int = 8_000,
        n_fft: int = 256,
        causal: bool = False,
        ahead: int = 0,
        hidden: int = 896,
        n_layers: int = 3,
        dropout: float = 0.5,
        mask: str = "relu",
    ) -> None:
        super().__init__()
        if mask not in ACTIVATIONS:
            raise ValueError(f"no mask {mask!r}; there are {', '.join(ACTIVATIONS)}")
        if ahead and not causal:
            raise ValueError(f"ahead is {ahead}; only a causal network waits for what comes: set causal")
        self.n_src, self.activation, self.ahead = n_src, mask, ahead
        self.stft = STFT(n_fft=n_fft, hop=n_fft // 2)
        self.facts = Facts(
            sample_rate=sample_rate,
            task=task_for(n_src),
            n_src=n_src,
            chunk=10 * sample_rate,
            batch=4,
        )
        if causal:
            hop = self.stft.hop
            state = (1 + n_src) * (n_fft - hop) + 2 * n_layers * hidden + ahead * 2 * self.stft.n_bins
            state += CumulativeLayerNorm.n_kept
            latency = n_fft - 1 + ahead * hop
            self.facts = replace(self.facts, causal=True, latency=latency, hop=hop, state=state)
        self.norm = NORMS["cLN" if causal else "gLN"](self.stft.n_bins)
        self.recurrent = nn.LSTM(
            self.stft.n_bins,
            hidden,
            n_layers,
            batch_first=True,
            bidirectional=not causal,
            dropout=dropout if n_layers > 1 else 0.0,
        )
        self.mask = nn.Linear(hidden if causal else 2 * hidden, n_src * self.stft.n_bins)

    def estimate(self, samples: Tensor, *past: StreamState) -> Tensor:
        spectrum = self._spectrum(samples, *past)
        masks, spectrum = self.delayed(self._masks(spectrum, *past), spectrum, *past)
        return masks[:, :, None] * spectrum[:, None]  # B S 2 F N

    def masks(self, mixture: Tensor) -> Tensor:
        """`(B, 1, T)` → `(B, S, F, N)`, to be laid on the STFT `self.stft` of the mixture."""
        spectrum = self._spectrum(functional.pad(mixture[:, 0], (0, self.ahead * self.stft.hop)))
        return self._masks(spectrum)[..., self.ahead :]

    def _spectrum(self, samples: Tensor, *past: StreamState) -> Tensor:
        with torch.autocast(samples.device.type, enabled=False):
            return self.stft(samples.float(), *past)

    def _masks(self, spectrum: Tensor, *past: StreamState) -> Tensor:
        n_batch, _, n_bins, n_frames = spectrum.shape
        with torch.autocast(spectrum.device.type, enabled=False):
            features = self.norm((spectrum.square().sum(1) + 1e-8).sqrt(), *past)
        if past:
            kept = (self.recurrent.num_layers, self.recurrent.hidden_size)
            before = past[0].read(2, *kept).permute(1, 2, 0, 3)  # 2 layers B H
            states, after = self.recurrent(features.transpose(1, 2), (before[0], before[1]))
            past[0].write(torch.stack(after).permute(2, 0, 1, 3))
        else:
            states, _ = self.recurrent(features.transpose(1, 2))
        # Shapes are those of the spectrum, never of what a recurrent layer returns: that would freeze the
        # length in an export.
        raw = self.mask(states).float().reshape(n_batch, n_frames, self.n_src, n_bins).permute(0, 2, 3, 1)
        return MASKS[self.activation](raw)
