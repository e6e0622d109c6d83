"""Who spoke when: streams of separated speech become people."""

import itertools
from dataclasses import dataclass, replace

import numpy as np

from unmingle.facts import MOST_PEOPLE
from unmingle.inference.clustering import LEAST_S, find_people, unit
from unmingle.inference.frames import TINY, smooth
from unmingle.inference.segmentation import voices_at_once
from unmingle.inference.speaker_embedding import embed
from unmingle.inference.voice_activity import (
    FRAME,
    FRAME_S,
    RATE,
    frame_powers,
    is_heard,
    loudness,
    runs,
    speech_frames,
)

BLOCK_S, LOOK_BACK_S = 30.0, 8.0  # analysed at once; where in its end it may be cut

# Of the embeddings by which people are found and told apart [frames].
WINDOW, HOP, SHORTEST = round(1.6 / FRAME_S), round(0.5 / FRAME_S), round(0.2 / FRAME_S)
CERTAINTY = 30.0  # log-likelihood that a cosine of 1 is worth
# Log-likelihood that it costs when somebody else speaks, and when somebody is on another stream [s of it];
# and what a stream's share of the loudness says about who is on it.
SWITCH, MOVE, LOUDNESS = 3.0, 10.0, 3.0
ALL = -1  # of the streams, their sum
# Probabilities at which speech begins and ends, and at which overlapped speech does.
SPEAKS, TWO_SPEAK = (0.7, 0.6), (0.5, 0.4)
#: So far below the loudest of the streams of one voice each nobody is heard: where two speak, where one does.
BELOW_OTHERS_DB = 20.0, 12.0
PRESENT = 0.4  # cosine of two voices above which they are one person's
CHANGES = 0.5  # probability of somebody else, above which a stretch is cut
#: Below the loudest, a stream is what leaks, where each is a person's.
STREAM_BELOW_DB = 14.0
ALONE = 0.2  # share of overlapped speech below which one person speaks at a time


@dataclass(frozen=True)
class Voice:
    """How somebody sounds: the mean of the embeddings of what they say `(D,)`."""

    mean: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray, weights: np.ndarray) -> "Voice":
        """From the embeddings `(W, D)` of pieces of speech, and what each says about the voice `(W,)`."""
        return cls(weights @ vectors / weights.sum())

    def like(self, other: "Voice") -> float:
        """Cosine of the angle between them."""
        return float(unit(self.mean[None])[0] @ unit(other.mean[None])[0])


@dataclass(frozen=True)
class People:
    """Who speaks where.

    Attributes:
        labels: who speaks in each frame of each stream, int `(S, N)`; −1 for nobody. People are numbered in
            the order in which they begin.
        voices: theirs; None of one who said too little.
    """

    labels: np.ndarray
    voices: list[Voice | None]


@dataclass(frozen=True)
class Window:
    """A piece of speech: frames `start` to `end` of one stream, or of all of them (`ALL`)."""

    stream: int
    start: int
    end: int

    @property
    def seconds(self) -> float:
        """Its length [s]."""
        return (self.end - self.start) * FRAME_S


class Diarization:
    """Listens to separated streams as they come, and tells at the end who spoke where.

    Where one person speaks, all streams are a part of the same voice; where two do, each is on one stream.

    Args:
        n_streams: how many there are.
        apart_s: length of a recording up to which a stream is all of a person, if anybody's [s]; of any
            length, if two speak most of the time.
    """

    def __init__(self, n_streams: int, apart_s: float = 0.0) -> None:
        self._apart_s = apart_s
        self._ahead = np.zeros((n_streams, 0), np.float32)
        self._loud = 0.0
        self._at_once: list[np.ndarray] = []
        self._levels: list[np.ndarray] = []
        self._n_frames = 0
        self._windows: list[Window] = []
        self._embeddings: list[np.ndarray] = []

    def feed(self, streams: np.ndarray) -> None:
        """Take the next `(S, t)` at 16 kHz."""
        self._ahead = np.concatenate([self._ahead, streams], axis=1)
        while self._ahead.shape[1] >= BLOCK_S * RATE:
            n = self._ahead.shape[1] // FRAME
            tail = round(LOOK_BACK_S / FRAME_S)
            energy = np.square(self._ahead[:, : n * FRAME]).reshape(len(streams), -1, FRAME).sum(axis=(0, 2))
            near = np.convolve(energy[-tail:], np.ones(9), "same")
            self._analyse((n - tail + int(near.argmin())) * FRAME)

    def _analyse(self, n: int) -> None:
        streams, self._ahead = self._ahead[:, :n], self._ahead[:, n:]
        if not n:
            return
        streams = np.pad(streams, ((0, 0), (0, -n % FRAME)))
        energy, together = frame_powers(streams), streams.sum(axis=0)
        self._loud = max(self._loud, loudness(energy))
        found = voices_at_once(together)
        at_once = count_voices(found[:2] * is_heard(energy, self._loud))
        cuts = peaks(found[2])
        sources = np.concatenate([streams, together[None]])
        new = windows_in(at_once, cuts, smooth(energy, 31))
        if new:
            pieces = [sources[w.stream, w.start * FRAME : w.end * FRAME] for w in new]
            self._embeddings.append(embed(pieces).astype(np.float16))
            self._windows += [
                replace(w, start=w.start + self._n_frames, end=w.end + self._n_frames) for w in new
            ]
        self._at_once.append(at_once)
        self._levels.append(np.log10(energy + TINY).astype(np.float32))
        self._n_frames += len(at_once)

    def finish(self, fewest: int = 1, most: int = MOST_PEOPLE, n_heard: int = 0) -> "People":
        """Who speaks where.

        Args:
            fewest, most: how many people there may be.
            n_heard: so many were heard at once, if that is known; it counts where streams are people.
        """
        streams = self._ahead
        whole = not self._at_once
        self._analyse(streams.shape[1])
        if not self._at_once:
            return People(np.full((len(self._ahead), 0), -1), [])
        at_once, energy = np.concatenate(self._at_once), 10.0 ** np.concatenate(self._levels, axis=1)
        if not self._windows:
            first = np.arange(len(energy))[:, None] == 0
            return People(np.where(first & (at_once > 0), 0, -1), [None] * int(at_once.any()))
        vectors = np.concatenate(self._embeddings, dtype=np.float32)
        weights = np.array([window.seconds for window in self._windows])
        crowded = 2 * (at_once > 1).sum() > (at_once > 0).sum()
        total = energy.sum(axis=1)
        short = whole and streams.shape[1] <= self._apart_s * RATE
        apart = self._apart_s > 0 and (crowded or short)
        if apart:
            n_people = n_heard or (count_people(streams) if whole else int(no_leak(total).sum()))
            apart = n_people > 1 or fewest > 1  # else one speaks at a time, one person or several in turns
        if apart:
            fewest = most = int(np.clip(n_people, fewest, most))
        if apart and most <= len(streams):
            kept = np.argsort(-total)[:most]
            near = smooth(energy, 7)
            below_db = np.where(at_once > 1, *BELOW_OTHERS_DB)
            speech = (at_once > 0) & (near >= 10 ** (-below_db / 10) * near[kept].max(axis=0))
            on = np.array([loudest(energy, window) for window in self._windows])
            voices: list[Voice | None] = [
                Voice.of(vectors[on == k], weights[on == k]) if (on == k).any() else None for k in kept
            ]
            labels = np.full(speech.shape, -1)
            labels[kept] = np.where(speech[kept], np.arange(len(kept))[:, None], -1)
        else:
            # By those in which one speaks, if that happens at all.
            known = np.flatnonzero([window.stream == ALL for window in self._windows])
            if weights[known].sum() < LEAST_S:
                known = np.arange(len(weights))
            people = [known[own] for own in find_people(vectors[known], weights[known], fewest, most)]
            if short:
                people = merge_alike(vectors, weights, people, fewest)
            found = [Voice.of(vectors[own], weights[own]) for own in people]
            voices = [*found]
            centre = Voice.of(vectors[known], weights[known]).mean
            means = unit(np.stack([voice.mean for voice in found]) - centre)
            labels = assign(at_once, energy, self._windows, CERTAINTY * unit(vectors - centre) @ means.T)
        order = order_of_beginning(labels)
        new = np.full(len(voices) + 1, -1)
        new[order] = np.arange(len(order))
        return People(new[labels], [voices[k] for k in order])


def merge_alike(
    vectors: np.ndarray, weights: np.ndarray, people: list[np.ndarray], fewest: int
) -> list[np.ndarray]:
    """Merge people, the indices of whose embeddings `(W, D)` are given, while two of them sound as alike as
    one; `fewest` are left. For recordings in which one person has too little to compare it with.
    """
    people = list(people)
    while len(people) > fewest:
        voices = [Voice.of(vectors[own], weights[own]) for own in people]
        pairs = list(itertools.combinations(range(len(people)), 2))
        a, b = max(pairs, key=lambda pair: voices[pair[0]].like(voices[pair[1]]))
        if voices[a].like(voices[b]) < PRESENT:
            break
        people[a] = np.concatenate([people[a], people.pop(b)])
    return people


def loudest(energy: np.ndarray, window: Window) -> int:
    """The stream of a window, or the loudest one in it."""
    if window.stream != ALL:
        return window.stream
    return int(energy[:, window.start : window.end].sum(axis=1).argmax())


def no_leak(power: np.ndarray) -> np.ndarray:
    """Which streams of a power `(S,)` are more than what leaks from the loudest: bool `(S,)`."""
    return power > 10 ** (-STREAM_BELOW_DB / 10) * power.max()


def count_people(streams: np.ndarray) -> int:
    """How many people speak at once in a short recording, by how loud the streams `(S, T)` of it are, and by
    how often two are heard.
    """
    n_kept = int(no_leak(np.square(streams, dtype=np.float64).sum(axis=1)).sum())
    return n_kept if n_kept > 1 and overlap(streams.sum(axis=0)) >= ALONE else 1


def overlap(samples: np.ndarray) -> float:
    """Share of the speech in `(T,)` that is of two people at once."""
    one, two, _ = voices_at_once(samples).sum(axis=1)
    return float(two / max(one, TINY))


def count_voices(probabilities: np.ndarray) -> np.ndarray:
    """How many speak, 0 to 2, by the probabilities `(2, N)` of one and of two: int `(N,)`."""
    one = speech_frames(probabilities[0], *SPEAKS)
    return one.astype(int) + (one & speech_frames(probabilities[1], *TWO_SPEAK))


def peaks(probability: np.ndarray) -> np.ndarray:
    """The middles of the stretches in which it is more likely than not: int `(n,)`."""
    return np.array([(a + b) // 2 for a, b in runs(probability > CHANGES)], int)


def stretches(mask: np.ndarray, cuts: np.ndarray) -> list[tuple[int, int]]:
    """Runs of `mask` `(N,)`, cut at `cuts`."""
    found = []
    for start, end in runs(mask):
        edges = [start, *cuts[(cuts > start) & (cuts < end)].tolist(), end]
        found += list(itertools.pairwise(edges))
    return found


def windows_in(at_once: np.ndarray, cuts: np.ndarray, energy: np.ndarray) -> list[Window]:
    """Windows of about `WINDOW` frames, `HOP` apart, that cover what is speech.

    Args:
        at_once: how many speak `(N,)`.
        cuts: frames that none goes over.
        energy: of the streams `(S, N)`.
    """
    found = []
    for n_voices in (1, 2):
        for start, end in stretches(at_once == n_voices, cuts):
            n = max(1, round((end - start - WINDOW) / HOP) + 1)
            length = WINDOW if n > 1 else end - start
            for first in np.linspace(start, end - length, n).round().astype(int).tolist():
                if length < SHORTEST:
                    continue
                streams = [ALL]
                if n_voices > 1:
                    loud = energy[:, first : first + length].sum(axis=1)
                    streams = np.argsort(-loud)[:n_voices].tolist()
                found += [Window(stream, first, first + length) for stream in streams]
    return found


def assign(at_once: np.ndarray, energy: np.ndarray, windows: list[Window], scores: np.ndarray) -> np.ndarray:
    """Who speaks on each stream, frame by frame: the most likely course of everybody's places.

    Args:
        at_once: how many speak `(N,)`.
        energy: of the streams `(S, N)`.
        windows: see `Window`.
        scores: of each person in each window `(W, P)`.

    Returns:
        int `(S, N)`, −1 for nobody.
    """
    n_streams, n_people = len(energy), scores.shape[1]
    total = np.zeros((n_streams + 1, len(at_once), n_people), np.float32)
    count = np.full((n_streams + 1, len(at_once)), 1e-9, np.float32)
    for window, likely in zip(windows, scores, strict=True):
        near = np.bartlett(window.end - window.start + 2)[1:-1]  # its middle counts most
        total[window.stream, window.start : window.end] += np.multiply.outer(near, likely)
        count[window.stream, window.start : window.end] += near
    total /= count[..., None]
    near = smooth(energy, 15) + TINY
    share = LOUDNESS * np.log(near / near.sum(axis=0))
    places = all_places(n_streams, n_people)
    costs, n_there = changes(places), (places >= 0).sum(axis=1)
    at_once = at_once.clip(max=n_there.max())
    labels = np.full(energy.shape, -1)
    for start, end in runs(at_once > 0):
        at = slice(start, end)
        scored = np.where(at_once[at, None] == n_there, 0.0, -np.inf)
        for stream in range(n_streams):
            for person in range(n_people):
                there = places[:, stream] == person
                for source, found in ((ALL, there & (n_there == 1)), (stream, there & (n_there > 1))):
                    scored[:, found] += (total[source, at, person] + share[stream, at])[:, None]
        labels[:, at] = places[best_path(scored, costs)].T
    return labels


def all_places(n_streams: int, n_people: int) -> np.ndarray:
    """All ways in which one person or two may be on streams: int `(K, S)`, −1 for nobody."""
    found = []
    for k in range(n_people):
        for s in range(n_streams):
            one = np.full(n_streams, -1)
            one[s] = k
            found.append(one)
            for j in range(n_people):
                for r in range(s + 1, n_streams):
                    if j != k:
                        two = one.copy()
                        two[r] = j
                        found.append(two)
    return np.array(found)


def changes(places: np.ndarray) -> np.ndarray:
    """What it costs to go from each of the places to each other one [log-likelihood of a frame]: a person
    who was not there, and one who is on another stream.
    """
    costs = np.zeros((len(places),) * 2, np.float32)
    for person in range(places.max() + 1):
        at = np.where((places == person).any(axis=1), (places == person).argmax(axis=1), -1)
        costs += (SWITCH / FRAME_S) * ((at[:, None] < 0) & (at >= 0))
        costs += (MOVE / FRAME_S) * ((at[:, None] >= 0) & (at >= 0) & (at[:, None] != at))
    return costs


def best_path(scores: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """The states of consecutive frames `(n, K)` with the highest sum of scores less the costs `(K, K)` of
    going from one to another: int `(n,)`.
    """
    n, n_states = scores.shape
    total, back = scores[0].copy(), np.zeros((n, n_states), np.int16)
    every = np.arange(n_states)
    for frame in range(1, n):
        ways = total[:, None] - costs
        back[frame] = ways.argmax(axis=0)
        total = ways[back[frame], every] + scores[frame]
    path = np.empty(n, int)
    path[-1] = int(total.argmax())
    for frame in range(n - 1, 0, -1):
        path[frame - 1] = back[frame, path[frame]]
    return path


def order_of_beginning(labels: np.ndarray) -> list[int]:
    """The people, the one who speaks first at first; those who never speak are left out."""
    people = [int(k) for k in np.unique(labels) if k >= 0]
    return sorted(people, key=lambda k: int((labels == k).any(axis=0).argmax()))


def voice_of(samples: np.ndarray) -> Voice | None:
    """How the person sounds who speaks in a recording `(T,)` at 16 kHz; None where nobody does."""
    diarization = Diarization(1)
    diarization.feed(samples[None])
    found = diarization.finish(1, 1)
    return found.voices[0] if found.voices else None
