"""The pictures of a corpus of talking faces: mouth crops, found once and kept in a memory-mapped file."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from unmingle.console import say, track
from unmingle.data.decoded import Decoded
from unmingle.data.utterance import Utterance
from unmingle.facts import LIPS_SIZE


class Mouths(Decoded):
    """Mouth crops of the person in each of some videos, 25 a second from where its sound begins.

    Args:
        recordings: videos of one person each; where several faces are seen, it is the one seen longest.
        cache: folder for the crops; see `Decoded`.

    Raises:
        InputError: a video cannot be decoded; the message names it.
    """

    suffix = ".mouths"

    def __init__(self, recordings: list[Utterance], *, cache: str | Path) -> None:
        self._cache = cache
        super().__init__(recordings, cache, "mouths")

    def _open(self, path: Path) -> np.ndarray:
        return np.memmap(path, np.uint8, "r").reshape(-1, LIPS_SIZE, LIPS_SIZE)

    def _decode(self) -> Iterator[np.ndarray]:
        say(f"finding mouths in {len(self.recordings)} videos into {self._cache}, once")
        for recording in track(self.recordings, "finding mouths", len(self.recordings)):
            yield mouths_of(recording.path)

    def read(self, index: int) -> np.ndarray:
        """All crops of one recording: uint8 `(N, LIPS_SIZE, LIPS_SIZE)`; zeros where no face is seen."""
        return self.rows(index)


@lru_cache(maxsize=64)
def mouths_of(path: Path) -> np.ndarray:
    """Mouth crops of the face that is seen longest in a video: uint8 `(N, LIPS_SIZE, LIPS_SIZE)`, of no
    length where none is; InputError if it cannot be decoded.
    """
    from unmingle.video import find_faces

    faces = find_faces(path, most=1)
    return np.asarray(faces[0].mouths) if faces else np.zeros((0, LIPS_SIZE, LIPS_SIZE), np.uint8)
