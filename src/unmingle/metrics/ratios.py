"""Energy of the reference over energy of the error: SI-SDR, SNR, and the SDR, SIR and SAR of BSS Eval."""

import warnings
from collections.abc import Sequence

import numpy as np

from unmingle.errors import Undefined

SILENT = 1e-20  # mean square; −200 dB re full scale
BSS_TAPS = 512
HIGHEST_DB = 100.0


def si_sdr(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio of `(T,)` against `(T,)`, means removed, in float64 [dB].

    Raises:
        Undefined: one of them is silent, or the ratio is beyond 100 dB.
    """
    refuse_silence(estimate - estimate.mean(dtype=np.float64), reference - reference.mean(dtype=np.float64))
    return bounded(_si_sdr(estimate, reference))


def snr(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Signal-to-noise ratio `|s|² / |ŝ − s|²` of `(T,)` against `(T,)` in float64 [dB]; a wrong level counts
    as noise.

    Raises:
        Undefined: the reference is silent, or the ratio is beyond 100 dB.
    """
    refuse_silence(reference, reference)
    return bounded(_ratio_db(reference.astype(np.float64), reference.astype(np.float64) - estimate))


def sdr_sir_sar(estimates: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Signal to distortion, to interference and to artefacts, each source's reference filtered by 512 taps:
    `(S, T)`, `(S, T)` → `(3, S)` [dB].

    With one source there is nothing to interfere, and SIR is infinite; so is the SAR of a mixture, which has
    no artefacts.

    Raises:
        Undefined: a signal is silent or shorter than the filter, or the references are copies of one another.

    References:
        E. Vincent, R. Gribonval and C. Févotte, "Performance measurement in blind audio source separation",
        2006; computed by mir_eval.
    """
    from mir_eval.separation import bss_eval_sources

    for estimate, reference in zip(estimates, references, strict=True):
        refuse_silence(estimate, reference)
    if references.shape[1] < BSS_TAPS:
        raise Undefined(f"is shorter than the {BSS_TAPS} taps of its filter")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # mir_eval 0.8 announces that 0.9 will not have it
        try:
            ratios = bss_eval_sources(
                references.astype(np.float64), estimates.astype(np.float64), compute_permutation=False
            )[:3]
        except (np.linalg.LinAlgError, AttributeError):
            # mir_eval looks for the former where NumPy 2 no longer has it.
            raise Undefined("has references that are copies of one another") from None
    return np.array(ratios)


def best_order(estimates: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Indices that put `estimates` `(S, T)` into the order of `references` `(S, T)` with the best mean
    SI-SDR; silent ones take what is left.
    """
    from scipy.optimize import linear_sum_assignment

    table = np.array([[_si_sdr(estimate, reference) for reference in references] for estimate in estimates])
    rows, columns = linear_sum_assignment(np.nan_to_num(table, posinf=300.0, neginf=-300.0), maximize=True)
    return rows[np.argsort(columns)]


def refuse_silence(estimate: np.ndarray, reference: np.ndarray) -> None:
    """Undefined if one of the two is silent."""
    for samples, name in ((reference, "reference"), (estimate, "estimate")):
        if np.square(samples, dtype=np.float64).mean() <= SILENT:
            raise Undefined(f"has a silent {name}")


def refuse_rate(sample_rate: int, rates: Sequence[int]) -> None:
    """Undefined unless the sample rate is one of `rates` [Hz]; none allows any."""
    if rates and sample_rate not in rates:
        raise Undefined(f"needs {' or '.join(map(str, rates))} Hz, not {sample_rate}")


def bounded(ratio_db: float) -> float:
    """The ratio itself [dB]; Undefined if it is infinite or so high (or low) that only rounding keeps it from
    being so.
    """
    if abs(ratio_db) <= HIGHEST_DB:
        return ratio_db
    raise Undefined(f"is beyond {HIGHEST_DB:g} dB, where rounding decides")


def _si_sdr(estimate: np.ndarray, reference: np.ndarray) -> float:
    """As `si_sdr`, but infinite or not a number where it is undefined."""
    estimate = estimate.astype(np.float64) - estimate.mean(dtype=np.float64)
    reference = reference.astype(np.float64) - reference.mean(dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        target = reference * ((estimate @ reference) / (reference @ reference))
    return _ratio_db(target, target - estimate)


def _ratio_db(signal: np.ndarray, noise: np.ndarray) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(10 * np.log10(np.square(signal).sum() / np.square(noise).sum()))
