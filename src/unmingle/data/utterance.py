"""One file of a corpus."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Utterance:
    """One file of a corpus.

    Attributes:
        path: the file.
        speaker: who speaks, or for noise what kind of noise it is.
        corpus: the collection that the file comes from; recordings of one collection sound alike.
        split: "train", "valid" or "test".
        transcript: what is said, where that is known.
    """

    path: Path
    speaker: str
    corpus: str = ""
    split: str = "train"
    transcript: str = ""
