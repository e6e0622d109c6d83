"""What voices are separated for: somebody who listens, whom the others disturb; or a recogniser of speech, whom
everything disturbs that a network changes.

For a recogniser, the recording itself is given back wherever that costs nothing: docs/recognition.md.
"""

from typing import Any, Literal, get_args

import numpy as np

from unmingle.errors import UsageError

Purpose = Literal["listening", "recognition"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
RECOGNITION: Purpose = "recognition"

#: Share of what a network takes from a voice that is given back where others speak at the same time.
GIVEN_BACK = 0.1


def for_recognition(purpose: Purpose, faces: Any = None, cues: Any = None) -> bool:
    """Whether it is for a recogniser.

    Raises:
        UsageError: there is no such purpose; or it is for a recogniser, and people are told apart by faces or
            other cues, which do not say where nobody else speaks.
    """
    if purpose not in PURPOSES:
        raise UsageError(f"purpose is {purpose!r:.80}; choose from {', '.join(PURPOSES)}")
    wrong = [name for name, value in (("faces", faces), ("cues", cues)) if value]
    if purpose == RECOGNITION and wrong:
        remedy = "leave them out, or the purpose"
        raise UsageError(
            f"for recognition, it must be heard who speaks alone, and {wrong[0]} do not say; {remedy}"
        )
    return purpose == RECOGNITION


def given_back(track: np.ndarray, mixture: np.ndarray, present: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """A person's track with the recording in it: all of it where they speak alone, a little where others do
    too.

    Args:
        track, mixture: `(T,)`.
        present, alone: how much the person speaks, and speaks alone, 0 to 1 `(T,)`.
    """
    several = track + GIVEN_BACK * present * (mixture - track)
    return several + alone * (mixture - several)
