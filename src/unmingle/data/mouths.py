"""The pictures of a corpus of talking faces: mouth crops, found once and kept in a memory-mapped file."""

import hashlib
import json
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from unmingle.console import say, track
from unmingle.data.utterance import Utterance
from unmingle.errors import InputError
from unmingle.facts import LIPS_SIZE
from unmingle.results.folders import replacing


class Mouths:
    """Mouth crops of the person in each of some videos, 25 a second from where its sound begins.

    Attributes:
        recordings: the videos, in order.

    Args:
        recordings: videos of one person each; where several faces are seen, it is the one seen longest.
        cache: folder for the crops. A second one of the same files and sizes reads what the first one wrote.

    Raises:
        ValueError: a video cannot be decoded; the message names it.
    """

    def __init__(self, recordings: list[Utterance], *, cache: str | Path) -> None:
        self.recordings = recordings
        identity = json.dumps(
            ["mouths", *([str(r.path.resolve()), r.path.stat().st_size] for r in recordings)]
        )
        stem = Path(cache) / hashlib.sha256(identity.encode()).hexdigest()[:16]
        self._path, stops_path = stem.with_suffix(".mouths"), stem.with_suffix(".stops.npy")
        if not stops_path.is_file():
            stem.parent.mkdir(parents=True, exist_ok=True)
            self._find(stops_path)
        self._pictures = self._open()
        self._stops = np.load(stops_path)
        self._starts = np.append(0, self._stops[:-1])

    def _open(self) -> np.ndarray:
        return np.memmap(self._path, np.uint8, "r").reshape(-1, LIPS_SIZE, LIPS_SIZE)

    def __getstate__(self) -> dict[str, Any]:
        # As for `Corpus`: a worker opens the file itself.
        return {key: value for key, value in vars(self).items() if key != "_pictures"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._pictures = self._open()

    def _find(self, stops_path: Path) -> None:
        say(f"finding mouths in {len(self.recordings)} videos into {self._path.parent}, once")
        lengths = []
        with replacing(self._path) as beside, beside.open("wb") as file:
            for recording in track(self.recordings, "finding mouths", len(self.recordings)):
                pictures = mouths_of(recording.path)
                file.write(pictures.tobytes())
                lengths.append(len(pictures))
        with replacing(stops_path) as beside, beside.open("wb") as file:
            np.save(file, np.cumsum(lengths))

    def only(self, recordings: list[Utterance]) -> "Mouths":
        """The same crops, seen through some of the recordings."""
        place = {recording: index for index, recording in enumerate(self.recordings)}
        chosen = [place[recording] for recording in recordings]
        part = copy(self)
        part.recordings, part._starts, part._stops = recordings, self._starts[chosen], self._stops[chosen]
        return part

    def read(self, index: int) -> np.ndarray:
        """All crops of one recording: uint8 `(N, LIPS_SIZE, LIPS_SIZE)`; zeros where no face is seen."""
        return self._pictures[self._starts[index] : self._stops[index]]


@lru_cache(maxsize=64)
def mouths_of(path: Path) -> np.ndarray:
    """Mouth crops of the face that is seen longest in a video: uint8 `(N, LIPS_SIZE, LIPS_SIZE)`, of no
    length where none is; ValueError if it cannot be decoded.
    """
    from unmingle.video import find_faces

    try:
        faces = find_faces(path, most=1)
    except InputError as error:
        raise ValueError(str(error)) from None
    return np.asarray(faces[0].mouths) if faces else np.zeros((0, LIPS_SIZE, LIPS_SIZE), np.uint8)
