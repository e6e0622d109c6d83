"""What evaluation reports: thin adapters over well-kept libraries. A measure that is undefined says why, and
is never a number.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from unmingle.errors import Undefined, UsageError
from unmingle.metrics.listening import DNSMOS_PARTS, dnsmos, pesq, stoi
from unmingle.metrics.ratios import best_order, bounded, sdr_sir_sar, si_sdr, snr

Value = float | Undefined


@dataclass(frozen=True)
class Measure:
    """Columns that are computed together.

    Attributes:
        columns: their names in rows and summaries, and how people write them.
        unit: "dB" or none.
        packages: what computes it, imported by these names.
        blind: it needs no references.
    """

    columns: dict[str, str]
    unit: str = ""
    packages: tuple[str, ...] = ()
    blind: bool = False


#: by the names that `--measures` takes
MEASURES = {
    "si-sdr": Measure({"si_sdr": "SI-SDR", "si_sdri": "SI-SDRi"}, "dB"),
    "snr": Measure({"snr": "SNR", "snri": "SNRi"}, "dB"),
    "sdr": Measure({"sdr": "SDR", "sdri": "SDRi", "sir": "SIR", "sar": "SAR"}, "dB", ("mir_eval",)),
    "pesq": Measure({"pesq_nb": "PESQ nb", "pesq_wb": "PESQ wb"}, packages=("pesq",)),
    "stoi": Measure({"stoi": "STOI", "estoi": "ESTOI"}, packages=("pystoi",)),
    "dnsmos": Measure(
        {
            f"dnsmos_{part}{when}": f"DNSMOS {part.upper()}{text}"
            for when, text in (("", ""), ("_before", " before"))
            for part in DNSMOS_PARTS
        },
        packages=("speechmos", "onnxruntime"),
        blind=True,
    ),
}
IMPROVEMENTS = {"si_sdri": "si_sdr", "snri": "snr", "sdri": "sdr"}
BEFORE = {
    f"dnsmos_{part}_before": f"dnsmos_{part}" for part in DNSMOS_PARTS
}  # what the mixture itself has in a column
DEFAULT = ("si-sdr", "snr")
REFERENCE_FREE = tuple(
    name for name, each in MEASURES.items() if each.blind
)  # the measures for recordings without references


def choose(text: str | None) -> tuple[str, ...]:
    """Read "si-sdr,pesq" or "all"; the default measures if there is no text.

    Raises:
        UsageError: no such measure, or the package that computes it is not installed.
    """
    names = (
        DEFAULT
        if text is None
        else tuple(MEASURES)
        if text == "all"
        else tuple(dict.fromkeys(text.split(",")))
    )
    for name in names:
        if name not in MEASURES:
            raise UsageError(f"--measures {name}: unknown; choose from {', '.join(MEASURES)}, or all")
        for package in ("scipy", *MEASURES[name].packages):
            if not find_spec(package):
                raise UsageError(
                    f"measuring {name} needs the package {package}: pip install 'unmingle[train]'"
                )
    return names


def measure(
    estimates: np.ndarray,
    references: np.ndarray,
    mixture: np.ndarray,
    sample_rate: int,
    measures: Iterable[str] = DEFAULT,
    before: dict[str, Value] | None = None,
) -> dict[str, Any]:
    """Means over the voices, in the order with the best mean SI-SDR.

    Args:
        estimates, references, mixture: `(S, T)`, `(S, T)`, `(T,)`; `(0, T)` where no references are known,
            for measures that need none.
        sample_rate: [Hz].
        measures: keys of `MEASURES`.
        before: what `of_mixture` said of this mixture, if it is known already.

    Returns:
        A value for each column, None where it is undefined for one of the voices, and `missing`: which
        columns are, and why.
    """
    measures = tuple(measures)
    in_order = estimates[best_order(estimates, references)] if len(references) else estimates
    values = _values(in_order, references, sample_rate, measures)
    before = of_mixture(mixture, references, sample_rate, measures) if before is None else before
    for gain, column in IMPROVEMENTS.items():
        if column in values:
            now, earlier = values[column], before[column]
            if isinstance(now, Undefined):
                values[gain] = now
            else:
                values[gain] = _of_mixture(earlier) if isinstance(earlier, Undefined) else now - earlier
    values |= {column: _of_mixture(before[now]) for column, now in BEFORE.items() if now in values}
    columns = [column for name in measures for column in MEASURES[name].columns]
    reasons: dict[str, list[str]] = {}
    for column in columns:
        if isinstance(values[column], Undefined):
            reasons.setdefault(str(values[column]), []).append(column)
    row: dict[str, Any] = {
        column: None if isinstance(values[column], Undefined) else values[column] for column in columns
    }
    return {
        **row,
        "missing": "; ".join(f"{', '.join(columns)}: {reason}" for reason, columns in reasons.items()),
    }


def of_mixture(
    mixture: np.ndarray, references: np.ndarray, sample_rate: int, measures: Iterable[str]
) -> dict[str, Value]:
    """What the mixture itself reaches in the place of every estimate, for the measures that have an
    improvement or say how it was before.
    """
    chosen = [
        name for name in measures if MEASURES[name].columns.keys() & (IMPROVEMENTS.keys() | BEFORE.keys())
    ]
    return _values(np.stack([mixture] * max(len(references), 1)), references, sample_rate, chosen)


def _of_mixture(value: Value) -> Value:
    """The value; where it is undefined, the reason says that it is the mixture's."""
    return Undefined(f"mixture: {value}") if isinstance(value, Undefined) else value


def _values(
    estimates: np.ndarray, references: np.ndarray, sample_rate: int, measures: Iterable[str]
) -> dict[str, Value]:
    """Means over the voices, of estimates in the order of the references."""

    def mean(of_voice: Callable[[int], float]) -> Value:
        values, reasons = [], {}
        for voice in range(len(estimates)):
            try:
                values.append(of_voice(voice))
            except Undefined as error:
                reasons[voice] = str(error)
        if len(reasons) == len(estimates) and len(set(reasons.values())) == 1:
            return Undefined(reasons[0])
        named = ", ".join(f"voice {voice + 1} {reason}" for voice, reason in reasons.items())
        return Undefined(named) if reasons else float(np.mean(values))

    def bss_eval() -> dict[str, Value]:
        names = ("sdr", "sir", "sar")
        try:
            ratios = sdr_sir_sar(estimates, references)
        except Undefined as error:
            return dict.fromkeys(names, error)
        return {name: mean(partial(bounded_at, row)) for name, row in zip(names, ratios, strict=True)}

    def bounded_at(row: np.ndarray, k: int) -> float:
        return bounded(float(row[k]))

    def per_voice(function: Callable[..., float], *arguments: Any, **options: Any) -> Value:
        return mean(lambda k: function(estimates[k], references[k], *arguments, **options))

    def of_listeners() -> dict[str, Value]:
        try:
            scores = [dnsmos(estimate, sample_rate) for estimate in estimates]
        except Undefined as error:
            return dict.fromkeys(BEFORE.values(), error)
        return {f"dnsmos_{part}": float(np.mean([score[part] for score in scores])) for part in DNSMOS_PARTS}

    compute: dict[str, Callable[[], dict[str, Value]]] = {
        "si-sdr": lambda: {"si_sdr": per_voice(si_sdr)},
        "snr": lambda: {"snr": per_voice(snr)},
        "sdr": bss_eval,
        "pesq": lambda: {
            "pesq_nb": per_voice(pesq, sample_rate, "nb"),
            "pesq_wb": per_voice(pesq, sample_rate, "wb"),
        },
        "stoi": lambda: {
            "stoi": per_voice(stoi, sample_rate),
            "estoi": per_voice(stoi, sample_rate, extended=True),
        },
        "dnsmos": of_listeners,
    }
    values: dict[str, Value] = {}
    for name in measures:
        values |= compute[name]()
    return values
