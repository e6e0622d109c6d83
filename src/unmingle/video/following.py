"""Faces followed from picture to picture, until they are gone or the camera changes."""

from dataclasses import dataclass, field

import numpy as np

from unmingle.media.video import RATE
from unmingle.video.crops import placed
from unmingle.video.detection import Detection, find, find_near, is_one, overlap
from unmingle.video.likeness import describe

EVERY = 5  # pictures from one search of the whole picture to the next
PATIENCE = RATE // 2  # pictures after which a face that is not seen is gone
CERTAIN = 0.6  # score of a face that is new
LEAST_WIDTH = 16.0  # of a face [pixels]
LEAST_SEEN = 5  # pictures
CUT = 0.22  # change of a small picture, of 1, that is a cut
SMALL = 48  # shorter side of that picture, at least


@dataclass(eq=False)
class Stretch:
    """A face followed without a break.

    Attributes:
        first: number of the first picture.
        shot: number of the shot, which a cut ends.
        rows: for each picture from the first on, left, top, right, bottom [pixels], the place of the mouth
            (see `placed`); NaN where the face was not seen. `(8,)` each.
        likeness: mean of what `describe` says `(D,)`.
        scores: of the detections.
        best: how good the best view of it is, the picture's number, and its box `(4,)`.
    """

    first: int
    shot: int
    rows: list[np.ndarray] = field(default_factory=list)
    likeness: np.ndarray | None = None
    scores: list[float] = field(default_factory=list)
    best: tuple[float, int, np.ndarray] = (0.0, 0, np.zeros(4))
    _n_described: int = 0

    @property
    def last(self) -> int:
        """Number of the last picture."""
        return self.first + len(self.rows) - 1

    @property
    def seen(self) -> np.ndarray:
        """Numbers of the pictures on which it was seen."""
        return self.first + np.flatnonzero(~np.isnan(np.array(self.rows)[:, 0]))

    @property
    def box(self) -> np.ndarray:
        """Where it was seen last `(4,)`."""
        return next(row for row in reversed(self.rows) if not np.isnan(row[0]))[:4]

    @property
    def n_missed(self) -> int:
        """Pictures since then."""
        return next(n for n, row in enumerate(reversed(self.rows)) if not np.isnan(row[0]))

    def add(self, picture: np.ndarray, detection: Detection | None) -> None:
        """Take what was found on the next picture."""
        if detection is None:
            self.rows.append(np.full(8, np.nan, np.float32))
            return
        if len(self.rows) % EVERY == 0:
            found = describe(picture, detection)
            before = np.zeros_like(found) if self.likeness is None else self.likeness
            self.likeness = (before * self._n_described + found) / (self._n_described + 1)
            self._n_described += 1
        self.rows.append(np.concatenate([detection.box, placed(detection)]).astype(np.float32))
        self.scores.append(detection.score)
        worth = detection.score * float(detection.box[2] - detection.box[0]) * frontal(detection)
        if worth > self.best[0]:
            self.best = worth, self.last, detection.box

    def trimmed(self) -> "Stretch":
        """Without the pictures at the end on which it was not seen."""
        del self.rows[len(self.rows) - self.n_missed :]
        return self


class Follower:
    """Follows all faces of a video; its pictures are fed one by one.

    Attributes:
        ended: the stretches that are complete.
        n: pictures that were fed.
    """

    def __init__(self) -> None:
        self.ended: list[Stretch] = []
        self.n = 0
        self._live: list[Stretch] = []
        self._shot, self._searched, self._n_searches = 0, -EVERY, 0
        self._before: np.ndarray | None = None  # the last picture, and that in small
        self._small: np.ndarray | None = None

    def feed(self, picture: np.ndarray | None) -> None:
        """Take the next picture `(H, W, 3)`; None where there is none."""
        if picture is None or min(picture.shape[:2]) < LEAST_WIDTH:
            self.n += 1
            return
        if picture is self._before:
            for stretch in self._live:
                stretch.rows.append(stretch.rows[-1])
            self.n += 1
            return
        if self._is_cut(picture):
            self._end(self._live)
            self._shot, self._searched, self._n_searches = self._shot + 1, self.n - EVERY, 0
        for stretch in self._live:
            stretch.add(picture, find_near(picture, stretch.box))
        self._end(
            [
                stretch
                for index, stretch in enumerate(self._live)
                if stretch.n_missed > PATIENCE
                or any(is_one(stretch.box, older.box) for older in self._live[:index])
            ]
        )
        if self.n - self._searched >= EVERY:
            self._searched = self.n
            self._search(picture)
        self._before = picture
        self.n += 1

    def finish(self) -> list[Stretch]:
        """All stretches, in order of their beginning."""
        self._end(self._live)
        return sorted(self.ended, key=lambda stretch: stretch.first)

    def _search(self, picture: np.ndarray) -> None:
        """Take what is new on a picture."""
        self._n_searches += 1
        for detection in find(picture, small=self._n_searches % 2 == 1):
            width = float(detection.box[2] - detection.box[0])
            known = any(is_one(detection.box, stretch.box) for stretch in self._live)
            if not known and detection.score >= CERTAIN and width >= LEAST_WIDTH:
                self._live.append(Stretch(self.n, self._shot))
                self._live[-1].add(picture, detection)

    def _end(self, stretches: list[Stretch]) -> None:
        self._live = [stretch for stretch in self._live if stretch not in stretches]
        self.ended += [stretch.trimmed() for stretch in stretches if len(stretch.scores) >= LEAST_SEEN]

    def _is_cut(self, picture: np.ndarray) -> bool:
        step = max(1, min(picture.shape[:2]) // SMALL)
        small = picture[step // 2 :: step, step // 2 :: step].astype(np.float32) / 255
        before, self._small = self._small, small
        return before is not None and float(np.abs(small - before).mean()) > CUT


def frontal(detection: Detection) -> float:
    """How far a face looks into the camera, 0 to 1: the tip of the nose lies between the eyes."""
    left, right, nose = detection.points[:3]
    span = float(np.linalg.norm(right - left)) + 1e-6
    aside = abs(float((nose - (left + right) / 2) @ (right - left))) / span
    return max(0.1, 1 - 2 * aside / span) * min(1.0, span / (0.4 * float(np.ptp(detection.box[[0, 2]]))))


def continues(earlier: Stretch, later: Stretch) -> bool:
    """Whether a face reappears where it was lost, before the camera changed."""
    return earlier.shot == later.shot and overlap(earlier.box, later.rows[0][:4]) > 0.3
