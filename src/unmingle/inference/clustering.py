"""Agglomerative clustering of what voices are like: how many people there are."""

import numpy as np

SURE_S = 0.8  # shorter ones do not tell how many people there are
MOST_AT_ONCE, LEFT = 1200, 600  # windows that are clustered at once; groups that stay of more
SAME = 0.05  # mean cosine above which two clusters are one person, where the recording's mean is 0
LIKE_ITSELF = 0.6  # likeness of two clusters, in relation to that within them, above which they are, too
ROUNDS = 3  # in which windows go to the nearest person, after they were clustered
LEAST_S, LEAST_SHARE = 2.0, 0.03  # of speech that makes a person, unless the number is given


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


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors `(N, D)` at length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def find_people(vectors: np.ndarray, weights: np.ndarray, fewest: int, most: int) -> list[np.ndarray]:
    """Cluster the windows; return for each person the indices of those that are theirs.

    What all have in common, such as the room, is no sign of a person: the mean of the recording is taken
    from the vectors first.

    Args:
        vectors: unit vectors `(W, D)`.
        weights: of the windows `(W,)`, in seconds.
        fewest, most: how many there may be.
    """
    centred, whole = unit(vectors - weights @ vectors / weights.sum()), weights.sum()
    sure = np.flatnonzero(weights >= min(SURE_S, weights.max()))
    groups = [sure[own] for own in condense(centred[sure], weights[sure], MOST_AT_ONCE, LEFT)]
    sums = np.stack([weights[own] @ centred[own] for own in groups])
    seconds = np.array([weights[own].sum() for own in groups])
    merges, cosines = merge_order(sums, seconds)
    least = min(LEAST_S + LEAST_SHARE * whole, whole / 2)
    # After each number of merges: how many clusters are large enough to be people.
    counts = [int((seconds >= least).sum())]
    for into, gone in merges:
        seconds[into] += seconds[gone]
        seconds[gone] = 0
        counts.append(int((seconds >= least).sum()))
    done = int((np.minimum.accumulate(cosines) >= SAME).sum()) if len(cosines) else 0
    wanted = int(np.clip(counts[done], fewest, most))
    while done < len(merges) and counts[done] > wanted:
        done += 1
    while done > 0 and counts[done] < wanted:
        done -= 1
    labels = labels_after(merges[:done], len(groups))
    clusters = [
        np.concatenate([groups[k] for k in np.flatnonzero(labels == one)]) for one in np.unique(labels)
    ]
    clusters.sort(key=lambda own: -weights[own].sum())
    n_people = sum(weights[own].sum() >= least for own in clusters[:most])
    people = nearest(centred, weights, clusters[: max(n_people, fewest, 1)], least, fewest)
    while len(people) > max(fewest, 1):
        alike = likeness(vectors, np.where(weights < SURE_S, 1e-3, weights), people)
        a, b = np.unravel_index(int(alike.argmax()), alike.shape)
        if alike[a, b] < LIKE_ITSELF:
            break
        people[a] = np.concatenate([people[a], people[b]])
        del people[b]
    return nearest(centred, weights, people, least, fewest)


def nearest(
    vectors: np.ndarray, weights: np.ndarray, people: list[np.ndarray], least: float, fewest: int
) -> list[np.ndarray]:
    """Give every window to the person whose mean is nearest, some times; who is left with less than `least`
    seconds is nobody, but `fewest` are left.
    """
    for _ in range(ROUNDS):
        means = unit(np.stack([weights[own] @ vectors[own] for own in people]))
        closest = (vectors @ means.T).argmax(axis=1)
        moved = [np.flatnonzero(closest == k) for k in range(len(people))]
        moved = [own for own in moved if weights[own].sum() >= least]
        if len(moved) < max(fewest, 1):
            break
        people = moved
    return people
