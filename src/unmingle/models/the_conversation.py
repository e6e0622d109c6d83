"""The Conversation: lips and the mixture's magnitudes give the voice's magnitudes, and these its phase."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.facts import Facts, lips
from unmingle.layers.lips import LipEncoder
from unmingle.layers.pictures import beside_frames
from unmingle.layers.stft import STFT

FRAMES_PER_PICTURE = 4  # of 10 ms
N_VISUAL, N_AUDIO, N_JOINT, N_PHASE = 10, 5, 15, 6  # blocks
HALVED, DOUBLED = (1, 3), (4, 9)  # audio blocks that halve the number of frames, joint blocks that double it


class TheConversation(nn.Module):
    """Takes the voice of one face out of whatever else is heard: one network for its magnitudes, one for its
    phase.

    The mouth's pictures, through `LipEncoder`, go through 10 temporal blocks; the mixture's magnitudes, with
    frequencies as channels, through 5, two of which halve the rate, from 100 frames to 25 pictures a second.
    Both together go through 15 blocks, two of which double it, and become a mask, 0 … 1, of the magnitudes.
    The second network sees these masked magnitudes and the mixture's phase (cosine and sine) and says through
    6 blocks what is to be added to that phase, after which every bin is brought to length 1 again.

    Paper's order of training: with `mixture_phase`; then without it, while the encoder and what finds the
    magnitudes are frozen; then all of it. The weights have the same names each time, so that each training
    begins with those of the one before.

    Differs from the paper: each block is a batch norm, ReLU and the convolution, in that order, added to what
    goes in, which at another rate is averaged or repeated; magnitudes go in over their root mean square and
    raised to a power, so the level of a recording does not matter; the phase that is added begins near 0;
    windows are the square root of Hann's; any length. Four frames share the picture that is shown in their
    middle; the number of frames is filled up to a multiple of 4. In training, statistics of batch norm are
    those of the batch; in use, those kept from training.

    Args:
        sample_rate: [Hz].
        n_fft, hop: of the STFT [samples]: 40 and 10 ms.
        power: magnitudes are raised to it before they go in.
        n_channels: of the blocks that find the magnitudes.
        n_phase: of those that find the phase.
        n_embedding: of each picture.
        lip_width, pool: of the encoder of mouths; see `LipEncoder`.
        mixture_phase: take the phase of the mixture, and leave the network for the phase out.

    References:
        T. Afouras, J. S. Chung and A. Zisserman, "The Conversation: deep audio-visual speech enhancement",
        2018.
    """

    def __init__(
        self,
        *,
        sample_rate: int = 16_000,
        n_fft: int = 640,
        hop: int = 160,
        power: float = 0.3,
        n_channels: int = 1536,
        n_phase: int = 1024,
        n_embedding: int = 512,
        lip_width: int = 64,
        pool: int = 1,
        mixture_phase: bool = False,
    ) -> None:
        super().__init__()
        self.facts = Facts(
            sample_rate=sample_rate,
            n_src=1,
            cues=(lips(1),),
            order="cued",
            chunk=10 * sample_rate,
        )
        self.sample_rate, self.power, self.mixture_phase = sample_rate, power, mixture_phase
        self.stft = STFT(n_fft=n_fft, hop=hop)
        self.encoder = LipEncoder(n_features=n_embedding, width=lip_width, pool=pool)
        self.magnitude = MagnitudeNetwork(self.stft.n_bins, n_embedding, n_channels)
        self.phase = PhaseNetwork(self.stft.n_bins, n_phase)

    def forward(self, mixture: Tensor, lips: Tensor) -> Tensor:
        """`(B, 1, T)` and pictures of a mouth `(B, 1, 88, 88, N)` → the voice `(B, 1, T)`."""
        with torch.autocast(mixture.device.type, enabled=False):
            spectrum = self.stft(mixture[:, 0].float())
            scale = (spectrum.square().mean((1, 2, 3), keepdim=True) + 1e-8).sqrt()
            spectrum = spectrum / scale
            magnitude = (spectrum.square().sum(1) + 1e-8).sqrt()
            phase, compressed = spectrum / magnitude[:, None], magnitude**self.power
        mask = self._mask(compressed, lips)
        if not self.mixture_phase:
            phase = self.phase(mask * compressed, phase)
        with torch.autocast(mixture.device.type, enabled=False):
            voice = (mask * magnitude)[:, None] * phase * scale
            return self.stft.inverse(voice, mixture.shape[-1])[:, None]

    def _mask(self, magnitudes: Tensor, lips: Tensor) -> Tensor:
        """`(B, F, N)`, `(B, 1, 88, 88, N')` → `(B, F, N)`, 0 … 1."""
        n_frames = magnitudes.shape[-1]
        filled = functional.pad(magnitudes, (0, -n_frames % FRAMES_PER_PICTURE))
        pictures = self.encoder(lips[:, 0].permute(0, 3, 1, 2))
        seen = beside_frames(
            pictures,
            filled.shape[-1] // FRAMES_PER_PICTURE,
            self.stft,
            self.sample_rate,
            group=FRAMES_PER_PICTURE,
        )
        return self.magnitude(filled, seen.transpose(1, 2))[..., :n_frames]


class MagnitudeNetwork(nn.Module):
    """Magnitudes of the mixture and embeddings of the pictures beside them → a mask of the magnitudes.

    Args:
        n_bins, n_embedding: F and E.
        n_channels: of the blocks.
    """

    def __init__(self, n_bins: int, n_embedding: int, n_channels: int) -> None:
        super().__init__()
        self.visual = nn.Sequential(
            nn.Conv1d(n_embedding, n_channels, 1), *(TemporalBlock(n_channels) for _ in range(N_VISUAL))
        )
        self.audio = nn.Sequential(
            nn.Conv1d(n_bins, n_channels, 1),
            *(TemporalBlock(n_channels, "half" if n in HALVED else "same") for n in range(N_AUDIO)),
        )
        self.joint = nn.Sequential(
            nn.Conv1d(2 * n_channels, n_channels, 1),
            *(TemporalBlock(n_channels, "double" if n in DOUBLED else "same") for n in range(N_JOINT)),
            nn.BatchNorm1d(n_channels),
            nn.ReLU(),
            nn.Conv1d(n_channels, n_bins, 1),
        )

    def forward(self, magnitudes: Tensor, embeddings: Tensor) -> Tensor:
        """`(B, F, 4 N)`, `(B, E, N)` → `(B, F, 4 N)`, 0 … 1; float32."""
        joined = torch.cat([self.audio(magnitudes), self.visual(embeddings)], 1)
        return self.joint(joined).float().sigmoid()


class PhaseNetwork(nn.Module):
    """Magnitudes of the voice and phase of the mixture → phase of the voice, both as cosine and sine.

    Args:
        n_bins: F.
        n_channels: of the blocks.
    """

    def __init__(self, n_bins: int, n_channels: int) -> None:
        super().__init__()
        self.magnitude = nn.Conv1d(n_bins, n_channels // 2, 1)
        self.noisy = nn.Conv1d(2 * n_bins, n_channels - n_channels // 2, 1)
        self.blocks = nn.Sequential(
            *(TemporalBlock(n_channels) for _ in range(N_PHASE)), nn.BatchNorm1d(n_channels), nn.ReLU()
        )
        self.leave = nn.Conv1d(n_channels, 2 * n_bins, 1, bias=False)
        nn.init.normal_(self.leave.weight, std=0.1 * n_channels**-0.5)

    def forward(self, magnitude: Tensor, noisy: Tensor) -> Tensor:
        """`(B, F, N)`, `(B, 2, F, N)` → `(B, 2, F, N)`, of length 1; float32."""
        joined = torch.cat([self.magnitude(magnitude), self.noisy(noisy.flatten(1, 2))], 1)
        moved = noisy + self.leave(self.blocks(joined)).float().reshape(noisy.shape)
        return moved / (moved.square().sum(1, keepdim=True) + 1e-8).sqrt()


class TemporalBlock(nn.Module):
    """Batch norm, ReLU, a convolution over 5 frames for each channel and one over channels, added to what
    goes in: `(B, D, N)` → `(B, D, N)`, or N / 2 or 2 N frames.

    Args:
        n_channels: D.
        rate: "same", "half" or "double".
    """

    def __init__(self, n_channels: int, rate: str = "same") -> None:
        super().__init__()
        self.rate = rate
        self.norm = nn.BatchNorm1d(n_channels)
        self.over_time: nn.Module = (
            nn.ConvTranspose1d(n_channels, n_channels, 4, stride=2, padding=1, groups=n_channels, bias=False)
            if rate == "double"
            else nn.Conv1d(
                n_channels,
                n_channels,
                5,
                stride=2 if rate == "half" else 1,
                padding=2,
                groups=n_channels,
                bias=False,
            )
        )
        self.over_channels = nn.Conv1d(n_channels, n_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.over_channels(self.over_time(functional.relu(self.norm(x))))
        if self.rate == "half":
            x = functional.avg_pool1d(x, 2)
        elif self.rate == "double":
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
        return x + y
