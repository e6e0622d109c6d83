"""Who spoke when: streams of separated speech become people."""

from dataclasses import dataclass

import numpy as np

from unmingle.facts import MOST_PEOPLE
from unmingle.inference.clustering import condense, evidence, labels_after, merge_order
from unmingle.inference.speaker_embedding import embed, spread
from unmingle.inference.voice_activity import FRAME, FRAME_S, RATE, VoiceActivity, runs

BLOCK_S, LOOK_BACK_S = 30.0, 8.0  # analysed at once; where in its end it may be cut

WINDOW, HOP = round(1.6 / FRAME_S), round(0.8 / FRAME_S)  # of the embeddings [frames]
SHORTEST = round(0.3 / FRAME_S)  # that is embedded [frames]
#: Weight of a window in which another stream speaks all the time; 1 where nobody else does.
OVERLAPPED = 0.25

# A second of speech is worth so many independent vectors; what follows from overlapping windows in one room
# is not.
VECTORS_PER_S = 0.2
MOST_AT_ONCE, LEAST_LEFT = 1000, 32  # windows that are clustered at once; groups that stay of them, at least
SAME = -15.0  # log-likelihood ratio above which two clusters are one person
ROUNDS = 6  # in which windows go to the nearest person, after they were clustered
LEAST_S, LEAST_SHARE = 1.2, 0.02  # of speech that makes a person, unless the number is given
SWITCH = 3.0  # log-likelihood that a change of the speaker within a stretch costs


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
    """

    def __init__(self, n_streams: int) -> None:
        self._activity = VoiceActivity(n_streams)
        self._ahead = np.zeros((n_streams, 0), np.float32)
        self._speech: list[np.ndarray] = []
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
        speech = self._activity.feed(np.pad(streams, ((0, 0), (0, -n % FRAME))))
        pieces = []
        for stream, own in enumerate(speech):
            others = np.asarray(np.delete(speech, stream, axis=0).any(axis=0))
            for start, end in runs(own):
                for first, last in windows_of(start, end):
                    if last - first < SHORTEST:
                        continue
                    alone = 1 - others[first:last].mean()
                    weight = (OVERLAPPED + (1 - OVERLAPPED) * alone) * (last - first) * FRAME_S
                    at = self._n_frames
                    self._windows.append(Window(stream, at + first, at + last, weight))
                    pieces.append(streams[stream, first * FRAME : last * FRAME])
        if pieces:
            self._embeddings.append(embed(pieces))
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
        vectors = np.concatenate(self._embeddings)
        people = find_people(vectors, self._windows, fewest, most)
        labels = assign(speech, self._windows, scores_of(vectors, self._windows, people))
        weights = np.array([window.weight for window in self._windows])
        voices = [Voice.of(vectors[own], weights[own]) for own in people]
        order = order_of_beginning(labels)
        new = np.full(len(people) + 1, -1)
        new[order] = np.arange(len(order))
        return People(new[labels], [voices[k] for k in order])


def windows_of(start: int, end: int) -> list[tuple[int, int]]:
    """Windows of about `WINDOW` frames, `HOP` apart, that cover `start` to `end`."""
    n = max(1, round((end - start - WINDOW) / HOP) + 1)
    if n == 1:
        return [(start, end)]
    starts = np.linspace(start, end - WINDOW, n).round().astype(int)
    return [(int(first), int(first) + WINDOW) for first in starts]


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
        nearest = scores_of(vectors, windows, people).argmax(axis=1)
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


def scores_of(vectors: np.ndarray, windows: list[Window], people: list[np.ndarray]) -> np.ndarray:
    """Log-likelihood of each window for each person `(W, P)`, whose windows are given by their indices."""
    counts = VECTORS_PER_S * np.array([window.weight for window in windows])
    scores = []
    for own in people:
        n, total = counts[own].sum(), (counts[own, None] * vectors[own]).sum(axis=0)
        # The person, as far as known: mean and variance of a normal distribution.
        variance = spread() / (1 + n * spread())
        mean, around = variance * total, 1 + variance
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
    """
    labels = np.full(speech.shape, -1)
    n_people = scores.shape[1]
    of_stream: dict[int, list[int]] = {}
    for index, window in enumerate(windows):
        of_stream.setdefault(window.stream, []).append(index)
    for stream, indices in of_stream.items():
        total = np.zeros((speech.shape[1], n_people), np.float32)
        count = np.zeros(speech.shape[1], np.float32)
        for index in indices:
            window = windows[index]
            total[window.start : window.end] += scores[index]
            count[window.start : window.end] += 1
        mean = total / count.clip(1)[:, None]
        for start, end in runs(speech[stream]):
            if count[start:end].any():
                labels[stream, start:end] = best_path(mean[start:end])
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
