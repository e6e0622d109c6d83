"""Looking to Listen without looking: dilated convolutions over time and frequency, a recurrent layer, complex
ratio masks.
"""

import torch
from torch import Tensor, nn

from unmingle.facts import Facts, task_for
from unmingle.layers import crm
from unmingle.layers.dilated import (
    compressed_and_level,
    dilated_convolutions,
    linear_layers,
    mask_layer,
    per_frame,
)
from unmingle.layers.stft import STFT


class LookingToListenAudio(nn.Module):
    """The hearing half of Looking to Listen: a complex mask per voice, found by convolutions that widen and
    one recurrent layer.

    Real and imaginary part of the STFT, compressed by a power law, go through 14 dilated convolutions over
    time and frequency; a 1×1 convolution leaves 8 features of each bin. All bins of a frame together go into
    a BLSTM, then into three linear layers, and a last one outputs, for each voice and bin, the real and
    imaginary part of the mask that the mixture is multiplied with.

    The defaults are the paper's at 16 kHz: 12.5 M parameters for two voices. `n_src=1` takes one voice out of
    noise.

    Masks are not limited: the last layer is linear, so a mask can exceed 1, and 2, and be negative, as
    complex ones must to cancel what is added by noise. (A sigmoid would leave 0 … 1, and decompressed 0 … 2;
    a compression to −K … K by a tanh, decompressed again, is a factor and nothing else.) They begin at an
    equal share of the mixture: real part 1 / `n_src`, imaginary part 0.

    Differs from the paper: windows are the square root of Hann's, so that analysis and synthesis give the
    mixture back; the compressed spectrogram is
    divided by its root mean square, so the level of the mixture does not matter; masks are laid on the
    spectrogram that is not compressed; any length instead of 3 s. In training, statistics of batch norm are
    those of the batch; in use, those kept from training.

    Args:
        n_src: number of voices.
        sample_rate: [Hz].
        n_fft, hop, window: of the STFT [samples]: 32, 10 and 25 ms.
        power: magnitudes are raised to it before they go in.
        n_channels: of the convolutions.
        n_last: of the 1×1 convolution.
        hidden: units of each direction of the recurrent layer.
        n_features: of the linear layers.

    References:
        A. Ephrat et al., "Looking to listen at the cocktail party: a speaker-independent audio-visual model
        for speech separation", 2018.
    """

    def __init__(
        self,
        *,
        n_src: int = 2,
        sample_rate: int = 16_000,
        n_fft: int = 512,
        hop: int = 160,
        window: int = 400,
        power: float = 0.3,
        n_channels: int = 96,
        n_last: int = 8,
        hidden: int = 400,
        n_features: int = 600,
    ) -> None:
        super().__init__()
        self.facts = Facts(sample_rate=sample_rate, task=task_for(n_src), n_src=n_src, chunk=10 * sample_rate)
        self.n_src, self.power = n_src, power
        self.stft = STFT(n_fft=n_fft, hop=hop, window=window)
        self.convolutions = dilated_convolutions(n_channels, n_last)
        self.recurrent = nn.LSTM(n_last * self.stft.n_bins, hidden, batch_first=True, bidirectional=True)
        self.linear = linear_layers(2 * hidden, n_features)
        self.mask = mask_layer(n_features, n_src, self.stft.n_bins, 1 / n_src)

    def forward(self, mixture: Tensor) -> Tensor:
        """`(B, 1, T)` → `(B, S, T)`."""
        with torch.autocast(mixture.device.type, enabled=False):
            spectrum = self.stft(mixture[:, 0].float())
            compressed = compressed_and_level(spectrum, self.power)
        n_batch, _, n_bins, n_frames = spectrum.shape
        states, _ = self.recurrent(per_frame(self.convolutions, compressed))
        # Shapes are those of the spectrum, never of what a recurrent layer returns: that would freeze the
        # length in an export.
        masks = (
            self.mask(self.linear(states))
            .float()
            .reshape(n_batch, n_frames, self.n_src, 2, n_bins)
            .permute(0, 2, 3, 4, 1)
        )
        with torch.autocast(mixture.device.type, enabled=False):
            samples = self.stft.inverse(crm.apply(masks, spectrum[:, None]).flatten(0, 1), mixture.shape[-1])
        return samples.reshape(n_batch, self.n_src, mixture.shape[-1])
