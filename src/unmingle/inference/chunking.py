"""Overlapped chunks of estimates become tracks of any length: one level, one order, no seams."""

from typing import Protocol

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
    """Anything that declares facts and turns a mixture `(channels, T)` into estimates `(n_src, T)`."""

    facts: Facts

    def __call__(self, mixture: np.ndarray) -> np.ndarray: ...


class Stitcher:
    """Feeds a separator with overlapped chunks and joins what it returns, in constant memory.

    Each chunk is separated at one level, its pauses are silenced, its voices are put in the order of the
    chunks before it, and the overlap is cross-faded with weights that sum to one. The last chunk starts
    earlier, so that it is as long as the others.

    Args:
        separator: called with `(1, T)` at its own rate.
        highest: top of the band that the input has [Hz]; unless None, `feed` also says how to share what lies
            above the separator's band.

    Raises:
        UsageError: the separator does not say how many voices it returns.
    """

    def __init__(self, separator: SeparatorLike, highest: float | None = None) -> None:
        facts = separator.facts
        if facts.n_src is None:
            raise UsageError(
                "this separator does not say how many voices it returns; fix the number with for_speakers, or choose another"
            )
        self.n_src, self._separator, self._facts, self._highest = facts.n_src, separator, facts, highest
        self._overlap = min(facts.chunk // 5, round(LONGEST_OVERLAP_S * facts.sample_rate))
        self._ahead = Queue()
        # Chunks until there are as many as are separated at once, and how far after the one before it each
        # begins.
        self._waiting: list[tuple[np.ndarray, int]] = []
        self._mixture: np.ndarray | None = None  # of the previous chunk
        self._rows: np.ndarray  # what became of the previous chunk
        self._voices = SpeakerTracker(facts.sample_rate, facts.n_src)
        position = np.linspace(-0.5, 1.5, self._overlap, dtype=np.float32).clip(0, 1)
        self._fade = (
            np.sin(np.pi / 2 * position) ** 2
        )  # a chunk's outermost quarter of the overlap has least context and stays unheard

    def feed(self, mixture: np.ndarray) -> np.ndarray:
        """Take `(T,)`; return rows `(n_src + 1, t)` that are final: estimates and the mixture; or `(2 n_src +
        1, t)` with shares between them.
        """
        self._ahead.push(mixture)
        chunk, hop = self._facts.chunk, self._facts.chunk - self._overlap
        done = []
        while (
            len(self._ahead) > chunk
        ):  # strictly: what is left after the last full chunk is more than its overlap
            self._waiting.append((self._ahead.peek(chunk).copy(), hop))
            self._ahead.take(hop)
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
        if before is not None:
            mixture = np.concatenate([before[step : -self._overlap], mixture])
        self._waiting.append((mixture, step))
        *done, last = self._separate()
        return np.concatenate([*(rows[:, : -self._overlap] for rows in done), last], axis=1)

    def _nothing(self) -> np.ndarray:
        return np.zeros(((1 if self._highest is None else 1 + self.n_src) + self.n_src, 0), np.float32)

    def _separate(self) -> list[np.ndarray]:
        """Separate the chunks that wait; return for each the rows from where those final so far end."""
        chunks, self._waiting = self._waiting, []
        rate = self._facts.sample_rate
        length = len(
            chunks[0][0]
        )  # of all: only a first chunk is shorter than the others, and then it is the last
        padding = min(
            -length % rate, max(0, self._facts.chunk - length)
        )  # runtimes keep memory for each length
        gains = [np.float32(level_gain(mixture, rate)) for mixture, _ in chunks]
        levelled = np.stack(
            [gain * np.pad(mixture, (0, padding)) for gain, (mixture, _) in zip(gains, chunks, strict=True)]
        )[:, None]
        separate_batch = getattr(self._separator, "separate_batch", None)
        found = (
            separate_batch(levelled)
            if separate_batch and len(chunks) > 1
            else [self._separator(chunk) for chunk in levelled]
        )
        for estimates in found:
            if np.shape(estimates) != (self.n_src, length + padding):
                raise ValueError(
                    f"separator returned {np.shape(estimates)} for a mixture of {length + padding} samples and {self.n_src} voices"
                )
        return [
            self._add(mixture, step, estimates, gain)
            for (mixture, step), estimates, gain in zip(chunks, found, gains, strict=True)
        ]

    def _add(self, mixture: np.ndarray, step: int, estimates: np.ndarray, gain: np.float32) -> np.ndarray:
        """Join what the separator made, with `gain`, of the chunk that begins `step` samples after the one
        before it.
        """
        estimates = np.asarray(estimates, np.float32)[:, : len(mixture)] / gain
        estimates = silence_pauses(estimates, self._facts.sample_rate)
        if self._facts.order == "free" and self.n_src > 1:
            before = None if self._mixture is None else self._rows[: self.n_src, step:]
            estimates = estimates[self._voices.order(before, estimates)]
        shares = (
            () if self._highest is None else (high_shares(estimates, self._facts.sample_rate, self._highest),)
        )
        rows = np.concatenate([estimates, *shares, mixture[None]])
        if self._mixture is not None:
            overlap = self._overlap
            start = len(mixture) - overlap - step  # where the previous chunk's last overlap lies in this one
            faded = (
                self._rows[:, -overlap:] * (1 - self._fade) + rows[:, start : start + overlap] * self._fade
            )
            new = np.concatenate([faded, rows[:, start + overlap :]], axis=1)
        else:
            new = rows
        self._mixture, self._rows = mixture, rows
        return new


def level_gain(mixture: np.ndarray, sample_rate: int) -> float:
    """Factor that brings the active part (within 30 dB of the loudest frame) to `CHUNK_LEVEL_DB`."""
    energy = frame_energies(mixture[None], 2 * frame_length(sample_rate))[0] / (2 * frame_length(sample_rate))
    active = energy[energy > 1e-3 * energy.max()]
    return (
        10 ** (min(CHUNK_LEVEL_DB - 10 * np.log10(active.mean() + TINY), MAX_GAIN_DB) / 20)
        if len(active)
        else 1.0
    )
