"""DeepFilterNet: gains for bands of the ear, and short complex filters for the low bins."""

from itertools import pairwise
from math import exp, gcd, log1p
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.facts import Facts
from unmingle.layers.running_mean import RunningMean
from unmingle.layers.stft import STFT

TAU_S = 1.0  # after which the running means have forgotten all but a third


class DeepFilterNet(nn.Module):
    """High bins get one gain per band of the ERB scale; low ones, where harmonics lie, get each a complex
    filter over frames, which can restore what is between the harmonics in time.

    STFT → energies of `n_erb` bands in decibels, less their running mean; and the lowest `n_filtered` bins
    over the root of their running mean magnitude → convolutions over neighbours, each → both together through
    a GRU (`Memory`) → one decoder, of convolutions beside what the encoder said, for the gains; another one,
    of a GRU and a convolution over frames, for filters of `order` frames, up to `ahead` of which come later →
    inverse STFT. It is that of the third version, without its post-filter.

    Differs from the paper: the estimate of the local SNR, by which the authors' programs can skip parts, is
    left out. After the last sample comes silence, not zeros in the place of features.

    Args:
        sample_rate: [Hz].
        n_fft, hop: of the STFT, `n_fft` twice as long as `hop` [samples].
        n_erb: bands, a multiple of 4.
        n_narrowest: bins that a band has at least.
        n_filtered: bins that are filtered; the others get the gains.
        order: frames of a filter.
        ahead: frames after the present one that it hears.
        channels: features of the convolutions.
        hidden: units of the GRUs.
        groups, bin_groups, filter_groups: of the linear layers, that of the bins, and that before the
            filters' GRU.

    References:
        H. Schröter, A. N. Escalante-B., T. Rosenkranz and A. Maier, "DeepFilterNet: a low complexity speech
        enhancement framework for full-band audio based on deep filtering", 2022.
        H. Schröter, T. Rosenkranz, A. N. Escalante-B. and A. Maier, "DeepFilterNet: perceptually motivated
        real-time speech enhancement", 2023.
    """

    gather: Tensor
    spread: Tensor

    def __init__(
        self,
        *,
        sample_rate: int = 48_000,
        n_fft: int = 960,
        hop: int = 480,
        n_erb: int = 32,
        n_narrowest: int = 2,
        n_filtered: int = 96,
        order: int = 5,
        ahead: int = 2,
        channels: int = 64,
        hidden: int = 256,
        groups: int = 16,
        bin_groups: int = 32,
        filter_groups: int = 8,
    ) -> None:
        super().__init__()
        if n_erb % 4 or n_filtered % 2:
            raise ValueError(
                f"n_erb is {n_erb}, a multiple of 4; n_filtered is {n_filtered}, which must be even"
            )
        self.n_filtered, self.order, self.ahead, self.hop = n_filtered, order, ahead, hop
        self.stft = STFT(n_fft=n_fft, hop=hop, taper="vorbis")
        widths = erb_widths(n_erb, self.stft.n_bins, sample_rate, n_narrowest)
        band = torch.tensor([band for band, width in enumerate(widths) for _ in range(width)])
        spread = (torch.arange(n_erb)[:, None] == band).float()
        self.register_buffer(
            "gather", (spread / spread.sum(1, keepdim=True)).T.contiguous(), persistent=False
        )
        self.register_buffer("spread", spread, persistent=False)
        decay = min(round(exp(-hop / sample_rate / TAU_S), 3), 0.999)
        self.mean_db = RunningMean(decay, torch.linspace(-60, -90, n_erb))
        self.mean_magnitude = RunningMean(decay, torch.linspace(1e-3, 1e-4, n_filtered))
        width = channels * n_erb // 4
        self.bands = nn.ModuleList(
            [Conv(1, channels, (3, 3)), *(Conv(channels, channels, (1, 3), stride) for stride in (2, 2, 1))]
        )
        self.bins = nn.ModuleList([Conv(2, channels, (3, 3)), Conv(channels, channels, (1, 3), 2)])
        self.bins_linear = GroupedLinear(channels * n_filtered // 2, width, bin_groups)
        self.memory = Memory(width, hidden, groups, width)
        self.gains_memory = Memory(width, hidden, groups, width, n_layers=2)
        self.paths = nn.ModuleList(Conv(channels, channels, (1, 1)) for _ in range(4))
        self.ups = nn.ModuleList(
            [
                Conv(channels, channels, (1, 3)),
                *(Conv(channels, channels, (1, 3), 2, nn.ConvTranspose2d) for _ in range(2)),
                Conv(channels, 1, (1, 3), activation=nn.Sigmoid()),
            ]
        )
        self.filters_memory = Memory(width, hidden, filter_groups, n_layers=2)
        self.filters_skip = GroupedLinear(width, hidden, groups)
        self.filters_linear = GroupedLinear(hidden, 2 * order * n_filtered, groups)
        self.filters_path = Conv(channels, 2 * order, (5, 1))
        self.facts = Facts(
            sample_rate=sample_rate,
            task="enhance",
            n_src=1,
            causal=True,
            latency=n_fft - 1 + ahead * hop,
            chunk=10 * sample_rate,
        )

    def forward(self, mixture: Tensor) -> Tensor:
        """`(B, 1, T)` → `(B, 1, T)`."""
        with torch.autocast(mixture.device.type, enabled=False):
            samples = functional.pad(mixture[:, 0].float(), (0, self.ahead * self.hop))
            spectrum = self.stft(samples).transpose(2, 3)  # B 2 N F
            bands, bins = (self.later(features) for features in self.features(spectrum))
        skips = []
        for conv in self.bands:
            bands = conv(bands)
            skips.append(bands)
        first = self.bins[0](bins)
        second = self.bins[1](first).permute(0, 2, 3, 1).flatten(2)
        vectors = bands.permute(0, 2, 3, 1).flatten(2) + self.bins_linear(second).relu()
        vectors = self.memory(vectors)  # B N width
        gains = self.gains(vectors, skips)
        filters = self.filters(vectors, first)
        with torch.autocast(mixture.device.type, enabled=False):
            high = (gains.float() @ self.spread)[..., self.n_filtered :] * spectrum[..., self.n_filtered :]
            low = self.filtered(spectrum[..., : self.n_filtered], filters.float())
            estimate = torch.cat([low, high], -1).transpose(2, 3)
            return self.stft.inverse(estimate, mixture.shape[-1])[:, None]

    def features(self, spectrum: Tensor) -> tuple[Tensor, Tensor]:
        """Of `(B, 2, N, F)`: bands `(B, 1, N, E)` and low bins `(B, 2, N, F')`, both normalised."""
        spectrum = spectrum / self.stft.n_fft**0.5  # as large as a wave that fills it
        power = spectrum.square().sum(1)
        decibels = 10 * (power @ self.gather + 1e-10).log10()
        bands = (decibels - self.mean_db(decibels)) / 40
        low = spectrum[..., : self.n_filtered]
        magnitude = (power[..., : self.n_filtered] + 1e-20).sqrt()
        return bands[:, None], low / self.mean_magnitude(magnitude)[:, None].sqrt()

    def later(self, features: Tensor) -> Tensor:
        """Features of the frames that come `ahead` frames later, zeros where there are none: `(B, D, N, P)` →
        same.
        """
        return functional.pad(features[:, :, self.ahead :], (0, 0, 0, self.ahead))

    def gains(self, vectors: Tensor, skips: list[Tensor]) -> Tensor:
        """`(B, 1, N, E)`, of what the encoder said."""
        narrow = skips[-1]
        features = self.gains_memory(vectors).reshape(
            narrow.shape[0], narrow.shape[2], narrow.shape[3], narrow.shape[1]
        )
        features = features.permute(0, 3, 1, 2)
        for path, up, skip in zip(self.paths, self.ups, reversed(skips), strict=True):
            features = up(path(skip) + features)
        return features

    def filters(self, vectors: Tensor, first: Tensor) -> Tensor:
        """`(B, N, F', order, 2)`, of what the encoder said."""
        remembered = self.filters_memory(vectors) + self.filters_skip(vectors)
        filters = self.filters_linear(remembered).tanh()
        path = self.filters_path(first).permute(0, 2, 3, 1)  # B N F' 2·order
        return (filters.reshape(path.shape) + path).unflatten(3, (self.order, 2))

    def filtered(self, spectrum: Tensor, filters: Tensor) -> Tensor:
        """Frames around each of `(B, 2, N, F')` by its filter, added: `(B, 2, N, F')`."""
        n_frames = spectrum.shape[2]
        padded = functional.pad(spectrum, (0, 0, self.order - 1 - self.ahead, self.ahead))
        frames = torch.stack([padded[:, :, k : k + n_frames] for k in range(self.order)], -1)
        real, imaginary = frames[:, 0], frames[:, 1]  # B N F' order
        by_real, by_imaginary = filters[..., 0], filters[..., 1]
        return torch.stack(
            [
                (real * by_real - imaginary * by_imaginary).sum(-1),
                (real * by_imaginary + imaginary * by_real).sum(-1),
            ],
            1,
        )


class Conv(nn.Module):
    """Convolution of as many groups as its sizes allow, over this and earlier frames, and where these keep
    features apart, one that mixes them; batch norm, ReLU: `(B, D, N, P)` → `(B, D', N, P')`.

    Args:
        n_in, n_out: D and D'.
        kernel: frames and points.
        stride: P / P', or P' / P of a transposed one.
        kind: the convolution's class.
        activation: at the end.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: tuple[int, int],
        stride: int = 1,
        kind: type[nn.Conv2d] | type[nn.ConvTranspose2d] = nn.Conv2d,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.n_before, groups = kernel[0] - 1, gcd(n_in, n_out)
        more: dict[str, Any] = {"output_padding": (0, stride - 1)} if kind is nn.ConvTranspose2d else {}
        self.conv = kind(
            n_in,
            n_out,
            kernel,
            stride=(1, stride),
            padding=(0, kernel[1] // 2),
            groups=groups,
            bias=False,
            **more,
        )
        mixes = groups > 1 and max(kernel) > 1
        self.mix = nn.Conv2d(n_out, n_out, 1, bias=False) if mixes else nn.Identity()
        self.norm, self.activation = nn.BatchNorm2d(n_out), activation or nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        if self.n_before:
            features = functional.pad(features, (0, 0, self.n_before, 0))
        return self.activation(self.norm(self.mix(self.conv(features))))


class GroupedLinear(nn.Module):
    """Linear layer without bias, each group of features by itself: `(B, N, D)` → `(B, N, D')`."""

    def __init__(self, n_in: int, n_out: int, n_groups: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_groups, n_in // n_groups, n_out // n_groups))
        nn.init.uniform_(self.weight, -((n_groups / n_in) ** 0.5), (n_groups / n_in) ** 0.5)

    def forward(self, vectors: Tensor) -> Tensor:
        n_groups, size, _ = self.weight.shape
        groups = vectors.reshape(vectors.shape[0], vectors.shape[1], n_groups, size).transpose(1, 2)
        return (groups @ self.weight).transpose(1, 2).flatten(2)


class Memory(nn.Module):
    """Grouped linear layer, ReLU, GRUs over time; and, if `n_out`, back to so many features in the same way:
    `(B, N, D)` → `(B, N, D')`.
    """

    def __init__(self, n_in: int, hidden: int, groups: int, n_out: int = 0, n_layers: int = 1) -> None:
        super().__init__()
        self.squeeze = GroupedLinear(n_in, hidden, groups)
        self.gru = nn.GRU(hidden, hidden, n_layers, batch_first=True)
        self.expand = GroupedLinear(hidden, n_out, groups) if n_out else None

    def forward(self, vectors: Tensor) -> Tensor:
        out, _ = self.gru(self.squeeze(vectors).relu())
        return out if self.expand is None else self.expand(out).relu()


def erb_widths(n_bands: int, n_bins: int, sample_rate: int, n_narrowest: int = 1) -> list[int]:
    """Bins of each of the bands that are equally wide on the ERB scale, but have `n_narrowest` at least; the
    next ones are narrower for it.

    >>> erb_widths(8, 33, 16_000)
    [1, 1, 1, 2, 3, 5, 7, 13]
    """
    quality = 24.7 * 9.265
    highest = log1p(sample_rate / 2 / quality)
    frequencies = (quality * (exp(highest * k / n_bands) - 1) for k in range(n_bands + 1))
    edges = [round(frequency / (sample_rate / 2) * (n_bins - 1)) for frequency in frequencies]
    widths, owed = [], 0
    for start, end in pairwise(edges):
        width = max(end - start - owed, n_narrowest)
        owed = max(n_narrowest - (end - start - owed), 0)
        widths.append(width)
    widths[-1] += n_bins - sum(widths)
    return widths
