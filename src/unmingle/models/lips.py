"""Lips: the band-split network hears streams, and the lips of a face say which of them, and when, are its."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.facts import Facts, lips
from unmingle.layers import crm
from unmingle.layers.lips import LipEncoder
from unmingle.layers.pictures import beside_frames
from unmingle.models.band_split import BandSplit, Block


class Lips(nn.Module):
    """The voice of one face out of a mixture.

    The hearing half is a `BandSplit`, which knows voices from hundreds of speakers, and splits the mixture
    into `n_streams` without knowing whose they are. Of the lips, and of each stream's levels in its bands,
    convolutions over time make a vector per frame each; their cosine is high where they move together. A
    BLSTM reads the vectors of the lips and of all streams and outputs, for each stream and frame, how much of
    its mask belongs to the face; how much more alike one stream is over all of the mixture counts too. What
    the streams have not told apart, a further block of the band-split network adds, which is told of the face
    in every frame.

    So little of it has to be learnt from pictures that an hour of faces will do.

    Where all pictures are missing it can only guess by ear.

    Differs from the papers: RTFS-Net fuses features of lips into the network that separates; here it starts
    from a separator that hears, and chooses among what it has separated.

    Args:
        sample_rate: [Hz].
        n_fft, hop, n_features, hidden, n_blocks, attention: of the `BandSplit`.
        n_streams: voices that it splits the mixture into.
        width: channels of the lip encoder's first stage.
        pool: pictures are averaged over squares of so many pixels before they go in.
        n_lips: length of the lip encoder's vector.
        n_shared: length of the vectors that are compared.
        n_fused: units of each direction of the BLSTM.

    References:
        S. Pegg et al., "RTFS-Net: recurrent time-frequency modelling for efficient audio-visual speech
        separation", 2024.
        T. Afouras et al., "Self-supervised learning of audio-visual objects from video", 2020 (lips and
        voices that are in step, against those that are not).
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
        n_fused: int = 64,
    ) -> None:
        super().__init__()
        if n_streams < 2:
            raise ValueError(f"n_streams is {n_streams}; a face is to choose among two or more")
        self.facts = Facts(sample_rate=sample_rate, n_src=1, cues=(lips(1),), order="cued")
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
        n_bands = self.hearing.n_bands
        self.encoder = LipEncoder(width=width, pool=pool, n_features=n_lips)
        self.seen = Temporal(n_lips, n_shared, dilations=(1, 2))
        self.heard = Temporal(n_bands, n_shared, dilations=(1, 3, 9))
        self.fused = nn.LSTM(
            (1 + n_streams) * n_shared + n_streams, n_fused, batch_first=True, bidirectional=True
        )
        self.shares = nn.Linear(2 * n_fused, n_streams)
        self.preference = nn.Parameter(torch.tensor(5.0))
        self.told = nn.Linear(2 * n_fused, n_features)
        self.block = Block(n_features, hidden, False, 0)
        self.norm = nn.LayerNorm(n_features)
        # It begins with next to nothing.
        self.correction = nn.Parameter(1e-3 * torch.randn(n_bands, n_features, 2 * self.hearing.width))

    def forward(self, mixture: Tensor, lips: Tensor) -> Tensor:
        """`(B, 1, T)`, and pictures `(B, 1, side, side, N)` → `(B, 1, T)`."""
        hearing = self.hearing
        spectrum, compressed = hearing.compressed(mixture[:, 0], 0.5)
        n_batch, _, _, n_frames = compressed.shape
        vectors = hearing.encode(compressed)
        for block in hearing.blocks:
            vectors = block(vectors)
        masks = hearing.decode(vectors)  # (B, K, 2, F, N)
        with torch.autocast(mixture.device.type, enabled=False):
            streams = crm.apply(masks, spectrum[:, None])
        heard = [self.voice(streams[:, k]) for k in range(streams.shape[1])]
        seen = self.look(lips, n_frames)
        alike = torch.stack([(seen * voice).sum(-1) for voice in heard], -1)  # (B, N, K)
        states, _ = self.fused(torch.cat([seen, *heard, alike], -1))
        states = states.reshape(n_batch, n_frames, -1)
        overall = alike.mean(1, keepdim=True)
        n_streams = masks.shape[1]
        others = (overall.sum(-1, keepdim=True) - overall) / (n_streams - 1)
        preferred = self.preference * (overall - others)
        shares = torch.sigmoid(self.shares(states) + preferred).transpose(1, 2)  # (B, K, N)
        vectors = self.norm(self.block(vectors + self.told(states)[:, None]))
        correction = torch.matmul(vectors, self.correction)  # (B, bands, N, 2 width)
        correction = correction.unflatten(-1, (2, hearing.width)).permute(0, 3, 1, 4, 2)
        mask = (masks * shares[:, :, None, None]).sum(1) + correction.flatten(2, 3)[:, :, hearing.place]
        with torch.autocast(mixture.device.type, enabled=False):
            estimate = crm.apply(mask.float(), spectrum)
            return hearing.stft.inverse(estimate, mixture.shape[-1])[:, None]

    def look(self, lips: Tensor, n_frames: int) -> Tensor:
        """Pictures `(B, 1, side, side, N)` → a vector of length 1 for each frame of the spectrum."""
        vectors = self.seen(self.encoder(lips[:, 0].permute(0, 3, 1, 2)))
        shown = beside_frames(vectors, n_frames, self.hearing.stft, self.facts.sample_rate)
        return functional.normalize(shown, dim=-1)

    def voice(self, spectrum: Tensor) -> Tensor:
        """Spectrum `(B, 2, F, N)` → a vector of length 1 for each frame `(B, N, D)`."""
        hearing = self.hearing
        power = spectrum.float().square().sum(1)[:, hearing.bins]  # (B, bands width, N)
        power = power.unflatten(1, (hearing.n_bands, hearing.width)) * hearing.valid[:, 0, :, None]
        levels = (power.sum(2) + 1e-7).log()
        levels = levels - levels.mean((1, 2), keepdim=True)
        return functional.normalize(self.heard(levels.transpose(1, 2) / 4), dim=-1)

    def streams(self, mixture: Tensor) -> Tensor:
        """What it hears, before it sees: `(B, 1, T)` → `(B, K, T)`."""
        streams: Tensor = self.hearing(mixture)
        return streams

    def voice_of(self, samples: Tensor) -> Tensor:
        """The vectors of a voice `(B, T)`: `(B, N, D)`."""
        with torch.autocast(samples.device.type, enabled=False):
            spectrum = self.hearing.stft(samples.float())
        return self.voice(spectrum)

    def in_step(self, sources: Tensor, lips: Tensor) -> tuple[Tensor, Tensor]:
        """The vectors of the lips and of the voices alone `(B, T)`, each `(B, N, D)`, for training that makes
        them alike where they are in step.
        """
        heard = self.voice_of(sources)
        return self.look(lips, heard.shape[1]), heard


class Temporal(nn.Module):
    """Dilated convolutions over time, `(B, N, D)` → `(B, N, E)`."""

    def __init__(self, n_in: int, n_out: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.enter = nn.Linear(n_in, 2 * n_out)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(2 * n_out, 2 * n_out, 5, padding=2 * d, dilation=d, groups=4) for d in dilations
        )
        self.norms = nn.ModuleList(nn.LayerNorm(2 * n_out) for _ in dilations)
        self.leave = nn.Linear(2 * n_out, n_out)

    def forward(self, vectors: Tensor) -> Tensor:
        vectors = self.enter(vectors)
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            vectors = vectors + functional.silu(convolution(norm(vectors).transpose(1, 2))).transpose(1, 2)
        return self.leave(vectors)
