"""`compare`: models, the mixture itself and the oracles on the same mixtures, in one table."""

import csv
import os
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

from unmingle import __version__
from unmingle.catalog import fitting
from unmingle.console import track
from unmingle.data.sets import read_set
from unmingle.errors import InputError, UsageError
from unmingle.evaluation.evaluate import (
    check_recogniser,
    measured_rows,
    n_speakers,
    options_text,
    write_rows,
)
from unmingle.evaluation.oracles import ORACLES
from unmingle.evaluation.plots import plot_comparison
from unmingle.evaluation.published import figure, other_published, published_name, read_published
from unmingle.evaluation.report import breakdowns, markdown, missing_by_model, paired_test, quality
from unmingle.evaluation.systems import MIXTURE, system
from unmingle.metrics import MEASURES as ALL_MEASURES
from unmingle.metrics.recognisers import DEFAULT_RECOGNISER
from unmingle.results.folders import replacing

MEASURES = ("si-sdr", "sdr", "pesq", "stoi")
#: columns of rows that hold no numbers
TEXTS = ("model", "weights", "recogniser", "mixture_id", "task", "kind", "missing")


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
    recogniser: str = DEFAULT_RECOGNISER,
    published: bool = False,
    backend: str = "auto",
    resume: bool = False,
) -> str:
    """Measure models, the mixture itself and the oracles on the same mixtures, and write the table.

    `out` gets `compare.md`, `compare.csv` (a row per model), `rows.csv` (a row per model and mixture, written
    whenever a model is done) and `compare.png`; earlier ones are replaced.

    Args:
        set_path, speech, task: see `unmingle.data.sets.read_set`.
        models: see `unmingle.evaluation.systems.system`; all shipped ones that separate the set's number of
            speakers unless given. The first one is what the others are tested against.
        first: only so many mixtures.
        sample_rate: to which everything is resampled before it is mixed, separated and measured [Hz]; the
            set's own unless given.
        measures: keys of `unmingle.metrics.MEASURES`; SI-SDR is taken in any case.
        recogniser: who measures word errors (see `unmingle.metrics.recognisers.recogniser`).
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
    check_recogniser(measures, recogniser)
    heard_by = {"recogniser": recogniser} if "wer" in measures else {}
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
        *heard_by,
        "mixture_id",
        *entries[0].about,
        "seconds",
        "separation_s",
        "missing",
    }
    earlier = [row for row in read_rows(out / "rows.csv") if row.keys() == columns] if resume else []

    def each() -> Iterator[dict[str, Any]]:
        for name in names:
            # Opened when its turn comes: all at once may not fit into memory.
            one = system(name, n_src, backend)
            about[name] = facts_of(one.separator)
            of = {
                "model": name,
                "weights": one.separator.card.sha256 if one.separator else __version__,
                "sample_rate": sample_rate,
                **heard_by,
            }
            kept = [row for row in earlier if of["weights"] and of.items() <= row.items()]
            if [row["mixture_id"] for row in kept] == [entry.id for entry in entries]:
                yield from kept
            else:
                yield from (
                    {**of, **row}
                    for row in measured_rows(one, entries, measures, sample_rate, mixtures, recogniser)
                )

    for row in track(each(), f"comparing {len(names)} on {set_path.name}", len(names) * len(entries)):
        rows.append(row)
        # A model is done; what the next ones would take over must outlive an interruption too.
        if len(rows) % len(entries) == 0:
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
        "--recogniser": recogniser if recogniser != DEFAULT_RECOGNISER else None,
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
    """The columns of a model itself; None where one is unknown, and all None without a model."""
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


def choose_models(text: str | None) -> list[str] | None:
    """Read "a,b,c"; None if there is no text. UsageError if a name is empty."""
    names = None if text is None else text.split(",")
    if names is not None and not all(names):
        raise UsageError(f"--models {text}: a name is empty; write them as a,b,c")
    return names
