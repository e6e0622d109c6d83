"""The Markdown of a comparison, and its statistics."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from unmingle.data.sets import ALL
from unmingle.evaluation.evaluate import missing, real_time_factor, statistics
from unmingle.metrics import MEASURES, Score

#: headings of the table beside those of the measures, the keys of a row, and how a value is written
COLUMNS_BEFORE = {
    "model": ("model", "{}"),
    "parameters [M]": ("parameters_m", "{:.2f}"),
    "MACs per s [G]": ("macs_per_second_g", "{:.2f}"),
    "causal": ("causal", "{}"),
    "latency [ms]": ("latency_ms", "{:.1f}"),
}
COLUMNS_AFTER = {
    "real-time factor": ("real_time_factor", "{:.3f}"),
    "against the first [dB]": ("difference_db", "{:+.2f}"),
    "p": ("p_value", "{:.2g}"),
}


def compared_columns() -> dict[str, Score]:
    """The columns of measures that a comparison shows."""
    return {
        column: score
        for measure in MEASURES.values()
        for column, score in measure.columns.items()
        if score.in_comparison
    }


def quality(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means of what was measured, half the width of the 95 % confidence interval of SI-SDRi (Student's t),
    real-time factor, and counts.
    """
    from scipy import stats

    gains = [row["si_sdri"] for row in rows if row["si_sdri"] is not None]
    half = float(stats.t.ppf(0.975, len(gains) - 1) * stats.sem(gains)) if len(gains) > 1 else None
    all_of_them = {
        score.key(column): statistics(rows, column, score.weight)
        for column, score in compared_columns().items()
        if column in rows[0]
    }
    return {
        "n": len(rows),
        "si_sdri_ci_db": half,
        **{key: values["mean"] for key, values in all_of_them.items()},
        **{f"{key}_missing": values["missing"] for key, values in all_of_them.items()},
        "real_time_factor": real_time_factor(rows),
    }


def paired_test(rows: list[dict[str, Any]], first: list[dict[str, Any]]) -> dict[str, float | None]:
    """Mean difference of SI-SDRi from the first model's [dB] and p of Wilcoxon's signed-rank test, on the
    mixtures where both have a value.

    None where there is nothing to compare: for the first model itself, and where no mixture makes a
    difference.
    """
    from scipy import stats

    pairs = zip(rows, first, strict=True)
    gaps = np.array(
        [
            row["si_sdri"] - other["si_sdri"]
            for row, other in pairs
            if None not in (row["si_sdri"], other["si_sdri"])
        ]
    )
    if not gaps.any():
        return {"difference_db": None, "p_value": None}
    return {"difference_db": float(gaps.mean()), "p_value": float(stats.wilcoxon(gaps).pvalue)}


def missing_by_model(by_model: dict[str, list[dict[str, Any]]]) -> dict[str, list[str]]:
    """Which values are missing, why and how often, and for which models."""
    found: dict[str, list[str]] = {}
    for name, rows in by_model.items():
        for reason, count in missing(rows).items():
            found.setdefault(f"{reason} ({count} of {len(rows)} mixtures)", []).append(name)
    return found


def markdown(table: list[dict[str, Any]], missing: dict[str, list[str]], n_src: int) -> Iterator[str]:
    """The paragraphs of the report: the table, what its marks mean, and what is missing. ESTOI, which is
    about noise, stands in it for one voice.
    """
    scores = {
        score.heading: (score.key(column), f"{{:.{score.digits}f}}")
        for column, score in compared_columns().items()
    }
    columns = {
        title: column
        for title, column in {**COLUMNS_BEFORE, **scores, **COLUMNS_AFTER}.items()
        if any(row.get(column[0]) is not None for row in table)
    }
    if n_src > 1:
        columns.pop("ESTOI", None)
    if "published" in table[0]:
        columns["published, on other data"] = ("published", "{}")
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    lines += ["| " + " | ".join(cell(row, *column) for column in columns.values()) + " |" for row in table]
    yield "\n".join(lines)
    yield (
        "–: not defined or not known. ±: 95 % confidence interval of the mean over the mixtures. "
        "(−n): n mixtures have no value and are left out. "
        "p: Wilcoxon's signed-rank test of SI-SDRi against the first row, mixture by mixture."
    )
    if missing:
        yield "\n".join(
            ["Missing:\n", *(f"- {', '.join(names)}: {reason}" for reason, names in missing.items())]
        )


def breakdowns(by_model: dict[str, list[dict[str, Any]]], task: str | None) -> Iterator[str]:
    """Tables of mean SI-SDRi by the mixture's SNR and, if all tasks were measured, by task; none for a
    set without these columns.
    """
    mixtures = next(iter(by_model.values()))  # the same for all
    headings = {"task": "task", "snr_db": "signal-to-noise ratio of the mixture [dB]"}
    for key, what in headings.items():
        if key not in mixtures[0] or (key == "task" and task != ALL):
            continue
        values = (
            list(dict.fromkeys(row[key] for row in mixtures))
            if key == "task"
            else sorted({row[key] for row in mixtures})
        )
        lines = [
            f"Mean SI-SDRi [dB] by {what}:\n",
            f"| model | {' | '.join(f'{value:g}' if key == 'snr_db' else str(value) for value in values)} |",
        ]
        lines.append("|---" * (len(values) + 1) + "|")
        for name, rows in by_model.items():
            means = [
                statistics([row for row in rows if row[key] == value], "si_sdri")["mean"] for value in values
            ]
            lines.append(
                f"| {name} | {' | '.join('–' if mean is None else f'{mean:.2f}' for mean in means)} |"
            )
        yield "\n".join(lines)


def cell(row: dict[str, Any], key: str, pattern: str) -> str:
    """A value as it stands in the table."""
    if row[key] in (None, ""):
        return "–"
    text = pattern.format(row[key])
    if key == "si_sdri_db" and row["si_sdri_ci_db"] is not None:
        text += f" ± {row['si_sdri_ci_db']:.2f}"
    n_missing = row.get(f"{key}_missing", 0)
    return f"{text} (−{n_missing})" if n_missing else text
