"""Band-split dual-path separator: recurrent over time and over frequency bands, complex masks."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.facts import Facts, task_for
from unmingle.layers.masked_stft import MaskedSTFT
from unmingle.layers.recurrent import Recurrent
from unmingle.layers.stft import STFT
from unmingle.layers.stream_state import StreamState

# Number of bands and their width in bins of 31.25 Hz: fine where the harmonics of voices lie, coarse above.
BANDS = ((16, 2), (8, 4), (8, 8), (8, 16))


class BandSplit(MaskedSTFT):
    """The spectrum is cut into bands; each band of each frame is a vector, and vectors talk along time and
    along frequency in turn.

    STFT → power-law compressed real part, imaginary part and magnitude, one linear layer per band →
    `n_blocks` of {BLSTM over time in every band, BLSTM over bands in every frame, full-band attention over
    time}, each normalised before and added after → one linear layer per band → a complex mask per source →
    inverse STFT. With one source it is an enhancer.

    The causal one reads time in one direction and does not attend; it streams, a hop at a time, and keeps of
    the past what overlaps with the next window and the states of the layers over time. With `ahead`, it hears
    so many frames more before it decides on one.

    Differs from the papers: bands as in BSRNN, but trained for voices against voices; full-band attention as
    in TF-GridNet, without its
    unfolding; layer normalisation over features only, so that nothing depends on the length of the mixture.

    Args:
        n_src: number of voices.
        sample_rate: [Hz]; bands are laid out for 16 kHz and an `n_fft` of 512.
        n_fft, hop: of the STFT [samples].
        n_features: length of the vector of a band.
        hidden: units of each direction of the recurrent layers.
        n_blocks: number of dual-path blocks.
        attention: whether blocks attend over time.
        causal: nothing depends on what comes after the window and `ahead`; needs `attention` off.
        ahead: frames after the window that a causal one waits for, `hop` samples of latency each.

    References:
        Y. Luo and J. Yu, "Music source separation with band-split RNN", 2023.
        Z.-Q. Wang et al., "TF-GridNet: integrating full- and sub-band modeling for speech separation", 2023.
    """

    bins: Tensor
    valid: Tensor
    place: Tensor

    def __init__(
        self,
        *,
        n_src: int = 2,
        sample_rate: int = 16_000,
        n_fft: int = 512,
        hop: int = 256,
        n_features: int = 64,
        hidden: int = 64,
        n_blocks: int = 4,
        attention: bool = True,
        causal: bool = False,
        ahead: int = 0,
    ) -> None:
        super().__init__()
        if causal and attention:
            raise ValueError("attention reads the future; set attention to false where causal is true")
        if ahead and not causal:
            raise ValueError(f"ahead is {ahead}; only a causal network waits for what comes: set causal")
        self.ahead = ahead
        self.n_src = n_src
        self.stft = STFT(n_fft=n_fft, hop=hop)
        widths = [width for count, width in BANDS for _ in range(count)]
        widths[-1] += self.stft.n_bins - sum(widths)
        if widths[-1] < 1:
            raise ValueError(
                f"n_fft={n_fft} has {self.stft.n_bins} bins; the bands need more than {sum(widths[:-1])}"
            )
        self.n_bands, self.width = len(widths), max(widths)
        # Bands are padded to one width so that all of them go through one matrix product.
        bins = torch.zeros(self.n_bands, self.width, dtype=torch.long)
        valid = torch.zeros(self.n_bands, 1, self.width)
        place = torch.zeros(self.stft.n_bins, dtype=torch.long)
        start = 0
        for band, width in enumerate(widths):
            bins[band, :width] = torch.arange(start, start + width)
            valid[band, 0, :width] = 1
            place[start : start + width] = band * self.width + torch.arange(width)
            start += width
        for name, values in (("bins", bins.flatten()), ("valid", valid), ("place", place)):
            self.register_buffer(name, values, persistent=False)
        fan_in = 3 * torch.tensor(widths)[:, None, None]
        self.split = nn.Parameter(torch.randn(self.n_bands, 3 * self.width, n_features) / fan_in.sqrt())
        self.split_bias = nn.Parameter(torch.zeros(self.n_bands, 1, n_features))
        self.blocks = nn.ModuleList(
            Block(n_features, hidden, attention, self.n_bands if causal else 0) for _ in range(n_blocks)
        )
        self.norm = nn.LayerNorm(n_features)
        self.expand = nn.Linear(n_features, 2 * n_features)
        self.merge = nn.Parameter(
            torch.randn(self.n_bands, 2 * n_features, n_src * 2 * self.width) * 0.5 / (2 * n_features) ** 0.5
        )
        # Masks start around an equal share of the mixture: real part 1 / n_src, imaginary part 0.
        equal_share = torch.zeros(self.n_bands, n_src, 2, self.width)
        equal_share[:, :, 0] = 1 / n_src
        self.merge_bias = nn.Parameter(equal_share.flatten(1)[:, None])
        self.facts = Facts(sample_rate=sample_rate, task=task_for(n_src), n_src=n_src)
        if causal:
            state = (1 + n_src) * (n_fft - hop) + n_blocks * 2 * self.n_bands * hidden
            state += ahead * 2 * self.stft.n_bins
            latency = n_fft - 1 + ahead * hop
            self.facts = replace(self.facts, causal=True, latency=latency, hop=hop, state=state)

    def estimate(self, samples: Tensor, *past: StreamState) -> Tensor:
        spectrum, compressed = self.compressed(samples, 0.5, *past)
        vectors = self.encode(compressed)
        for block in self.blocks:
            vectors = block(vectors, *past)
        return self.masked(self.decode(vectors), spectrum, *past)

    def encode(self, compressed: Tensor) -> Tensor:
        """A spectrogram `(B, 3, F, N)` → a vector per band and frame `(B, bands, N, D)`."""
        # Shapes are taken from here, never from what a recurrent layer returns: that would freeze the length
        # in an export.
        n_batch, _, _, n_frames = compressed.shape
        bands = (
            compressed[:, :, self.bins]
            .reshape(n_batch, 3, self.n_bands, self.width, n_frames)
            .permute(2, 0, 4, 1, 3)
            * self.valid[:, None, None]
        )
        vectors = torch.baddbmm(self.split_bias, bands.flatten(3).flatten(1, 2), self.split)
        return vectors.reshape(self.n_bands, n_batch, n_frames, -1).transpose(0, 1)

    def decode(self, vectors: Tensor) -> Tensor:
        """The vectors → a complex mask per source `(B, S, 2, F, N)`."""
        n_batch, _, n_frames, _ = vectors.shape
        vectors = functional.silu(self.expand(self.norm(vectors))).transpose(0, 1).flatten(1, 2)
        masks = torch.baddbmm(self.merge_bias, vectors, self.merge).float()
        masks = masks.reshape(self.n_bands, n_batch, n_frames, self.n_src, 2, self.width).permute(
            1, 3, 4, 0, 5, 2
        )
        return masks.flatten(3, 4)[:, :, :, self.place]


class Block(nn.Module):
    """Time, then frequency, then attention over whole frames: `(B, bands, N, D)` → same."""

    def __init__(self, n_features: int, hidden: int, attention: bool, n_streams: int) -> None:
        super().__init__()
        self.time = Recurrent(n_features, hidden, n_streams)
        self.frequency = Recurrent(n_features, hidden)
        self.attention = FullBandAttention(n_features) if attention else None

    def forward(self, vectors: Tensor, *past: StreamState) -> Tensor:
        vectors = vectors + self.time(vectors, *past)
        vectors = vectors + self.frequency(vectors.transpose(1, 2)).transpose(1, 2)
        return vectors + self.attention(vectors) if self.attention is not None else vectors


class FullBandAttention(nn.Module):
    """Every frame, all its bands together, attends to every other frame."""

    def __init__(self, n_features: int, n_heads: int = 4, n_keys: int = 4) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm = nn.LayerNorm(n_features)
        self.query = nn.Linear(n_features, n_heads * n_keys)
        self.key = nn.Linear(n_features, n_heads * n_keys)
        self.value = nn.Linear(n_features, n_features)
        self.project = nn.Linear(n_features, n_features)

    def _heads(self, vectors: Tensor) -> Tensor:
        """`(B, bands, N, heads · E)` → `(B, heads, N, bands · E)`."""
        n_batch, n_bands, n_frames, _ = vectors.shape
        return vectors.reshape(n_batch, n_bands, n_frames, self.n_heads, -1).permute(0, 3, 2, 1, 4).flatten(3)

    def forward(self, vectors: Tensor) -> Tensor:
        n_batch, n_bands, n_frames, _ = vectors.shape
        normed = self.norm(vectors)
        out = functional.scaled_dot_product_attention(
            self._heads(self.query(normed)), self._heads(self.key(normed)), self._heads(self.value(normed))
        )
        return self.project(
            out.reshape(n_batch, self.n_heads, n_frames, n_bands, -1).permute(0, 3, 2, 1, 4).flatten(3)
        )
