"""`compare`: models, the mixture itself and the oracles on the same mixtures, in one table."""

import csv
import os
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from unmingle import __version__
from unmingle.catalog import fitting
from unmingle.console import track
from unmingle.data.sets import ALL, read_set
from unmingle.errors import InputError, UsageError
from unmingle.evaluation.evaluate import (
    MIXTURE,
    measured_rows,
    missing,
    n_speakers,
    options_text,
    real_time_factor,
    statistics,
    system,
    write_rows,
)
from unmingle.evaluation.oracles import ORACLES
from unmingle.metrics import MEASURES as ALL_MEASURES
from unmingle.results.folders import replacing
from unmingle.results.pictures import plot_comparison

MEASURES = ("si-sdr", "sdr", "pesq", "stoi")
PUBLISHED = Path(__file__).with_name("published.csv")

TEXTS = ("model", "weights", "mixture_id", "task", "kind", "missing")  # columns of rows that hold no numbers

#: headings of the Markdown table, the keys of a row beside them, and how a value is written
COLUMNS = {
    "model": ("model", "{}"),
    "parameters [M]": ("parameters_m", "{:.2f}"),
    "MACs per s [G]": ("macs_per_second_g", "{:.2f}"),
    "causal": ("causal", "{}"),
    "latency [ms]": ("latency_ms", "{:.1f}"),
    "SI-SDRi [dB]": ("si_sdri_db", "{:.2f}"),
    "SDRi [dB]": ("sdri_db", "{:.2f}"),
    "PESQ nb": ("pesq_nb", "{:.2f}"),
    "PESQ wb": ("pesq_wb", "{:.2f}"),
    "STOI": ("stoi", "{:.3f}"),
    "ESTOI": ("estoi", "{:.3f}"),
    "DNSMOS SIG": ("dnsmos_sig", "{:.2f}"),
    "DNSMOS BAK": ("dnsmos_bak", "{:.2f}"),
    "DNSMOS OVRL": ("dnsmos_ovrl", "{:.2f}"),
    "real-time factor": ("real_time_factor", "{:.3f}"),
    "against the first [dB]": ("difference_db", "{:+.2f}"),
    "p": ("p_value", "{:.2g}"),
}


def compare(
    set_path: Path,
    out: Path,
    *,
    speech: Path | None = None,
    task: str | None = None,
    models: list[str] | None = None,
    first: int | None = None,
    sample_rate: int | None = None,
    measures: Iterable[str] = MEASURES,
    published: bool = False,
    backend: str = "auto",
    resume: bool = False,
) -> str:
    """Measure models, the mixture itself and the oracles on the same mixtures, and write the table.

    `out` gets `compare.md`, `compare.csv` (a row per model), `rows.csv` (a row per model and mixture, written
    whenever a model is done) and `compare.png`; earlier ones are replaced.

    Args:
        set_path, speech, task: see `unmingle.data.sets.read_set`.
        models: see `unmingle.training.evaluation.system`; all shipped ones that separate the set's number of
            speakers unless given. The first one is what the others are tested against.
        first: only so many mixtures.
        sample_rate: to which everything is resampled before it is mixed, separated and measured [Hz]; the
            set's own unless given.
        measures: keys of `unmingle.metrics.MEASURES`; SI-SDR is taken in any case.
        published: whether a column holds what papers report.
        backend: see `unmingle.runtime.load`.
        resume: what `rows.csv` in `out` holds of the same mixtures and measures at the same rate by the same
            weights is not measured again.

    Returns:
        The Markdown.

    Raises:
        InputError, UsageError: the set or a model cannot be read, or `out` cannot be written; all are tried
            before anything is measured.
    """
    entries = read_set(set_path, speech, task, first)
    n_src = n_speakers(entries)
    measures = tuple(dict.fromkeys(["si-sdr", *measures]))
    names = list(dict.fromkeys([*(shipped(n_src) if models is None else models), MIXTURE, *ORACLES]))
    for name in names:
        system(name, n_src, backend)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made ({error.strerror}); choose another --out") from None
    mixtures: dict[str, dict[str, Any]] = {}
    about: dict[str, dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    columns = {column for name in measures for column in ALL_MEASURES[name].columns}
    columns |= {
        "model",
        "weights",
        "sample_rate",
        "mixture_id",
        *entries[0].about,
        "seconds",
        "separation_s",
        "missing",
    }
    earlier = [row for row in read_rows(out / "rows.csv") if row.keys() == columns] if resume else []

    def each() -> Iterator[dict[str, Any]]:
        for name in names:
            one = system(
                name, n_src, backend
            )  # opened when its turn comes: all at once may not fit into memory
            about[name] = facts_of(one.separator)
            of = {
                "model": name,
                "weights": one.separator.card.sha256 if one.separator else __version__,
                "sample_rate": sample_rate,
            }
            kept = [row for row in earlier if of["weights"] and of.items() <= row.items()]
            if [row["mixture_id"] for row in kept] == [entry.id for entry in entries]:
                yield from kept
            else:
                yield from (
                    {**of, **row} for row in measured_rows(one, entries, measures, sample_rate, mixtures)
                )

    for row in track(each(), f"comparing {len(names)} on {set_path.name}", len(names) * len(entries)):
        rows.append(row)
        if (
            len(rows) % len(entries) == 0
        ):  # a model is done; what the next ones would take over must outlive an interruption too
            done = {each["model"] for each in rows}
            write_rows(
                [*rows, *(each for each in earlier if each["model"] in names and each["model"] not in done)],
                out / "rows.csv",
            )
    write_rows(rows, out / "rows.csv")
    by_model = {name: list(group) for name, group in groupby(rows, lambda row: row["model"])}
    figures = read_published(n_src) if published else []
    table = []
    for name, its_rows in by_model.items():
        row = {"model": name, **about[name], **quality(its_rows), **paired_test(its_rows, by_model[names[0]])}
        if published:
            row["published"] = "; ".join(
                figure(each) for each in figures if each["model"] == published_name(name, figures)
            )
        table.append(row)
    given = {
        "--speech": speech,
        "--task": task,
        "--models": models and ",".join(models),
        "--first": first,
        "--sample-rate": sample_rate,
        "--measures": ",".join(measures) if measures != MEASURES else None,
        "--peers": "published" if published else None,
    }
    backends = ", ".join(dict.fromkeys(row["backend"] for row in table if row["backend"])) or "no model"
    voices = f"{n_src} speakers" if n_src > 1 else "one speaker and noise"
    heading = (
        f"{len(entries)} mixtures of {voices}, by `unmingle compare {set_path}{options_text(given)}`, "
        f"unmingle {__version__}, {backends}, {os.cpu_count()} processors."
    )
    paragraphs = [
        *markdown(table, missing_by_model(by_model), n_src),
        *breakdowns(by_model, task),
        *other_published(names, figures),
    ]
    text = "\n\n".join([heading, *paragraphs]) + "\n"
    write_rows(table, out / "compare.csv")
    plot_comparison(table, out / "compare.png")
    with replacing(out / "compare.md") as beside:
        beside.write_text(text, encoding="utf-8")
    return text


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of an earlier comparison as `compare` wrote them, none if there is no such file; InputError if
    it is something else.
    """
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                {key: text if key in TEXTS else float(text) if text else None for key, text in row.items()}
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, TypeError):
        raise InputError(
            f"{path}: not the rows of a comparison; compare without --resume or into another --out"
        ) from None


def shipped(n_src: int) -> list[str]:
    """The names of the models in the package that separate so many speakers, or that take noise from one, the
    default first.
    """
    return [card.name for card in fitting("enhance" if n_src == 1 else "separate", n_src)]


def facts_of(separator: Any) -> dict[str, Any]:
    """What the table says of a model itself; None where it is unknown, and everywhere if
    there is no model.
    """
    if separator is None:
        return dict.fromkeys(("parameters_m", "macs_per_second_g", "causal", "latency_ms", "backend"))
    card, facts = separator.card, separator.facts
    macs = None
    if find_spec("torch"):
        from unmingle.evaluation.summary import macs_per_second
        from unmingle.models import MODELS, build

        macs = macs_per_second(build(card.model, **card.config)) if card.model in MODELS else None
    return {
        "parameters_m": card.parameters / 1e6,
        "macs_per_second_g": None if macs is None else macs / 1e9,
        "causal": "yes" if facts.causal else "no",
        "latency_ms": 1000 * facts.latency / facts.sample_rate if facts.causal else None,
        "backend": separator.backend,
    }


def quality(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means of what was measured, half the width of the 95 % confidence interval of SI-SDRi (Student's t),
    real-time factor, and counts.
    """
    from scipy import stats

    gains = [row["si_sdri"] for row in rows if row["si_sdri"] is not None]
    half = (
        float(stats.t.ppf(0.975, len(gains) - 1) * np.std(gains, ddof=1) / len(gains) ** 0.5)
        if len(gains) > 1
        else None
    )
    columns = {
        "si_sdri_db": "si_sdri",
        "sdri_db": "sdri",
        "pesq_nb": "pesq_nb",
        "pesq_wb": "pesq_wb",
        "stoi": "stoi",
        "estoi": "estoi",
    }
    columns |= {column: column for column in ("dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl")}
    all_of_them = {key: statistics(rows, column) for key, column in columns.items() if column in rows[0]}
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
    """Which values are missing, why and how often, and of which models that is true."""
    found: dict[str, list[str]] = {}
    for name, rows in by_model.items():
        for reason, count in missing(rows).items():
            found.setdefault(f"{reason} ({count} of {len(rows)} mixtures)", []).append(name)
    return found


def markdown(table: list[dict[str, Any]], missing: dict[str, list[str]], n_src: int) -> Iterator[str]:
    """The paragraphs of the report: the table, what its marks mean, and what is missing. ESTOI, which is
    about noise, stands in it for one voice.
    """
    columns = {
        title: column
        for title, column in COLUMNS.items()
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
        "–: not defined or not known. ±: 95 % confidence interval of the mean over the mixtures. (−n): n "
        "mixtures have no value and are left out. "
        "p: Wilcoxon's signed-rank test of SI-SDRi against the first row, mixture by mixture."
    )
    if missing:
        yield "\n".join(
            ["Missing:\n", *(f"- {', '.join(names)}: {reason}" for reason, names in missing.items())]
        )


def breakdowns(by_model: dict[str, list[dict[str, Any]]], task: str | None) -> Iterator[str]:
    """Tables of mean SI-SDRi by the mixture's SNR and, if all tasks were measured, by task; none for a set
    that does not say.
    """
    said = next(iter(by_model.values()))  # of the mixtures, which are the same for all
    headings = {"task": "task", "snr_db": "signal-to-noise ratio of the mixture [dB]"}
    for key, what in headings.items():
        if key not in said[0] or (key == "task" and task != ALL):
            continue
        values = (
            list(dict.fromkeys(row[key] for row in said))
            if key == "task"
            else sorted({row[key] for row in said})
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
    """A value as the table shows it."""
    if row[key] in (None, ""):
        return "–"
    text = pattern.format(row[key])
    if key == "si_sdri_db" and row["si_sdri_ci_db"] is not None:
        text += f" ± {row['si_sdri_ci_db']:.2f}"
    n_missing = row.get(f"{key}_missing", 0)
    return f"{text} (−{n_missing})" if n_missing else text


def read_published(n_src: int) -> list[dict[str, str]]:
    """What papers report for so many speakers; SI-SDRi or SDRi on the sets that they used."""
    with PUBLISHED.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if int(row["n_src"]) == n_src]


def published_name(name: str, figures: Iterable[dict[str, str]]) -> str | None:
    """The published model that weights of this name are of: the longest name that theirs begins with, as
    `dprnn` is in `dprnn-small`.
    """
    known = {row["model"] for row in figures}
    return max((row for row in known if f"{name}-".startswith(f"{row}-")), key=len, default=None)


def figure(row: dict[str, str]) -> str:
    """A published figure with what it is and where it was measured."""
    variant = f", {row['variant']}" if row["variant"] else ""
    return f"{row['db']} {row['measure']} on {row['set']}{variant}"


def other_published(names: list[str], figures: list[dict[str, str]]) -> Iterator[str]:
    """A paragraph on the published models that have no row of their own."""
    used = {published_name(name, figures) for name in names}
    others = [row for row in figures if row["model"] not in used]
    if others:
        lines = [
            "Published, on other data, and not measured here [dB]:\n",
            "| model | parameters [M] | published |",
            "|---|---|---|",
        ]
        for name, group in groupby(others, lambda row: row["model"]):
            figures = list(group)
            lines.append(
                f"| {name} | {figures[0]['parameters_m'] or '–'} | {'; '.join(map(figure, figures))} |"
            )
        yield "\n".join(lines)


def choose_models(text: str | None) -> list[str] | None:
    """Read "a,b,c"; None if there is no text. UsageError if a name is empty."""
    names = None if text is None else text.split(",")
    if names is not None and not all(names):
        raise UsageError(f"--models {text}: a name is empty; write them as a,b,c")
    return names
