"""A small causal U-Net on ERB points, recurrent where it is narrowest, complex masks."""

from collections.abc import Sequence
from itertools import pairwise
from math import log10

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.facts import Facts, task_for
from unmingle.layers.masked_stft import MaskedSTFT
from unmingle.layers.recurrent import Recurrent
from unmingle.layers.stft import STFT
from unmingle.layers.stream_state import StreamState

EXPONENT = 0.3  # of the magnitudes that the network gets
SLOPE = 0.1  # of the LeakyReLUs


class ErbUNet(MaskedSTFT):
    """A spectrum at the resolution of the ear is halved in frequency a few times by convolutions that see the
    last frames too, remembered by recurrent layers, and doubled again beside what it was at each size. Made
    for few operations per second, and for few per step of a training on a processor.

    STFT → real part, imaginary part and magnitude, compressed to the power of 0.3 → averages over `n_points`
    of the ERB scale, below about 2.5 kHz one per bin → convolutions of `time_kernel` frames × 5 points (then
    3), each halving the points → LSTM over time in every point that is left, the same for all; LSTM over time
    of all of them together, squeezed; each normalised before and added after → transposed convolutions of one
    frame, each doubling the points → a complex mask per source at every point, interpolated to the bins →
    inverse STFT. With one source it is an enhancer. It is causal and streams, a hop at a time; with `ahead`,
    it hears a little of what comes.

    Differs from the papers: the shape is that of convolutional recurrent networks, ERB points and the
    recurrence that all bands share are GTCRN's; convolutions are dense, because those of single channels save
    operations but hardly time on a processor; only the encoder sees earlier frames; bands talk through one
    LSTM over whole frames instead of a walk over frequency.

    Args:
        n_src: number of voices.
        sample_rate: [Hz].
        n_fft, hop: of the STFT [samples].
        n_points: of the ERB scale, a multiple of 2 to the number of convolutions.
        channels: of the encoder's convolutions; the decoder mirrors them.
        time_kernel: frames that they see, the present one and those before it.
        hidden: units of the LSTM in every point that is left.
        frame_hidden: units of the LSTM over whole frames, whose input is squeezed to as many.
        ahead: frames after the window that it waits for, `hop` samples of latency each.

    Raises:
        ValueError: `n_points` cannot be halved that often, or is more than the STFT has bins.

    References:
        K. Tan and D. Wang, "A convolutional recurrent neural network for real-time speech enhancement", 2018.
        X. Le et al., "DPCRN: dual-path convolution recurrent network for single channel speech enhancement",
        2021.
        X. Rong et al., "GTCRN: a speech enhancement model requiring ultralow computational resources", 2024.
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
        n_points: int = 128,
        channels: Sequence[int] = (16, 32, 48),
        time_kernel: int = 3,
        hidden: int = 48,
        frame_hidden: int = 128,
        ahead: int = 0,
    ) -> None:
        super().__init__()
        if n_points % 2 ** len(channels):
            raise ValueError(
                f"n_points is {n_points}; it must be a multiple of {2 ** len(channels)} to be halved by "
                f"{len(channels)} convolutions"
            )
        self.n_src, self.ahead = n_src, ahead
        self.stft = STFT(n_fft=n_fft, hop=hop)
        weights = erb_weights(n_points, self.stft.n_bins, sample_rate)
        self.register_buffer("gather", weights.T / weights.sum(1), persistent=False)
        self.register_buffer("spread", weights, persistent=False)
        sizes = [n_points // 2**level for level in range(len(channels) + 1)]
        self.encoder = nn.ModuleList(
            Down(n_in, n_out, size, time_kernel, 3 if level else 5)
            for level, ((n_in, n_out), size) in enumerate(zip(pairwise([3, *channels]), sizes, strict=False))
        )
        self.time = Recurrent(channels[-1], hidden, sizes[-1])
        self.frame = FrameRecurrent(sizes[-1], channels[-1], frame_hidden)
        self.decoder = nn.ModuleList(
            Up(2 * n_in, n_out) for n_out, n_in in reversed(list(pairwise([channels[0], *channels])))
        )
        self.mask = nn.Conv2d(channels[0], 2 * n_src, (1, 3), padding=(0, 1))
        with torch.no_grad():
            # Masks start around an equal share of the mixture: real part 1 / n_src, imaginary part 0.
            self.mask.bias.copy_(torch.tensor([1 / n_src, 0.0]).repeat(n_src))  # type: ignore[union-attr]
        state = (1 + n_src) * (n_fft - hop) + 2 * (sizes[-1] * hidden + frame_hidden)
        state += (time_kernel - 1) * sum(
            n * size for n, size in zip([3, *channels], sizes[:-1], strict=False)
        )
        state += ahead * 2 * self.stft.n_bins
        self.facts = Facts(
            sample_rate=sample_rate,
            task=task_for(n_src),
            n_src=n_src,
            causal=True,
            latency=n_fft - 1 + ahead * hop,
            hop=hop,
            state=state,
        )

    def estimate(self, samples: Tensor, *past: StreamState) -> Tensor:
        spectrum, compressed = self.compressed(samples, EXPONENT, *past)
        features = compressed.transpose(2, 3) @ self.gather  # B D N points
        # Features last are faster on a processor.
        features, skips = features.contiguous(memory_format=torch.channels_last), []
        for down in self.encoder:
            features = down(features, *past)
            skips.append(features)
        vectors = features.permute(0, 3, 2, 1)  # B points N D
        vectors = vectors + self.time(vectors, *past)
        vectors = vectors + self.frame(vectors, *past)
        features = vectors.permute(0, 3, 2, 1)
        for up, skip in zip(self.decoder, reversed(skips), strict=True):
            features = up(torch.cat([features, skip], 1))
        masks = self.mask(features).float()
        with torch.autocast(samples.device.type, enabled=False):
            masks = (masks @ self.spread).unflatten(1, (self.n_src, 2)).transpose(3, 4)  # B S 2 F N
        return self.masked(masks, spectrum, *past)


class Down(nn.Module):
    """Convolution over this and earlier frames that halves the points, batch norm, LeakyReLU: `(B, D, N, P)`
    → `(B, D', N, P / 2)`.
    """

    def __init__(self, n_in: int, n_out: int, n_points: int, n_frames: int, width: int) -> None:
        super().__init__()
        self.kept = (n_in, n_frames - 1, n_points)
        self.conv = nn.Conv2d(
            n_in, n_out, (n_frames, width), stride=(1, 2), padding=(0, width // 2), bias=False
        )
        self.norm = nn.BatchNorm2d(n_out)

    def forward(self, features: Tensor, *past: StreamState) -> Tensor:
        if past:
            features = torch.cat([past[0].read(*self.kept), features], 2)
            past[0].write(features[:, :, features.shape[2] - self.kept[1] :])
        else:
            features = functional.pad(features, (0, 0, self.kept[1], 0))
        return functional.leaky_relu(self.norm(self.conv(features)), SLOPE)


class Up(nn.Module):
    """Transposed convolution that doubles the points, batch norm, LeakyReLU: `(B, D, N, P)` → `(B, D', N,
    2P)`.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(n_in, n_out, (1, 4), stride=(1, 2), padding=(0, 1), bias=False)
        self.norm = nn.BatchNorm2d(n_out)

    def forward(self, features: Tensor) -> Tensor:
        return functional.leaky_relu(self.norm(self.conv(features)), SLOPE)


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
