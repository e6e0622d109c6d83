"""What the page draws of a file: its loudest samples, a bounded number of them however long it is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from unmingle.media.audio import open_audio

N_PEAKS = 1_000
BLOCK = 2**18


def peaks(path: Path, duration_s: float, progress: Callable[[float, float], object]) -> list[float]:
    """The largest magnitude in each of `N_PEAKS` equal spans of a file, over all channels, in constant
    memory.

    Args:
        path: the file.
        duration_s: of all spans together [s]; what the file has beyond is left out, what it lacks is silent.
        progress: called with the seconds that are read and all of them, after each block.
    """
    with open_audio(path) as reader:
        total = max(1, round(duration_s * reader.sample_rate))
        n_spans = min(N_PEAKS, total)
        spans, start = np.zeros(n_spans, np.float32), 0
        for block in reader.blocks(BLOCK):
            loudness = np.abs(block[:, : total - start]).max(axis=0)
            end = start + len(loudness)
            if end == start:
                break
            inside = np.arange(start * n_spans // total, (end - 1) * n_spans // total + 1)
            begins = np.maximum(-(-inside * total // n_spans), start) - start  # of each span, in the block
            spans[inside] = np.maximum(spans[inside], np.maximum.reduceat(loudness, begins))
            start = end
            progress(start / reader.sample_rate, duration_s)
    return [round(float(span), 4) for span in spans]
