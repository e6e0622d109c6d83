"""How many voices sound at once."""

import itertools

import numpy as np

from unmingle.inference.frames import smooth
from unmingle.inference.voice_activity import FRAME, FRAME_S, RATE
from unmingle.runtime.loading import load_other

CHUNK_S, HOP_S = 10.0, 2.5  # that the network hears at once, as in its training; between two chunks
STEP_S, FIRST_S = 270 / RATE, 0.5 * 991 / RATE  # between what it says, and the middle of the first [s]
#: By so much, what the network says comes before what it is about, in conversations whose every beginning is
#: known: half of the speech began 54 ms too early or more, and ended 18 ms too early.
EARLY_S = 0.04
N_VOICES, NEAR = 3, 11  # that it tells apart in a chunk; frames within which it says the same of a change
#: Which of the voices its classes hold: nobody, each one, each pair.
MEMBERS = np.array(
    [
        [voice in held for voice in range(N_VOICES)]
        for n_held in range(3)
        for held in itertools.combinations(range(N_VOICES), n_held)
    ]
)


def voices_at_once(samples: np.ndarray) -> np.ndarray:
    """How likely it is that somebody speaks, that two do, and that somebody else speaks than before: `(T,)`
    at 16 kHz → `(3, N)`, frame by frame.

    References:
        A. Plaquet and H. Bredin, "Powerset multi-class cross entropy loss for neural speaker diarization",
        2023; the network is pyannote's segmentation-3.0 (MIT).
    """
    n_frames = -(-len(samples) // FRAME)
    length = round(CHUNK_S * RATE)
    whole = np.pad(samples, (0, max(0, length - len(samples))))
    starts = np.linspace(0, len(whole) - length, 1 + int(np.ceil((len(whole) - length) / (HOP_S * RATE))))
    run, at = load_other("segmentation"), (np.arange(n_frames) + 0.5) * FRAME_S
    sums, weights = np.zeros((3, n_frames)), np.full(n_frames, 1e-9)
    for start in starts.round().astype(int):
        classes = run(whole[None, None, start : start + length].astype(np.float32))[0][0]
        times = start / RATE + FIRST_S + STEP_S * np.arange(len(classes))
        first, end = np.searchsorted(at, [start / RATE, start / RATE + CHUNK_S])
        near = np.searchsorted(times, at[first:end] - EARLY_S).clip(max=len(times) - 1)
        classes = classes[near]
        voices = classes @ MEMBERS
        speaking = np.flatnonzero(classes[:, 0] < 0.5)
        leader = voices[speaking].argmax(axis=1)
        other = np.zeros(len(near))
        other[speaking[1:][leader[1:] != leader[:-1]]] = 1
        weight = np.hamming(len(near)) + 0.1  # its middle counts most
        changed = smooth(other[None], NEAR)[0] > 0
        two = classes[:, 1 + N_VOICES :].sum(axis=1)
        sums[:, first:end] += weight * np.stack([1 - classes[:, 0], two, changed])
        weights[first:end] += weight
    return sums / weights
