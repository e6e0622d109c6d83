"""What stands for a listener: PESQ for quality, STOI and ESTOI for intelligibility."""

import warnings
from typing import Literal

import numpy as np

from unmingle.errors import Undefined
from unmingle.metrics.ratios import refuse_silence

PESQ_RATES = {"nb": (8_000, 16_000), "wb": (16_000,)}
PESQ_LONGEST_S = 20.0  # 50 utterances, which is what its implementation has room for, take longer
STOI_SHORTEST_S = 0.4


def pesq(estimate: np.ndarray, reference: np.ndarray, sample_rate: int, band: Literal["nb", "wb"]) -> float:
    """Perceptual evaluation of speech quality of `(T,)` against `(T,)`, narrow or wide band: a mean opinion score from 1 to 4.64.

    Raises:
        Undefined: a signal is silent, shorter than 1/4 s or longer than 20 s, no utterance is found, or the band needs another sample rate.

    References:
        ITU-T P.862.1 (narrow band), P.862.2 (wide band); computed by pesq.
    """
    import pesq as library

    rates = PESQ_RATES[band]
    if sample_rate not in rates:
        raise Undefined(f"needs {' or '.join(map(str, rates))} Hz, not {sample_rate}")
    if len(reference) > PESQ_LONGEST_S * sample_rate:
        raise Undefined(f"is longer than {PESQ_LONGEST_S:g} s")
    refuse_silence(estimate, reference)
    try:
        return float(library.pesq(sample_rate, reference, estimate, band))
    except library.PesqError as error:
        raise Undefined(f"is refused by PESQ: {error.args[0].decode().lower()}") from None
    except ValueError:  # its own arithmetic met a number that is none
        raise Undefined("has a nearly silent signal") from None


def stoi(estimate: np.ndarray, reference: np.ndarray, sample_rate: int, *, extended: bool = False) -> float:
    """Short-time objective intelligibility of `(T,)` against `(T,)`, from 0 to 1; `extended` also follows modulated maskers.

    Raises:
        Undefined: a signal is silent, or there is less than 0.4 s of speech in the reference.

    References:
        C. H. Taal et al., "An algorithm for intelligibility prediction of time-frequency weighted noisy speech", 2011.
        J. Jensen and C. H. Taal, "An algorithm for predicting the intelligibility of speech masked by modulated noise maskers", 2016.
        Both computed by pystoi.
    """
    import pystoi

    refuse_silence(estimate, reference)
    too_short = Undefined(f"has less than {STOI_SHORTEST_S:g} s of speech")
    if len(reference) < STOI_SHORTEST_S * sample_rate:
        raise too_short
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        value = float(pystoi.stoi(reference, estimate, sample_rate, extended=extended))
    if any("Not enough STFT frames" in str(warning.message) for warning in said):
        raise too_short
    return value
