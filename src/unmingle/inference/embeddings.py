"""The picture of a recording's embeddings, for separators that cluster them."""

from itertools import permutations
from pathlib import Path

import numpy as np
import soxr

from unmingle.heads import FRAMES_PER_WINDOW, cluster_masks, loud_bins, spectrum_of
from unmingle.inference.chunking import chunk_gain
from unmingle.media.audio import open_audio
from unmingle.results.pictures import plot_embeddings
from unmingle.runtime.separator import Separator
from unmingle.spectrogram import inverse_stft


def plot_clusters(separator: Separator, mixture: Path, voices: list[Path], picture: Path) -> None:
    """Draw the embeddings and masks of a file's first chunk, by a separator that clusters; see
    `plot_embeddings`.

    The masks stand in the order of the voices that were written, which the stitcher chose.
    """

    rate = separator.facts.sample_rate

    def beginning(path: Path) -> np.ndarray:
        with open_audio(path) as reader:
            block = next(reader.blocks(separator.facts.chunk * reader.sample_rate // rate)).mean(axis=0)
            return soxr.resample(block, reader.sample_rate, rate)

    samples = beginning(mixture)
    embeddings = separator.outputs(chunk_gain(samples, rate) * samples[None])
    spectrum = spectrum_of(embeddings, samples)
    loud = loud_bins(np.abs(spectrum))
    masks = cluster_masks(embeddings, loud, len(voices), soft=separator.facts.head.startswith("soft"))
    masked = inverse_stft(masks * spectrum, 2 * (len(spectrum) - 1) // FRAMES_PER_WINDOW, len(samples))
    alike = masked @ np.stack([np.resize(beginning(path), len(samples)) for path in voices]).T
    order = max(
        permutations(range(len(voices))),
        key=lambda order: sum(alike[mask, voice] for voice, mask in enumerate(order)),
    )
    extent = (0.0, len(samples) / rate, 0.0, rate / 2000)
    plot_embeddings(
        embeddings, masks[list(order)], loud, picture, names=[path.stem for path in voices], extent=extent
    )
