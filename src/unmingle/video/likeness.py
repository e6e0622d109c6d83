"""How alike two faces are, without a network: what is dark and what is bright, edges, and colours."""

import numpy as np

from unmingle.video.crops import face_patch
from unmingle.video.detection import Detection

CELLS, DIRECTIONS, SHADES = 8, 8, 6  # along a side; of edges; of each colour


def describe(picture: np.ndarray, detection: Detection) -> np.ndarray:
    """A face as a vector of length 1 `(D,)`: the directions of its edges in 8 × 8 cells, and the colours of
    the head and of what surrounds it (hair, clothes).
    """
    grey = face_patch(picture, detection).astype(np.float32)
    down, right = np.gradient(grey)
    strength = np.hypot(down, right)
    angle = np.arctan2(down, right) % (2 * np.pi)
    kind = (angle / (2 * np.pi) * DIRECTIONS).astype(int) % DIRECTIONS
    cell = np.arange(len(grey)) * CELLS // len(grey)
    index = (cell[:, None] * CELLS + cell[None]) * DIRECTIONS + kind
    edges = np.bincount(index.ravel(), strength.ravel(), CELLS * CELLS * DIRECTIONS)
    edges = np.sqrt(edges.reshape(-1, DIRECTIONS) / (edges.reshape(-1, DIRECTIONS).sum(axis=1)[:, None] + 20))
    edges = (edges - edges.mean(axis=1, keepdims=True)).ravel()
    colours = np.concatenate([shades(part) for part in around(picture, detection)])
    return (np.concatenate([unit(edges), unit(colours)]) / np.sqrt(2)).astype(np.float32)


def around(picture: np.ndarray, detection: Detection) -> list[np.ndarray]:
    """The face, and what is above and below it, as pixels `(n, 3)`."""
    left, top, right, bottom = detection.box
    height = bottom - top
    parts = []
    for y0, y1 in ((top, bottom), (top - 0.5 * height, top), (bottom, bottom + 0.7 * height)):
        x = slice(max(0, round(left)), max(0, round(right)))
        parts.append(picture[max(0, round(y0)) : max(0, round(y1)), x][::2, ::2].reshape(-1, 3))
    return parts


def shades(pixels: np.ndarray) -> np.ndarray:
    """How often each shade of the three colours appears, as roots `(3 * SHADES,)`."""
    if not len(pixels):
        return np.zeros(3 * SHADES)
    index = pixels.astype(int) * SHADES // 256 + np.arange(3) * SHADES
    return np.sqrt(np.bincount(index.ravel(), minlength=3 * SHADES) / len(pixels))


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / (np.linalg.norm(vector) + 1e-9)
