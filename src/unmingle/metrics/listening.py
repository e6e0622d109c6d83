"""Stand-ins for listeners: PESQ for quality, STOI and ESTOI for intelligibility, DNSMOS for quality where
no reference is known.
"""

import warnings
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

import numpy as np
import soxr

from unmingle.errors import Undefined
from unmingle.metrics.ratios import SILENT, refuse_rate, refuse_silence

PESQ_RATES = {"nb": (8_000, 16_000), "wb": (16_000,)}
PESQ_LONGEST_S = 20.0  # 50 utterances, which is what its implementation has room for, take longer
STOI_SHORTEST_S = 0.4
DNSMOS_RATE, DNSMOS_WINDOW, DNSMOS_SHORTEST_S = 16_000, 144_160, 0.5  # [Hz], [samples], [s]
#: signal, background and overall: the polynomials (highest power first) that turn the network's outputs into
# listeners' opinions
DNSMOS_PARTS = {
    "sig": (-0.08397278, 1.22083953, 0.0052439),
    "bak": (-0.13166888, 1.60915514, -0.39604546),
    "ovrl": (-0.06766283, 1.11546468, 0.04602535),
}


def pesq(estimate: np.ndarray, reference: np.ndarray, sample_rate: int, band: Literal["nb", "wb"]) -> float:
    """Perceptual evaluation of speech quality of `(T,)` against `(T,)`, narrow or wide band: a mean opinion
    score from 1 to 4.64.

    Raises:
        Undefined: a signal is silent, shorter than 1/4 s or longer than 20 s, no utterance is found, or the
            band needs another sample rate.

    References:
        ITU-T P.862.1 (narrow band), P.862.2 (wide band); computed by pesq.
    """
    import pesq as library

    refuse_rate(sample_rate, PESQ_RATES[band])
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
    """Short-time objective intelligibility of `(T,)` against `(T,)`, from 0 to 1; `extended` also follows
    modulated maskers.

    Raises:
        Undefined: a signal is silent, or there is less than 0.4 s of speech in the reference.

    References:
        C. H. Taal et al., "An algorithm for intelligibility prediction of time-frequency weighted noisy
        speech", 2011. J. Jensen and C. H. Taal, "An algorithm for predicting the intelligibility of speech
        masked by modulated noise maskers", 2016. Both computed by pystoi.
    """
    import pystoi

    refuse_silence(estimate, reference)
    too_short = Undefined(f"has less than {STOI_SHORTEST_S:g} s of speech")
    if len(reference) < STOI_SHORTEST_S * sample_rate:
        raise too_short
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = float(pystoi.stoi(reference, estimate, sample_rate, extended=extended))
    if any("Not enough STFT frames" in str(warning.message) for warning in caught):
        raise too_short
    return value


def dnsmos(samples: np.ndarray, sample_rate: int) -> dict[str, float]:
    """Predict the opinions of listeners by ITU-T P.835 of `(T,)`, from 1 to 5: of the signal, the background
    and the whole.

    The mean over windows of 9.01 s at 16 kHz, one every second; a shorter signal is repeated until it fills
    one, as the authors do.

    Returns:
        A value for each of `DNSMOS_PARTS`.

    Raises:
        Undefined: the signal is silent or shorter than 0.5 s.

    References:
        C. K. A. Reddy, V. Gopal and R. Cutler, "DNSMOS P.835: a non-intrusive perceptual objective speech
        quality metric to evaluate noise suppressors", 2022; the network is that of speechmos.
    """
    if len(samples) < DNSMOS_SHORTEST_S * sample_rate:
        raise Undefined(f"is shorter than {DNSMOS_SHORTEST_S:g} s")
    if np.square(samples, dtype=np.float64).mean() <= SILENT:
        raise Undefined("is silent")
    samples = samples.astype(np.float32)
    if sample_rate != DNSMOS_RATE:
        samples = soxr.resample(samples, sample_rate, DNSMOS_RATE)
    while len(samples) < DNSMOS_WINDOW:
        samples = np.concatenate([samples, samples])
    last = max(int(len(samples) // DNSMOS_RATE - DNSMOS_WINDOW / DNSMOS_RATE), 0)
    windows = [samples[None, second * DNSMOS_RATE :][:, :DNSMOS_WINDOW] for second in range(last + 1)]
    raw = np.concatenate([_dnsmos_network().run(None, {"input_1": window})[0] for window in windows])
    return {
        part: float(np.polyval(line, column).mean())
        for (part, line), column in zip(DNSMOS_PARTS.items(), raw.T, strict=True)
    }


@lru_cache
def _dnsmos_network() -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(
        str(files("speechmos").joinpath("dnsmos_models/sig_bak_ovr.onnx")), providers=["CPUExecutionProvider"]
    )
