"""Conversations: any number of people over a recording of any length, each on one track.

Two passes. `Listening` separates what is said at once into a few streams, puts them aside on disk and notes
who speaks on each; then it is known how many people there are, and `PeopleTracks` puts every stretch of
speech on its person's track.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
import soxr

from unmingle.facts import Speakers
from unmingle.inference.choosing import number_of_people
from unmingle.inference.chunking import SeparatorLike
from unmingle.inference.diarization import Diarization
from unmingle.inference.pipeline import Separation
from unmingle.inference.voice_activity import FRAME_S, RATE, runs
from unmingle.results.rttm import Segment

IN_MEMORY = 2**26  # bytes of streams that are not put on disk
#: Frames by which a stretch of speech is longer on a track than it was detected; fades lie in them.
BEFORE, AFTER = 4, 8


class Listening:
    """The first pass: a mixture as it comes.

    Args:
        separator: of a fixed number of streams.
        sample_rate: of what will be fed [Hz].
        folder: where streams that are too long for memory are put aside; the system's unless given.
    """

    def __init__(self, separator: SeparatorLike, sample_rate: int, folder: Path | None = None) -> None:
        self._separation, self._rate = Separation(separator, sample_rate), sample_rate
        self._n_streams = self._separation.n_src
        self._diarization = Diarization(self._n_streams)
        self._in = (
            None
            if sample_rate == RATE
            else soxr.ResampleStream(sample_rate, RATE, self._n_streams, dtype="float32")
        )
        self._streams: IO[bytes] = tempfile.SpooledTemporaryFile(  # noqa: SIM115, the tracks close it
            IN_MEMORY, dir=None if folder is None else str(folder)
        )

    def feed(self, mixture: np.ndarray) -> None:
        """Take the next of the mixture `(C, t)`."""
        self._hear(self._separation.feed(mixture))

    def _hear(self, streams: np.ndarray, last: bool = False) -> None:
        self._streams.write(np.ascontiguousarray(streams.T, "<f4").tobytes())
        if self._in is not None:
            streams = self._in.resample_chunk(np.ascontiguousarray(streams.T), last).T
        self._diarization.feed(streams)

    def finish(self, speakers: Speakers = "auto") -> "PeopleTracks":
        """Find the people, and make their tracks."""
        self._hear(self._separation.flush(), last=True)
        fewest, most = number_of_people(speakers)
        labels = self._diarization.finish(fewest, most)
        return PeopleTracks(self._streams, labels, self._rate, max(fewest, int(labels.max(initial=0)) + 1))


class PeopleTracks:
    """The second pass, a `Process`: what is fed is only counted, the tracks come from the streams.

    Attributes:
        n_src: number of people.
        labels: who speaks in each frame of each stream, int `(S, N)`, −1 for nobody.
    """

    def __init__(self, streams: IO[bytes], labels: np.ndarray, sample_rate: int, n_people: int) -> None:
        self._streams, self.labels, self._rate, self.n_src = streams, labels, sample_rate, n_people
        self._n_done = 0
        streams.seek(0)

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """Take `(C, t)` of the mixture; return the tracks `(n_src, t)` of as many samples."""
        return self._next(samples.shape[1])

    def flush(self) -> np.ndarray:
        """Nothing is left."""
        self._streams.close()
        return np.zeros((self.n_src, 0), np.float32)

    def _next(self, n: int) -> np.ndarray:
        n_streams = len(self.labels)
        read = np.frombuffer(self._streams.read(4 * n * n_streams), "<f4").reshape(-1, n_streams).T
        tracks = np.zeros((self.n_src, n), np.float32)
        at = (self._n_done + np.arange(read.shape[1])) / self._rate / FRAME_S - 0.5  # in frames
        self._n_done += n
        if not read.shape[1] or not self.labels.shape[1]:
            return tracks
        margin = BEFORE + AFTER
        first, last = max(0, int(at[0]) - margin), int(at[-1]) + margin + 2
        frames = np.arange(first, min(last, self.labels.shape[1]))
        if not len(frames):
            return tracks
        labels = self.labels[:, frames]
        for stream, gates in zip(read, shares(labels, self.n_src), strict=True):
            for track, gate in zip(tracks, gates, strict=True):
                if gate.any():
                    track[: len(at)] += (np.interp(at, frames, gate) * stream).astype(np.float32)
        return tracks

    def segments(self, names: list[str]) -> list[Segment]:
        """Who spoke when, in order of their beginnings; `names` of the tracks."""
        found = []
        for person, name in enumerate(names):
            for start, end in runs((self.labels == person).any(axis=0)):
                found.append(Segment(name, start * FRAME_S, end * FRAME_S))
        return sorted(found, key=lambda segment: (segment.start_s, segment.speaker))


def shares(labels: np.ndarray, n_people: int) -> np.ndarray:
    """How much of each stream goes to each person, frame by frame: int `(S, n)` → `(S, P, n)`, sums of 1 at
    most.

    Where one person speaks alone, all streams are theirs: what a separator moved to another one is a part of
    the same voice.
    """
    speaks = np.stack([(labels == k) for k in range(n_people)], axis=1)  # (S, P, n)
    alone = speaks.any(axis=0).sum(axis=0) == 1
    speaks |= speaks.any(axis=0) & alone
    gates = np.stack([[fade(own) for own in of_stream] for of_stream in speaks])
    return gates / gates.sum(axis=1, keepdims=True).clip(1)


def fade(speaks: np.ndarray) -> np.ndarray:
    """The gain of a stretch of speech, frame by frame: bool `(n,)` → `(n,)`, 1 in it and shortly before and
    after it, from where it falls.
    """
    if not speaks.any():
        return np.zeros(len(speaks))
    around = np.convolve(speaks, np.ones(BEFORE + AFTER - 1), "full")[BEFORE - 2 :][: len(speaks)] > 0
    return np.convolve(np.pad(around.astype(float), 1, mode="edge"), [0.25, 0.5, 0.25], "valid")


def listen(
    separator: SeparatorLike,
    blocks: Iterable[np.ndarray],
    sample_rate: int,
    speakers: Speakers = "auto",
    folder: Path | None = None,
) -> PeopleTracks:
    """Go through a recording, `(C, t)` at a time, and return the tracks of the people in it."""
    listening = Listening(separator, sample_rate, folder)
    for block in blocks:
        listening.feed(block)
    return listening.finish(speakers)
