"""find_faces(): who is to be seen in a video, when and where, and how their lips move."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from unmingle.errors import Cancelled
from unmingle.media.video import RATE, VideoReader
from unmingle.video.crops import SIDE, mouth, smoothed
from unmingle.video.detection import resized, square
from unmingle.video.following import Follower, Stretch, continues

MOST = 5  # faces of a video
LEAST_S = 1.0  # that a face must be seen [s]
ALIKE = 0.84  # of two faces, from which they are one person's; see `likeness`
ALIKE_HERE = 0.7  # the same, where the face was lost and found at one place
BREAK_S = 0.5  # that a face is not seen, from which its segment ends [s]
AROUND = 1.6  # side of a thumbnail, compared with the face's box
THUMBNAIL = 160  # its side [pixels]
BLOCK = 250  # pictures that are copied at once
FIRST_PASS = 0.8  # share of the time

# done [s], total [s] or None if unknown; False cancels
Progress = Callable[[float, float | None], bool | None]


@dataclass(eq=False)
class FaceTrack:
    """A person who is seen in a video.

    Attributes:
        name: such as "face-1", numbered in the order of appearance.
        mouths: grey pictures of the mouth `(N, 88, 88)`, uint8, 25 per second on the timeline of the sound,
            for the whole recording; zeros where the face is not seen. What `find_faces` returns lies on disk.
        boxes: left, top, right, bottom of the face `(N, 4)` in the upright picture [pixels]; NaN where it is
            not seen.
        segments: when it is seen, (start, end) [s].
        thumbnail: the face at its best `(160, 160, 3)`, RGB, uint8.
        looks: what describes some views of the face `(n, D)`; see `unmingle.video.likeness`.
    """

    name: str
    mouths: np.ndarray
    boxes: np.ndarray
    segments: list[tuple[float, float]]
    thumbnail: np.ndarray
    looks: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    def like(self, other: "FaceTrack") -> float:
        """Cosine of the two views of both that are most alike; 0 where there are none."""
        return float((self.looks @ other.looks.T).max()) if self.looks.size and other.looks.size else 0.0

    def renamed(self, name: str) -> "FaceTrack":
        """The same with another name."""
        return replace(self, name=name)

    def joined(self, other: "FaceTrack") -> "FaceTrack":
        """Both as one, whose views `other` has where this one is not seen."""
        own = ~np.isnan(self.boxes[:, 0])
        best = max(self, other, key=lambda track: track.seen)
        with tempfile.TemporaryFile(prefix="unmingle-") as file:
            for start in range(0, len(own), BLOCK):
                part = slice(start, start + BLOCK)
                mouths = self.mouths[part].copy()
                hidden = ~mouths.any(axis=(1, 2))
                mouths[hidden] = other.mouths[part][hidden]
                file.write(mouths.tobytes())
            file.flush()
            return FaceTrack(
                name=self.name,
                mouths=np.memmap(file, np.uint8, "r", shape=self.mouths.shape),
                boxes=np.where(own[:, None], self.boxes, other.boxes),
                segments=sorted(self.segments + other.segments),
                thumbnail=best.thumbnail,
                looks=np.concatenate([self.looks, other.looks]),
            )

    @property
    def seen(self) -> float:
        """Share of the recording in which it is seen."""
        return float(np.mean(~np.isnan(self.boxes[:, 0]))) if len(self.boxes) else 0.0


@dataclass(eq=False)
class Person:
    """Stretches that are one person's.

    Attributes:
        stretches: in order.
    """

    stretches: list[Stretch]

    @property
    def n_seen(self) -> int:
        """Pictures on which the person is seen."""
        return sum(len(stretch.scores) for stretch in self.stretches)

    @property
    def left(self) -> float:
        """Where the person is seen first [pixels]."""
        return float(self.stretches[0].rows[0][0])


def find_faces(
    source: str | Path | BinaryIO, *, progress: Progress | None = None, most: int = MOST
) -> list[FaceTrack]:
    """Find the people in a video, in constant memory. It is gone through twice: to follow the faces, and to
    cut out the mouths.

    Args:
        source: path, or binary file object.
        progress: called with the seconds done and in all; returning False cancels.
        most: faces that are kept, those that are seen longest.

    Returns:
        One track per person who is seen for a second or more, in the order of appearance; none is no error.

    Raises:
        InputError: not a video, or its picture cannot be decoded.
        Cancelled: by `progress`.
    """
    follower = Follower()
    with VideoReader(source) as reader:
        for picture in reader.pictures():
            follower.feed(picture)
            if follower.n % RATE == 0:
                total_s = reader.duration_s and max(reader.duration_s, follower.n / RATE)
                report(progress, FIRST_PASS * follower.n / RATE, total_s)
        people = [person for person in joined(follower.finish()) if person.n_seen >= LEAST_S * RATE]
        people = sorted(people, key=lambda person: -person.n_seen)[:most]
        people.sort(key=lambda person: (person.stretches[0].first // RATE, person.left))
        if not people:
            return []
        with VideoReader(reader.file) as again:
            return cut_tracks(again, people, follower.n, progress)


def cut_tracks(
    reader: VideoReader, people: list[Person], n: int, progress: Progress | None
) -> list[FaceTrack]:
    """The tracks of people on `n` pictures."""
    rows = [spread(person, n) for person in people]
    places = [placed_mouths(person, n) for person in people]
    best = [
        max((stretch.best for stretch in person.stretches), key=lambda each: each[0]) for person in people
    ]
    thumbnails = [np.zeros((THUMBNAIL, THUMBNAIL, 3), np.uint8) for _ in people]
    files = [tempfile.TemporaryFile(prefix="unmingle-") for _ in people]  # noqa: SIM115, mapped below
    before: np.ndarray | None = None
    written = [
        (np.zeros(4), b"") for _ in people
    ]  # where each mouth was on the picture before, and the mouth
    for k, picture in enumerate(reader.pictures()):
        if k % RATE == 0:
            report(progress, (FIRST_PASS * n + (1 - FIRST_PASS) * k) / RATE, n / RATE)
        if k >= n or picture is None:
            continue
        for index, file in enumerate(files):
            if not np.isnan(places[index][k, 0]):
                place, pixels = places[index][k], written[index][1]
                if picture is not before or not np.array_equal(place, written[index][0]):
                    pixels = mouth(picture, place).tobytes()
                written[index] = place, pixels
                file.seek(k * SIDE * SIDE)
                file.write(pixels)
            if best[index][1] == k:
                thumbnails[index] = thumbnail(picture, best[index][2])
        before = picture
    tracks = []
    for index, file in enumerate(files):
        file.truncate(n * SIDE * SIDE)
        file.flush()
        boxes = rows[index] / reader.scale
        tracks.append(
            FaceTrack(
                name=f"face-{index + 1}",
                mouths=np.memmap(file, np.uint8, "r", shape=(n, SIDE, SIDE)),
                boxes=boxes.astype(np.float32),
                segments=segments(~np.isnan(places[index][:, 0])),
                thumbnail=thumbnails[index],
                looks=np.array([look for stretch in people[index].stretches for look in stretch.looks]),
            )
        )
        file.close()
    report(progress, n / RATE, n / RATE)
    return tracks


def joined(stretches: list[Stretch]) -> list[Person]:
    """People: what reappears where it was lost, then what looks alike and is never seen at the same time. The
    most alike are joined first; how alike people are is the most that two of their stretches are.
    """
    groups = [[stretch] for stretch in stretches]
    alike = np.zeros((len(groups), len(groups)))
    for j, later in enumerate(stretches):
        for i, earlier in enumerate(stretches[:j]):
            together = earlier.first <= later.last and later.first <= earlier.last
            alike[i, j] = alike[j, i] = -np.inf if together else likeness(earlier, later)
    while alike.size and alike.max() > 0:
        i, j = (int(index) for index in np.unravel_index(np.argmax(alike), alike.shape))
        both = np.where(np.isinf(alike[[i, j]]).any(axis=0), -np.inf, alike[[i, j]].max(axis=0))
        alike[i], alike[:, i] = both, both
        alike[i, i] = 0
        alike = np.delete(np.delete(alike, j, axis=0), j, axis=1)
        groups[i] += groups.pop(j)
    return [Person(sorted(group, key=lambda stretch: stretch.first)) for group in groups]


def likeness(earlier: Stretch, later: Stretch) -> float:
    """How far the likeness of two faces is above what is asked for; 0 where it is not. It is the cosine of
    the two views that are most alike: who turns the head does not look alike all the time.
    """
    cosine = float((np.array(earlier.looks) @ np.array(later.looks).T).max())
    return max(0.0, cosine - (ALIKE_HERE if continues(earlier, later) else ALIKE))


def spread(person: Person, n: int) -> np.ndarray:
    """Boxes of a person on all pictures `(n, 4)`, NaN where there is none."""
    rows = np.full((n, 4), np.nan, np.float32)
    for stretch in person.stretches:
        rows[stretch.first : stretch.last + 1] = np.array(stretch.rows)[:, :4]
    return rows


def placed_mouths(person: Person, n: int) -> np.ndarray:
    """Places of a person's mouth on all pictures `(n, 4)`, smoothed within each stretch, NaN where none."""
    places = np.full((n, 4), np.nan)
    for stretch in person.stretches:
        places[stretch.first : stretch.last + 1] = smoothed(np.array(stretch.rows)[:, 4:])
    return places


def segments(seen: np.ndarray) -> list[tuple[float, float]]:
    """When a face is seen `(N,)`: (start, end) [s]; shorter breaks than `BREAK_S` are none."""
    found: list[tuple[float, float]] = []
    edges = np.flatnonzero(np.diff(np.concatenate([[False], seen, [False]]).astype(int)))
    for start, end in edges.reshape(-1, 2) / RATE:
        if found and start - found[-1][1] < BREAK_S:
            start = found.pop()[0]
        found.append((float(start), float(end)))
    return found


def thumbnail(picture: np.ndarray, box: np.ndarray) -> np.ndarray:
    """A face with some of what is around it."""
    side = max(2, round(AROUND * float(box[2] - box[0])))
    left, top = (round(float(box[i] + box[i + 2] - side) / 2) for i in (0, 1))
    return resized(square(picture, left, top, side), THUMBNAIL)


def report(progress: Progress | None, done_s: float, total_s: float | None) -> None:
    """Tell how far it is; Cancelled if the answer is False."""
    if progress is not None and progress(done_s, total_s) is False:
        raise Cancelled(f"cancelled after {done_s:.1f} s of video")
