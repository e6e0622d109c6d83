"""Stream: samples go in as they come, voices come out a few milliseconds later."""

from pathlib import Path
from typing import Any

import numpy as np

from unmingle.catalog import check
from unmingle.errors import UsageError
from unmingle.inference.queue import Queue
from unmingle.media.recording import as_mono
from unmingle.runtime.loading import load
from unmingle.runtime.separator import Separator


class Stream:
    """Separates samples as they come, with a model that hears nothing of what follows and keeps what it needs
    of the past.

    What the calls return is, joined, as long as what was fed and equal to what the model says of the whole,
    however the input was cut. It is what the model says and no more: unlike `separate`, nothing is levelled,
    silenced or reordered.

    Args:
        model: as for `load`, or a separator that was loaded; the default that enhances unless given.
        speakers: number of voices; the model's, and another one is refused.
        sample_rate: of what will be fed [Hz]; the model's, and another one is refused.

    Attributes:
        name: of the model.
        sample_rate: of what goes in and what comes out [Hz].
        n_src: number of voices.
        hop: the model runs whenever so many samples have come together; feeding more at once costs less
            [samples].
        latency: no sample comes out later than with the feed that holds the sample so much after it, and none
            depends on what follows that one [samples].

    Raises:
        UsageError: the model does not stream, or not at this sample rate; or as for `load`.
    """

    def __init__(
        self,
        model: str | Path | Separator | None = None,
        speakers: int | None = None,
        *,
        sample_rate: int | None = None,
    ) -> None:
        separator: Any = model
        if model is None:
            separator = load(task="enhance", streaming=True)
        elif isinstance(model, str | Path):
            separator = load(model, streaming=True)
        if speakers is not None:
            separator = separator.for_speakers(speakers)
        facts = separator.facts
        check(facts, getattr(separator, "name", "this separator"), streaming=True)
        if sample_rate not in (None, facts.sample_rate):
            raise UsageError(
                f"{separator.name} streams at {facts.sample_rate} Hz, not at {sample_rate}; resample to {facts.sample_rate} Hz first"
            )
        self.sample_rate, self.n_src, self.hop, self.latency = (
            facts.sample_rate,
            facts.n_src,
            facts.hop,
            facts.latency,
        )
        self.name: str = separator.name
        self._separator, self._facts = separator, facts
        self._begin()

    def _begin(self) -> None:
        self._waiting, self._state = Queue(), np.zeros(self._facts.state, np.float32)
        self._n_early = self._facts.delay  # samples that will come out before the first one that was fed
        self._n_inside = 0  # samples that were fed and did not come out yet

    def feed(self, samples: Any) -> np.ndarray:
        """Take `(t,)`, any number of samples, as for `separate`; return the voices `(n_src, t')` that are
        ready, often none.

        Raises:
            InputError: not finite, or a shape that is no recording.
        """
        if not np.size(samples):
            return np.zeros((self.n_src, 0), np.float32)
        mono = as_mono(samples)
        self._n_inside += len(mono)
        self._waiting.push(mono)
        return self._run(len(self._waiting) // self.hop * self.hop)

    def flush(self) -> np.ndarray:
        """Return the voices `(n_src, t)` that are left; what is fed next begins a new stream."""
        self._waiting.push(np.zeros(self._facts.behind(len(self._waiting)), np.float32))
        voices = self._run(len(self._waiting))
        self._begin()
        return voices

    def _run(self, n: int) -> np.ndarray:
        """Separate the first `n` samples that wait, a chunk at a time."""
        voices = [np.zeros((self.n_src, 0), np.float32)]
        chunk = self._facts.chunk // self.hop * self.hop
        for start in range(0, n, chunk):
            estimates, self._state = self._separator.step(
                self._waiting.take(min(chunk, n - start))[None], self._state
            )
            ready = estimates[:, self._n_early :][:, : self._n_inside]
            self._n_early = max(0, self._n_early - estimates.shape[1])
            self._n_inside -= ready.shape[1]
            voices.append(ready)
        return np.concatenate(voices, axis=1)
