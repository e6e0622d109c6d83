"""A small causal network: recurrent in every ERB band and over whole frames, complex masks."""

from itertools import pairwise
from math import log10

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.facts import Facts, task_for
from unmingle.layers import crm
from unmingle.layers.recurrent import Recurrent
from unmingle.layers.stft import STFT
from unmingle.layers.stream_state import StreamState

EXPONENT = 0.3  # of the magnitudes that the network gets


class ErbRecurrent(nn.Module):
    """A spectrum at the resolution of the ear, cut into bands that are small recurrent networks, joined by a
    recurrent network of the whole frame. Made for few operations per second, and for few per step of a
    training on a processor.

    STFT → real part, imaginary part and magnitude, compressed to the power of 0.3 → averages over
    `n_bands · width` points of the ERB scale, below about 3 kHz one per bin → one linear layer per band,
    which also gets half of each neighbour → `n_blocks` of {LSTM over time in every band, the same for all of
    them; LSTM over time of all bands together, squeezed}, each normalised before and added after → one linear
    layer per band → a complex mask per source at every point, interpolated to the bins → inverse STFT. With
    one source it is an enhancer. It is causal and streams, a hop at a time.

    Differs from the papers: the idea is GTCRN's, that of an enhancer on ERB bands whose recurrence is small
    and the same for all bands; but bands have linear layers of their own instead of sharing convolutions, and
    what they exchange goes through one LSTM over whole frames instead of a walk over frequency. In the first
    minutes of a training it learns more from an hour of mixtures than that walk, and it costs less.

    Args:
        n_src: number of voices.
        sample_rate: [Hz].
        n_fft, hop: of the STFT [samples].
        n_bands: number of bands.
        width: points of the ERB scale in each of them.
        n_features: length of the vector of a band.
        hidden: units of the LSTM in every band.
        frame_hidden: units of the LSTM over whole frames, whose input is squeezed to as many.
        n_blocks: number of blocks.

    Raises:
        ValueError: the ERB scale has more points than the STFT has bins.

    References:
        X. Rong et al., "GTCRN: a speech enhancement model requiring ultralow computational resources", 2024.
        X. Le et al., "DPCRN: dual-path convolution recurrent network for single channel speech enhancement",
        2021.
    """

    gather: Tensor
    spread: Tensor

    def __init__(
        self,
        *,
        n_src: int = 1,
        sample_rate: int = 16_000,
        n_fft: int = 512,
        hop: int = 256,
        n_bands: int = 24,
        width: int = 6,
        n_features: int = 32,
        hidden: int = 32,
        frame_hidden: int = 96,
        n_blocks: int = 2,
    ) -> None:
        super().__init__()
        self.n_src, self.n_bands, self.width = n_src, n_bands, width
        self.stft = STFT(n_fft=n_fft, hop=hop)
        weights = erb_weights(n_bands * width, self.stft.n_bins, sample_rate)
        margin = width // 2  # of its neighbours that a band gets
        averages = functional.pad(weights.T / weights.sum(1), (margin, margin))
        averages = averages.unfold(1, width + 2 * margin, width).flatten(1)  # F (bands · points)
        self.register_buffer("gather", averages, persistent=False)
        self.register_buffer("spread", weights, persistent=False)
        n_inputs = 3 * (width + 2 * margin)
        self.split = nn.Parameter(torch.randn(n_bands, n_inputs, n_features) / n_inputs**0.5)
        self.split_bias = nn.Parameter(torch.zeros(n_bands, 1, n_features))
        self.blocks = nn.ModuleList(Block(n_bands, n_features, hidden, frame_hidden) for _ in range(n_blocks))
        self.norm = nn.LayerNorm(n_features)
        self.expand = nn.Linear(n_features, 2 * n_features)
        self.merge = nn.Parameter(
            torch.randn(n_bands, 2 * n_features, n_src * 2 * width) * 0.5 / (2 * n_features) ** 0.5
        )
        # Masks start around an equal share of the mixture: real part 1 / n_src, imaginary part 0.
        equal_share = torch.zeros(n_bands, n_src, 2, width)
        equal_share[:, :, 0] = 1 / n_src
        self.merge_bias = nn.Parameter(equal_share.flatten(1)[:, None])
        self.facts = Facts(
            sample_rate=sample_rate,
            task=task_for(n_src),
            n_src=n_src,
            causal=True,
            latency=n_fft - 1,
            hop=hop,
            state=(1 + n_src) * (n_fft - hop) + n_blocks * 2 * (n_bands * hidden + frame_hidden),
        )

    def forward(self, mixture: Tensor) -> Tensor:
        """`(B, 1, T)` → `(B, S, T)`."""
        estimates = self._estimates(mixture[:, 0])
        with torch.autocast(mixture.device.type, enabled=False):
            return self.stft.inverse(estimates.flatten(0, 1), mixture.shape[-1]).unflatten(
                0, (-1, self.n_src)
            )

    def forward_stream(self, samples: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The next `(B, 1, T)`, T a multiple of the hop, and the state `(B, n)` → `(B, S, T)`, late by `n_fft
        − hop` samples, and the next state.

        With a state of zeros it begins.
        """
        past = StreamState(state)
        overlapped = self.stft.synthesise(self._estimates(samples[:, 0], past).flatten(0, 1)).unflatten(
            0, (-1, self.n_src)
        )
        return past.overlap_add(overlapped, self.n_src, self.stft.n_fft - self.stft.hop), past.state()

    def _estimates(self, samples: Tensor, *past: StreamState) -> Tensor:
        """`(B, T)` → spectra of the sources `(B, S, 2, F, N)`."""
        with torch.autocast(samples.device.type, enabled=False):
            spectrum = self.stft(samples.float(), *past)
            magnitude = (spectrum.square().sum(1, keepdim=True) + 1e-8).sqrt()
            compressed = torch.cat([spectrum * magnitude ** (EXPONENT - 1), magnitude**EXPONENT], 1)
        # Shapes are taken from here, never from what a recurrent layer returns: that would freeze the length
        # in an export.
        n_batch, _, _, n_frames = compressed.shape
        bands = compressed.transpose(2, 3) @ self.gather
        bands = bands.reshape(n_batch, 3, n_frames, self.n_bands, -1).permute(3, 0, 2, 1, 4)
        vectors = torch.baddbmm(self.split_bias, bands.flatten(3).flatten(1, 2), self.split)
        vectors = vectors.reshape(self.n_bands, n_batch, n_frames, -1).transpose(0, 1)  # B bands N D
        for block in self.blocks:
            vectors = block(vectors, *past)
        vectors = functional.silu(self.expand(self.norm(vectors))).transpose(0, 1).flatten(1, 2)
        masks = torch.baddbmm(self.merge_bias, vectors, self.merge).float()
        masks = masks.reshape(self.n_bands, n_batch, n_frames, self.n_src, 2, self.width).permute(
            1, 3, 4, 2, 0, 5
        )
        with torch.autocast(samples.device.type, enabled=False):
            masks = (masks.flatten(4) @ self.spread).transpose(3, 4)  # B S 2 F N
            return crm.apply(masks, spectrum[:, None])


class Block(nn.Module):
    """Every band by itself, then all of them together: `(B, bands, N, D)` → same."""

    def __init__(self, n_bands: int, n_features: int, hidden: int, frame_hidden: int) -> None:
        super().__init__()
        self.time = Recurrent(n_features, hidden, n_bands)
        self.frame = FrameRecurrent(n_bands, n_features, frame_hidden)

    def forward(self, vectors: Tensor, *past: StreamState) -> Tensor:
        vectors = vectors + self.time(vectors, *past)
        return vectors + self.frame(vectors, *past)


class FrameRecurrent(nn.Module):
    """Layer norm, the vectors of all bands as one, squeezed, LSTM over time, back to bands: `(B, bands, N,
    D)` → same.
    """

    def __init__(self, n_bands: int, n_features: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(n_features)
        self.squeeze = nn.Linear(n_bands * n_features, hidden)
        self.lstm = nn.LSTM(hidden, hidden, batch_first=True)
        self.expand = nn.Linear(hidden, n_bands * n_features)

    def forward(self, vectors: Tensor, *past: StreamState) -> Tensor:
        n_batch, n_bands, n_frames, n_features = vectors.shape
        frames = self.squeeze(self.norm(vectors).transpose(1, 2).flatten(2))
        if past:
            hidden, cell = past[0].read(2, 1, self.lstm.hidden_size).permute(1, 2, 0, 3)  # 1 B H each
            out, (hidden, cell) = self.lstm(frames, (hidden, cell))
            past[0].write(torch.stack([hidden[0], cell[0]], 1))
        else:
            out, _ = self.lstm(frames)
        return self.expand(out).reshape(n_batch, n_frames, n_bands, n_features).transpose(1, 2)


def erb_edges(n_points: int, n_bins: int, sample_rate: int) -> list[int]:
    """Where stretches of the spectrum begin that are equally wide on the ERB scale, and where the last one
    ends [bins]. Low ones are one bin wide, as many as it takes.

    >>> erb_edges(8, 33, 16_000)
    [0, 1, 2, 3, 5, 8, 13, 20, 33]

    Raises:
        ValueError: there are more of them than bins.

    References:
        B. R. Glasberg and B. C. J. Moore, "Derivation of auditory filter shapes from notched-noise data",
        1990.
    """
    if n_points > n_bins:
        raise ValueError(f"{n_points} points of the ERB scale do not fit in {n_bins} bins")
    highest, edges = log10(1 + 0.00437 * sample_rate / 2), [0]
    for number in range(1, n_points):
        frequency = (10 ** (highest * number / n_points) - 1) / 0.00437
        edges.append(max(round(frequency / (sample_rate / 2) * (n_bins - 1)), edges[-1] + 1))
    return [*(min(edge, n_bins - n_points + number) for number, edge in enumerate(edges)), n_bins]


def erb_weights(n_points: int, n_bins: int, sample_rate: int) -> Tensor:
    """How much of each point is in each bin, linear between the middles of `erb_edges`: `(points, F)`, every
    column sums to 1.
    """
    edges = erb_edges(n_points, n_bins, sample_rate)
    middles = torch.tensor([(first + end - 1) / 2 for first, end in pairwise(edges)])
    bins = torch.arange(n_bins)
    above = torch.searchsorted(middles, bins.float()).clamp(1, n_points - 1)
    share = ((bins - middles[above - 1]) / (middles[above] - middles[above - 1])).clamp(0, 1)
    weights = torch.zeros(n_points, n_bins)
    weights[above - 1, bins], weights[above, bins] = 1 - share, share
    return weights
