"""Filter-and-sum: frames with their context, how alike two microphones are at every lag, and filters that are
different in every frame.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.layers.dual_path import DualPathBlock, overlap_add, segment
from unmingle.layers.norms import GlobalLayerNorm
from unmingle.layers.tac import TAC

EPS = 1e-8  # of energies; a frame of 64 samples at -98 dB has as much


class Framed(NamedTuple):
    """Signals in half-overlapping frames, N of them.

    Attributes:
        padded: the signals with zeros around them, `(…, L)`; frame n and its context begin at sample n · hop.
        frames: without context, `(…, N, frame)`.
        spectra: of two frames' length, one every hop, real and imaginary parts: `(…, M, 2, F)`.
        norms: Euclidean, of all pieces as long as a frame in the context of a frame: `(…, N, n_taps)`.
    """

    padded: Tensor
    frames: Tensor
    spectra: Tensor
    norms: Tensor

    def of(self, start: int, stop: int | None) -> "Framed":
        """Some of the signals, which lie along axis 1."""
        return Framed(*(values[:, start:stop] for values in self))

    def repeated(self, axis: int) -> "Framed":
        """With a new axis, along which all are the same."""
        return Framed(*(values.unsqueeze(axis) for values in self))

    def met(self, part: int, n_frames: int) -> Tensor:
        """The spectra that a part of the frames' filters meets: `(…, N, 2, F)`."""
        return self.spectra[..., 2 * part : 2 * part + n_frames, :, :]


class ContextFrames(nn.Module):
    """Frames that overlap by half, with `context` samples on both sides.

    What a frame is correlated or filtered with is as long as its context, and another one in each frame. It
    is cut into parts of a frame's length; with the spectra of two frames' length, which neighbouring frames
    share, a part is one product, so that neither the time nor the memory grows with `frame` × `context`.

    All is float32, even under autocast, because the waveform must keep its precision.

    Args:
        frame: length [samples], even.
        context: on each side [samples], a multiple of half a frame.

    References:
        T. G. Stockham, "High-speed convolution and correlation", 1966.
    """

    cosines: Tensor
    inverse: Tensor

    def __init__(self, *, frame: int, context: int) -> None:
        super().__init__()
        if frame % 2 or context % (frame // 2):
            raise ValueError(
                f"context ({context}) must be a multiple of half a frame, and frame ({frame}) be even"
            )
        self.frame, self.context, self.hop = frame, context, frame // 2
        self.n_taps, self.n_parts = 2 * context + 1, 2 * context // frame + 1
        turn = torch.pi / frame * torch.outer(torch.arange(2 * frame), torch.arange(frame + 1)).double()
        cosines = torch.stack([turn.cos(), -turn.sin()], 1).flatten(1)  # samples, then real and imaginary
        scale = torch.full((frame + 1,), 1.0 / frame, dtype=torch.float64)  # a bin stands for two,
        scale[[0, -1]] /= 2  # the first and the last for one
        self.register_buffer("cosines", cosines.float(), persistent=False)
        self.register_buffer("inverse", (cosines * scale.repeat(2))[:frame].T.float(), persistent=False)

    def forward(self, signals: Tensor) -> Framed:
        """`(B, C, T)` → frames; every sample lies in two of them."""
        behind = -signals.shape[-1] % self.hop + self.hop + self.context + self.frame
        padded = functional.pad(signals.float(), (self.hop + self.context, behind))
        hops = padded.reshape(*padded.shape[:2], -1, self.hop)
        n_around = 2 * self.context // self.hop
        n_frames = hops.shape[2] - n_around - 3
        first = self.context // self.hop
        energies = functional.avg_pool1d(padded.square(), self.frame, 1) * self.frame
        pieces = energies[..., : (n_frames + n_around) * self.hop].reshape(*hops.shape[:2], -1, self.hop)
        lags = [pieces[:, :, i : i + n_frames] for i in range(n_around + 1)]
        blocks = torch.cat([hops[:, :, i : i + n_frames + n_around] for i in range(4)], -1)
        return Framed(
            padded,
            torch.cat([hops[:, :, i : i + n_frames] for i in (first, first + 1)], -1),
            self._transform(blocks),
            (torch.cat(lags, -1)[..., : self.n_taps] + EPS).sqrt(),
        )

    def similarity(self, contexts: Framed, frames: Tensor) -> Tensor:
        """Cosine similarity of frames with every piece of the contexts, `(…, N, frame)` → `(…, N, n_taps)`;
        the frames are units, see `unit`, or means of some.
        """
        spectra, n_frames = self._transform(frames.float()), frames.shape[-2]
        parts = [
            self._back(correlated(contexts.met(part, n_frames), spectra)) for part in range(self.n_parts)
        ]
        return torch.cat(parts, -1)[..., : self.n_taps] / contexts.norms

    def filtered(self, contexts: Framed, filters: Tensor) -> Tensor:
        """Σ over i of filter[i] · context[t + i] for t < frame: `(…, N, n_taps)` → `(…, N, frame)`."""
        n_frames = filters.shape[-2]
        parts = [
            correlated(contexts.met(number, n_frames), self._transform(part.float()))
            for number, part in enumerate(filters.split(self.frame, -1))
        ]
        return self._back(sum(parts[1:], parts[0]))

    def join(self, frames: Tensor, length: int) -> Tensor:
        """Overlap-add: `(B, S, N, frame)` → `(B, S, length)`."""
        flat = overlap_add(frames.flatten(0, 1)[..., None], length)[..., 0]
        return flat.reshape(frames.shape[0], frames.shape[1], length)

    def _transform(self, samples: Tensor) -> Tensor:
        """Samples, two frames of them at most, to real and imaginary parts: `(…, n)` → `(…, 2, F)`."""
        with torch.autocast(samples.device.type, enabled=False):
            spectra = samples @ self.cosines[: samples.shape[-1]]
        return spectra.reshape(*samples.shape[:-1], 2, self.frame + 1)

    def _back(self, spectra: Tensor) -> Tensor:
        """The first `frame` samples: `(…, 2, F)` → `(…, frame)`."""
        with torch.autocast(spectra.device.type, enabled=False):
            return spectra.flatten(-2) @ self.inverse


def unit(frames: Tensor) -> Tensor:
    """Frames `(…, frame)` over their Euclidean norm."""
    return frames * (frames.square().sum(-1, keepdim=True) + EPS).rsqrt()


def correlated(signal: Tensor, other: Tensor) -> Tensor:
    """The spectrum of a correlation, signal × conjugate of the other: `(…, 2, F)` → `(…, 2, F)`."""
    (real, imaginary), (other_real, other_imaginary) = signal.unbind(-2), other.unbind(-2)
    return torch.stack(
        [
            real * other_real + imaginary * other_imaginary,
            imaginary * other_real - real * other_imaginary,
        ],
        -2,
    )


class FilterEstimator(nn.Module):
    """Features of the frames of several microphones to one filter per frame, microphone and source, by a
    dual-path network, and by TAC where microphones learn of one another.

    Args:
        n_inputs: features of a frame.
        n_features: width of the dual-path blocks.
        hidden: LSTM units per direction.
        segment_size: frames per segment, even.
        n_blocks: each one walk within and one across, and then TAC.
        n_src: filters of a microphone's frame.
        n_taps: their length.
        tac_hidden: units of TAC; 0 = no TAC.
    """

    def __init__(
        self,
        *,
        n_inputs: int,
        n_features: int,
        hidden: int,
        segment_size: int,
        n_blocks: int,
        n_src: int,
        n_taps: int,
        tac_hidden: int = 0,
    ) -> None:
        super().__init__()
        if segment_size % 2:
            raise ValueError(f"segment_size ({segment_size}) must be even: segments overlap by half")
        self.n_src, self.segment_size = n_src, segment_size
        self.bottleneck = nn.Linear(n_inputs, n_features, bias=False)
        self.blocks = nn.ModuleList(DualPathBlock(n_features, hidden) for _ in range(n_blocks))
        self.tacs = nn.ModuleList(
            TAC(n_features, tac_hidden) if tac_hidden else nn.Identity() for _ in range(n_blocks)
        )
        self.split = nn.Sequential(nn.PReLU(), nn.Linear(n_features, n_src * n_features))
        self.gated = nn.Linear(n_features, n_taps)
        self.gate = nn.Linear(n_features, n_taps)

    def forward(self, features: Tensor) -> Tensor:
        """`(B, C, N, D)` → filters `(B, C, S, N, n_taps)`; any number of microphones."""
        n_batch, n_mics, n_frames, _ = features.shape
        x = segment(self.bottleneck(features).flatten(0, 1), self.segment_size)  # (B C) K P D
        for block, tac in zip(self.blocks, self.tacs, strict=True):
            x = block(x)
            x = tac(x.reshape(n_batch, n_mics, *x.shape[1:])).flatten(0, 1)
        x = overlap_add(self.split(x), n_frames)  # (B C) N (S D)
        x = x.reshape(n_batch, n_mics, n_frames, self.n_src, -1).transpose(2, 3)  # B C S N D
        return torch.tanh(self.gated(x)) * torch.sigmoid(self.gate(x))


class ContextEncoder(nn.Module):
    """A learned view of every frame with its context, normalised over each signal's whole length.

    Args:
        n_filters: features of a frame.
        frame, context: as of `ContextFrames`.
    """

    def __init__(self, *, n_filters: int, frame: int, context: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(1, n_filters, frame + 2 * context, stride=frame // 2, bias=False)
        self.norm = GlobalLayerNorm(n_filters)

    def forward(self, framed: Framed) -> Tensor:
        """Signals `(B, C)` in frames → `(B, C, N, n_filters)`."""
        n_batch, n_mics, n_frames, _ = framed.frames.shape
        with torch.autocast(framed.padded.device.type, enabled=False):
            encoded = self.convolution(framed.padded.flatten(0, 1)[:, None])[..., :n_frames]
        features = self.norm(encoded).transpose(1, 2)
        return features.reshape(n_batch, n_mics, n_frames, -1)
