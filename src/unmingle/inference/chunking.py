"""Overlapped chunks of estimates become tracks of any length: one level, one order, no seams."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from unmingle.errors import UsageError
from unmingle.facts import Facts
from unmingle.inference.bandwidth import high_shares
from unmingle.inference.frames import TINY, frame_energies, frame_length
from unmingle.inference.leakage import silence_pauses
from unmingle.inference.queue import Queue
from unmingle.inference.speaker_tracking import SpeakerTracker

CHUNK_LEVEL_DB = -25.0  # level at which a chunk is separated, over its active part [dBFS]
MAX_GAIN_DB = 60.0  # what is fainter than this lifts stays faint: silence is not blown up
LONGEST_OVERLAP_S = 2.0  # of two chunks; a fifth of those shorter than 10 s


class SeparatorLike(Protocol):
    """Anything that declares facts and turns a mixture `(C, T)` into estimates `(n_src, T)`; one that
    declares cues is called with them too, by name.
    """

    facts: Facts

    def __call__(self, mixture: np.ndarray, cues: Any = ..., /) -> np.ndarray: ...


class Stitcher:
    """Feeds a separator with overlapped chunks and joins what it returns, in constant memory.

    Each chunk is separated at one level, its pauses are silenced, its voices are put in the order of the
    chunks before it, and the overlap is cross-faded with weights that sum to one. The last chunk starts
    earlier, so that it is as long as the others.

    Args:
        separator: called with `(C, T)` at its own rate. Levels, and what the outputs sum to, are those of the
            first channel.
        cues: those that it declares, of the whole recording; they are cut in time as the samples are.
        highest: top of the band that the input has [Hz]; unless None, `feed` also says how to share what lies
            above the separator's band.

    Raises:
        UsageError: the separator does not say how many voices it returns.
    """

    def __init__(
        self,
        separator: SeparatorLike,
        highest: float | None = None,
        cues: Mapping[str, Any] | None = None,
    ) -> None:
        facts = separator.facts
        if facts.n_src is None:
            remedy = "fix the number with for_speakers, or choose another"
            raise UsageError(f"this separator does not say how many voices it returns; {remedy}")
        self.n_src, self._separator, self._facts, self._highest = facts.n_src, separator, facts, highest
        self._overlap = min(facts.chunk // 5, round(LONGEST_OVERLAP_S * facts.sample_rate))
        self._cues = facts.arranged(cues)
        self._ahead = Queue()
        # Chunks until there are as many as are separated at once: each, how far after the one before it it
        # begins, and where in the recording.
        self._waiting: list[tuple[np.ndarray, int, int]] = []
        self._n_begun = 0  # samples before the chunk that comes next
        self._mixture: np.ndarray | None = None  # of the previous chunk
        self._rows: np.ndarray  # what became of the previous chunk
        self._voices = SpeakerTracker(facts.sample_rate, facts.n_src)
        position = np.linspace(-0.5, 1.5, self._overlap, dtype=np.float32).clip(0, 1)
        # A chunk's outermost quarter of the overlap has least context and is not used.
        self._fade = np.sin(np.pi / 2 * position) ** 2

    def feed(self, mixture: np.ndarray) -> np.ndarray:
        """Take `(C, T)`; return rows `(n_src + 1, t)` that are final: estimates and the mixture; or `(2 n_src
        + 1, t)` with shares between them.
        """
        self._ahead.push(mixture)
        chunk, hop = self._facts.chunk, self._facts.chunk - self._overlap
        done = []
        # Strictly more: what is left after the last full chunk is more than its overlap.
        while len(self._ahead) > chunk:
            self._waiting.append((self._ahead.peek(chunk).copy(), hop, self._n_begun))
            self._ahead.take(hop)
            self._n_begun += hop
            if len(self._waiting) == self._facts.batch:
                done += [rows[:, : -self._overlap] for rows in self._separate()]
        return np.concatenate(done, axis=1) if done else self._nothing()

    def flush(self) -> np.ndarray:
        """The rows that are left."""
        rest = len(self._ahead)
        if not rest:
            return self._nothing()
        mixture = self._ahead.peek(rest)
        step = rest - self._overlap
        before = self._waiting[-1][0] if self._waiting else self._mixture
        begin = 0
        if before is not None:
            mixture = np.concatenate([before[:, step : -self._overlap], mixture], axis=1)
            begin = self._n_begun + rest - mixture.shape[1]
        self._waiting.append((mixture, step, begin))
        *done, last = self._separate()
        return np.concatenate([*(rows[:, : -self._overlap] for rows in done), last], axis=1)

    def _nothing(self) -> np.ndarray:
        return np.zeros(((1 if self._highest is None else 1 + self.n_src) + self.n_src, 0), np.float32)

    def _separate(self) -> list[np.ndarray]:
        """Separate the chunks that wait; return for each the rows from where those final so far end."""
        chunks, self._waiting = self._waiting, []
        rate = self._facts.sample_rate
        # The length of all: only a first chunk is shorter than the others, and then it is the last.
        length = chunks[0][0].shape[1]
        # Runtimes keep memory for each length.
        padding = min(-length % rate, max(0, self._facts.chunk - length))
        whole = length + padding
        gains = [np.float32(chunk_gain(mixture[0], rate)) for mixture, _, _ in chunks]
        padded = [np.pad(mixture, ((0, 0), (0, padding))) for mixture, _, _ in chunks]
        levelled = np.stack([gain * mixture for gain, mixture in zip(gains, padded, strict=True)])
        cues = [
            {cue.name: cue.cut(self._cues[cue.name], begin, whole, rate) for cue in self._facts.cues}
            for _, _, begin in chunks
        ]
        separate_batch = getattr(self._separator, "separate_batch", None)
        if separate_batch and len(chunks) > 1:
            found = separate_batch(levelled, cues) if self._cues else separate_batch(levelled)
        elif self._cues:
            found = [self._separator(chunk, its) for chunk, its in zip(levelled, cues, strict=True)]
        else:
            found = [self._separator(chunk) for chunk in levelled]
        for estimates in found:
            if np.shape(estimates) != (self.n_src, whole):
                expected = f"for a mixture of {whole} samples and {self.n_src} voices"
                raise ValueError(f"separator returned {np.shape(estimates)} {expected}")
        return [
            self._add(mixture, step, estimates, gain)
            for (mixture, step, _), estimates, gain in zip(chunks, found, gains, strict=True)
        ]

    def _add(self, mixture: np.ndarray, step: int, estimates: np.ndarray, gain: np.float32) -> np.ndarray:
        """Join what the separator made, with `gain`, of the chunk that begins `step` samples after the one
        before it.
        """
        estimates = np.asarray(estimates, np.float32)[:, : mixture.shape[1]] / gain
        estimates = silence_pauses(estimates, self._facts.sample_rate)
        if self._facts.order == "free" and self.n_src > 1:
            before = None if self._mixture is None else self._rows[: self.n_src, step:]
            estimates = estimates[self._voices.order(before, estimates)]
        shares = []
        if self._highest is not None:
            shares.append(high_shares(estimates, self._facts.sample_rate, self._highest))
        rows = np.concatenate([estimates, *shares, mixture[:1]])
        if self._mixture is not None:
            overlap = self._overlap
            # Where the previous chunk's last overlap lies in this one.
            start = mixture.shape[1] - overlap - step
            faded = (
                self._rows[:, -overlap:] * (1 - self._fade) + rows[:, start : start + overlap] * self._fade
            )
            new = np.concatenate([faded, rows[:, start + overlap :]], axis=1)
        else:
            new = rows
        self._mixture, self._rows = mixture, rows
        return new


def chunk_gain(mixture: np.ndarray, sample_rate: int) -> float:
    """Factor that brings the active part (within 30 dB of the loudest frame) to `CHUNK_LEVEL_DB`."""
    energy = frame_energies(mixture[None], 2 * frame_length(sample_rate))[0] / (2 * frame_length(sample_rate))
    active = energy[energy > 1e-3 * energy.max()]
    return (
        10 ** (min(CHUNK_LEVEL_DB - 10 * np.log10(active.mean() + TINY), MAX_GAIN_DB) / 20)
        if len(active)
        else 1.0
    )
