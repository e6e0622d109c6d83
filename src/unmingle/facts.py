"""What a separator declares about itself; everybody reads these facts instead of asking its type."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Job = Literal["separate", "enhance"]

SAMPLE_RATES = (8_000, 192_000)  # lowest and highest that a recording may have [Hz]


@dataclass(frozen=True)
class Facts:
    """Declared facts of a separator; the PyTorch model and the compiled one declare the same.

    Attributes:
        sample_rate: of mixture and estimates [Hz].
        n_src: number of estimates; None = any.
        n_mics: number of microphones; None = any.
        cues: what it needs besides the mixture, such as "faces" or "voice".
        order: "free" (the objective permutes and the stitcher aligns), "cued" or "fixed".
        causal: no estimate depends on a later sample than `latency` allows.
        latency: algorithmic delay of a causal separator [samples].
        chunk: length that suits it best [samples].
        batch: chunks that it takes at once where a recording has them; recurrent layers read their weights once for all of them.
        head: key of `heads.HEADS`: what makes estimates of what the network says; "" where it says them itself.
        hop: a stream is fed in multiples of this [samples].
        state: values that it keeps from one feed of a stream to the next; 0 = it does not stream.
    """

    sample_rate: int
    n_src: int | None = 2
    n_mics: int | None = 1
    cues: tuple[str, ...] = ()
    order: Literal["free", "cued", "fixed"] = "free"
    causal: bool = False
    latency: int = 0
    chunk: int = 160_000
    batch: int = 1
    head: str = ""
    hop: int = 0
    state: int = 0

    @property
    def job(self) -> Job:
        """What it is for: a network with one output takes the voice out of noise, all others tell voices apart."""
        return "enhance" if self.n_src == 1 and not self.head else "separate"

    @property
    def delay(self) -> int:
        """How far what a stream says lies behind what it is fed [samples]; the rest of its latency is waiting until a hop is full."""
        return self.latency + 1 - self.hop

    def behind(self, length: int) -> int:
        """Zeros that a stream is fed after the last of `length` samples, so that all of their estimates come out [samples]."""
        return self.delay + -(length + self.delay) % self.hop

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a weights file's header."""
        return {**asdict(self), "cues": list(self.cues)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Facts":
        """The inverse of `to_dict`; ValueError names a fact that is unknown."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"unknown facts {sorted(unknown)}; known are {[field.name for field in fields(cls)]}")
        return cls(**{**values, "cues": tuple(values.get("cues", ()))})
