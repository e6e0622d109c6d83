"""Which faces of a video are wanted, and what is written about them beside their voices."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from unmingle.errors import InputError, UsageError
from unmingle.facts import LIPS_RATE
from unmingle.inference.face_joining import join_by_voice
from unmingle.inference.faces import FaceVoices
from unmingle.inference.options import FileOptions
from unmingle.inference.outputs import Choice
from unmingle.inference.pipeline import Progress, report

if TYPE_CHECKING:
    from unmingle.inference.chunking import SeparatorLike
    from unmingle.video import FaceTrack

SEARCH = 0.5  # share of the time that finding the faces takes
NEAR_S = 0.5  # how far from the time that was asked for a face may be seen
HIDDEN_S = 1.0  # a face that is not seen for so long is mentioned
INDEX = "faces.json"

#: All faces; or those of these numbers, from 1, or at (x, y, second), of which several are heard together; or
#: those that `find_faces` has found before, each by itself.
Wanted = bool | Sequence[int | tuple[float, float, float]] | Sequence["FaceTrack"]


@dataclass(frozen=True)
class FaceFiles:
    """The files about the faces of a video.

    Attributes:
        faces: all that were found.
        names: of the outputs.
        voices: for each output, the numbers of its faces, from 0.
        file: the video.
        suffix: of the copies of the video, one per output; "" for none.
    """

    faces: list["FaceTrack"]
    names: list[str]
    voices: list[list[int]]
    file: BinaryIO
    suffix: str = ""

    def index(self, folder: Path) -> Path:
        """Where it is said when and where each is seen."""
        return folder / INDEX

    def thumbnails(self, folder: Path) -> list[Path]:
        """Where the pictures of the faces are."""
        return [folder / f"{face.name}.jpg" for face in self.faces]

    def videos(self, folder: Path) -> list[Path]:
        """Where the copies of the video are."""
        return [folder / f"{name}.{self.suffix}" for name in self.names] if self.suffix else []

    def write(self, folder: Path, sounds: list[Path]) -> None:
        """Write all of them; `sounds` are the outputs' files."""
        from unmingle.media.pictures import write_jpeg

        for face, path in zip(self.faces, self.thumbnails(folder), strict=True):
            write_jpeg(path, face.thumbnail)
        index = {"faces": [self._entry(number, sounds) for number in range(len(self.faces))]}
        self.index(folder).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
        if self.suffix:
            from unmingle.media.remuxing import write_video
            from unmingle.media.video import VideoReader

            for sound, path in zip(sounds, self.videos(folder), strict=True):
                with VideoReader(self.file) as reader:
                    write_video(reader, sound, path)

    def _entry(self, number: int, sounds: list[Path]) -> dict[str, Any]:
        """What `INDEX` says of a face."""
        face = self.faces[number]
        heard = [index for index, numbers in enumerate(self.voices) if number in numbers]
        seconds = np.flatnonzero(~np.isnan(face.boxes[:: round(LIPS_RATE), 0]))
        boxes = face.boxes[:: round(LIPS_RATE)]
        return {
            "name": face.name,
            "sound": sounds[heard[0]].name if heard else None,
            "video": f"{self.names[heard[0]]}.{self.suffix}" if heard and self.suffix else None,
            "thumbnail": f"{face.name}.jpg",
            "seen": round(face.seen, 4),
            "segments": [[round(start, 3), round(end, 3)] for start, end in face.segments],
            "boxes": {str(second): [round(float(edge), 1) for edge in boxes[second]] for second in seconds},
        }


def choose_faces(
    separator: "SeparatorLike",
    wanted: Wanted,
    sound: Any,
    options: FileOptions,
    video: bool,
    progress: Progress | None,
) -> Choice:
    """Find the faces of a video, unless they are given, and choose what it goes through; `sound` is its
    `AudioReader`.

    Raises:
        InputError: not a video, or nobody is seen.
        UsageError: there is no such face, or copies of a video are wanted of a passage.
        Cancelled: by `progress`.
    """
    file, name = sound.file, sound.name
    if video and (options.start_s or options.end_s is not None):
        raise UsageError(f"{name}: copies of the video hold all of it; leave out either them or the passage")
    if not isinstance(wanted, bool) and not wanted:
        raise UsageError(f"{name}: no faces are given; give numbers, points or what find_faces returned")
    given: list[Any] = [] if isinstance(wanted, bool) else [one for one in wanted if hasattr(one, "mouths")]
    faces: list[FaceTrack] = given or join_by_voice(separator, search(sound, progress), sound, options)
    suffix = ""
    if video:
        from unmingle.media.remuxing import video_suffix
        from unmingle.media.video import VideoReader

        with VideoReader(file) as reader:
            suffix = video_suffix(reader)
    asked: list[Any] = [] if isinstance(wanted, bool) or given else list(wanted)
    chosen = sorted({find_wanted(faces, one, name) for one in asked}) or list(range(len(faces)))
    together = bool(asked) and len(chosen) > 1
    own = [faces[number] for number in chosen]
    names = [face.name for face in own]
    if together:
        names = [f"face-{'-'.join(str(number + 1) for number in chosen)}"]
    others = [face for number, face in enumerate(faces) if number not in chosen]
    process = FaceVoices(separator, own, sound.sample_rate, options.start_s or 0.0, together, others)
    voices = [chosen] if together else [[number] for number in chosen]
    found = ", ".join(f"{face.name} is seen {face.seen:.0%} of the time" for face in faces)
    notes = [f"{len(faces)} face{'' if len(faces) == 1 else 's'} found: {found}"]
    hidden_s = {face.name: (1 - face.seen) * len(face.mouths) / LIPS_RATE for face in own}
    if covered := [
        f"{name} for {seconds:.0f} s" for name, seconds in hidden_s.items() if seconds >= HIDDEN_S
    ]:
        notes.append(f"not seen, and taken by ear there, which is a guess: {', '.join(covered)}")
    files = FaceFiles(faces, names, voices, file, suffix)
    return Choice(process, separator, names, spent=0.0 if given else SEARCH, faces=files, notes=notes)


def search(sound: Any, progress: Progress | None) -> list["FaceTrack"]:
    """The faces of a video, one at least; `sound` is its `AudioReader`."""
    from unmingle.media.video import VideoReader
    from unmingle.video import find_faces

    file, name = sound.file, sound.name
    total_s = None if sound.n_samples is None else sound.n_samples / sound.sample_rate
    with VideoReader(file) as reader:
        length_s = reader.duration_s
    scale = SEARCH * (total_s / length_s if total_s and length_s else 1.0)
    faces = find_faces(file, progress=lambda done_s, _: report(progress, scale * done_s, total_s))
    if not faces:
        remedy = f"separate it by ear: unmingle separate {name}"
        raise InputError(f"{name}: no face is seen in it for a second or more; {remedy}")
    return faces


def find_wanted(faces: Sequence["FaceTrack"], wanted: int | tuple[float, float, float], name: str) -> int:
    """Number from 0 of the face that was asked for; UsageError if it is not there."""
    if isinstance(wanted, int):
        if 1 <= wanted <= len(faces):
            return wanted - 1
        raise UsageError(f"{name}: no face {wanted}; there {'is' if len(faces) == 1 else 'are'} {len(faces)}")
    x, y, second = wanted
    end_s = max(len(face.boxes) for face in faces) / LIPS_RATE
    if second > end_s:
        raise UsageError(f"{name}: no face at {second:g} s, the video ends at {end_s:.1f} s")
    there = []
    for number, face in enumerate(faces):
        seen = np.flatnonzero(~np.isnan(face.boxes[:, 0]))
        nearest = seen[np.argmin(np.abs(seen - second * LIPS_RATE))]
        if abs(nearest / LIPS_RATE - second) > NEAR_S:
            continue
        left, top, right, bottom = face.boxes[nearest]
        if left <= x <= right and top <= y <= bottom:
            return number
        there.append(f"{face.name} at {(left + right) / 2:.0f},{(top + bottom) / 2:.0f}")
    seen_there = ", ".join(there) or "no face"
    raise UsageError(f"{name}: no face at {x:g},{y:g} at {second:g} s; seen there: {seen_there}")
