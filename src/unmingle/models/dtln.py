"""DTLN: two small recurrent networks in a row, the first on magnitudes, the second on learned features."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.facts import Facts
from unmingle.layers.stream_state import StreamState


class DTLN(nn.Module):
    """Each frame of the mixture is masked twice, in bases that see different things: magnitudes first, then
    features of the samples, which keep the phase.

    Frames without a window → magnitudes of their spectra → LSTMs, a linear layer, sigmoid: a mask → inverse
    transform, frame by frame → a learned basis → layer norm, LSTMs, a linear layer, sigmoid: a mask → samples
    by another learned basis, overlapped and added as they are. It is causal and streams, a hop at a time.

    Args:
        sample_rate: [Hz].
        n_fft, hop: length and distance of frames [samples].
        n_filters: features of the learned basis.
        hidden: units of each LSTM.
        n_layers: LSTMs of each of the two networks.
        dropout: between them, in training.

    References:
        N. L. Westhausen and B. T. Meyer, "Dual-signal transformation LSTM network for real-time noise
        suppression", 2020.
    """

    analysis: Tensor
    scale: Tensor

    def __init__(
        self,
        *,
        sample_rate: int = 16_000,
        n_fft: int = 512,
        hop: int = 128,
        n_filters: int = 256,
        hidden: int = 128,
        n_layers: int = 2,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        self.n_fft, self.hop, n_bins = n_fft, hop, n_fft // 2 + 1
        turn = 2 * torch.pi / n_fft * torch.outer(torch.arange(n_bins), torch.arange(n_fft)).double()
        self.register_buffer(
            "analysis", torch.cat([turn.cos(), -turn.sin()]).float()[:, None], persistent=False
        )
        # Every bin but the first and the last stands for two of the full transform.
        scale = functional.pad(torch.full((n_bins - 2, 1), 2.0), (0, 0, 1, 1), value=1.0) / n_fft
        self.register_buffer("scale", torch.cat([scale, scale]), persistent=False)
        self.magnitudes = Masks(n_bins, hidden, n_layers, dropout)
        self.encoder = nn.Linear(n_fft, n_filters, bias=False)
        self.norm = nn.LayerNorm(n_filters, eps=1e-7)
        self.features = Masks(n_filters, hidden, n_layers, dropout)
        self.decoder = nn.ConvTranspose1d(n_filters, 1, n_fft, stride=hop, bias=False)
        self.facts = Facts(
            sample_rate=sample_rate,
            task="enhance",
            n_src=1,
            causal=True,
            latency=n_fft - 1,
            hop=hop,
            state=2 * (n_fft - hop) + 4 * n_layers * hidden,
        )

    def forward(self, mixture: Tensor) -> Tensor:
        """`(B, 1, T)` → `(B, 1, T)`."""
        before = self.n_fft - self.hop
        samples = self.masked(functional.pad(mixture, (before, self.n_fft - 1)))
        return samples[..., before : before + mixture.shape[-1]]

    def forward_stream(self, samples: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The next `(B, 1, T)`, T a multiple of the hop, and the state `(B, n)` → `(B, 1, T)`, late by `n_fft
        − hop` samples, and the next state. With a state of zeros it begins.
        """
        past, before = StreamState(state), self.n_fft - self.hop
        overlapped = self.masked(past.extend(samples[:, 0], before)[:, None], past)
        return past.overlap_add(overlapped, 1, before), past.state()

    def masked(self, samples: Tensor, *past: StreamState) -> Tensor:
        """All frames in `(B, 1, T)`, masked, overlapped and added."""
        with torch.autocast(samples.device.type, enabled=False):
            spectrum = functional.conv1d(samples.float(), self.analysis, stride=self.hop)  # B 2F N
            real, imaginary = spectrum.chunk(2, 1)
            magnitude = (real.square() + imaginary.square() + 1e-12).sqrt()
        mask = self.magnitudes(magnitude.transpose(1, 2), *past).transpose(1, 2)
        with torch.autocast(samples.device.type, enabled=False):
            spectrum = spectrum * torch.cat([mask, mask], 1).float()
            # Frames side by side: the transform backwards, by steps of a whole frame.
            frames = functional.conv_transpose1d(spectrum * self.scale, self.analysis, stride=self.n_fft)
            frames = frames.reshape(frames.shape[0], -1, self.n_fft)
        features = self.encoder(frames)
        features = features * self.features(self.norm(features), *past)
        with torch.autocast(samples.device.type, enabled=False):
            return self.decoder(features.float().transpose(1, 2))


class Masks(nn.Module):
    """LSTMs over time, and from what they return a mask between 0 and 1 of what they got: `(B, N, D)` →
    same.
    """

    def __init__(self, n_features: int, hidden: int, n_layers: int, dropout: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n_features, hidden, n_layers, batch_first=True, dropout=dropout)
        self.linear = nn.Linear(hidden, n_features)

    def forward(self, vectors: Tensor, *past: StreamState) -> Tensor:
        if past:
            kept = past[0].read(2, self.lstm.num_layers, self.lstm.hidden_size).permute(1, 2, 0, 3)
            out, (hidden, cell) = self.lstm(vectors, (kept[0].contiguous(), kept[1].contiguous()))
            past[0].write(torch.stack([hidden, cell]).permute(2, 0, 1, 3))
        else:
            out, _ = self.lstm(vectors)
        return self.linear(out).sigmoid()
