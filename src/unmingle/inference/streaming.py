"""Stream: samples go in as they come, voices come out a few milliseconds later."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unmingle.catalog import check
from unmingle.errors import UsageError
from unmingle.facts import Cue
from unmingle.inference.queue import Queue
from unmingle.media.recording import as_channels, at_microphones
from unmingle.runtime.loading import load
from unmingle.runtime.separator import Separator


class Stream:
    """Separates samples as they come, with a causal model, which keeps what it needs
    of the past.

    What the calls return is, joined, as long as what was fed and equal to the model's output for the whole,
    however the input was cut. It is the model's output and no more: unlike `separate`, nothing is levelled,
    silenced or reordered.

    Args:
        model: as for `load`, or a separator that was loaded; the default that enhances unless given.
        speakers: number of voices; the model's, and another one is refused.
        sample_rate: of what will be fed [Hz]; the model's, and another one is refused.
        cues: those that the model declares and that have no time axis, by name.

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
        cues: Mapping[str, Any] | None = None,
    ) -> None:
        separator: Any = model
        if model is None:
            separator = load(task="enhance", streaming=True)
        elif isinstance(model, str | Path):
            separator = load(model, streaming=True)
        if speakers is not None:
            separator = separator.for_speakers(speakers)
        facts = separator.facts
        self.name: str = getattr(separator, "name", "this separator")
        check(facts, self.name, streaming=True)
        if sample_rate not in (None, facts.sample_rate):
            wrong = f"streams at {facts.sample_rate} Hz, not at {sample_rate}"
            raise UsageError(f"{self.name} {wrong}; resample to {facts.sample_rate} Hz first")
        for cue in facts.cues:
            if cue.rate is not None and cue.rate * facts.hop % facts.sample_rate:
                raise UsageError(f"{self.name} does not stream: a hop holds no whole number of {cue.name}")
        self.sample_rate, self.n_src = facts.sample_rate, facts.n_src
        self.hop, self.latency = facts.hop, facts.latency
        self._timed = [cue for cue in facts.cues if cue.rate is not None]
        timeless = replace(facts, cues=tuple(cue for cue in facts.cues if cue.rate is None))
        self._separator, self._facts, self._fixed = separator, facts, timeless.arranged(cues)
        self._begin()

    def _begin(self) -> None:
        self._waiting, self._state = Queue(), np.zeros(self._facts.state, np.float32)
        self._cues = {cue.name: Queue() for cue in self._timed}
        self._n_early = self._facts.delay  # samples that will come out before the first one that was fed
        self._n_inside = 0  # samples that were fed and did not come out yet

    def feed(self, samples: Any, cues: Mapping[str, Any] | None = None) -> np.ndarray:
        """Take `(t,)` or `(C, t)`, any number of samples, as for `separate`; return the voices `(n_src, t')`
        that are ready, often none.

        Args:
            samples: the next ones.
            cues: the next values of the cues that have a time axis, in step with the samples.

        Raises:
            InputError: not finite, or a shape that is no recording.
            UsageError: a cue is missing or unknown, or lies behind the samples.
        """
        if cues:
            for name, values in replace(self._facts, cues=tuple(self._timed)).arranged(cues).items():
                self._cues[name].push(values)
        if not np.size(samples):
            return np.zeros((self.n_src, 0), np.float32)
        mixture = at_microphones(as_channels(samples), self._facts.n_mics)
        self._n_inside += mixture.shape[1]
        self._waiting.push(mixture)
        return self._run(len(self._waiting) // self.hop * self.hop)

    def flush(self) -> np.ndarray:
        """Return the voices `(n_src, t)` that are left; what is fed next begins a new stream."""
        n_channels = self._waiting.n_channels or self._facts.n_mics or 1
        end = self._facts.behind(len(self._waiting))
        self._waiting.push(np.zeros((n_channels, end), np.float32))
        for cue in self._timed:
            queue, needed = self._cues[cue.name], self._n_values(cue, len(self._waiting))
            if len(queue):
                queue.push(np.repeat(queue.peek(len(queue))[..., -1:], max(0, needed - len(queue)), axis=-1))
        voices = self._run(len(self._waiting))
        self._begin()
        return voices

    def _n_values(self, cue: Cue, n: int) -> int:
        """How many values of a cue belong to `n` samples, whole hops."""
        return round((cue.rate or 0) * n / self.sample_rate)

    def _run(self, n: int) -> np.ndarray:
        """Separate the first `n` samples that wait, a chunk at a time."""
        voices = [np.zeros((self.n_src, 0), np.float32)]
        chunk = self._facts.chunk // self.hop * self.hop
        for start in range(0, n, chunk):
            size = min(chunk, n - start)
            arguments: list[Any] = []
            if self._facts.cues:
                arguments.append({**self._fixed, **self._next_values(size)})
            estimates, self._state = self._separator.step(self._waiting.take(size), self._state, *arguments)
            ready = estimates[:, self._n_early :][:, : self._n_inside]
            self._n_early = max(0, self._n_early - estimates.shape[1])
            self._n_inside -= ready.shape[1]
            voices.append(ready)
        return np.concatenate(voices, axis=1)

    def _next_values(self, n: int) -> dict[str, np.ndarray]:
        """The values of the timed cues that belong to the next `n` samples."""
        taken = {}
        for cue in self._timed:
            queue, needed = self._cues[cue.name], self._n_values(cue, n)
            if len(queue) < needed:
                raise UsageError(f"the cue {cue.name} lies behind the samples; feed both in step")
            taken[cue.name] = queue.take(needed)
        return taken
