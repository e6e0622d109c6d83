"""Where streams hold speech."""

import numpy as np

from unmingle.inference.chunking import chunk_gain
from unmingle.inference.frames import TINY, smooth
from unmingle.runtime.loading import load_other

RATE = 16_000  # of everything that listens to voices [Hz]
FRAME = 512  # samples between two decisions
FRAME_S = FRAME / RATE
CONTEXT, N_STATE = 64, 128  # of the detector

# Speech begins where its probability reaches the first, and ends where it stays below the second for longer
# than a pause; what is shorter than the shortest is none.
BEGINS, ENDS = 0.5, 0.35
PAUSE_S, SHORTEST_S = 0.3, 0.2
# Below the loudest stream at that time, and below the loud parts of all that was heard, lies what leaks.
BELOW_OTHERS_DB, BELOW_LOUD_DB = 18.0, 45.0
# What correlates so much with the loudest stream is taken for a part of the same voice: of what was looked
# at, half of the second voices were below 0.33, and half of what leaked above 0.73.
ONE_VOICE, LIKENESS_FRAMES = 0.5, 21


class VoiceActivity:
    """Tells where each of several streams that were separated from one mixture holds speech, as they come.

    A stream holds speech where Silero's detector hears some, and where it is not much fainter than the others
    nor like the loudest of them: what leaks from a voice into the other streams is speech too.

    Args:
        n_streams: how many there are.

    References:
        Silero Team, "Silero VAD", 2024, https://github.com/snakers4/silero-vad (MIT).
    """

    def __init__(self, n_streams: int) -> None:
        self._run = load_other("silero-vad")
        self._states = [np.zeros((2, 1, 1, N_STATE), np.float32) for _ in range(n_streams)]
        self._before = np.zeros((n_streams, CONTEXT), np.float32)
        self._gain, self._loud = np.float32(np.inf), 0.0

    def feed(self, streams: np.ndarray) -> np.ndarray:
        """Take some seconds `(S, t)` at `RATE`, `t` a multiple of `FRAME`; return where they hold speech,
        bool `(S, t / FRAME)`.
        """
        self._gain = min(self._gain, np.float32(chunk_gain(streams.sum(axis=0), RATE)))
        joined = np.concatenate([self._before, self._gain * streams], axis=1)
        self._before = joined[:, -CONTEXT:]
        frames = np.lib.stride_tricks.sliding_window_view(joined, CONTEXT + FRAME, axis=1)[:, ::FRAME]
        probabilities = []
        for index, (rows, state) in enumerate(zip(frames, self._states, strict=True)):
            found, hidden, cell = self._run(np.ascontiguousarray(rows), state[0], state[1])
            self._states[index] = np.stack([hidden, cell])
            probabilities.append(found)
        energy = np.square(streams.reshape(len(streams), -1, FRAME), dtype=np.float64).mean(axis=2)
        near = smooth(energy, 7)
        alike = likeness_to_loudest(streams.reshape(len(streams), -1, FRAME))
        self._loud = max(self._loud, float(np.percentile(energy.sum(axis=0), 90)))
        least = np.maximum(
            10 ** (-BELOW_OTHERS_DB / 10) * near.max(axis=0), 10 ** (-BELOW_LOUD_DB / 10) * self._loud + TINY
        )
        return np.stack(
            [
                speech_frames(np.where((own >= least) & (like < ONE_VOICE), row, 0))
                for own, like, row in zip(near, alike, probabilities, strict=True)
            ]
        )


def likeness_to_loudest(frames: np.ndarray) -> np.ndarray:
    """Correlation of each stream with the loudest one at that time, over `LIKENESS_FRAMES`, of frames
    `(S, N, t)`: `(S, N)`, 0 for the loudest itself.
    """
    n_streams, n, _ = frames.shape
    products = np.einsum("snt,rnt->srn", frames, frames, dtype=np.float64).reshape(-1, n)
    products = smooth(products, LIKENESS_FRAMES).reshape(n_streams, n_streams, n)
    energy, at = np.einsum("ssn->sn", products) + TINY, np.arange(n)
    loudest = energy.argmax(axis=0)
    found = products[:, loudest, at] / np.sqrt(energy * energy[loudest, at])
    found[loudest, at] = 0
    return found


def speech_frames(probability: np.ndarray) -> np.ndarray:
    """Decide from probabilities `(n,)` of frames, with hysteresis: bool `(n,)`."""
    likely, possible = probability >= BEGINS, probability >= ENDS
    speech = np.zeros(len(probability), bool)
    for start, end in runs(possible):
        if likely[start:end].any():
            speech[start + int(likely[start:end].argmax()) : end] = True
    for start, end in runs(~speech):
        if start > 0 and end < len(speech) and end - start <= PAUSE_S / FRAME_S:
            speech[start:end] = True
    for start, end in runs(speech):
        if end - start < SHORTEST_S / FRAME_S:
            speech[start:end] = False
    return speech


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Where `mask` `(n,)` is true without interruption: first index, and the one behind the last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
