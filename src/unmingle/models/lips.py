"""Lips: the band-split network hears streams, and the lips of all faces say whose they are."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.facts import Facts, lips
from unmingle.layers.lips import LipEncoder
from unmingle.layers.pictures import beside_frames
from unmingle.models.band_split import BandSplit

# Log odds that a stream is a face's: of how much they are alike; of how loud the stream is, per factor of 10
# in power; and what it is worth that a stream is nobody's or a face silent, and as much to a face that is not
# seen.
OF_ALIKE, OF_LEVEL, OF_NOBODY = 40.0, 1.0, 4.0
LEVEL = 0.05  # root mean square of a mixture, −26 dB
N_BALANCED = 10  # times that the assignment is brought to its sums


class Lips(nn.Module):
    """The voice of each face out of a mixture.

    The hearing half is a `BandSplit`, which knows voices from hundreds of speakers, and splits the mixture
    into `n_streams` without knowing whose they are. Of the lips of each face, and of each stream's levels in
    its bands, convolutions over time make a vector per frame; the inner product of two is high where they
    move together, and a vector is short where there is little to see or to hear. By their mean over all of
    the mixture, streams are assigned to faces, each to one at most (optimal transport, with a place for
    streams that no face says and for faces that keep silent): what one face claims another does not get.

    So little of it has to be learnt from pictures that an hour of faces will do.

    A face all of whose pictures are missing gets what the others leave. Where no face is seen, it can only
    guess by ear.

    Differs from the papers: RTFS-Net fuses features of lips into the network that separates; here it starts
    from a separator that hears, and chooses among what it has separated. Faces are assigned together.

    Args:
        sample_rate: [Hz].
        n_fft, hop, n_features, hidden, n_blocks, attention: of the `BandSplit`.
        n_streams: voices that it splits the mixture into.
        width: channels of the lip encoder's first stage.
        pool: pictures are averaged over squares of so many pixels before they go in.
        n_lips: length of the lip encoder's vector.
        n_shared: length of the vectors that are compared.
        dropout: share of the values that are left out in training, before vectors are compared.

    References:
        S. Pegg et al., "RTFS-Net: recurrent time-frequency modelling for efficient audio-visual speech
        separation", 2024.
        T. Afouras et al., "Self-supervised learning of audio-visual objects from video", 2020 (lips and
        voices that are in step, against those that are not).
        P.-E. Sarlin et al., "SuperGlue: learning feature matching with graph neural networks", 2020 (optimal
        transport with a place for what has no partner).
    """

    def __init__(
        self,
        *,
        sample_rate: int = 16_000,
        n_fft: int = 512,
        hop: int = 256,
        n_features: int = 64,
        hidden: int = 64,
        n_blocks: int = 4,
        attention: bool = True,
        n_streams: int = 2,
        width: int = 16,
        pool: int = 2,
        n_lips: int = 128,
        n_shared: int = 64,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if n_streams < 2:
            raise ValueError(f"n_streams is {n_streams}; faces are to choose among two or more")
        self.facts = Facts(sample_rate=sample_rate, n_src=None, cues=(lips(None),), order="cued")
        self.hearing = BandSplit(
            n_src=n_streams,
            sample_rate=sample_rate,
            n_fft=n_fft,
            hop=hop,
            n_features=n_features,
            hidden=hidden,
            n_blocks=n_blocks,
            attention=attention,
        )
        self.encoder = LipEncoder(width=width, pool=pool, n_features=n_lips)
        self.seen = Temporal(n_lips, n_shared, (1, 2), dropout)
        self.heard = Temporal(self.hearing.n_bands, n_shared, (1, 3, 9), dropout)

    def forward(self, mixture: Tensor, lips: Tensor) -> Tensor:
        """`(B, 1, T)`, and pictures `(B, S, side, side, N)` of S faces → `(B, S, T)`."""
        with torch.autocast(mixture.device.type, enabled=False):
            streams = self.streams(mixture)
            # What is heard is compared at the level of mixtures in training.
            power = mixture.square().mean((1, 2), keepdim=True) + 1e-12
            heard = self.voice_of(streams * (LEVEL / power.sqrt()))
            seen = self.look(lips, heard.shape[2])
            alike = torch.einsum("bsnd,bknd->bsk", seen, heard) / seen.shape[2]
            hidden = (lips.amax((2, 3, 4)) <= 0).to(alike.dtype)
            return torch.matmul(self.shares(alike, hidden, streams.square().mean(-1)), streams)

    def shares(self, alike: Tensor, hidden: Tensor, power: Tensor) -> Tensor:
        """How much of each stream is each face's, 0 … 1, in the best assignment of all, in which a stream is
        one face's at most, and a face has one stream at most.

        Args:
            alike: of faces and streams, mean inner products of their vectors `(B, S, K)`.
            hidden: 1 where a face is not seen at all, else 0 `(B, S)`.
            power: of streams `(B, K)`.

        Returns:
            `(B, S, K)`.
        """
        bels = (power + 1e-12).log10()
        faint = bels - bels.amax(1, keepdim=True)
        odds = OF_ALIKE * alike + OF_LEVEL * faint[:, None] + OF_NOBODY * hidden[..., None]
        # A further row for streams that are nobody's, and a further column for faces that have none.
        inside = functional.pad(torch.ones_like(odds), (0, 1, 0, 1))
        padded = functional.pad(odds, (0, 1, 0, 1)) + OF_NOBODY * (1 - inside)
        # Logarithms of what rows and columns sum to: 1, but the further ones as many as there are others.
        rows = functional.pad(torch.zeros_like(odds[:, :, 0]), (0, 1), value=math.log(self.hearing.n_src))
        n_faces = torch.ones_like(odds[:, :, 0]).sum(1, keepdim=True)
        columns = torch.cat([torch.zeros_like(odds[:, 0]), n_faces.log()], 1)
        of_columns = torch.zeros_like(columns)
        for _ in range(N_BALANCED):
            of_rows = rows - log_of_sum(padded + of_columns[:, None], 2)
            of_columns = columns - log_of_sum(padded + of_rows[..., None], 1)
        return (padded + of_rows[..., None] + of_columns[:, None])[:, :-1, :-1].exp().clamp(max=1)

    def look(self, lips: Tensor, n_frames: int) -> Tensor:
        """Pictures `(B, S, side, side, N)` → a vector for each face and frame of the spectrum."""
        vectors = self.seen(self.encoder(lips.permute(0, 1, 4, 2, 3).flatten(0, 1)))
        shown = beside_frames(vectors, n_frames, self.hearing.stft, self.facts.sample_rate)
        return shown.reshape(*lips.shape[:2], n_frames, -1)

    def streams(self, mixture: Tensor) -> Tensor:
        """What it hears, before it sees: `(B, 1, T)` → `(B, K, T)`."""
        streams: Tensor = self.hearing(mixture)
        return streams

    def voice_of(self, samples: Tensor) -> Tensor:
        """Voices `(B, K, T)` → a vector for each and each frame `(B, K, N, D)`."""
        hearing = self.hearing
        with torch.autocast(samples.device.type, enabled=False):
            spectra = hearing.stft(samples.float().flatten(0, 1))
        n_frames = spectra.shape[-1]
        power = spectra.square().sum(1)[:, hearing.bins]  # (B K, bands width, N)
        power = power.reshape(-1, hearing.n_bands, hearing.width, n_frames) * hearing.valid[:, 0, :, None]
        levels = (power.sum(2) + 1e-7).log()
        levels = levels - levels.mean((1, 2), keepdim=True)
        vectors = self.heard(levels.transpose(1, 2) / 4)
        return vectors.reshape(-1, samples.shape[1], n_frames, self.heard.leave.out_features)


def log_of_sum(values: Tensor, axis: int) -> Tensor:
    """`logsumexp`, which OpenVINO 2026.4 gets wrong where the shape is dynamic."""
    highest = values.amax(axis, keepdim=True)
    return (values - highest).exp().sum(axis).log() + highest.squeeze(axis)


class Temporal(nn.Module):
    """Dilated convolutions over time, `(B, N, D)` → vectors `(B, N, E)` of length 0 … 1."""

    def __init__(self, n_in: int, n_out: int, dilations: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.enter = nn.Linear(n_in, 2 * n_out)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(2 * n_out, 2 * n_out, 5, padding=2 * d, dilation=d, groups=4) for d in dilations
        )
        self.norms = nn.ModuleList(nn.LayerNorm(2 * n_out) for _ in dilations)
        self.dropout = nn.Dropout(dropout)
        self.leave = nn.Linear(2 * n_out, n_out)
        self.length = nn.Linear(2 * n_out, 1)

    def forward(self, vectors: Tensor) -> Tensor:
        vectors = self.enter(self.dropout(vectors))
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            vectors = vectors + functional.silu(convolution(norm(vectors).transpose(1, 2))).transpose(1, 2)
        vectors = self.dropout(vectors)
        return functional.normalize(self.leave(vectors), dim=-1) * torch.sigmoid(self.length(vectors))
