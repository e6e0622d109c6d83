"""Who spoke when: streams of separated speech become people."""

from dataclasses import dataclass, replace

import numpy as np

from unmingle.facts import MOST_PEOPLE
from unmingle.inference.clustering import condense, evidence, labels_after, merge_order
from unmingle.inference.speaker_embedding import embed, spread
from unmingle.inference.voice_activity import FRAME, FRAME_S, RATE, VoiceActivity, runs

BLOCK_S, LOOK_BACK_S = 30.0, 8.0  # analysed at once; where in its end it may be cut

# Of the embeddings by which people are found, and of those by which it is told who speaks [frames].
WINDOW, HOP = round(1.6 / FRAME_S), round(0.8 / FRAME_S)
SHORT_WINDOW, SHORT_HOP = round(0.8 / FRAME_S), round(0.2 / FRAME_S)
SHORTEST = round(0.3 / FRAME_S)  # by which people are found [frames]
#: Weight of a window in which another stream speaks all the time; 1 where nobody else does.
OVERLAPPED = 0.25

# A second of speech is worth so many independent vectors; what follows from overlapping windows in one room
# is not.
VECTORS_PER_S = 0.2
MOST_AT_ONCE, LEAST_LEFT = 1000, 32  # windows that are clustered at once; groups that stay of them, at least
SAME = -15.0  # log-likelihood ratio above which two clusters are one person
ROUNDS = 6  # in which windows go to the nearest person, after they were clustered
LEAST_S, LEAST_SHARE = 1.2, 0.02  # of speech that makes a person, unless the number is given
# Log-likelihood that a change of the speaker within a stretch costs [s of it], and that somebody on two
# streams at once does [frame].
SWITCH, TWICE = 3.0, 20.0
#: Below the loudest, a stream is what leaks, where each is a person's.
STREAM_BELOW_DB = 14.0
SWEEPS = 3  # over the streams, each given the others


@dataclass(frozen=True)
class Voice:
    """What is known of how somebody sounds: so many independent vectors, see `evidence`, and their sum."""

    count: float
    total: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray, seconds: np.ndarray) -> "Voice":
        """From the embeddings `(W, D)` of pieces of speech that are worth so many seconds `(W,)`."""
        counts = VECTORS_PER_S * seconds
        return cls(float(counts.sum()), (counts[:, None] * vectors).sum(axis=0))

    def like(self, other: "Voice") -> float:
        """Log-likelihood ratio of being the same person."""
        together = evidence(self.total + other.total, np.asarray(self.count + other.count), spread())
        apart = [evidence(voice.total, np.asarray(voice.count), spread()) for voice in (self, other)]
        return float(together - sum(apart))


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
    """A piece of speech on one stream: frames `start` to `end`, and how much it says about the voice."""

    stream: int
    start: int
    end: int
    weight: float


class Diarization:
    """Listens to separated streams as they come, and tells at the end who spoke where.

    Args:
        n_streams: how many there are.
        apart_s: length of a recording up to which a stream is all of a person, if anybody's [s].
    """

    def __init__(self, n_streams: int, apart_s: float = 0.0) -> None:
        self._activity, self._apart_s = VoiceActivity(n_streams), apart_s
        self._energy = np.zeros(n_streams)
        self._ahead = np.zeros((n_streams, 0), np.float32)
        self._speech: list[np.ndarray] = []
        self._n_frames = 0
        self._windows: list[Window] = []
        self._embeddings: list[np.ndarray] = []
        self._short: list[Window] = []
        self._short_embeddings: list[np.ndarray] = []

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
        self._energy += np.square(streams, dtype=np.float64).sum(axis=1)
        speech = self._activity.feed(np.pad(streams, ((0, 0), (0, -n % FRAME))))
        for known, found, window, hop, shortest in (
            (self._windows, self._embeddings, WINDOW, HOP, SHORTEST),
            (self._short, self._short_embeddings, SHORT_WINDOW, SHORT_HOP, 1),
        ):
            new = windows_in(speech, window, hop, shortest)
            if new:
                pieces = [streams[w.stream, w.start * FRAME : w.end * FRAME] for w in new]
                found.append(embed(pieces).astype(np.float16))
                known += [replace(w, start=w.start + self._n_frames, end=w.end + self._n_frames) for w in new]
        self._speech.append(speech)
        self._n_frames += speech.shape[1]

    def finish(self, fewest: int = 1, most: int = MOST_PEOPLE) -> "People":
        """Who speaks where.

        Args:
            fewest, most: how many people there may be.
        """
        self._analyse(self._ahead.shape[1])
        if not self._speech:
            return People(np.full((len(self._ahead), 0), -1), [])
        speech = np.concatenate(self._speech, axis=1)
        if not self._windows:
            return People(np.where(speech, 0, -1), [None] * int(speech.any()))
        vectors = np.concatenate(self._embeddings, dtype=np.float32)
        weights = np.array([window.weight for window in self._windows])
        apart = self._n_frames * FRAME_S <= self._apart_s and fewest <= len(speech)
        if apart:
            loud = self._energy > 10 ** (-STREAM_BELOW_DB / 10) * self._energy.max()
            kept = np.argsort(-self._energy)[: int(np.clip(loud.sum(), fewest, most))]
            of_stream = np.array([window.stream for window in self._windows])
            people = [np.flatnonzero(of_stream == stream) for stream in kept]
        else:
            people = find_people(vectors, self._windows, fewest, most)
        voices = [Voice.of(vectors[own], weights[own]) for own in people]
        if apart:
            labels = np.full(speech.shape, -1)
            labels[kept] = np.where(speech[kept], np.arange(len(kept))[:, None], -1)
        else:
            labels = assign(speech, self._short, scores_of(np.concatenate(self._short_embeddings), voices))
        order = order_of_beginning(labels)
        new = np.full(len(voices) + 1, -1)
        new[order] = np.arange(len(order))
        return People(new[labels], [voices[k] for k in order])


def windows_in(speech: np.ndarray, window: int, hop: int, shortest: int) -> list[Window]:
    """Windows of about `window` frames, `hop` apart, that cover what is speech, bool `(S, N)`; stretches
    below `shortest` frames are left out.
    """
    n_speaking, found = speech.sum(axis=0), []
    for stream, own in enumerate(speech):
        for start, end in runs(own):
            n = max(1, round((end - start - window) / hop) + 1)
            length = window if n > 1 else end - start
            for first in np.linspace(start, end - length, n).round().astype(int).tolist():
                if length >= shortest:
                    alone = (n_speaking[first : first + length] == 1).mean()
                    weight = (OVERLAPPED + (1 - OVERLAPPED) * alone) * length * FRAME_S
                    found.append(Window(stream, first, first + length, float(weight)))
    return found


def find_people(vectors: np.ndarray, windows: list[Window], fewest: int, most: int) -> list[np.ndarray]:
    """Cluster the windows; return for each person the indices of the windows that are surely theirs.

    Args:
        vectors: `(W, D)`, of the windows.
        windows: see `Window`.
        fewest, most: how many there may be.
    """
    weights = np.array([window.weight for window in windows])
    alike, apart = group_alike(vectors, windows)
    seconds = np.array([weights[own].sum() for own in alike])
    means = np.stack([weights[own] @ vectors[own] for own in alike]) / seconds[:, None]
    merges, gains = merge_order(means, VECTORS_PER_S * seconds, spread(), apart)
    least = min(LEAST_S + LEAST_SHARE * weights.sum(), weights.sum() / 2)
    # After each number of merges: how many clusters are large enough to be people.
    sums = seconds.copy()
    counts = [int((sums >= least).sum())]
    for into, gone in merges:
        sums[into] += sums[gone]
        sums[gone] = 0
        counts.append(int((sums >= least).sum()))
    done = int((np.minimum.accumulate(gains) >= SAME).sum()) if len(gains) else 0
    wanted = int(np.clip(counts[done], fewest, most))
    while done < len(merges) and counts[done] > wanted:
        done += 1
    while done > 0 and counts[done] < wanted:
        done -= 1
    labels = labels_after(merges[:done], len(alike))
    clusters = [
        np.concatenate([alike[k] for k in np.flatnonzero(labels == label)]) for label in np.unique(labels)
    ]
    clusters.sort(key=lambda cluster: -weights[cluster].sum())
    n_people = sum(weights[cluster].sum() >= least for cluster in clusters[:most])
    people = clusters[: max(n_people, fewest, 1)]
    for _ in range(ROUNDS):
        nearest = scores_of(vectors, [Voice.of(vectors[own], weights[own]) for own in people]).argmax(axis=1)
        moved = [np.flatnonzero(nearest == k) for k in range(len(people))]
        moved = [own for own in moved if weights[own].sum() >= least]
        if len(moved) < max(fewest, 1):
            break
        people = moved
    return people


def group_alike(vectors: np.ndarray, windows: list[Window]) -> tuple[list[np.ndarray], np.ndarray]:
    """The windows, each alone; or, of more than `MOST_AT_ONCE`, groups of them that are most alike within as
    many consecutive ones, since time and memory of clustering grow faster than their number.

    Returns:
        The indices of each group, and which of the G groups cannot be one person, bool `(G, G)`.
    """
    n_blocks = -(-len(windows) // MOST_AT_ONCE)
    if n_blocks == 1:
        return [np.array([k]) for k in range(len(windows))], cannot_be_one(windows)
    groups: list[np.ndarray] = []
    tables = []
    for block in np.array_split(np.arange(len(windows)), n_blocks):
        mine = [windows[k] for k in block]
        counts, apart = VECTORS_PER_S * np.array([window.weight for window in mine]), cannot_be_one(mine)
        left = max(LEAST_LEFT, MOST_AT_ONCE // n_blocks)
        found = condense(vectors[block], counts, spread(), apart, left)
        tables.append(np.array([[apart[np.ix_(a, b)].any() for b in found] for a in found]))
        groups += [block[own] for own in found]
    whole = np.zeros((len(groups), len(groups)), bool)
    at = 0
    for table in tables:
        whole[at : at + len(table), at : at + len(table)] = table
        at += len(table)
    return groups, whole


def scores_of(vectors: np.ndarray, voices: list[Voice]) -> np.ndarray:
    """Log-likelihood of each vector `(W, D)` for each person `(W, P)`."""
    scores = []
    for voice in voices:
        # The person, as far as known: mean and variance of a normal distribution.
        variance = spread() / (1 + voice.count * spread())
        mean, around = variance * voice.total, 1 + variance
        scores.append(-0.5 * (np.square(vectors - mean) / around + np.log(around)).sum(axis=1))
    return np.stack(scores, axis=1)


def cannot_be_one(windows: list[Window]) -> np.ndarray:
    """Pairs `(N, N)` on different streams that sound at once for most of the shorter one."""
    stream, start, end = (np.array([getattr(w, key) for w in windows]) for key in ("stream", "start", "end"))
    both = np.minimum(end[:, None], end) - np.maximum(start[:, None], start)
    shorter = np.minimum((end - start)[:, None], end - start)
    return (stream[:, None] != stream) & (both > 0.5 * shorter)


def assign(speech: np.ndarray, windows: list[Window], scores: np.ndarray) -> np.ndarray:
    """The person of every frame in which a stream speaks: bool `(S, N)`, scores of the windows `(W, P)` → int
    `(S, N)`.

    Each stream gets the most likely course, given those of the others: nobody is likely to be on two at once.
    """
    labels = np.full(speech.shape, -1)
    people = np.arange(scores.shape[1])
    total = np.zeros((*speech.shape, len(people)), np.float32)
    count = np.full(speech.shape, 1e-9, np.float32)
    for window, found in zip(windows, scores, strict=True):
        near = np.bartlett(window.end - window.start + 2)[1:-1]  # its middle counts most
        total[window.stream, window.start : window.end] += np.multiply.outer(near, found)
        count[window.stream, window.start : window.end] += near
    total /= count[..., None]
    crowded = speech.sum(axis=0) > 1
    for sweep in range(SWEEPS):
        for stream, own in enumerate(speech):
            others = np.delete(labels, stream, axis=0)
            for start, end in runs(own):
                if sweep and not crowded[start:end].any():
                    continue
                elsewhere = (others[:, start:end, None] == people).sum(axis=0)
                labels[stream, start:end] = best_path(total[stream, start:end] - TWICE * elsewhere)
    return labels


def best_path(scores: np.ndarray) -> np.ndarray:
    """The labels of consecutive frames `(n, P)` with the highest sum of scores, where a change costs `SWITCH`
    for a second: int `(n,)`.
    """
    penalty = SWITCH / FRAME_S
    n, n_people = scores.shape
    total, back = scores[0].copy(), np.zeros((n, n_people), int)
    for frame in range(1, n):
        leader = int(total.argmax())
        stay = total >= total[leader] - penalty
        back[frame] = np.where(stay, np.arange(n_people), leader)
        total = np.where(stay, total, total[leader] - penalty) + scores[frame]
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
