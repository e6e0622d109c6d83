"""Agglomerative clustering of what voices are like."""

import numpy as np


def merge_order(sums: np.ndarray, weights: np.ndarray) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Merge the two clusters whose members are most alike on average, again and again, until one is left.

    Args:
        sums: of the weighted unit vectors of each cluster `(N, D)`.
        weights: theirs `(N,)`.

    Returns:
        The merges `(into, gone)` in their order, and the mean cosine between the members of the two.
    """
    sums, weights = sums.astype(np.float64), weights.astype(np.float64)
    table = sums @ sums.T / np.outer(weights, weights)
    np.fill_diagonal(table, -np.inf)
    nearest, best = table.argmax(axis=1), table.max(axis=1)
    merges, cosines = [], []
    for _ in range(len(sums) - 1):
        a = int(best.argmax())
        b = int(nearest[a])
        merges.append((a, b))
        cosines.append(float(best[a]))
        sums[a] += sums[b]
        weights[a] += weights[b]
        row = np.where(table[a] == -np.inf, -np.inf, sums @ sums[a] / (weights * weights[a]))
        row[b] = -np.inf
        table[a], table[:, a] = row, row
        table[b] = table[:, b] = -np.inf
        closer = row > best
        nearest[closer], best[closer] = a, row[closer]
        stale = np.union1d(np.flatnonzero(np.isin(nearest, (a, b)) & ~closer), (a, b))
        nearest[stale], best[stale] = table[stale].argmax(axis=1), table[stale].max(axis=1)
    return merges, np.array(cosines)


def labels_after(merges: list[tuple[int, int]], n: int) -> np.ndarray:
    """The cluster of each of `n` items after these merges: the index of the item that it is called by."""
    labels = np.arange(n)
    for into, gone in merges:
        labels[labels == gone] = into
    return labels


def condense(vectors: np.ndarray, weights: np.ndarray, most: int, left: int) -> list[np.ndarray]:
    """The indices of vectors, each alone; or, of more than `most`, of about `left` groups of those that are
    most alike within as many consecutive ones, since time and memory of clustering grow faster than their
    number.
    """
    n_blocks = -(-len(vectors) // most)
    if n_blocks == 1:
        return [np.array([k]) for k in range(len(vectors))]
    groups = []
    for block in np.array_split(np.arange(len(vectors)), n_blocks):
        merges, _ = merge_order(weights[block, None] * vectors[block], weights[block])
        labels = labels_after(merges[: len(block) - left // n_blocks], len(block))
        groups += [block[labels == label] for label in np.unique(labels)]
    return groups


def likeness(vectors: np.ndarray, weights: np.ndarray, clusters: list[np.ndarray]) -> np.ndarray:
    """Mean cosine between the members of two clusters, in relation to that within each of them: `(K, K)`, 0
    on the diagonal.

    Args:
        vectors: unit vectors `(N, D)`.
        weights: theirs `(N,)`.
        clusters: the indices of each.
    """
    sums = np.stack([weights[own] @ vectors[own] for own in clusters])
    totals = np.array([weights[own].sum() for own in clusters])
    selves = np.array([np.square(weights[own]).sum() for own in clusters])
    means = sums @ sums.T / np.outer(totals, totals)
    within = (np.square(sums).sum(axis=1) - selves) / np.maximum(totals**2 - selves, 1e-9)
    found = means / np.sqrt(np.outer(within.clip(1e-3), within.clip(1e-3)))
    np.fill_diagonal(found, 0)
    return found
