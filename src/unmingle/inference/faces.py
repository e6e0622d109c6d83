"""The voices of people who are seen: a separator that reads lips, of all faces or one at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from unmingle.errors import UsageError
from unmingle.facts import LIPS, LIPS_RATE, LIPS_SIZE, Cue
from unmingle.inference.chunking import SeparatorLike
from unmingle.inference.pipeline import Separation

if TYPE_CHECKING:
    from unmingle.video import FaceTrack

PICTURES = Cue("pictures", LIPS_RATE)  # numbers of the pictures of a recording; -1 = none


class FaceVoices:
    """Separates a recording as it comes into the voices of faces: a `Separation` whose last voice, which is
    not returned, is what no face says.

    Args:
        separator: one whose only cue is `LIPS`, of one face or of any number.
        faces: whose voices are returned, in this order.
        sample_rate: of what will be fed [Hz].
        start_s: where what will be fed begins, on the faces' timeline [s].
        together: return one voice, the sum of all.
        others: who else is seen. A separator of any number of faces tells better whose a voice is if it knows
            whose it can be.

    Raises:
        InputError: sample rate out of range.
        UsageError: no faces, or their mouths are not `(N, 88, 88)`.
    """

    def __init__(
        self,
        separator: SeparatorLike,
        faces: Sequence["FaceTrack"],
        sample_rate: int,
        start_s: float = 0.0,
        together: bool = False,
        others: Sequence["FaceTrack"] = (),
    ) -> None:
        if not faces:
            raise UsageError("no faces are given; give those that find_faces returns, or separate by ear")
        for face in (*faces, *others):
            if np.shape(face.mouths)[1:] != (LIPS_SIZE, LIPS_SIZE):
                expected = f"expected (N, {LIPS_SIZE}, {LIPS_SIZE})"
                raise UsageError(f"the mouths of {face.name} are {np.shape(face.mouths)}; {expected}")
        self.n_src, self._together = 1 if together else len(faces), together
        first, end = round(start_s * LIPS_RATE), max(len(face.mouths) for face in faces)
        network = AllFaces(separator, faces, others)
        pictures = np.append(np.arange(first, max(first, end), dtype=np.float32), -1)
        self._separation = Separation(network, sample_rate, {PICTURES.name: pictures})

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """Take `(C, T)` float32; return the voices `(n_src, t)` that are ready, often none."""
        return self._chosen(self._separation.feed(samples))

    def flush(self) -> np.ndarray:
        """Return the voices `(n_src, t)` that are left. Nothing can be fed afterwards."""
        return self._chosen(self._separation.flush())

    def _chosen(self, rows: np.ndarray) -> np.ndarray:
        return rows[:-1].sum(axis=0, keepdims=True) if self._together else rows[:-1]


class AllFaces:
    """A separator by sight as one of the voices of given faces, and of what is left of the mixture. Of the
    mouths it reads only those of the samples that it is given.
    """

    def __init__(
        self, separator: SeparatorLike, faces: Sequence["FaceTrack"], others: Sequence["FaceTrack"]
    ) -> None:
        self.facts = replace(
            separator.facts, task="separate", n_src=len(faces) + 1, order="fixed", cues=(PICTURES,), batch=1
        )
        self._separator, self._n = separator, len(faces)
        # Each with the faces that are given to it together.
        self._passes = [[*faces, *others]] if separator.facts.n_src is None else [[face] for face in faces]

    def __call__(self, mixture: np.ndarray, cues: Any = None, /) -> np.ndarray:
        pictures = cues[PICTURES.name].astype(int)
        voices = np.concatenate(
            [
                self._separator(
                    mixture, {LIPS: np.concatenate([lips(face.mouths, pictures) for face in some])}
                )
                for some in self._passes
            ]
        )[: self._n]
        return np.concatenate([voices, mixture[:1] - voices.sum(axis=0)])


def lips(mouths: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """The cue `(1, 88, 88, n)` of some of a face's pictures, by their numbers `(n,)`."""
    there = (pictures >= 0) & (pictures < len(mouths))
    values = np.zeros((1, LIPS_SIZE, LIPS_SIZE, len(pictures)), np.float32)
    values[0][..., there] = np.moveaxis(np.asarray(mouths[pictures[there]]), 0, -1)
    return values


def only_faces(given: Mapping[str, Any], name: str = "faces") -> None:
    """UsageError if people are told apart by something else too, that is if what is `given` is not None."""
    if wrong := [other for other, value in given.items() if value is not None]:
        raise UsageError(f"{name} and {' and '.join(wrong)} exclude one another; give either")
