"""The only thing that the data side yields."""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Mixture:
    """A recording whose sources are known.

    Attributes:
        mixture: what the microphones pick up, float32 `(C, T)`; `mixture[0]` is the sum of sources and noise.
        sources: each voice as it is at the first microphone, float32 `(S, T)`; a row of zeros is absent.
        noise: what else is in the mixture there, float32 `(T,)`.
        sample_rate: [Hz].
        id: name of the mixture, unique in its set.
        speakers: who speaks, one name per source; "" for one that is absent.
        cues: what a separator gets besides the mixture, by name; time is the last axis of those that have one
            (see `unmingle.facts.Cue`).
        transcripts: the words of each source, one text per source, where they are known.
    """

    mixture: np.ndarray
    sources: np.ndarray
    noise: np.ndarray
    sample_rate: int
    id: str
    speakers: list[str] = field(default_factory=list)
    cues: dict[str, np.ndarray] = field(default_factory=dict)
    transcripts: list[str] = field(default_factory=list)

    @classmethod
    def of_sources(
        cls,
        sources: np.ndarray,
        noise: np.ndarray,
        sample_rate: int,
        id: str,
        speakers: list[str] | None = None,
    ) -> "Mixture":
        """The sum of sources `(S, T)`, as they are at the first microphone, and what else is there `(T,)`; or
        is there and at further microphones `(C, T)`.
        """
        heard = np.atleast_2d(noise)
        mixture = np.concatenate([(sources.sum(axis=0) + heard[0])[None], heard[1:]])
        return cls(mixture, sources, heard[0], sample_rate, id, speakers or [])
