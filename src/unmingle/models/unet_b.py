"""U-Net B: a plain U-Net on decibels, which predicts the noise; what is left of the mixture is the voice."""

from math import atanh

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.facts import Facts
from unmingle.layers.stft import STFT

# The network's input and output, in decibels: (dB − mean) / spread.
SEEN_DB, NOISE_DB = (-46.0, 50.0), (6.0, 82.0)
FLOOR = 1e-8  # power of the quietest bin that is resolved, 80 dB below the loudest
SLOPE = 0.3  # of the LeakyReLUs


class UNetB(nn.Module):
    """Magnitudes of the mixture in decibels in, those of its noise out; the noise is subtracted and the
    mixture's phase is kept.

    Five sizes with two 3×3 convolutions each, of 16, 32, 64, 128 and 256 filters; between them the maximum of
    2×2 bins on the way down, on the way up bins are repeated and smoothed by a 2×2 convolution, beside what
    was output at that size on the way down. A tanh ends it. 1.9 M parameters.

    With 8 kHz, a transform of 255 and a hop of 63 samples, 8064 samples are a tile of 128 × 128. All of it is
    convolutions, so any number of frames goes through at once: they are filled up with silence to a multiple
    of 16, the number that can be halved four times.

    Differs from the paper: decibels are relative to the loudest bin of the whole mixture, not of each second
    of it, so the level of the mixture does
    not matter (`noise_db` adds that level again); the noise's magnitude is subtracted from the mixture's and
    nothing falls below 0, where public code takes decibels from decibels; windows are the square root of
    Hann's. Before training the predicted noise is 46 dB below the loudest bin: noise that is louder than the
    mixture in every bin leaves neither a voice nor a gradient, and a learning rate above 2e-3 can lead there
    too.

    Args:
        sample_rate: [Hz].
        n_fft, hop: of the STFT [samples]; the number of bins, `n_fft // 2 + 1`, must be a multiple of 16.
        n_filters: of the first convolutions; each halving doubles them.
        dropout: behind the deepest two pairs of convolutions of the way down.

    References:
        V. Belz, "Speech-enhancement with deep learning", 2019.
    """

    def __init__(
        self,
        *,
        sample_rate: int = 8_000,
        n_fft: int = 255,
        hop: int = 63,
        n_filters: int = 16,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.facts = Facts(sample_rate=sample_rate, task="enhance", n_src=1, chunk=10 * sample_rate)
        self.stft = STFT(n_fft=n_fft, hop=hop)
        widths = [n_filters * 2**level for level in range(5)]
        self.stride = 2 ** (len(widths) - 1)
        if self.stft.n_bins % self.stride:
            raise ValueError(
                f"n_fft={n_fft} has {self.stft.n_bins} bins; their number must be a multiple of {self.stride}"
            )
        drops = [0.0, 0.0, 0.0, dropout, dropout]
        self.encoder = nn.ModuleList(
            nn.Sequential(*pair(n_in, n_out), nn.Dropout(drop))
            for n_in, n_out, drop in zip([1, *widths], widths, drops, strict=False)
        )
        upwards = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.grow = nn.ModuleList(
            nn.Sequential(
                nn.Upsample(scale_factor=2),
                nn.ZeroPad2d((0, 1, 0, 1)),
                nn.Conv2d(n_in, n_out, 2),
                nn.LeakyReLU(SLOPE),
            )
            for n_in, n_out in upwards
        )
        self.decoder = nn.ModuleList(nn.Sequential(*pair(2 * n_out, n_out)) for _, n_out in upwards)
        self.leave = nn.Sequential(
            nn.Conv2d(n_filters, 2, 3, padding=1), nn.LeakyReLU(SLOPE), nn.Conv2d(2, 1, 1)
        )
        for name, parameter in self.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_normal_(parameter, a=SLOPE)
            else:
                nn.init.zeros_(parameter)
        # The last one is the bias of the output.
        nn.init.constant_(parameter, atanh((SEEN_DB[0] - NOISE_DB[0]) / NOISE_DB[1]))

    def forward(self, mixture: Tensor) -> Tensor:
        """`(B, 1, T)` → `(B, 1, T)`: the voice."""
        spectrum, loudest = self._spectrum(mixture)
        magnitude = (spectrum.square().sum(1) + FLOOR).sqrt()
        mean, spread = NOISE_DB
        ratio = 10 ** ((self._transform(magnitude) * spread + mean) / 20) / magnitude
        voice = (1 - ratio).relu()[:, None] * spectrum
        with torch.autocast(mixture.device.type, enabled=False):
            return self.stft.inverse(voice * loudest, mixture.shape[-1])[:, None]

    def noise_db(self, mixture: Tensor) -> Tensor:
        """`(B, 1, T)` → `(B, F, N)`: the noise that is subtracted, `(20 log10 |N| − 6) / 82`, where N is its
        STFT `self.stft`.
        """
        spectrum, loudest = self._spectrum(mixture)
        predicted = self._transform((spectrum.square().sum(1) + FLOOR).sqrt())
        return predicted + 20 * loudest[:, 0].log10() / NOISE_DB[1]

    def _spectrum(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, 1, T)` → the STFT over the magnitude of its loudest bin `(B, 2, F, N)`, and that `(B, 1, 1,
        1)`.
        """
        with torch.autocast(mixture.device.type, enabled=False):
            spectrum = self.stft(mixture[:, 0].float())
            loudest = (
                spectrum.square().sum(1, keepdim=True).amax((1, 2, 3), keepdim=True).clamp(min=1e-10).sqrt()
            )
        return spectrum / loudest, loudest

    def _transform(self, magnitude: Tensor) -> Tensor:
        """Magnitudes of the mixture → the noise, scaled: `(B, F, N)` → same, −1 … 1."""
        n_frames = magnitude.shape[-1]
        filled = functional.pad(magnitude, (0, -n_frames % self.stride), value=FLOOR**0.5)
        mean, spread = SEEN_DB
        features, skips = ((20 * filled.log10() - mean) / spread)[:, None], []
        for number, block in enumerate(self.encoder):
            # Features last are faster on a processor.
            features = block(functional.max_pool2d(features, 2) if number else features).contiguous(
                memory_format=torch.channels_last
            )
            skips.append(features)
        for grow, block, skip in zip(self.grow, self.decoder, skips[-2::-1], strict=True):
            features = block(torch.cat([skip, grow(features)], 1))
        return self.leave(features)[:, 0, :, :n_frames].float().tanh()


def pair(n_in: int, n_out: int) -> list[nn.Module]:
    """Two 3×3 convolutions, each with its LeakyReLU."""
    return [
        nn.Conv2d(n_in, n_out, 3, padding=1),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(n_out, n_out, 3, padding=1),
        nn.LeakyReLU(SLOPE),
    ]
