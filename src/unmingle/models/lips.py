"""Lips: the band-split network hears streams, and the lips of all faces say whose they are, and when."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.facts import Facts, lips
from unmingle.layers import crm
from unmingle.layers.lips import LipEncoder
from unmingle.layers.pictures import beside_frames
from unmingle.models.band_split import BandSplit

AROUND_S = (1.0, 3.0)  # stretches around each frame over which likeness is averaged, too [s]
N_BALANCED = 10  # times that the assignment is brought to its sums


class Lips(nn.Module):
    """The voice of each face out of a mixture.

    The hearing half is a `BandSplit`, which knows voices from hundreds of speakers, and splits the mixture
    into `n_streams` without knowing whose they are. Of the lips of each face, and of each stream's levels in
    its bands, convolutions over time make a vector per frame; the inner product of two is high where they
    move together, and a vector is short where there is little to see or to hear. By the products around each
    frame, and over all of the mixture, streams are assigned to faces, each to one at most (optimal transport,
    with a place for streams that no face says and for faces that keep silent): what one face claims another
    does not get.

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
        # Log odds that a stream is a face's: of how much they are alike over all of the mixture and around
        # each frame, of how loud the stream is (per factor of 10 in power), and what alternatives are worth.
        self.around = [2 * round(seconds * sample_rate / hop / 2) + 1 for seconds in AROUND_S]
        self.of_alike = nn.Parameter(torch.tensor([20.0, *(20.0 / len(AROUND_S) for _ in AROUND_S)]))
        self.of_level = nn.Parameter(torch.tensor(1.0))
        self.of_nobody = nn.Parameter(torch.tensor(1.0))

    def forward(self, mixture: Tensor, lips: Tensor) -> Tensor:
        """`(B, 1, T)`, and pictures `(B, S, side, side, N)` of S faces → `(B, S, T)`."""
        hearing = self.hearing
        spectrum, compressed = hearing.compressed(mixture[:, 0], 0.5)
        vectors = hearing.encode(compressed)
        for block in hearing.blocks:
            vectors = block(vectors)
        masks = hearing.decode(vectors)  # (B, K, 2, F, N)
        with torch.autocast(mixture.device.type, enabled=False):
            streams = crm.apply(masks.float(), spectrum[:, None])
            shares = self.shares(self.look(lips, streams.shape[-1]), self.voice(streams), streams)
            spectra = torch.einsum("bskn,bkcfn->bscfn", shares, streams)
            voices = hearing.stft.inverse(spectra.flatten(0, 1), mixture.shape[-1])
            return voices.reshape(*lips.shape[:2], mixture.shape[-1])

    def shares(self, seen: Tensor, heard: Tensor, streams: Tensor) -> Tensor:
        """How much of each stream is each face's, from moment to moment: of faces `(B, S, N, D)`, of streams
        `(B, K, N, D)`, and their spectra `(B, K, 2, F, N)` → `(B, S, K, N)`, 0 … 1.
        """
        alike = torch.einsum("bsnd,bknd->bskn", seen, heard)
        loudness = streams.square().sum((2, 3)).mean(-1, keepdim=True).add(1e-10).log10()  # (B, K, 1)
        odds = self.of_alike[0] * alike.mean(-1, keepdim=True)
        odds = odds + self.of_level * (loudness - loudness.amax(1, keepdim=True))[:, None]
        for weight, n_around in zip(self.of_alike[1:], self.around, strict=True):
            odds = odds + weight * averaged(alike, n_around)
        assigned = self.assigned(odds.permute(0, 3, 1, 2).flatten(0, 1))  # (B N, S, K)
        return assigned.reshape(alike.shape[0], -1, *alike.shape[1:3]).permute(0, 2, 3, 1)

    def assigned(self, odds: Tensor) -> Tensor:
        """Log odds of each pair by itself `(B, S, K)` → shares in the best assignment of all, in which a
        stream is one face's at most, and a face has one stream at most, 0 … 1.
        """
        # A further row for streams that are nobody's, and a further column for faces that have none.
        inside = functional.pad(torch.ones_like(odds), (0, 1, 0, 1))
        padded = functional.pad(odds, (0, 1, 0, 1)) + self.of_nobody * (1 - inside)
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

    def voice(self, spectra: Tensor) -> Tensor:
        """Spectra `(B, K, 2, F, N)` → a vector for each and each frame `(B, K, N, D)`."""
        hearing = self.hearing
        n_batch, n_streams, _, _, n_frames = spectra.shape
        power = spectra.float().square().sum(2)[:, :, hearing.bins]
        power = power.reshape(-1, hearing.n_bands, hearing.width, n_frames) * hearing.valid[:, 0, :, None]
        levels = (power.sum(2) + 1e-7).log()
        levels = levels - levels.mean((1, 2), keepdim=True)
        return self.heard(levels.transpose(1, 2) / 4).reshape(n_batch, n_streams, n_frames, -1)

    def streams(self, mixture: Tensor) -> Tensor:
        """What it hears, before it sees: `(B, 1, T)` → `(B, K, T)`."""
        streams: Tensor = self.hearing(mixture)
        return streams

    def voice_of(self, samples: Tensor) -> Tensor:
        """The vectors of voices `(B, K, T)`: `(B, K, N, D)`."""
        with torch.autocast(samples.device.type, enabled=False):
            spectra = self.hearing.stft(samples.float().flatten(0, 1))
        return self.voice(spectra.unflatten(0, samples.shape[:2]))


def averaged(values: Tensor, n_around: int) -> Tensor:
    """Means of `n_around` frames around each, fewer at the ends: `(…, N)` → same."""
    return functional.avg_pool1d(
        values.flatten(0, -2)[:, None], n_around, 1, n_around // 2, count_include_pad=False
    ).reshape(values.shape)


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
