"""`evaluate`: one row per mixture through the same `separate()` that everybody uses; the summary is computed
from the rows.
"""

import csv
import shlex
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from rich.console import Console
from rich.table import Table

from unmingle.console import track
from unmingle.data.mixture import Mixture
from unmingle.data.sets import MixtureEntry, read_plain, read_set, tasks
from unmingle.errors import InputError, UsageError
from unmingle.evaluation.oracles import ORACLES
from unmingle.evaluation.systems import System, system
from unmingle.metrics import DEFAULT, MEASURES, REFERENCE_FREE, Value, measure, of_mixture
from unmingle.metrics.recognisers import DEFAULT_RECOGNISER
from unmingle.metrics.recognisers import recogniser as load_recogniser
from unmingle.results.folders import replacing


def measured_rows(
    system: System,
    entries: list[MixtureEntry],
    measures: Iterable[str],
    sample_rate: int | None,
    mixtures: dict[str, dict[str, Value]],
    recogniser: str = DEFAULT_RECOGNISER,
) -> Iterator[dict[str, Any]]:
    """Separate mixtures, one after the other, and measure the estimates.

    Args:
        entries: of one set.
        measures: keys of `MEASURES`.
        sample_rate: to resample everything to beforehand [Hz]; None leaves the set's own.
        mixtures: the scores of the mixtures themselves, by their ids; filled here, so that systems on the
            same set share them.
        recogniser: who measures word errors (see `unmingle.metrics.recognisers.recogniser`).

    Yields:
        Rows: `mixture_id`, the columns of the set (`MixtureEntry.about`), `seconds`, `separation_s` (None if
            the system is no model) and what `measure` returns.
    """
    measures = tuple(measures)
    ordered = system.separator is not None and system.separator.facts.order == "cued"
    for entry in entries:
        item = resampled(entry.read(), sample_rate)
        if system.separator is not None and entry is entries[0]:
            system.run(item)  # a runtime gets ready when it is first called, which is not what is timed
        began = time.perf_counter()
        estimates = system.run(item)
        separation_s = time.perf_counter() - began
        if entry.id not in mixtures:
            mixtures[entry.id] = of_mixture(
                item.mixture[0],
                item.sources,
                item.sample_rate,
                measures,
                transcripts=item.transcripts,
                recogniser=recogniser,
            )
        yield {
            "mixture_id": entry.id,
            **entry.about,
            "seconds": round(item.mixture.shape[1] / item.sample_rate, 3),
            "separation_s": None if system.separator is None else separation_s,
            **measure(
                estimates,
                item.sources,
                item.mixture[0],
                item.sample_rate,
                measures,
                transcripts=item.transcripts,
                recogniser=recogniser,
                before=mixtures[entry.id],
                ordered=ordered,
            ),
        }


def resampled(item: Mixture, sample_rate: int | None) -> Mixture:
    """The mixture with its sources and noise at another rate [Hz]; itself if that is None or its own."""
    if sample_rate in (None, item.sample_rate):
        return item

    def at_rate(rows: np.ndarray) -> np.ndarray:
        return np.stack([soxr.resample(row, item.sample_rate, sample_rate) for row in rows])

    parts = at_rate(np.concatenate([item.sources, item.noise[None]]))
    mixture = np.concatenate(
        [parts.sum(axis=0)[None], *(at_rate(item.mixture[c : c + 1]) for c in range(1, len(item.mixture)))]
    )
    return replace(item, mixture=mixture, sources=parts[:-1], noise=parts[-1], sample_rate=sample_rate)


def evaluate(
    model: str,
    set_path: Path,
    *,
    speech: Path | None = None,
    task: str | None = None,
    first: int | None = None,
    backend: str = "auto",
    measures: Iterable[str] = DEFAULT,
    sample_rate: int | None = None,
    recogniser: str = DEFAULT_RECOGNISER,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Separate every mixture of a set and measure the estimates.

    Args:
        model: see `unmingle.evaluation.systems.system`.
        set_path, speech, task: see `unmingle.data.sets.read_set`; or a folder of recordings without
            references, in which one voice each is sought and nothing but `REFERENCE_FREE` measures can be
            taken.
        first: only so many mixtures.
        backend: see `unmingle.runtime.load`.
        measures, sample_rate, recogniser: see `measured_rows`.

    Returns:
        The rows (see `measured_rows`) and the summary: mean, median, 5th percentile and number of missing
            values of each column; which values are missing, why and how often; the real-time factor; `task`
            where the set has several.

    Raises:
        InputError, UsageError: the set or the model cannot be read; the message says why.
    """
    measures = tuple(measures)
    plain = read_plain(set_path, first)
    entries = plain or read_set(set_path, speech, task, first)
    if plain and (model in ORACLES or task is not None or not set(measures) <= set(REFERENCE_FREE)):
        raise UsageError(
            f"{set_path}: recordings without references; leave oracles and --task out, "
            f"and measure {' and '.join(REFERENCE_FREE)} alone"
        )
    check_recogniser(measures, recogniser)
    chosen = system(model, 1 if plain else n_speakers(entries), backend)
    rows = list(
        track(
            measured_rows(chosen, entries, measures, sample_rate, {}, recogniser),
            f"evaluating {chosen.name}",
            len(entries),
        )
    )
    summary: dict[str, Any] = {
        "model": chosen.name,
        "backend": chosen.separator and chosen.separator.backend,
        "set": str(set_path),
        "sample_rate": sample_rate,
        "n": len(rows),
        "real_time_factor": real_time_factor(rows),
        "options": options_text(
            {"--speech": speech, "--task": task, "--first": first, "--sample-rate": sample_rate}
        ),
    }
    if "wer" in measures:
        summary["recogniser"] = recogniser
    if len(choices := tasks(set_path)) > 1:
        summary["task"] = task or choices[0]
    for name in measures:
        for column, score in MEASURES[name].columns.items():
            summary[score.key(column)] = statistics(rows, column, score.weight)
    return rows, {**summary, "missing": missing(rows)}


def check_recogniser(measures: tuple[str, ...], recogniser: str) -> None:
    """Load the recogniser if word errors are measured, so that what is wrong with it is said at once."""
    if "wer" in measures:
        load_recogniser(recogniser)


def options_text(given: dict[str, Any]) -> str:
    """Options as they stand on the command line, each with a space before it; those without a value are left
    out.
    """
    return "".join(f" {name} {shlex.quote(str(value))}" for name, value in given.items() if value)


def n_speakers(entries: list[MixtureEntry]) -> int:
    """Number of sources of a set's mixtures, by its first one."""
    return len(entries[0].read().sources)


def statistics(rows: list[dict[str, Any]], column: str, weight: str = "") -> dict[str, Any]:
    """Mean, median and 5th percentile of the values that there are (None if there are none), and how many are
    missing; the mean weighs rows by another column, if one is named.
    """
    kept = [row for row in rows if row[column] is not None]
    values = np.array([row[column] for row in kept])
    n_missing = len(rows) - len(values)
    if not len(values):
        return {"mean": None, "median": None, "p5": None, "missing": n_missing}
    return {
        "mean": float(np.average(values, weights=[row[weight] for row in kept] if weight else None)),
        "median": float(np.median(values)),
        "p5": float(np.percentile(values, 5)),
        "missing": n_missing,
    }


def missing(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Which values are missing and why, and in how many rows."""
    return dict(Counter(reason for row in rows for reason in row["missing"].split("; ") if reason))


def real_time_factor(rows: list[dict[str, Any]]) -> float | None:
    """Time of separation over duration of the mixtures; None for a system that is no model."""
    if rows[0]["separation_s"] is None:
        return None
    return sum(row["separation_s"] for row in rows) / sum(row["seconds"] for row in rows)


def write_rows(rows: list[dict[str, Any]], path: Path) -> None:
    """Write the rows as CSV, by renaming into place; InputError if that cannot be done."""
    try:
        with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(
                {
                    key: float(f"{value:.6g}") if isinstance(value, float) else value
                    for key, value in row.items()
                }
                for row in rows
            )
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another place") from None


def print_summary(summary: dict[str, Any]) -> None:
    """A table of the summary on standard output, and why values are missing, if any are."""
    speed = (
        f", real-time factor {summary['real_time_factor']:.3f}"
        if summary["real_time_factor"] is not None
        else ""
    )
    backend = f", {summary['backend']}" if summary["backend"] else ""
    which = f"{summary['set']} {summary.get('task', '')}".strip()
    table = Table(title=f"{summary['model']} on {which} ({summary['n']} mixtures{backend}{speed})")
    for heading in (
        "measure",
        "mean",
        "median",
        "5th percentile",
        *(["missing"] if summary["missing"] else []),
    ):
        table.add_column(heading, justify="left" if heading == "measure" else "right")
    for group in MEASURES.values():
        for column, score in group.columns.items():
            values = summary.get(score.key(column))
            if values is not None:
                texts = [
                    "–" if values[key] is None else f"{values[key]:.2f}" for key in ("mean", "median", "p5")
                ]
                n_missing = [str(values["missing"])] if summary["missing"] else []
                table.add_row(score.heading, *texts, *n_missing)
    console = Console()
    console.print(table)
    for reason, count in summary["missing"].items():
        console.print(f"missing in {count} of {summary['n']}: {reason}", markup=False, highlight=False)
