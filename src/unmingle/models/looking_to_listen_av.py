"""Looking to Listen: dilated convolutions over the sound, dilated convolutions over each face, a complex
ratio mask for each face.
"""

import torch
from torch import Tensor, nn

from unmingle.facts import MOST_SPEAKERS, Facts, lips
from unmingle.layers import crm
from unmingle.layers.dilated import (
    compressed_and_level,
    dilated_convolutions,
    linear_layers,
    mask_layer,
    per_frame,
)
from unmingle.layers.lips import LipEncoder
from unmingle.layers.pictures import beside_frames
from unmingle.layers.stft import STFT

# Kernels and dilations of the convolutions over pictures.
OVER_PICTURES = ((7, 1), *((5, 2**n) for n in range(5)))


class LookingToListen(nn.Module):
    """A complex mask for each face: what its mouth does says which of the sounds are its voice.

    The sound: the compressed STFT through 14 dilated convolutions, eight features of each bin, as in
    `LookingToListenAudio`. Each face: an embedding of every picture, through 6 dilated convolutions over
    time; each frame of the sound takes the features of the picture that is shown then. Both together go,
    face by face, into a BLSTM, three linear layers, and one that outputs the mask of that face.

    All weights are shared over faces, so that estimates come in the order of the faces, whatever it is, and
    weights for two faces serve one or five.

    The defaults are the paper's at 16 kHz: 16.5 M parameters without the encoder of faces (16.7 M published).

    Differs from the paper: embeddings are those of mouths, by a ResNet-18 that is trained with the
    separator, where the paper's came from a frozen network that recognises faces: none comes in a package
    with weights that may be passed on, and who it is matters less here than what the lips do. The recurrent
    and linear layers run once for each face, where the paper's see all faces at once, in a network for each
    number of them. Masks are not limited; windows, levels and lengths are as in `LookingToListenAudio`. In
    training, statistics of batch norm are those of the batch; in use, those kept from training.

    Args:
        n_src: number of faces, at most 5.
        sample_rate: [Hz].
        n_fft, hop, window: of the STFT [samples]: 32, 10 and 25 ms.
        power: magnitudes are raised to it before they go in.
        n_channels: of the convolutions over the sound.
        n_last: features of each bin.
        n_embedding: of each picture.
        n_visual: channels of the convolutions over pictures.
        lip_width, pool: of the encoder of mouths; see `LipEncoder`.
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
        n_embedding: int = 1024,
        n_visual: int = 256,
        lip_width: int = 64,
        pool: int = 1,
        hidden: int = 400,
        n_features: int = 600,
    ) -> None:
        super().__init__()
        if not 1 <= n_src <= MOST_SPEAKERS:
            raise ValueError(f"n_src is {n_src}; there are 1 to {MOST_SPEAKERS} faces")
        self.facts = Facts(
            sample_rate=sample_rate,
            n_src=n_src,
            cues=(lips(n_src),),
            order="cued",
            chunk=10 * sample_rate,
        )
        self.n_src, self.sample_rate, self.power = n_src, sample_rate, power
        self.stft = STFT(n_fft=n_fft, hop=hop, window=window)
        self.convolutions = dilated_convolutions(n_channels, n_last)
        self.encoder = LipEncoder(n_features=n_embedding, width=lip_width, pool=pool)
        self.visual = nn.Sequential(
            *(
                over_pictures(n_visual if number else n_embedding, n_visual, *shape)
                for number, shape in enumerate(OVER_PICTURES)
            )
        )
        n_joined = n_last * self.stft.n_bins + n_visual
        self.recurrent = nn.LSTM(n_joined, hidden, batch_first=True, bidirectional=True)
        self.linear = linear_layers(2 * hidden, n_features)
        self.mask = mask_layer(n_features, 1, self.stft.n_bins, 1 / n_src)

    def forward(self, mixture: Tensor, lips: Tensor) -> Tensor:
        """`(B, 1, T)` and pictures of mouths `(B, S, 88, 88, N)` → `(B, S, T)`."""
        with torch.autocast(mixture.device.type, enabled=False):
            spectrum = self.stft(mixture[:, 0].float())
            compressed = compressed_and_level(spectrum, self.power)
        n_batch, _, n_bins, n_frames = spectrum.shape
        heard = per_frame(self.convolutions, compressed)[:, None].expand(-1, self.n_src, -1, -1)
        embeddings = self.encoder(lips.flatten(0, 1).permute(0, 3, 1, 2))
        pictures = self.visual(embeddings.transpose(1, 2)).transpose(1, 2)
        seen = beside_frames(pictures, n_frames, self.stft, self.sample_rate)
        states, _ = self.recurrent(torch.cat([heard.flatten(0, 1), seen], -1))
        # Shapes are those of the spectrum, never of what a recurrent layer returns: that would freeze the
        # length in an export.
        masks = (
            self.mask(self.linear(states))
            .float()
            .reshape(n_batch, self.n_src, n_frames, 2, n_bins)
            .permute(0, 1, 3, 4, 2)
        )
        with torch.autocast(mixture.device.type, enabled=False):
            samples = self.stft.inverse(crm.apply(masks, spectrum[:, None]).flatten(0, 1), mixture.shape[-1])
        return samples.reshape(n_batch, self.n_src, mixture.shape[-1])


def over_pictures(n_in: int, n_out: int, kernel_size: int, dilation: int) -> nn.Sequential:
    """A convolution over time that keeps the length, batch norm and ReLU; the norm has the bias."""
    padding = dilation * (kernel_size // 2)
    return nn.Sequential(
        nn.Conv1d(n_in, n_out, kernel_size, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm1d(n_out),
        nn.ReLU(),
    )
