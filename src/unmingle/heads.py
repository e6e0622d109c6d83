"""Heads: from a network's outputs to estimates, where they are none yet. NumPy, so that every
runtime shares them.
"""

from collections.abc import Callable

import numpy as np

from unmingle.beamforming import beamform
from unmingle.facts import MOST_SPEAKERS
from unmingle.spectrogram import inverse_stft, stft

SILENT_DB = 40.0  # bins this far below the loudest one belong to nobody
FRAMES_PER_WINDOW = 4  # of the spectrogram that is clustered
MOST_LOUDER = 2.0  # so many times as loud as the estimate's, a beamformer's frame may be

# Of k-means: points that centres are found on, starts, most rounds of each.
N_POINTS, N_RESTARTS, N_ROUNDS, SEED = 10_000, 5, 50, 0
SHARPNESS = 2.0  # of soft masks; the best of 2, 5 and 10 on the first 60 mixtures of valid-2mix
TINY = 1e-30

Infer = Callable[..., np.ndarray]  # a network: (1, C, T), and its cues, to its outputs
Head = Callable[[Infer, np.ndarray, int | None], np.ndarray]


def no_head(infer: Infer, mixture: np.ndarray, n_src: int | None) -> np.ndarray:
    """The network outputs the estimates: `(C, T)` → `(n_src, T)`."""
    return infer(mixture[None])[0]


def k_means(infer: Infer, mixture: np.ndarray, n_src: int | None) -> np.ndarray:
    """The network outputs an embedding per bin, `(1, E, F, N)`; every bin goes to the nearest of `n_src`
    centres (2 unless given).

    `(1, T)` → `(n_src, T)`.

    References:
        J. R. Hershey et al., "Deep clustering: discriminative embeddings for segmentation and separation",
        2016.
    """
    return _masked(infer(mixture[None])[0], mixture[0], n_src or 2, soft=False)


def soft_k_means(infer: Infer, mixture: np.ndarray, n_src: int | None) -> np.ndarray:
    """As `k_means`, but bins between two centres are shared: mask of centre `k` ∝ `exp(−2 |v − c_k|²)`.

    The centres are those of `k_means`: moved by shared bins, as in the paper, those of a network that is not
    sure fall together.

    References:
        Y. Isik et al., "Single-channel multi-speaker separation using deep clustering", 2016.
    """
    return _masked(infer(mixture[None])[0], mixture[0], n_src or 2, soft=True)


def one_and_rest(infer: Infer, mixture: np.ndarray, n_src: int | None) -> np.ndarray:
    """The network outputs one voice, the rest and whether its input holds speech, `(1, 3, T)`; the rest is
    fed back in: `(1, T)` → `(n_src, T)`.

    `n_src` voices take `n_src − 1` passes, the last voice being the last rest. Where `n_src` is None it goes
    on until the rest holds no speech, and returns as many voices as it found, 0 to `MOST_SPEAKERS`.

    References:
        N. Takahashi et al., "Recursive speech separation for unknown number of speakers", 2019.
    """
    voices: list[np.ndarray] = []
    rests = [mixture[0]]
    while len(voices) < (MOST_SPEAKERS if n_src is None else n_src - 1):
        voice, rest, speech = infer(rests[-1][None, None])[0]
        if n_src is None and speech[0] <= 0:
            break
        voices.append(voice)
        rests.append(rest)
    n = len(voices) if n_src is None else n_src
    return np.stack([*voices[: n - 1], rests[n - 1]]) if n else np.zeros((0, mixture.shape[1]), np.float32)


def with_mvdr(infer: Infer, mixture: np.ndarray, n_src: int | None) -> np.ndarray:
    """The network outputs estimates at the first of several microphones, from which a beamformer has its
    masks. The mean of both is more like the voices than either: what masks leave of the others, and what a
    linear filter leaves of them, is not the same.

    `(C, T)` → `(n_src, T)`; at one microphone the network's estimates.
    """
    estimates = no_head(infer, mixture, n_src)
    if len(mixture) == 1:
        return estimates
    return (estimates + beamform("mvdr", mixture, estimates, most=MOST_LOUDER)) / 2


def as_loud(infer: Infer, mixture: np.ndarray, n_src: int | None) -> np.ndarray:
    """The network outputs estimates whose level and sign mean nothing, as a training by SI-SDR leaves them:
    one gain for all, with which their sum comes nearest to the mixture, `⟨x, Σ ŝ⟩ / |Σ ŝ|²`.

    `(1, T)` → `(n_src, T)`.
    """
    estimates = no_head(infer, mixture, n_src)
    total = estimates.sum(axis=0, dtype=np.float64)
    power = total @ total
    return estimates * np.float32(mixture[0] @ total / power if power > TINY else 1.0)


HEADS: dict[str, Head] = {
    "": no_head,
    "as-loud": as_loud,
    "k-means": k_means,
    "soft-k-means": soft_k_means,
    "one-and-rest": one_and_rest,
    "mvdr": with_mvdr,
}


def spectrum_of(embeddings: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    """The spectrum `(F, N)` of a mixture `(T,)` whose bins have these embeddings `(E, F, N)`."""
    n_fft = 2 * (embeddings.shape[1] - 1)
    return stft(mixture, n_fft, n_fft // FRAMES_PER_WINDOW)


def _masked(embeddings: np.ndarray, mixture: np.ndarray, n_src: int, soft: bool) -> np.ndarray:
    spectrum = spectrum_of(embeddings, mixture)
    masks = cluster_masks(embeddings, loud_bins(np.abs(spectrum)), n_src, soft=soft)
    hop = 2 * (len(spectrum) - 1) // FRAMES_PER_WINDOW
    return np.stack([inverse_stft(mask * spectrum, hop, len(mixture)) for mask in masks])


def loud_bins(magnitude: np.ndarray) -> np.ndarray:
    """Which bins are within `SILENT_DB` of the loudest one; none in silence."""
    return magnitude > max(10 ** (-SILENT_DB / 20) * float(magnitude.max()), TINY)


def cluster_masks(embeddings: np.ndarray, loud: np.ndarray, n_src: int, *, soft: bool = False) -> np.ndarray:
    """Masks `(n_src, F, N)`, one per cluster, that sum to one in every bin.

    Centres are found on the loud bins, on `N_POINTS` of them where there are more; then every bin is
    assigned. The same input gives the same masks, to the bit on one machine.

    Args:
        embeddings: `(E, F, N)`.
        loud: `(F, N)`, which bins count.
        n_src: number of clusters.
        soft: share the bins between the clusters.
    """
    rng = np.random.default_rng(SEED)
    flat = embeddings.reshape(len(embeddings), -1)
    chosen = np.flatnonzero(loud)
    if len(chosen) > N_POINTS:
        chosen = chosen[rng.choice(len(chosen), N_POINTS, replace=False)]
    if not len(chosen):
        return np.full((n_src, *loud.shape), 1 / n_src, np.float32)
    points = flat.T[chosen]  # (M, E)
    centres = min(
        (_lloyd(points, _spread(points, n_src, rng)) for _ in range(N_RESTARTS)), key=lambda found: found[1]
    )[0]
    distances = _distances(flat.T, centres)
    masks = _shares(distances) if soft else distances.argmin(axis=0) == np.arange(n_src)[:, None]
    return masks.reshape(n_src, *loud.shape).astype(np.float32)


def _distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared, less the length of the point itself, which is the same for every centre: `(M, E)`, `(K, E)` →
    `(K, M)`.
    """
    return np.square(centres).sum(axis=1)[:, None] - 2 * centres @ points.T


def _shares(distances: np.ndarray) -> np.ndarray:
    weights = np.exp(-SHARPNESS * (distances - distances.min(axis=0)))
    return weights / weights.sum(axis=0)


def _spread(points: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """k-means++: centres `(n, E)` drawn from the points, each with the square of its distance from those
    before it as its weight.

    References:
        D. Arthur and S. Vassilvitskii, "k-means++: the advantages of careful seeding", 2007.
    """
    centres = [points[rng.integers(len(points))]]
    nearest = np.full(len(points), np.inf)
    for _ in range(n - 1):
        nearest = np.minimum(nearest, np.square(points - centres[-1]).sum(axis=1, dtype=np.float64))
        total = nearest.sum()
        centres.append(points[rng.choice(len(points), p=nearest / total if total else None)])
    return np.stack(centres)


def _lloyd(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, float]:
    """Move each centre to the mean of the points nearest to it until nothing changes; return the centres and
    their mean squared distance.
    """
    owners = np.full(len(points), -1)
    for _ in range(N_ROUNDS):
        distances = _distances(points, centres)
        before, owners = owners, distances.argmin(axis=0)
        if np.array_equal(owners, before):
            break
        members = (owners == np.arange(len(centres))[:, None]).astype(points.dtype)  # (K, M)
        counts = members.sum(axis=1)[:, None]
        centres = np.where(counts > 0, (members @ points) / np.maximum(counts, 1), centres)
    return centres, float(distances.min(axis=0).mean(dtype=np.float64))
