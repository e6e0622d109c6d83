"""A separator that runs, with the facts that it declares."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import Any

import numpy as np

from unmingle.catalog import Card, check
from unmingle.facts import Facts
from unmingle.heads import HEADS, Infer

# A network's inputs to its outputs: (1, C, T), each cue, and the state (1, n) of one that streams.
Run = Callable[..., Sequence[np.ndarray]]
Cues = Mapping[str, Any]


class Separator:
    """A separator that runs, with the facts that it declares.

    Attributes:
        name: of the weights.
        facts: what it declares; each fact is also an attribute, such as `sample_rate`.
        card: see `Card`.
        backend: "openvino", "openvino-bf16", "onnxruntime" or "torch".
    """

    def __init__(self, run: Run, *, card: Card, backend: str) -> None:
        self.name, self.card, self.backend = card.name, card, backend
        self.facts = card.facts
        self._run, self._infer, self._lock = run, whole(run, self.facts), Lock()

    def __call__(self, mixture: np.ndarray, cues: Cues | None = None) -> np.ndarray:
        """Turn a mixture `(C, T)` at `sample_rate` into estimates `(S, T)`; float32. Threads take turns.

        `cues` are those that the facts declare, by name, for just these samples.

        Where `n_src` is None it returns as many voices as it counts, or two if it does not count;
        `for_speakers` fixes the number.
        """
        values = [value[None] for value in self.facts.arranged(cues).values()]
        with self._lock:
            return HEADS[self.facts.head](
                lambda samples: self._infer(samples, *values),
                np.ascontiguousarray(mixture, np.float32),
                self.facts.n_src,
            )

    def separate_batch(self, mixtures: np.ndarray, cues: Sequence[Cues] | None = None) -> np.ndarray:
        """Turn `(B, C, T)`, and the cues of each, into estimates `(B, S, T)`: as one mixture after the other,
        but where the facts' `batch` is above 1 in one pass of the network.
        """
        each = [self.facts.arranged(its) for its in cues or [{}] * len(mixtures)]
        if self.facts.batch == 1:
            return np.stack([self(mixture, its) for mixture, its in zip(mixtures, each, strict=True)])
        head = HEADS[self.facts.head]
        values = [np.stack([its[cue.name] for its in each]) for cue in self.facts.cues]
        with self._lock:
            output = self._infer(np.ascontiguousarray(mixtures, np.float32), *values)
        parts = zip(np.split(output, len(output)), mixtures, strict=True)
        return np.stack(
            [head(partial(lambda own, _: own, own), mixture, self.facts.n_src) for own, mixture in parts]
        )

    def outputs(self, mixture: np.ndarray) -> np.ndarray:
        """The network's own outputs for a mixture `(C, T)`, before its head."""
        with self._lock:
            return self._infer(np.ascontiguousarray(mixture, np.float32)[None])[0]

    def for_speakers(self, speakers: int) -> "Separator":
        """The same separator, returning `speakers` voices.

        Raises:
            UsageError: it has another number; the message names what to choose instead.
        """
        check(self.facts, self.name, speakers=speakers)
        if speakers == self.facts.n_src:
            return self
        bound = copy(self)
        bound.facts = replace(self.facts, n_src=speakers)
        return bound

    def step(
        self, samples: np.ndarray, state: np.ndarray, cues: Cues | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Go on with a stream: `(C, t)`, `t` a multiple of `hop`, and a state `(n,)`, zeros at first →
        estimates `(S, t)`, late by `delay`, and the next state. `Stream` does the bookkeeping.
        """
        values = [value[None] for value in self.facts.arranged(cues).values()]
        with self._lock:
            estimates, state = self._run(samples[None], *values, state[None])
            return estimates[0], state[0]

    def __getattr__(self, name: str) -> Any:
        if name != "facts" and name in Facts.__dataclass_fields__:
            return getattr(self.facts, name)
        raise AttributeError(f"Separator has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"Separator({self.name!r}, backend={self.backend!r}, {self.facts})"


def whole(run: Run, facts: Facts) -> Infer:
    """How a whole mixture goes through a network: one that streams starts from a state of zeros, and its
    late outputs are put in step again.
    """
    if not facts.state:
        return lambda mixture, *cues: run(mixture, *cues)[0]

    def infer(mixture: np.ndarray, *cues: np.ndarray) -> np.ndarray:
        n_batch, _, length = mixture.shape
        padded = np.pad(mixture, ((0, 0), (0, 0), (0, facts.behind(length))))
        longer = [
            cue.cut(values, 0, padded.shape[-1], facts.sample_rate)
            for cue, values in zip(facts.cues, cues, strict=True)
        ]
        outputs = run(padded, *longer, np.zeros((n_batch, facts.state), np.float32))[0]
        return outputs[..., facts.delay : facts.delay + length]

    return infer
