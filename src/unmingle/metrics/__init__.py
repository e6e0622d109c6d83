"""What evaluation reports: one table of measures, each a thin adapter over a well-kept library. A score that
is undefined is missing, with the reason, and is never a number.

A new measure is one function and one entry of `MEASURES`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from unmingle.errors import Undefined, UsageError
from unmingle.metrics.listening import DNSMOS_PARTS, PESQ_RATES, dnsmos, pesq, stoi
from unmingle.metrics.ratios import best_order, bounded, refuse_rate, sdr_sir_sar, si_sdr, snr
from unmingle.metrics.recognisers import DEFAULT_RECOGNISER
from unmingle.metrics.recognition import recognition_scores

Value = float | Undefined


@dataclass(frozen=True)
class Signals:
    """What a measure may compare.

    Attributes:
        estimates: `(S, T)`, in the order of the references.
        references: `(S, T)`; `(0, T)` where none are known.
        sample_rate: [Hz].
        transcripts: what is said in each reference; empty where that is not known.
        recogniser: who measures word errors (see `unmingle.metrics.recognisers.recogniser`).
    """

    estimates: np.ndarray
    references: np.ndarray
    sample_rate: int
    transcripts: Sequence[str] = ()
    recogniser: str = DEFAULT_RECOGNISER

    def mean(self, score: Callable[[int], float]) -> Value:
        """Mean of the sources' scores; undefined if that of any source is, with the reason."""
        values, reasons = [], {}
        for index in range(len(self.estimates)):
            try:
                values.append(score(index))
            except Undefined as error:
                reasons[index] = str(error)
        if len(reasons) == len(self.estimates) and len(set(reasons.values())) == 1:
            return Undefined(reasons[0])
        named = ", ".join(f"voice {index + 1} {reason}" for index, reason in reasons.items())
        return Undefined(named) if reasons else float(np.mean(values))

    def mean_of_pairs(self, function: Callable[..., float], *arguments: Any, **options: Any) -> Value:
        """Mean of `function(estimate, reference, *arguments, **options)` over the sources."""
        return self.mean(lambda k: function(self.estimates[k], self.references[k], *arguments, **options))


@dataclass(frozen=True)
class Score:
    """One figure of a measure, a column of rows and summaries.

    Attributes:
        title: its name in tables.
        unit: "dB", "%" or none.
        higher_is_better: False for an error; improvements are positive in either case.
        beside: what else is reported: the "improvement" over the mixture in the place of the estimates (its
            name ends in i), the mixture's own score ("before"), or nothing.
        sample_rates: at which it is defined [Hz]; none for any.
        in_comparison: whether `compare` has a column for it, or for its improvement if there is one.
        digits: decimals in that column.
        weight: the column of counts by which a mean over mixtures weighs them, so that errors are added up
            before they are divided; none counts all alike.
    """

    title: str
    unit: Literal["", "dB", "%"] = ""
    higher_is_better: bool = True
    beside: Literal["", "improvement", "before"] = ""
    sample_rates: tuple[int, ...] = ()
    in_comparison: bool = True
    digits: int = 2
    weight: str = ""

    @property
    def heading(self) -> str:
        """Its title with the unit."""
        return f"{self.title} [{self.unit}]" if self.unit else self.title

    def key(self, column: str) -> str:
        """The name of its column in a summary, which ends in the unit."""
        return f"{column}_{'percent' if self.unit == '%' else self.unit.lower()}" if self.unit else column


@dataclass(frozen=True)
class Measure:
    """Scores that are computed together.

    Attributes:
        compute: the scores of signals; it raises `Undefined` where none of them has a value.
        scores: by the names that `compute` returns.
        needs: attributes of `Signals` without which nothing is defined.
        packages: what computes it, imported by these names.
        extra: what brings them: unmingle[extra].
    """

    compute: Callable[[Signals], dict[str, Value]]
    scores: dict[str, Score]
    needs: tuple[str, ...] = ("references",)
    packages: tuple[str, ...] = ()
    extra: str = "train"

    @cached_property
    def columns(self) -> dict[str, Score]:
        """All columns of a row: scores and improvements, then the scores of the mixture."""
        columns: dict[str, Score] = {}
        for name, score in self.scores.items():
            columns[name] = replace(
                score, in_comparison=score.in_comparison and score.beside != "improvement"
            )
            if score.beside == "improvement":
                columns[f"{name}i"] = replace(score, title=f"{score.title}i", higher_is_better=True)
        for name, score in self.scores.items():
            if score.beside == "before":
                columns[f"{name}_before"] = replace(score, title=f"{score.title} before", in_comparison=False)
        return columns

    @property
    def needs_mixture(self) -> bool:
        """Whether the mixture's own scores are reported, or what is gained over them."""
        return any(score.beside for score in self.scores.values())

    def values(self, signals: Signals) -> dict[str, Value]:
        """A value, or why there is none, for each of `scores`."""
        lacking = [need for need in self.needs if not len(getattr(signals, need))]
        if lacking:
            return dict.fromkeys(self.scores, Undefined(f"needs {' and '.join(lacking)}"))
        values: dict[str, Value]
        try:
            values = self.compute(signals)
        except Undefined as error:
            values = dict.fromkeys(self.scores, error)
        for name, score in self.scores.items():
            try:
                refuse_rate(signals.sample_rate, score.sample_rates)
            except Undefined as error:
                values[name] = error
        return values

    def row(self, now: dict[str, Value], before: dict[str, Value]) -> dict[str, Value]:
        """A value for each of `columns`, of the scores of the estimates and those of the mixture."""
        row: dict[str, Value] = {}
        for name, score in self.scores.items():
            row[name] = now[name]
            if score.beside == "improvement":
                row[f"{name}i"] = _improvement(now[name], before[name], score)
            elif score.beside == "before":
                row[f"{name}_before"] = _of_mixture(before[name])
        return {column: row[column] for column in self.columns}


def _improvement(now: Value, before: Value, score: Score) -> Value:
    """How much better a score is than the mixture's."""
    if isinstance(now, Undefined) or isinstance(before, Undefined):
        return now if isinstance(now, Undefined) else _of_mixture(before)
    return now - before if score.higher_is_better else before - now


def _of_mixture(value: Value) -> Value:
    """The value; where it is undefined, the reason names the mixture."""
    return Undefined(f"mixture: {value}") if isinstance(value, Undefined) else value


def _bss_eval(signals: Signals) -> dict[str, Value]:
    ratios = sdr_sir_sar(signals.estimates, signals.references)

    def mean(row: np.ndarray) -> Value:
        return signals.mean(lambda k: bounded(float(row[k])))

    return {name: mean(row) for name, row in zip(("sdr", "sir", "sar"), ratios, strict=True)}


def _pesq(signals: Signals) -> dict[str, Value]:
    return {f"pesq_{band}": signals.mean_of_pairs(pesq, signals.sample_rate, band) for band in PESQ_RATES}


def _stoi(signals: Signals) -> dict[str, Value]:
    rate = signals.sample_rate
    return {
        "stoi": signals.mean_of_pairs(stoi, rate),
        "estoi": signals.mean_of_pairs(stoi, rate, extended=True),
    }


def _dnsmos(signals: Signals) -> dict[str, Value]:
    scores = [dnsmos(estimate, signals.sample_rate) for estimate in signals.estimates]
    return {f"dnsmos_{part}": float(np.mean([score[part] for score in scores])) for part in DNSMOS_PARTS}


def _wer(signals: Signals) -> dict[str, Value]:
    return recognition_scores(
        signals.estimates,
        signals.references,
        signals.sample_rate,
        signals.transcripts,
        signals.recogniser,
    )


def _word_error_rate(title: str, beside: Literal["", "before"], weight: str) -> Score:
    return Score(title, "%", higher_is_better=False, beside=beside, digits=1, weight=weight)


#: by the names that `--measures` takes
MEASURES = {
    "si-sdr": Measure(
        lambda signals: {"si_sdr": signals.mean_of_pairs(si_sdr)},
        {"si_sdr": Score("SI-SDR", "dB", beside="improvement")},
    ),
    "snr": Measure(
        lambda signals: {"snr": signals.mean_of_pairs(snr)},
        {"snr": Score("SNR", "dB", beside="improvement")},
    ),
    "sdr": Measure(
        _bss_eval,
        {
            "sdr": Score("SDR", "dB", beside="improvement"),
            "sir": Score("SIR", "dB", in_comparison=False),
            "sar": Score("SAR", "dB", in_comparison=False),
        },
        packages=("mir_eval",),
    ),
    "pesq": Measure(
        _pesq,
        {f"pesq_{band}": Score(f"PESQ {band}", sample_rates=rates) for band, rates in PESQ_RATES.items()},
        packages=("pesq",),
    ),
    "stoi": Measure(
        _stoi,
        {"stoi": Score("STOI", digits=3), "estoi": Score("ESTOI", digits=3)},
        packages=("pystoi",),
    ),
    "dnsmos": Measure(
        _dnsmos,
        {f"dnsmos_{part}": Score(f"DNSMOS {part.upper()}", beside="before") for part in DNSMOS_PARTS},
        needs=(),
        packages=("speechmos", "onnxruntime"),
    ),
    "wer": Measure(
        _wer,
        {
            "wer": _word_error_rate("WER", "before", "transcript_words"),
            "wer_clean": _word_error_rate("WER of the clean reference", "", "transcript_words"),
            "transcript_words": Score("words of the transcripts", in_comparison=False),
            "wer_to_clean": _word_error_rate(
                "WER against the clean reference's words", "before", "clean_words"
            ),
            "clean_words": Score("words of the clean reference", in_comparison=False),
            "words_per_minute": Score("words per minute", beside="before", in_comparison=False),
            "confidence": Score("confidence", beside="before", in_comparison=False),
        },
        needs=(),
        packages=("rapidfuzz",),
        extra="recognition",
    ),
}
DEFAULT = ("si-sdr", "snr")
#: the measures for recordings without references
REFERENCE_FREE = tuple(name for name, each in MEASURES.items() if not each.needs)
DEFAULT_REFERENCE_FREE = ("dnsmos",)
#: what "all" stands for: what unmingle[train] measures
ALL = tuple(name for name, each in MEASURES.items() if each.extra == "train")


def choose(text: str | None) -> tuple[str, ...]:
    """Read "si-sdr,pesq" or "all" (`ALL`); the default measures if there is no text.

    Raises:
        UsageError: no such measure, or the package that computes it is not installed.
    """
    asked = ",".join(DEFAULT) if text is None else ",".join(ALL) if text == "all" else text
    names = tuple(dict.fromkeys(asked.split(",")))
    for name in names:
        if name not in MEASURES:
            raise UsageError(f"--measures {name}: unknown; choose from {', '.join(MEASURES)}, or all")
        for package in ("scipy", *MEASURES[name].packages):
            if not find_spec(package):
                extra = "train" if package == "scipy" else MEASURES[name].extra
                raise UsageError(
                    f"measuring {name} needs the package {package}: pip install 'unmingle[{extra}]'"
                )
    return names


def measure(
    estimates: np.ndarray,
    references: np.ndarray,
    mixture: np.ndarray,
    sample_rate: int,
    measures: Iterable[str] = DEFAULT,
    *,
    transcripts: Sequence[str] = (),
    recogniser: str = DEFAULT_RECOGNISER,
    before: dict[str, Value] | None = None,
    ordered: bool = False,
) -> dict[str, Any]:
    """Means over the sources, in the order with the best mean SI-SDR, or as they are.

    Args:
        estimates, references, mixture: `(S, T)`, `(S, T)`, `(T,)`; `(0, T)` where no references are known,
            for measures that need none.
        sample_rate: [Hz].
        measures: keys of `MEASURES`.
        transcripts: of the references.
        recogniser: see `Signals`.
        before: what `of_mixture` returned for this mixture, if it is known already.
        ordered: every estimate belongs to the reference in its place.

    Returns:
        A value for each column, None where it is undefined for one of the sources, and `missing`: which
        columns are undefined, and why.
    """
    measures = tuple(measures)
    free = len(references) and not ordered
    in_order = estimates[best_order(estimates, references)] if free else estimates
    signals = Signals(in_order, references, sample_rate, transcripts, recogniser)
    if before is None:
        before = of_mixture(
            mixture, references, sample_rate, measures, transcripts=transcripts, recogniser=recogniser
        )
    values: dict[str, Value] = {}
    for name in measures:
        values |= MEASURES[name].row(MEASURES[name].values(signals), before)
    reasons: dict[str, list[str]] = {}
    for column, value in values.items():
        if isinstance(value, Undefined):
            reasons.setdefault(str(value), []).append(column)
    row = {column: None if isinstance(value, Undefined) else value for column, value in values.items()}
    return {
        **row,
        "missing": "; ".join(f"{', '.join(columns)}: {reason}" for reason, columns in reasons.items()),
    }


def of_mixture(
    mixture: np.ndarray,
    references: np.ndarray,
    sample_rate: int,
    measures: Iterable[str],
    *,
    transcripts: Sequence[str] = (),
    recogniser: str = DEFAULT_RECOGNISER,
) -> dict[str, Value]:
    """The scores of the mixture itself in the place of every estimate, for the measures that report them or
    an improvement; arguments as of `measure`.
    """
    estimates = np.stack([mixture] * max(len(references), 1))
    signals = Signals(estimates, references, sample_rate, transcripts, recogniser)
    values: dict[str, Value] = {}
    for name in measures:
        if MEASURES[name].needs_mixture:
            values |= MEASURES[name].values(signals)
    return values
