"""Agglomerative clustering of what voices are like, some of which cannot be of one person."""

import numpy as np


def evidence(sums: np.ndarray, counts: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Log-likelihood that vectors are of one person, over that of nobody in particular: `(…, D)`, `(…)` →
    `(…)`.

    Two-covariance model: a person is drawn from a normal distribution of variance `spread` `(D,)`, its
    vectors from one of variance 1 around it; `sums` are the sums of `counts` vectors.

    References:
        S. Ioffe, "Probabilistic linear discriminant analysis", 2006.
    """
    grown = 1 + counts[..., None] * spread
    return 0.5 * (spread * np.square(sums) / grown - np.log(grown)).sum(-1)


def merge_order(
    vectors: np.ndarray, counts: np.ndarray, spread: np.ndarray, apart: np.ndarray
) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Merge the pair that is most likely one person again and again, until one cluster is left or none may be
    merged.

    Args:
        vectors: `(N, D)`.
        counts: `(N,)`, how many independent vectors each of them is worth.
        spread: see `evidence`.
        apart: bool `(N, N)`, symmetric: pairs that cannot be in one cluster.

    Returns:
        The merges `(into, gone)` in their order, and the log-likelihood ratio of each.
    """
    sums, counts, blocked = vectors * counts[:, None], counts.copy(), apart.copy()
    np.fill_diagonal(blocked, True)
    own = evidence(sums, counts, spread)

    def ratios(a: int) -> np.ndarray:
        row = np.full(len(sums), -np.inf)
        free = np.flatnonzero(~blocked[a])
        row[free] = evidence(sums[free] + sums[a], counts[free] + counts[a], spread) - own[free] - own[a]
        return row

    table = np.stack([ratios(a) for a in range(len(vectors))])
    nearest, best = table.argmax(axis=1), table.max(axis=1)
    merges, gains = [], []
    for _ in range(len(vectors) - 1):
        a = int(best.argmax())
        if best[a] == -np.inf:
            break
        b = int(nearest[a])
        merges.append((a, b))
        gains.append(float(best[a]))
        sums[a] += sums[b]
        counts[a] += counts[b]
        own[a] = evidence(sums[a], counts[a], spread)
        blocked[a] |= blocked[b]
        blocked[:, a] = blocked[a]
        blocked[b] = blocked[:, b] = True
        row = ratios(a)
        table[a], table[:, a] = row, row
        table[b] = table[:, b] = -np.inf
        closer = row > best
        nearest[closer], best[closer] = a, row[closer]
        stale = np.union1d(np.flatnonzero(np.isin(nearest, (a, b)) & ~closer), (a, b))
        nearest[stale] = table[stale].argmax(axis=1)
        best[stale] = table[stale].max(axis=1)
    return merges, np.array(gains)


def condense(
    vectors: np.ndarray, counts: np.ndarray, spread: np.ndarray, apart: np.ndarray, n_left: int
) -> list[np.ndarray]:
    """Merge, as `merge_order` does, until `n_left` clusters are left or none may be merged; return the
    indices of each.
    """
    merges, _ = merge_order(vectors, counts, spread, apart)
    labels = labels_after(merges[: max(0, len(vectors) - n_left)], len(vectors))
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def labels_after(merges: list[tuple[int, int]], n: int) -> np.ndarray:
    """The cluster of each of `n` items after these merges: the index of the item that it is called by."""
    labels = np.arange(n)
    for into, gone in merges:
        labels[labels == gone] = into
    return labels
