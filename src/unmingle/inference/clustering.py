"""Agglomerative clustering of embeddings, some of which cannot be of one person."""

import numpy as np


def merge_order(
    vectors: np.ndarray, weights: np.ndarray, apart: np.ndarray
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Merge the most similar pair again and again, until one cluster is left or none may be merged.

    Similarity of two clusters is the cosine of their weighted means.

    Args:
        vectors: `(N, D)`, of unit length.
        weights: `(N,)`, above zero.
        apart: bool `(N, N)`, symmetric: pairs that cannot be in one cluster.

    Returns:
        The merges `(into, gone)` in their order, and the similarity of each.
    """
    sums = vectors * weights[:, None]
    unit = vectors.astype(np.float32).copy()
    similarity = unit @ unit.T
    blocked = apart.copy()
    np.fill_diagonal(blocked, True)
    similarity[blocked] = -np.inf
    nearest = similarity.argmax(axis=1)
    best = similarity.max(axis=1)
    merges, levels = [], []
    for _ in range(len(vectors) - 1):
        a = int(best.argmax())
        if best[a] == -np.inf:
            break
        b = int(nearest[a])
        merges.append((a, b))
        levels.append(float(best[a]))
        sums[a] += sums[b]
        unit[a] = sums[a] / max(float(np.linalg.norm(sums[a])), 1e-9)
        blocked[a] |= blocked[b]
        blocked[:, a] = blocked[a]
        blocked[b] = blocked[:, b] = True
        row = unit @ unit[a]
        row[blocked[a]] = -np.inf
        similarity[a], similarity[:, a] = row, row
        similarity[b] = similarity[:, b] = -np.inf
        closer = row > best
        nearest[closer], best[closer] = a, row[closer]
        stale = np.flatnonzero(np.isin(nearest, (a, b)) & ~closer)
        stale = np.union1d(stale, (a, b))
        nearest[stale] = similarity[stale].argmax(axis=1)
        best[stale] = similarity[stale].max(axis=1)
    return merges, np.array(levels)


def labels_after(merges: list[tuple[int, int]], n: int) -> np.ndarray:
    """The cluster of each of `n` items after these merges: the index of the item that it is called by."""
    labels = np.arange(n)
    for into, gone in merges:
        labels[labels == gone] = into
    return labels
