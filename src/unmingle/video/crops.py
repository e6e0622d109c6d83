"""Mouths and faces cut out of pictures, upright and of one size."""

from itertools import pairwise

import numpy as np

from unmingle.video.detection import LEFT_EYE, MOUTH, RIGHT_EYE, Detection

SIDE = 88  # of a mouth's picture [pixels]
WIDTH = 0.62  # of what a mouth's picture shows, compared with the face's box
LOWER = 0.03  # how far below the mouth its middle lies, compared with the face's box
SMOOTH = np.array(
    [1.0, 2.0, 3.0, 2.0, 1.0]
)  # weights of a place in time, so that the picture does not jitter
STILL = 3  # pictures that a place may be missing and is interpolated
GREY = np.array([0.299, 0.587, 0.114], np.float32)
PATCH = 32  # side of a whole face's picture for comparing [pixels]


def placed(detection: Detection) -> np.ndarray:
    """Where a mouth's picture lies: its middle x and y [pixels], its width [pixels], its angle [rad]."""
    width = float(detection.box[2] - detection.box[0])
    right = detection.points[RIGHT_EYE] - detection.points[LEFT_EYE]
    # In profile the eyes lie close together, and their line says little about how the head is held.
    angle = float(np.arctan2(right[1], max(right[0], 0.25 * width)))
    down = np.array([-np.sin(angle), np.cos(angle)])
    return np.array([*(detection.points[MOUTH] + LOWER * width * down), WIDTH * width, angle])


def smoothed(places: np.ndarray) -> np.ndarray:
    """Places `(N, 4)`, NaN where there is none, each the mean with its neighbours; gaps of up to `STILL` are
    filled.
    """
    filled = places.copy()
    seen = np.flatnonzero(~np.isnan(places[:, 0]))
    for before, after in pairwise(seen):
        if 1 < after - before <= STILL + 1:
            part = (np.arange(before + 1, after) - before)[:, None] / (after - before)
            filled[before + 1 : after] = places[before] + part * (places[after] - places[before])
    there = ~np.isnan(filled[:, 0])
    values, reach = np.where(there[:, None], filled, 0), len(SMOOTH) // 2
    weights = np.convolve(np.pad(there.astype(float), reach), SMOOTH, mode="valid")
    sums = np.stack([np.convolve(np.pad(column, reach), SMOOTH, mode="valid") for column in values.T], axis=1)
    return np.where(there[:, None], sums / np.maximum(weights, 1e-9)[:, None], np.nan)


def cut_out(
    picture: np.ndarray, middle: np.ndarray, width: float, angle: float, side: int = SIDE
) -> np.ndarray:
    """A turned square of a picture `(H, W, 3)` as grey `(side, side)`, uint8; black beyond the edges."""
    step = max(1, int(width / side))  # larger squares are averaged first, so that nothing fine folds over
    reach = int(np.ceil(width * 0.75)) + 2 * step
    left, top = (int(np.floor(value)) - reach for value in middle)
    n = -(-(2 * reach) // step) * step
    grey = np.zeros((n, n), np.float32)
    height, wide = picture.shape[:2]
    x0, y0, x1, y1 = max(0, left), max(0, top), min(wide, left + n), min(height, top + n)
    if x1 <= x0 or y1 <= y0:
        return np.zeros((side, side), np.uint8)
    grey[y0 - top : y1 - top, x0 - left : x1 - left] = picture[y0:y1, x0:x1] @ GREY
    grey = grey.reshape(n // step, step, n // step, step).mean(axis=(1, 3))
    offsets = ((np.arange(side) + 0.5) / side - 0.5) * width
    cosine, sine = np.cos(angle), np.sin(angle)
    x = (middle[0] + cosine * offsets[None] - sine * offsets[:, None] - left) / step - 0.5
    y = (middle[1] + sine * offsets[None] + cosine * offsets[:, None] - top) / step - 0.5
    limit = len(grey) - 1.001
    x, y = x.clip(0, limit), y.clip(0, limit)
    column, row = x.astype(np.intp), y.astype(np.intp)
    right, down = (x - column).astype(np.float32), (y - row).astype(np.float32)
    upper = grey[row, column] * (1 - right) + grey[row, column + 1] * right
    lower = grey[row + 1, column] * (1 - right) + grey[row + 1, column + 1] * right
    return np.rint(upper * (1 - down) + lower * down).clip(0, 255).astype(np.uint8)


def mouth(picture: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The mouth at a place `(4,)` of a picture, grey `(88, 88)`, uint8, never all black."""
    return np.maximum(cut_out(picture, place[:2], float(place[2]), float(place[3])), 1)


def face_patch(picture: np.ndarray, detection: Detection) -> np.ndarray:
    """A face, turned upright, grey `(32, 32)`, uint8."""
    middle = (detection.box[:2] + detection.box[2:]) / 2
    width = float(detection.box[2] - detection.box[0])
    return cut_out(picture, middle, width, float(placed(detection)[3]), PATCH)
