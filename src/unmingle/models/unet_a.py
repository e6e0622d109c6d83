"""U-Net A: dense blocks between halvings and doublings of the spectrogram, which say the
voice's spectrogram.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.facts import Facts
from unmingle.layers.dense_block import DenseBlock
from unmingle.layers.stft import STFT

SPECTROGRAMS = ("complex", "magnitude")


class UNetA(nn.Module):
    """The spectrogram of noisy speech in, that of the voice out: no mask, the voice itself.

    A 1×1 convolution, then dense blocks ("neural transforms"). On the way down each is followed by a
    convolution that halves time and frequency, on the way up each is preceded by one that doubles them, and
    also gets the output of the block of the same size on the way down. The last 1×1 convolution outputs real
    and imaginary part of the voice, or its magnitude, which takes the phase of the mixture.

    Seven blocks have 0.32 M parameters, 17 have 0.80 M: 17 halve eight times, down to a single bin, so that
    the deepest see everything.

    Differs from the paper: the spectrogram is divided by its root mean square, and the estimate multiplied by
    it, so the level of the mixture does not matter and batch norm sees training and use alike; it is not
    compressed. Odd sizes are filled up with one row of zeros before they are halved, and cut after they are
    doubled. Nothing limits the output: a magnitude may be negative, which turns the phase over. A dense block
    outputs its last layer's features only, as in Choi's code. In training, statistics of batch norm are those
    of the batch; in use, those kept from training, so no item depends on others.

    Args:
        sample_rate: [Hz].
        n_fft, hop: of the STFT [samples].
        spectrogram: "complex", or "magnitude" with the phase of the mixture.
        n_channels: what is passed on from size to size.
        n_blocks: dense blocks, odd: as many on the way up as on the way down, and one at the bottom.
        growth: features of each layer of a dense block.
        n_layers: of a dense block.

    References:
        W. Choi et al., "Investigating U-Nets with various intermediate blocks for spectrogram-based singing
        voice separation", 2020.
    """

    def __init__(
        self,
        *,
        sample_rate: int = 8_000,
        n_fft: int = 300,
        hop: int = 75,
        spectrogram: str = "complex",
        n_channels: int = 6,
        n_blocks: int = 7,
        growth: int = 24,
        n_layers: int = 4,
    ) -> None:
        super().__init__()
        if spectrogram not in SPECTROGRAMS:
            raise ValueError(f"no spectrogram {spectrogram!r}; there are {', '.join(SPECTROGRAMS)}")
        if n_blocks % 2 == 0:
            raise ValueError(f"n_blocks ({n_blocks}) must be odd: as many down as up, and one at the bottom")
        self.facts = Facts(sample_rate=sample_rate, task="enhance", n_src=1, chunk=10 * sample_rate)
        self.spectrogram = spectrogram
        self.stft = STFT(n_fft=n_fft, hop=hop)
        n_halvings, n_spectra = n_blocks // 2, 2 if spectrogram == "complex" else 1
        # What leads to a batch norm has no bias: the norm would take it away.
        self.enter = nn.Conv2d(n_spectra, n_channels, 1, bias=False)
        self.encoder = nn.ModuleList(DenseBlock(n_channels, growth, n_layers) for _ in range(n_halvings))
        self.shrink = nn.ModuleList(
            nn.Conv2d(growth, n_channels, 2, stride=2, bias=False) for _ in range(n_halvings)
        )
        self.bottom = DenseBlock(n_channels, growth, n_layers)
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(growth, n_channels, 2, stride=2, bias=False) for _ in range(n_halvings)
        )
        self.decoder = nn.ModuleList(
            DenseBlock(growth + n_channels, growth, n_layers) for _ in range(n_halvings)
        )
        self.leave = nn.Conv2d(growth, n_spectra, 1)

    def forward(self, mixture: Tensor) -> Tensor:
        """`(B, 1, T)` → `(B, 1, T)`: the voice."""
        with torch.autocast(mixture.device.type, enabled=False):
            spectrum = self.stft(mixture[:, 0].float())
            level = (spectrum.square().sum(1, keepdim=True).mean((2, 3), keepdim=True) + 1e-8).sqrt()
            spectrum = spectrum / level
            magnitude = (spectrum.square().sum(1, keepdim=True) + 1e-8).sqrt()
        output = self._transform(spectrum if self.spectrogram == "complex" else magnitude).float()
        voice = output if self.spectrogram == "complex" else output * spectrum / magnitude
        with torch.autocast(mixture.device.type, enabled=False):
            return self.stft.inverse(voice * level, mixture.shape[-1])[:, None]

    def _transform(self, spectra: Tensor) -> Tensor:
        """`(B, 1 or 2, F, N)` → same."""
        # Features last are faster on a processor.
        features, skips = (self.enter(spectra.contiguous(memory_format=torch.channels_last)), [])
        for block, shrink in zip(self.encoder, self.shrink, strict=True):
            skips.append(block(features))
            n_bins, n_frames = skips[-1].shape[-2:]
            features = shrink(functional.pad(skips[-1], (0, n_frames % 2, 0, n_bins % 2)))
        features = self.bottom(features)
        for grow, block, skip in zip(self.grow, self.decoder, reversed(skips), strict=True):
            grown = grow(features)[..., : skip.shape[-2], : skip.shape[-1]]
            features = block(torch.cat([skip, grown], 1))
        return self.leave(features)
