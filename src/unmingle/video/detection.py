"""Faces of a picture, by BlazeFace."""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import av
import numpy as np

from unmingle.runtime.loading import load_other

SIDE = 128  # of what the network sees [pixels]
LEAST_SCORE = 0.5
OVERLAP = 0.3  # intersection over union, from which two are one face
INSIDE = 0.6  # part of the smaller box that lies in the larger, from which it is one face
CROP = 2.0  # side of what is looked at around a known face, compared with the face's
STEP = 0.6  # from tile to tile, compared with their side
SMALLER = 0.55  # side of the small tiles, compared with the picture's shorter side
LEAST_TILE = 100  # side of a tile, at least [pixels]
LEFT_EYE, RIGHT_EYE, NOSE, MOUTH = range(4)  # rows of `points`; the left eye is the left one in the picture


@dataclass(frozen=True)
class Detection:
    """A face in a picture.

    Attributes:
        box: left, top, right, bottom `(4,)` [pixels].
        points: eyes, tip of the nose, mouth, ears `(6, 2)`, x and y [pixels].
        score: 0 to 1.
    """

    box: np.ndarray
    points: np.ndarray
    score: float


def find(picture: np.ndarray, small: bool = True) -> list[Detection]:
    """All faces of a picture `(H, W, 3)`, best first: the network looks at the whole picture and at tiles of
    it, also at small ones if `small`.

    References:
        V. Bazarevsky et al., "BlazeFace: Sub-millisecond neural face detection on mobile GPUs", 2019; the
        network is MediaPipe's (Apache-2.0).
    """
    height, width = picture.shape[:2]
    sides = [max(width, height), min(width, height), round(SMALLER * min(width, height))]
    found = []
    for side in sides if small else sides[:2]:
        if side != sides[0] and not LEAST_TILE <= side < 0.8 * sides[0]:
            continue
        scale = SIDE / side
        scaled = resized(picture, max(1, round(width * scale)), max(1, round(height * scale)))
        for top in places(scaled.shape[0]):
            for left in places(scaled.shape[1]):
                found += look(square(scaled, left, top, SIDE), left / scale, top / scale, side)
    return merged(found)


def find_near(picture: np.ndarray, box: np.ndarray) -> Detection | None:
    """The face in a picture that overlaps most with the box `(4,)` of a moment ago; None if there is none."""
    side = max(8, round(CROP * float(max(box[2] - box[0], box[3] - box[1]))))
    left, top = round(float(box[0] + box[2] - side) / 2), round(float(box[1] + box[3] - side) / 2)
    found = look(resized(square(picture, left, top, side), SIDE), left, top, side)
    best = max(found, key=lambda each: overlap(each.box, box), default=None)
    return best if best is not None and overlap(best.box, box) > OVERLAP else None


def places(length: int) -> list[int]:
    """Where tiles begin on a side of that many pixels."""
    if length <= SIDE:
        return [(length - SIDE) // 2]
    steps = 1 + ceil((length - SIDE) / (STEP * SIDE))
    return [round(float(start)) for start in np.linspace(0, length - SIDE, steps)]


def look(seen: np.ndarray, left: float, top: float, side: float) -> list[Detection]:
    """Faces in a square part of a picture, given as `(128, 128, 3)`; where it lies there, and its side."""
    values = seen.astype(np.float32) / 127.5 - 1
    regressors, scores = load_other("blazeface", n_threads=1)(values[None])
    good = scores[0, :, 0] > np.log(LEAST_SCORE / (1 - LEAST_SCORE))
    shapes = regressors[0, good].reshape(-1, 8, 2) / SIDE
    centres, sizes = shapes[:, 0] + anchors()[good], shapes[:, 1]
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
    points = shapes[:, 2:] + anchors()[good][:, None]
    origin = np.array([left, top])
    certain = 1 / (1 + np.exp(-scores[0, good, 0].clip(-50, 50)))
    return merged(
        [
            Detection(box * side + np.tile(origin, 2), point * side + origin, float(score))
            for box, point, score in zip(boxes, points, certain, strict=True)
            if (box[2:] > box[:2]).all()
        ]
    )


def merged(found: list[Detection]) -> list[Detection]:
    """One detection of each face, best first: the mean, weighted by score, of those that overlap."""
    left, kept = sorted(found, key=lambda each: -each.score), []
    while left:
        first = left[0]
        same = [each for each in left if overlap(each.box, first.box) > OVERLAP]
        left = [each for each in left[1:] if not is_one(each.box, first.box)]
        weights = np.array([each.score for each in same]) / sum(each.score for each in same)
        box = sum(weight * each.box for weight, each in zip(weights, same, strict=True))
        points = sum(weight * each.points for weight, each in zip(weights, same, strict=True))
        kept.append(Detection(np.asarray(box), np.asarray(points), same[0].score))
    return kept


def is_one(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two boxes `(4,)` overlap so much, or one lies so far in the other, that they are one face."""
    smaller = min(area(one), area(other))
    return overlap(one, other) > OVERLAP or shared_area(one, other) > INSIDE * smaller


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes `(4,)`."""
    shared = shared_area(one, other)
    return shared / (area(one) + area(other) - shared + 1e-9)


def shared_area(one: np.ndarray, other: np.ndarray) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return float(max(0.0, width) * max(0.0, height))


def area(box: np.ndarray) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def square(picture: np.ndarray, left: int, top: int, side: int) -> np.ndarray:
    """A square part of a picture, black beyond its edges."""
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = max(0, left), max(0, top), min(width, left + side), min(height, top + side)
    if (x1 - x0, y1 - y0) == (side, side):
        return np.ascontiguousarray(picture[y0:y1, x0:x1])
    whole = np.zeros((side, side, *picture.shape[2:]), picture.dtype)
    if x1 > x0 and y1 > y0:
        whole[y0 - top : y1 - top, x0 - left : x1 - left] = picture[y0:y1, x0:x1]
    return whole


def resized(picture: np.ndarray, width: int, height: int | None = None) -> np.ndarray:
    """A picture `(H, W, 3)` at another size."""
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    return frame.reformat(width, height or width, interpolation="AREA", threads=1).to_ndarray()


@lru_cache
def anchors() -> np.ndarray:
    """Centres of the network's candidates `(896, 2)`, in sides of what it sees: two at each of 16 × 16
    places, six at each of 8 × 8.
    """
    found = []
    for n, each in ((16, 2), (8, 6)):
        middles = (np.arange(n) + 0.5) / n
        y, x = np.meshgrid(middles, middles, indexing="ij")
        found.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), each, axis=0))
    return np.concatenate(found).astype(np.float32)
