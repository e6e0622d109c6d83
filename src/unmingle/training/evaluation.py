"""`evaluate`: one row per mixture through the same `separate()` that everybody uses; the summary is computed from the rows."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from unmingle.console import track
from unmingle.data.sets import read_set, tasks
from unmingle.errors import InputError
from unmingle.runtime import load
from unmingle.separation import separate

MEASURES = ("si_sdr", "si_sdri", "snr", "snri")


def si_sdr(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio of `(T,)` against `(T,)`, means removed, in float64 [dB]."""
    estimate = estimate.astype(np.float64) - estimate.mean(dtype=np.float64)
    reference = reference.astype(np.float64) - reference.mean(dtype=np.float64)
    target = reference * (estimate @ reference) / (reference @ reference)
    return _ratio_db(target, target - estimate)


def snr(estimate: np.ndarray, reference: np.ndarray) -> float:
    """Signal-to-noise ratio `|s|² / |ŝ − s|²` of `(T,)` against `(T,)` in float64 [dB]; a wrong level counts as noise."""
    return _ratio_db(reference.astype(np.float64), reference.astype(np.float64) - estimate)


def _ratio_db(signal: np.ndarray, noise: np.ndarray) -> float:
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(np.square(signal).sum() / np.square(noise).sum()))


def measure(estimates: np.ndarray, references: np.ndarray, mixture: np.ndarray) -> dict[str, float]:
    """Means over the voices, in the order with the best mean SI-SDR: `(S, T)`, `(S, T)`, `(T,)` → SI-SDR, SNR and their gains over the mixture [dB].

    Raises:
        ValueError: a reference is silent; none of these measures is defined then.
    """
    from scipy.optimize import linear_sum_assignment

    if not np.square(references).sum(axis=1).all():
        raise ValueError("a reference is silent")
    table = np.array([[si_sdr(estimate, reference) for reference in references] for estimate in estimates])
    rows, columns = linear_sum_assignment(np.nan_to_num(table, neginf=-300.0), maximize=True)
    ordered = estimates[rows[np.argsort(columns)]]
    pairs = list(zip(ordered, references, strict=True))
    result = {name: float(np.mean([function(e, r) for e, r in pairs])) for name, function in (("si_sdr", si_sdr), ("snr", snr))}
    result["si_sdri"] = result["si_sdr"] - float(np.mean([si_sdr(mixture, r) for r in references]))
    result["snri"] = result["snr"] - float(np.mean([snr(mixture, r) for r in references]))
    return {name: result[name] for name in MEASURES}


def evaluate(
    model: str, set_path: Path, *, speech: Path | None = None, task: str | None = None, first: int | None = None, backend: str = "auto"
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Separate every mixture of a set and measure the outcome.

    Args:
        model: name of a shipped model or path of a weights file.
        set_path, speech, task: see `unmingle.data.sets.read_set`.
        first: only so many mixtures.
        backend: see `unmingle.runtime.load`.

    Returns:
        The rows (`mixture_id`, `seconds` and the measures [dB]) and the summary (mean, median and 5th percentile of each measure; `task` where the
        set has several).

    Raises:
        InputError, UsageError: the set or the model cannot be read; the message says why.
    """
    entries = read_set(set_path, speech, task)[:first]
    separator = load(model, backend=backend)
    rows = []
    for entry in track(entries, f"evaluating {separator.name}"):
        item = entry.read()
        mixture = item.mixture
        estimates = separate(mixture, item.sample_rate, speakers=len(item.sources), model=separator)
        try:
            values = measure(estimates, item.sources, mixture)
        except ValueError as error:
            raise InputError(f"{set_path}: mixture {entry.id}: {error}") from None
        rows.append({"mixture_id": entry.id, "seconds": round(len(mixture) / item.sample_rate, 3), **values})
    summary: dict[str, Any] = {"model": separator.name, "backend": separator.backend, "set": str(set_path), "n": len(rows)}
    if len(choices := tasks(set_path)) > 1:
        summary["task"] = task or choices[0]
    for name in MEASURES:
        values_ = np.array([row[name] for row in rows])
        summary[f"{name}_db"] = {"mean": float(values_.mean()), "median": float(np.median(values_)), "p5": float(np.percentile(values_, 5))}
    return rows, summary


def write_rows(rows: list[dict[str, Any]], path: Path) -> None:
    """Write the rows as CSV, by renaming into place."""
    beside = path.with_name(f".{path.name}.part")
    with beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()} for row in rows)
    beside.replace(path)


def print_summary(summary: dict[str, Any]) -> None:
    """A table of the summary on standard output."""
    which = f"{summary['set']} {summary.get('task', '')}".strip()
    table = Table(title=f"{summary['model']} on {which} ({summary['n']} mixtures, {summary['backend']})")
    for column in ("measure [dB]", "mean", "median", "5th percentile"):
        table.add_column(column, justify="left" if column.startswith("measure") else "right")
    names = {"si_sdr": "SI-SDR", "si_sdri": "SI-SDRi", "snr": "SNR", "snri": "SNRi"}
    for name in MEASURES:
        values = summary[f"{name}_db"]
        table.add_row(names[name], *(f"{values[key]:.2f}" for key in ("mean", "median", "p5")))
    Console().print(table)
