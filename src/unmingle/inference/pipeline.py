"""Separation and Enhancement: the one path from samples to samples, for any length and sample rate."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import soxr

from unmingle.errors import Cancelled, InputError, UsageError
from unmingle.facts import SAMPLE_RATES
from unmingle.inference.chunking import SeparatorLike, Stitcher
from unmingle.inference.purpose import NoiseGivenBack, Purpose, for_recognition
from unmingle.inference.queue import Queue

BLOCK_S = 5

# done [s], total [s] or None if unknown; False cancels
Progress = Callable[[float, float | None], bool | None]


class Process(Protocol):
    """A recording on its way through: what the calls return is, joined, as long as what was fed, and aligned
    to the sample.
    """

    n_src: int

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """Take `(C, T)` float32; return the outputs `(n_src, t)` that are ready, often none."""

    def flush(self) -> np.ndarray:
        """Return the outputs `(n_src, t)` that are left. Nothing can be fed afterwards."""


class Separation:
    """Separates a recording as it comes, at its own sample rate, in constant memory.

    What the calls return is, joined, exactly as long as what was fed, and aligned to the sample. What the
    separator's sample rate cannot hold, the highs of a 44.1 kHz recording, is shared between the voices as
    they share the highest band that it does hold.

    Args:
        separator: anything that declares `facts` and turns `(C, T)` into `(n_src, T)`.
        sample_rate: of what will be fed [Hz].
        cues: those that the separator declares, of the whole recording, by name.

    Raises:
        InputError: sample rate out of range.
        UsageError: the separator does not say how many voices it returns.
    """

    def __init__(
        self, separator: SeparatorLike, sample_rate: int, cues: Mapping[str, Any] | None = None
    ) -> None:
        lowest, highest = SAMPLE_RATES
        if not lowest <= sample_rate <= highest:
            remedy = f"resample to {lowest} to {highest} Hz"
            raise InputError(f"sample rate {sample_rate} Hz is out of range; {remedy}")
        inside = separator.facts.sample_rate
        same = inside == sample_rate
        self._stitcher = Stitcher(separator, None if same else min(inside, sample_rate) / 2, cues)
        self.n_src, self.sample_rate, self._ratio = self._stitcher.n_src, sample_rate, inside / sample_rate
        self._inside = inside
        self._in: soxr.ResampleStream | None = None  # made when the number of channels is known
        self._out = (
            None if same else soxr.ResampleStream(inside, sample_rate, self.n_src + 1, dtype="float32")
        )
        self._n_channels = 0
        self._mixture, self._shares = Queue(), Queue()
        self._n_done, self._n_shares_dropped = 0, 0

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """Take `(C, T)` float32; return the voices `(n_src, t)` that are ready, often none."""
        samples = np.array(samples, np.float32)  # a copy: the caller may use its buffer again
        if self._out is None:
            return self._stitcher.feed(samples)[: self.n_src]
        self._mixture.push(samples[0])
        return self._full_band(self._stitcher.feed(self._resampled(samples)))

    def flush(self) -> np.ndarray:
        """Return the voices `(n_src, t)` that are left. Nothing can be fed afterwards."""
        if self._out is None:
            return self._stitcher.flush()[: self.n_src]
        # So that even one sample is one inside.
        end = np.zeros((self._n_channels or 1, int(1 / self._ratio) + 1), np.float32)
        rows = self._stitcher.feed(self._resampled(end, last=True))
        return self._full_band(np.concatenate([rows, self._stitcher.flush()], axis=1), last=True)

    def _resampled(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        """`(C, T)` at the separator's rate."""
        if self._in is None:
            self._n_channels = len(samples)
            rates = self.sample_rate, self._inside
            self._in = soxr.ResampleStream(*rates, self._n_channels, dtype="float32")
        inside = self._in.resample_chunk(np.ascontiguousarray(samples.T), last)
        return np.ascontiguousarray(inside.T)

    def _full_band(self, rows: np.ndarray, last: bool = False) -> np.ndarray:
        """From estimates, shares and the mixture at the separator's rate `(2 n_src + 1, t)` to the voices at
        the input's.
        """
        assert self._out is not None
        estimates, shares, mixture = np.split(rows, (self.n_src, 2 * self.n_src))
        self._shares.push(shares)
        low = self._out.resample_chunk(np.concatenate([estimates, mixture]).T.copy(), last).T
        n = min(low.shape[1], len(self._mixture))
        if not n:
            return np.zeros((self.n_src, 0), np.float32)
        # Where the samples lie among the shares that are kept.
        at = (self._n_done + np.arange(n)) * self._ratio - self._n_shares_dropped
        kept = self._shares.peek(len(self._shares))
        high = self._mixture.take(n) - low[-1, :n]
        voices = np.stack(
            [low[s, :n] + np.interp(at, np.arange(kept.shape[1]), kept[s]) * high for s in range(self.n_src)]
        )
        dropped = min(int(at[-1]), kept.shape[1] - 1)
        self._shares.take(dropped)
        self._n_done, self._n_shares_dropped = self._n_done + n, self._n_shares_dropped + dropped
        return voices.astype(np.float32)


class Enhancement:
    """Takes a voice out of noise as the recording comes: a `Separation` into the voice and what is left, of
    which some may stay.

    Args:
        enhancer: anything that declares `facts` and turns `(C, T)` into `(1, T)`.
        sample_rate: of what will be fed [Hz].
        cues: as for `Separation`.
        keep: share of the noise that stays, 0 to 1.
        purpose: for "recognition", the less noise there is, the more of it stays.

    Raises:
        InputError: sample rate out of range.
        UsageError: `keep` is out of range, or there is no such purpose.
    """

    n_src = 1

    def __init__(
        self,
        enhancer: SeparatorLike,
        sample_rate: int,
        keep: float = 0.0,
        cues: Mapping[str, Any] | None = None,
        purpose: Purpose = "listening",
    ) -> None:
        if not isinstance(keep, int | float) or not 0 <= keep <= 1:
            remedy = "give the share of the noise that stays, from 0 (none) to 1 (all)"
            raise UsageError(f"keep is {keep!r:.80}; {remedy}")
        self._separation = Separation(VoiceAndNoise(enhancer), sample_rate, cues)
        self._keep = np.float32(keep)
        self._blend = NoiseGivenBack(sample_rate, keep) if for_recognition(purpose) else None
        self._mixture = Queue()

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """Take `(C, T)` float32; return the voice `(1, t)` that is ready, often none."""
        if self._blend:
            self._mixture.push(np.array(samples[:1], np.float32))
        return self._remix(self._separation.feed(samples))

    def flush(self) -> np.ndarray:
        """Return the voice `(1, t)` that is left. Nothing can be fed afterwards."""
        return self._remix(self._separation.flush(), last=True)

    def _remix(self, rows: np.ndarray, last: bool = False) -> np.ndarray:
        if self._blend:
            mixture = self._mixture.take(rows.shape[1]) if rows.shape[1] else np.zeros((1, 0), np.float32)
            return self._blend.feed(np.concatenate([rows, mixture]), last)
        voice, noise = rows
        return (voice + self._keep * noise)[None]


class VoiceAndNoise:
    """An enhancer as a separator of two: the voice, and what is left of the mixture."""

    def __init__(self, enhancer: SeparatorLike) -> None:
        self.facts = replace(enhancer.facts, n_src=2, order="fixed")
        self._enhancer = enhancer

    def __call__(self, mixture: np.ndarray, *cues: Any) -> np.ndarray:
        voice = self._enhancer(mixture, *cues)
        return np.concatenate([voice, mixture[:1] - voice])


def report(progress: Progress | None, done_s: float, total_s: float | None) -> None:
    """Tell how far it is; Cancelled if the answer is False."""
    if progress is not None and progress(done_s, total_s) is False:
        raise Cancelled(f"cancelled after {done_s:.1f} s of audio")
