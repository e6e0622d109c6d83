"""Where speech is."""

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
BELOW_LOUD_DB = 45.0  # below the loud parts of a recording, nothing is speech


def speech_in(samples: np.ndarray) -> np.ndarray:
    """Where one person speaks in a recording without noise: `(T,)` at `RATE` → bool `(N,)`, frame by frame.

    References:
        Silero Team, "Silero VAD", 2024, https://github.com/snakers4/silero-vad (MIT).
    """
    whole = np.pad(samples, (0, -len(samples) % FRAME)).astype(np.float32)
    joined = np.pad(np.float32(chunk_gain(whole, RATE)) * whole, (CONTEXT, 0))
    frames = np.lib.stride_tricks.sliding_window_view(joined, CONTEXT + FRAME)[::FRAME]
    state = np.zeros((1, 1, N_STATE), np.float32)
    probability = load_other("silero-vad")(np.ascontiguousarray(frames), state, state)[0]
    power = frame_powers(whole[None])
    return speech_frames(probability * is_heard(power, loudness(power)))


def frame_powers(streams: np.ndarray) -> np.ndarray:
    """Mean squares `(S, N)` of frames of `(S, T)`, `T` a multiple of `FRAME`."""
    return np.square(streams.reshape(len(streams), -1, FRAME), dtype=np.float64).mean(axis=2)


def loudness(power: np.ndarray) -> float:
    """Power of the loud parts, of `(S, N)` in frames."""
    return float(np.percentile(power.sum(axis=0), 90))


def is_heard(power: np.ndarray, loud: float) -> np.ndarray:
    """Where streams are not far below what is `loud`: `(S, N)` → bool `(N,)`."""
    return smooth(power, 7).sum(axis=0) >= 10 ** (-BELOW_LOUD_DB / 10) * loud + TINY


def speech_frames(probability: np.ndarray, begins: float = BEGINS, ends: float = ENDS) -> np.ndarray:
    """Decide from probabilities `(n,)` of frames, with hysteresis: bool `(n,)`."""
    likely, possible = probability >= begins, probability >= ends
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
