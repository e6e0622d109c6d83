"""The precision to train in: what this machine computes, found by trying it."""

import time
from functools import lru_cache

import torch

from unmingle.errors import UsageError

SPEED_UP = 1.2  # of bfloat16 over float32, from which on it is chosen


def choose_precision(wanted: str) -> str:
    """Lightning's precision: `wanted`, or for "auto" bfloat16 where it works and is faster, else float32.

    Raises:
        UsageError: bfloat16 is wanted where this machine cannot train in it.
    """
    if wanted == "auto":
        return "bf16-mixed" if bfloat16_trains() and bfloat16_speed_up() >= SPEED_UP else "32-true"
    if wanted == "bf16-mixed" and not bfloat16_trains():
        remedy = "leave it at auto, or set trainer.precision=32-true"
        raise UsageError(f"trainer.precision=bf16-mixed: this machine does not train in bfloat16; {remedy}")
    return wanted


@lru_cache
def bfloat16_trains() -> bool:
    """Whether a recurrent layer, which needs most, goes forward and back under autocast.

    Flags of the processor do not tell: on one with AVX2 only, oneDNN has no LSTM in bfloat16, and it can be
    limited to that (`ONEDNN_MAX_CPU_ISA`) on any other.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    layer = torch.nn.LSTM(8, 8)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            layer(torch.zeros(2, 1, 8))[0].sum().backward()
    except RuntimeError:
        return False
    return True


@lru_cache
def bfloat16_speed_up(n: int = 384) -> float:
    """How much faster a product of two `(n, n)` matrices is in bfloat16; an imitation is slower, below 1."""
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def fastest_s(dtype: torch.dtype) -> float:
        matrix = torch.ones(n, n, device=device, dtype=dtype)
        times = []
        for _ in range(4):
            began = time.perf_counter()
            (matrix @ matrix).sum().item()
            times.append(time.perf_counter() - began)
        return min(times[1:])

    return fastest_s(torch.float32) / fastest_s(torch.bfloat16)
