"""The faces of a visitor's video: found once, and told to the page as boxes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unmingle.errors import InputError
from unmingle.facts import LIPS_RATE
from unmingle.inference.choosing import as_lip_reader
from unmingle.inference.pipeline import Progress
from unmingle.media.video import VideoReader
from unmingle.video import FaceTrack, find_faces

BOXES_RATE = 5  # boxes per second that the page gets; it moves them in between


@dataclass(frozen=True)
class Seen:
    """Who is seen in a video.

    Attributes:
        width, height: of its picture, upright [pixels].
        faces: all that were found, one at least.
    """

    width: int
    height: int
    faces: list[FaceTrack]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: of each face its boxes, as shares of the picture's width and height."""
        size = np.array([self.width, self.height] * 2)
        step = round(LIPS_RATE / BOXES_RATE)
        return {
            "width": self.width,
            "height": self.height,
            "rate": BOXES_RATE,
            "faces": [
                {
                    "name": face.name,
                    "segments": [[round(start_s, 3), round(end_s, 3)] for start_s, end_s in face.segments],
                    "thumbnail": f"{face.name}.jpg",
                    "boxes": [
                        None if np.isnan(box[0]) else [round(float(share), 4) for share in box]
                        for box in face.boxes[::step] / size
                    ],
                }
                for face in self.faces
            ],
        }


def look(source: Path, progress: Progress) -> Seen:
    """Find the faces of a video.

    Raises:
        InputError: it has no picture, or nobody is seen.
        UsageError: no model that separates by sight is installed.
        Cancelled: by `progress`.
    """
    as_lip_reader(None)
    with VideoReader(source) as reader:
        width, height = reader.width, reader.height
    faces = find_faces(source, progress=progress)
    if not faces:
        raise InputError(f"{source}: no face is seen in it for a second or more; separate it by ear")
    return Seen(width, height, faces)
