"""Who spoke when: streams of separated speech become people."""

from dataclasses import dataclass

import numpy as np

from unmingle.facts import MOST_PEOPLE
from unmingle.inference.clustering import labels_after, merge_order
from unmingle.inference.speaker_embedding import embed
from unmingle.inference.voice_activity import FRAME, FRAME_S, RATE, VoiceActivity, runs

BLOCK_S, LOOK_BACK_S = 30.0, 8.0  # analysed at once; where in its end it may be cut

WINDOW, HOP = round(1.6 / FRAME_S), round(0.8 / FRAME_S)  # of the embeddings [frames]
SHORTEST = round(0.3 / FRAME_S)  # that is embedded [frames]
#: Weight of a window in which another stream speaks all the time; 1 where nobody else does.
OVERLAPPED = 0.25

SAME = 0.35  # similarity of clusters above which they are one person
LEAST_S, LEAST_SHARE = 1.2, 0.02  # of speech that makes a person, unless the number is given
SWITCH = 0.25  # what a change of the speaker within a stretch costs, in similarity


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
        self.windows: list[Window] = []
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
            others = np.delete(speech, stream, axis=0).any(axis=0)
            for start, end in runs(own):
                for first, last in windows_of(start, end):
                    if last - first < SHORTEST:
                        continue
                    alone = 1 - others[first:last].mean()
                    weight = (OVERLAPPED + (1 - OVERLAPPED) * alone) * (last - first) * FRAME_S
                    at = self._n_frames
                    self.windows.append(Window(stream, at + first, at + last, weight))
                    pieces.append(streams[stream, first * FRAME : last * FRAME])
        if pieces:
            self._embeddings.append(embed(pieces))
        self._speech.append(speech)
        self._n_frames += speech.shape[1]

    def finish(self, fewest: int = 1, most: int = MOST_PEOPLE) -> np.ndarray:
        """Who speaks in each frame of each stream: int `(S, N)`, −1 for nobody; people are numbered in the
        order in which they begin.

        Args:
            fewest, most: how many people there may be.
        """
        self._analyse(self._ahead.shape[1])
        if not self._speech:
            return np.full((len(self._ahead), 0), -1)
        self.speech = np.concatenate(self._speech, axis=1)
        if not self.windows:
            return np.where(self.speech, 0, -1)
        self.vectors = np.concatenate(self._embeddings)
        centres = find_people(self.vectors, self.windows, fewest, most)
        return in_order(assign(self.speech, self.windows, self.vectors @ centres.T))


def windows_of(start: int, end: int) -> list[tuple[int, int]]:
    """Windows of about `WINDOW` frames, `HOP` apart, that cover `start` to `end`."""
    n = max(1, round((end - start - WINDOW) / HOP) + 1)
    if n == 1:
        return [(start, end)]
    starts = np.linspace(start, end - WINDOW, n).round().astype(int)
    return [(int(first), int(first) + WINDOW) for first in starts]


def find_people(vectors: np.ndarray, windows: list[Window], fewest: int, most: int) -> np.ndarray:
    """Cluster the windows; return a unit vector per person `(P, D)`."""
    weights = np.array([window.weight for window in windows])
    merges, levels = merge_order(vectors, weights, cannot_be_one(windows))
    least = min(LEAST_S + LEAST_SHARE * weights.sum(), weights.max())
    # After each number of merges: the clusters that are people.
    n = len(windows)
    sums = weights.copy()
    big = [int((sums >= least).sum())]
    for into, gone in merges:
        sums[into] += sums[gone]
        sums[gone] = 0
        big.append(int((sums >= least).sum()))
    falling = np.minimum.accumulate(levels) if len(levels) else np.zeros(0)
    done = int((falling >= SAME).sum())
    counts = np.array(big)
    if not fewest <= counts[done] <= most:
        wanted = np.clip(counts[done], fewest, most)
        fits = np.flatnonzero(counts == wanted)
        done = int(fits[np.abs(fits - done).argmin()]) if len(fits) else int(np.abs(counts - wanted).argmin())
    labels = labels_after(merges[:done], n)
    of_cluster = {label: weights[labels == label].sum() for label in np.unique(labels)}
    ranked = sorted(of_cluster, key=lambda label: -of_cluster[label])
    kept = [label for label in ranked if of_cluster[label] >= least][:most]
    kept = ranked[: max(len(kept), min(fewest, len(ranked)), 1)]
    return unit(np.stack([(weights[labels == k, None] * vectors[labels == k]).sum(axis=0) for k in kept]))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale rows to unit length."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)


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


def in_order(labels: np.ndarray) -> np.ndarray:
    """Number the people in the order in which they begin; those who never speak vanish."""
    people = [k for k in np.unique(labels) if k >= 0]
    begins = {k: int((labels == k).any(axis=0).argmax()) for k in people}
    new = np.full(max(people, default=-1) + 2, -1)
    for number, k in enumerate(sorted(people, key=begins.__getitem__)):
        new[k] = number
    return new[labels]
