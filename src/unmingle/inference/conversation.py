"""Conversations: any number of people over a recording of any length, each on one track.

Two passes. `Listening` separates what is said at once into a few streams, puts them aside on disk and notes
who speaks on each; then it is known how many people there are, and `PeopleTracks` puts every stretch of
speech on its person's track.
"""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import soxr

from unmingle.errors import InputError, UsageError
from unmingle.facts import Speakers
from unmingle.inference.choosing import number_of_people
from unmingle.inference.chunking import SeparatorLike
from unmingle.inference.diarization import PRESENT, Diarization, People, Voice, voice_of
from unmingle.inference.per_chunk import PerChunk
from unmingle.inference.pipeline import Separation
from unmingle.inference.purpose import Purpose, for_recognition
from unmingle.inference.voice_activity import FRAME_S, RATE, runs
from unmingle.media.recording import as_channels
from unmingle.results.rttm import Segment

Targets = Mapping[str, Voice]

IN_MEMORY = 2**23  # bytes of streams that are not put on disk
#: Frames by which a stretch of speech is longer on a track than it was detected; fades lie in them.
BEFORE, AFTER = 4, 8


def voice_in(samples: Any, sample_rate: int, name: str) -> Voice:
    """How the person sounds who speaks in a sample `(T,)` or `(channels, T)`; InputError if nobody does."""
    mono = as_channels(samples).mean(axis=0, dtype=np.float32)
    voice = voice_of(mono if sample_rate == RATE else soxr.resample(mono, sample_rate, RATE))
    if voice is None:
        remedy = "give 5 to 30 seconds in which the person speaks"
        raise InputError(f"{name}: nobody speaks in this sample of a voice; {remedy}")
    return voice


def find_targets(people: People, targets: Targets) -> list[int | None]:
    """Which of the people each target is: the most alike pair first; None where nobody is alike enough."""
    likeness = {
        (name, k): voice.like(target)
        for name, target in targets.items()
        for k, voice in enumerate(people.voices)
        if voice is not None
    }
    found: dict[str, int | None] = dict.fromkeys(targets)
    while likeness:
        (name, k), value = max(likeness.items(), key=lambda item: item[1])
        if value < PRESENT:
            break
        found[name] = k
        likeness = {pair: value for pair, value in likeness.items() if pair[0] != name and pair[1] != k}
    return list(found.values())


class Listening:
    """The first pass: a mixture as it comes.

    Args:
        separator: of a fixed number of streams.
        sample_rate: of what will be fed [Hz].
        folder: where streams that are too long for memory are put aside; the system's unless given.
    """

    def __init__(self, separator: SeparatorLike, sample_rate: int, folder: Path | None = None) -> None:
        self._separation, self._rate = Separation(separator, sample_rate), sample_rate
        self._separator = separator
        self._n_streams = self._separation.n_src
        facts = separator.facts
        self._diarization = Diarization(self._n_streams, facts.chunk / facts.sample_rate)
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

    def finish(
        self,
        speakers: Speakers = "auto",
        targets: Targets | None = None,
        leakage: float = 0.0,
        purpose: Purpose = "listening",
    ) -> "PeopleTracks":
        """Find the people, and make their tracks; or only those of the `targets`, in their order."""
        self._hear(self._separation.flush(), last=True)
        fewest, most = number_of_people(speakers)
        n_heard = self._separator.n_heard if isinstance(self._separator, PerChunk) else 0
        people = self._diarization.finish(fewest, most, n_heard)
        chosen = (
            find_targets(people, targets)
            if targets is not None
            else [*range(max(fewest, len(people.voices), 1))]
        )
        return PeopleTracks(self._streams, people, chosen, self._rate, leakage, purpose)


class PeopleTracks:
    """The second pass, a `Process`: the tracks come from the streams; what is fed is only counted, or for a
    recogniser given back where it can be.

    Args:
        streams: `(T, S)` float32, which it closes.
        people: who speaks where.
        chosen: whose tracks they are; None for nobody's, which is silent.
        sample_rate: [Hz].
        leakage: how much of a stream stays with the person who spoke on it last, also where they are silent,
            0 to 1.
        purpose: see `unmingle.inference.purpose`.

    Attributes:
        n_src: number of tracks.
        people: as given.
    """

    def __init__(
        self,
        streams: IO[bytes],
        people: People,
        chosen: list[int | None],
        sample_rate: int,
        leakage: float = 0.0,
        purpose: Purpose = "listening",
    ) -> None:
        self.people, labels = people, people.labels
        self._streams, self._labels, self._chosen, self._rate = streams, labels, chosen, sample_rate
        self._leakage, self._last = leakage, last_speakers(labels) if leakage else labels
        self.n_src, self._n_done, self._gives_back = len(chosen), 0, for_recognition(purpose)
        streams.seek(0)

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """Take `(C, t)` of the mixture; return the tracks `(n_src, t)` of as many samples."""
        n, n_streams = samples.shape[1], len(self._labels)
        streams = np.frombuffer(self._streams.read(4 * n * n_streams), "<f4").reshape(-1, n_streams).T
        tracks = np.zeros((self.n_src, n), np.float32)
        at = (self._n_done + np.arange(streams.shape[1])) / self._rate / FRAME_S - 0.5  # in frames
        self._n_done += n
        if self._gives_back and len(self.people.voices) == 1:
            tracks[[k == 0 for k in self._chosen]] = samples[0]
            return tracks
        if not streams.shape[1] or not self._labels.shape[1]:
            return tracks
        margin = BEFORE + AFTER
        first, last = max(0, int(at[0]) - margin), int(at[-1]) + margin + 2
        frames = np.arange(first, min(last, self._labels.shape[1]))
        if not len(frames):
            return tracks
        labels = self._labels[:, frames]
        last_ones = self._last[:, frames]
        people = np.unique(np.concatenate([labels[labels >= 0], last_ones[last_ones >= 0]])).tolist()
        all_gates = (1 - self._leakage) * shares(labels, people)
        if self._leakage:
            all_gates += self._leakage * smoothed(belonging(last_ones, people).astype(float))
        all_alone = alone(labels, people) if self._gives_back else None
        for p, k in enumerate(people):
            if k not in self._chosen:
                continue
            track = tracks[self._chosen.index(k), : len(at)]
            for stream, gate in zip(streams, all_gates[:, p], strict=True):
                if gate.any():
                    track += (np.interp(at, frames, gate) * stream).astype(np.float32)
            if all_alone is not None:
                share = np.interp(at, frames, all_alone[p])
                track[:] = (1 - share) * track + share * samples[0, : len(at)]
        return tracks

    def flush(self) -> np.ndarray:
        """Nothing is left."""
        self._streams.close()
        return np.zeros((self.n_src, 0), np.float32)

    def segments(self, names: list[str]) -> list[Segment]:
        """Who spoke when, to the millisecond, in order of their beginnings; `names` of the tracks."""
        found = []
        for person, name in zip(self._chosen, names, strict=True):
            if person is None:
                continue
            for start, end in runs((self._labels == person).any(axis=0)):
                found.append(Segment(name, round(start * FRAME_S, 3), round(end * FRAME_S, 3)))
        return sorted(found, key=lambda segment: (segment.start_s, segment.speaker))


def shares(labels: np.ndarray, people: list[int]) -> np.ndarray:
    """How much of each stream goes to each person, frame by frame: int `(S, n)` → `(S, P, n)`, sums of 1 at
    most.

    Where one person speaks alone, all streams are theirs: what a separator moved to another one is a part of
    the same voice.
    """
    own = belonging(labels, people)
    speaks = own.any(axis=0)
    around = widened(own | (speaks & (speaks.sum(axis=0) == 1)))
    # A stretch is longer than it was detected, but never where another speaks on that stream.
    gates = smoothed((around & ~(own.any(axis=1, keepdims=True) & ~own)).astype(float))
    return gates / gates.sum(axis=1, keepdims=True).clip(1)


def alone(labels: np.ndarray, people: list[int]) -> np.ndarray:
    """How much each person speaks and nobody else does, frame by frame: int `(S, n)` → `(P, n)`, 0 to 1."""
    present = widened(np.asarray(belonging(labels, people).any(axis=0)))
    return smoothed((present & (present.sum(axis=0) == 1)).astype(float))


def belonging(labels: np.ndarray, people: list[int]) -> np.ndarray:
    """Whether a stream is a person's, frame by frame: int `(S, n)` → bool `(S, P, n)`."""
    return np.array([labels == k for k in people], bool).reshape(-1, *labels.shape).swapaxes(0, 1)


def smoothed(gates: np.ndarray) -> np.ndarray:
    """Gains `(…, n)` that do not jump."""
    padded = np.pad(gates, [(0, 0)] * (gates.ndim - 1) + [(1, 1)], mode="edge")
    return 0.25 * padded[..., :-2] + 0.5 * gates + 0.25 * padded[..., 2:]


def last_speakers(labels: np.ndarray) -> np.ndarray:
    """Who spoke last on each stream, or speaks there first: int `(S, N)` → same; −1 where nobody does."""
    filled = labels.copy()
    for row in filled:
        at = np.where(row >= 0, np.arange(len(row)), -1)
        latest = np.maximum.accumulate(at)
        if (row >= 0).any():
            row[:] = row[np.where(latest >= 0, latest, int((row >= 0).argmax()))]
    return filled


def widened(mask: np.ndarray) -> np.ndarray:
    """True also `BEFORE` frames before and `AFTER` frames after: bool `(…, n)` → same."""
    n = mask.shape[-1]
    sums = np.pad(mask.cumsum(axis=-1), [(0, 0)] * (mask.ndim - 1) + [(AFTER + 1, BEFORE)], mode="constant")
    sums[..., n + AFTER + 1 :] = sums[..., n + AFTER : n + AFTER + 1]
    return sums[..., BEFORE + AFTER + 1 :][..., :n] > sums[..., :n]


def listen(
    separator: SeparatorLike,
    blocks: Iterable[np.ndarray],
    sample_rate: int,
    speakers: Speakers = "auto",
    targets: Targets | None = None,
    folder: Path | None = None,
    leakage: float = 0.0,
    purpose: Purpose = "listening",
) -> PeopleTracks:
    """Go through a recording, `(C, t)` at a time, and return the tracks of the people in it, or of the
    targets among them.

    Raises:
        UsageError: `leakage` is out of range, or there is no such purpose.
    """
    if not isinstance(leakage, int | float) or not 0 <= leakage <= 1:
        remedy = "give how much of the others stays in a person's pauses, from 0 (least) to 1 (all)"
        raise UsageError(f"leakage is {leakage!r:.80}; {remedy}")
    for_recognition(purpose)
    listening = Listening(separator, sample_rate, folder)
    for block in blocks:
        listening.feed(block)
    return listening.finish(speakers, targets, leakage, purpose)
