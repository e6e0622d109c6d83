"""What a separator declares about itself; everybody reads these facts instead of asking its type."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import ceil
from typing import Any, Literal

from unmingle.errors import UsageError

Task = Literal["separate", "enhance"]
Speakers = int | str  # a number, a range such as "2-4", or "auto"

MOST_PEOPLE = 8  # in a recording
MOST_SPEAKERS = 5  # at once, of a separator that returns as many as it is asked for
MOST_MICS = 16  # of a recording
HEADS = ("", "as-loud", "k-means", "soft-k-means", "one-and-rest", "mvdr")  # see heads.py
CLUSTERING = ("k-means", "soft-k-means")  # heads of embeddings

LIPS, LIPS_RATE, LIPS_SIZE = "lips", 25.0, 88  # the cue of those that see: pictures per second, their side

SAMPLE_RATES = (1_000, 768_000)  # lowest and highest that a recording may have [Hz]


def task_for(n_src: int | None) -> Task:
    """What a mask network that returns `n_src` voices declares: with one, it takes the voice out of noise."""
    return "enhance" if n_src == 1 else "separate"


@dataclass(frozen=True)
class Cue:
    """What a separator needs besides the mixture.

    Attributes:
        name: such as "faces" or "voice".
        rate: values per second on the cue's last axis [Hz]; None for one that has no time axis.
        shape: of one value; a cue of N values is `(*shape, N)`. None stands for as many as there are voices.
    """

    name: str
    rate: float | None = None
    shape: tuple[int | None, ...] = ()

    def cut(self, values: Any, start: int, length: int, sample_rate: int) -> Any:
        """The values `(…, n)` of the samples `start` to `start + length`; the last is repeated at the end."""
        if self.rate is None:
            return values
        import numpy as np

        first = min(round(start * self.rate / sample_rate), max(values.shape[-1] - 1, 0))
        n = ceil(length * self.rate / sample_rate)
        part = values[..., first : first + n]
        return np.pad(part, [(0, 0)] * (part.ndim - 1) + [(0, n - part.shape[-1])], mode="edge")

    def drawn(self, n_batch: int, length: int, sample_rate: int, seed: int) -> Any:
        """Random values for `length` samples, where no real ones are at hand: 0 … 255, as pictures have them,
        and zeros in a third of the time, `(B, *shape, n)`, of two voices where there may be any number;
        float32.
        """
        import numpy as np

        rng = np.random.default_rng(seed)
        n = 1 if self.rate is None else ceil(length * self.rate / sample_rate)
        shape = [2 if size is None else size for size in self.shape]
        values = 255 * rng.random((n_batch, *shape, n), np.float32)
        if self.rate is None:
            return values[..., 0]
        values[..., 1::3] = 0
        return values


def lips(n_src: int | None) -> Cue:
    """Of each face (None = any number), grey pictures of its mouth, 0 to 255; all 0 where it is not seen."""
    return Cue(LIPS, LIPS_RATE, (n_src, LIPS_SIZE, LIPS_SIZE))


@dataclass(frozen=True)
class Facts:
    """Declared facts of a separator; the PyTorch model and the compiled one declare the same.

    Attributes:
        sample_rate: of mixture and estimates [Hz].
        task: "separate" returns one estimate per speaker, "enhance" takes a voice out of noise.
        n_src: number of estimates; None = any.
        n_mics: number of microphones; None = any.
        cues: what it needs besides the mixture.
        order: "free" (the objective permutes and the stitcher aligns), "cued" or "fixed".
        causal: no estimate depends on a later sample than `latency` allows.
        latency: algorithmic delay of a causal separator [samples].
        chunk: length that suits it best [samples].
        batch: chunks that it takes at once where a recording has them; recurrent layers read their weights
            once for all of them.
        head: one of `HEADS`: what makes estimates of the network's outputs; "" where these are estimates.
        hop: a stream is fed in multiples of this [samples].
        state: values that it keeps from one feed of a stream to the next; 0 = it does not stream.
    """

    sample_rate: int
    task: Task = "separate"
    n_src: int | None = 2
    n_mics: int | None = 1
    cues: tuple[Cue, ...] = ()
    order: Literal["free", "cued", "fixed"] = "free"
    causal: bool = False
    latency: int = 0
    chunk: int = 160_000
    batch: int = 1
    head: str = ""
    hop: int = 0
    state: int = 0

    def serves(self, speakers: int | None) -> bool:
        """Whether it returns that many voices, or any will do (None)."""
        if speakers is None or self.n_src is not None:
            return speakers in (None, self.n_src)
        return 1 <= speakers <= MOST_SPEAKERS

    @property
    def delay(self) -> int:
        """How far a stream's output lies behind its input [samples]; the rest of its latency is waiting
        until a hop is full.
        """
        return self.latency + 1 - self.hop

    def arranged(self, cues: Mapping[str, Any] | None) -> dict[str, Any]:
        """The cues as float32 arrays, in the order in which they are declared.

        Raises:
            UsageError: one is missing or unknown, or it has not the declared shape.
        """
        import numpy as np

        given, names = dict(cues or {}), [cue.name for cue in self.cues]
        if set(given) != set(names):
            wanted, got = (", ".join(sorted(some)) or "none" for some in (names, given))
            raise UsageError(f"this separator needs the cues: {wanted}; given are: {got}")
        arrays = {}
        for cue in self.cues:
            values = np.asarray(given[cue.name], np.float32)
            shape = values.shape if cue.rate is None else values.shape[:-1]
            wanted_shape = tuple(self.n_src if size is None else size for size in cue.shape)
            fits = len(shape) == len(wanted_shape) and all(
                want in (None, size) for want, size in zip(wanted_shape, shape, strict=True)
            )
            if not fits or (cue.rate is not None and not values.size):
                timed = "" if cue.rate is None else f" and {cue.rate:g} values a second on the last axis"
                expected = f"expected {wanted_shape}{timed}".replace("None", "any number")
                raise UsageError(f"the cue {cue.name} is of shape {values.shape}; {expected}")
            arrays[cue.name] = values
        return arrays

    def behind(self, length: int) -> int:
        """Zeros that a stream is fed after the last of `length` samples, so that all of their estimates come
        out [samples].
        """
        return self.delay + -(length + self.delay) % self.hop

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a weights file's header."""
        return {**asdict(self), "cues": [{**asdict(cue), "shape": list(cue.shape)} for cue in self.cues]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Facts":
        """The inverse of `to_dict`; ValueError names a fact that is unknown."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(
                f"unknown facts {sorted(unknown)}; known are {[field.name for field in fields(cls)]}"
            )
        if values.get("head", "") not in HEADS:
            raise ValueError(f"unknown head {values['head']!r}; known are {', '.join(filter(None, HEADS))}")
        return cls(
            **{
                **values,
                "cues": tuple(
                    Cue(**{**cue, "shape": tuple(cue.get("shape", ()))}) for cue in values.get("cues", ())
                ),
            }
        )
