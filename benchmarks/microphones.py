"""What further microphones add: `valid-mics.csv` at the first 1, 2, 4 and 6 of them.

    pip install 'unmingle[rooms]'
    python benchmarks/microphones.py --speech data [--models mine.safetensors] [--mics 2 4] [--first 10]

`duet`, the default, hears the first microphone only; `array`, the default for several, hears all; `mvdr` and
`gev` are beamformers with the masks of `duet`, and `oracle-mvdr` is one with those of the references. A model
that is named is measured at the numbers of microphones that it takes. Without --first and --models the table
is kept.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import report

from unmingle.console import track
from unmingle.data.entries import MixtureEntry
from unmingle.data.mixture import Mixture
from unmingle.data.sets import read_set
from unmingle.evaluation.evaluate import measured_rows, real_time_factor
from unmingle.evaluation.systems import System, system

MEASURES = ("si-sdr", "sdr", "pesq", "stoi")
COLUMNS = {"si_sdri": "SI-SDRi [dB]", "sdri": "SDRi [dB]", "pesq_wb": "PESQ wb", "stoi": "STOI"}
ALONE = ("mixture", "duet", "array")
TOGETHER = ("array", "mvdr", "gev", "oracle-mvdr")


@dataclass(frozen=True)
class Heard(MixtureEntry):
    """A mixture that was read, at its first microphones."""

    item: Mixture
    n_mics: int

    def read(self) -> Mixture:
        return replace(self.item, mixture=self.item.mixture[: self.n_mics])


def row_of(one: System, items: list[Mixture], n_mics: int, scores: dict[str, Any]) -> dict[str, Any]:
    """The means of a system at so many microphones; `scores` are those of the mixtures, filled here."""
    entries: list[MixtureEntry] = [Heard(item.id, item, n_mics) for item in items]
    measured = measured_rows(one, entries, MEASURES, None, scores)
    rows = list(track(measured, f"{one.name}, {n_mics} microphones", len(items)))

    def mean(column: str) -> str:
        values = [row[column] for row in rows if row.get(column) is not None]
        return f"{np.mean(values):.{3 if column == 'stoi' else 2}f}" if values else "–"

    factor = real_time_factor(rows)
    return {
        "microphones": n_mics,
        "system": one.name,
        **{heading: mean(column) for column, heading in COLUMNS.items()},
        "real-time factor": "–" if factor is None else f"{factor:.3f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--speech", type=Path, default=Path("data"), help="folder that the set's paths start in"
    )
    parser.add_argument("--models", nargs="*", default=[], help="names or weights files")
    parser.add_argument("--mics", nargs="*", type=int, choices=(1, 2, 4, 6), default=[1, 2, 4, 6])
    parser.add_argument("--first", type=int, help="so many mixtures of the set")
    options = parser.parse_args()
    machine = report.machine()
    entries = read_set(report.HERE / "valid-mics.csv", options.speech, first=options.first)
    items = [entry.read() for entry in track(entries, "simulating rooms", len(entries))]
    scores: dict[str, Any] = {}
    rows = []
    named = [system(name, 2) for name in options.models]
    for n_mics in options.mics:
        systems = [system(name, 2) for name in (ALONE if n_mics == 1 else TOGETHER)]
        systems += [one for one in named if one.separator and one.separator.facts.n_mics in (None, n_mics)]
        rows += [row_of(one, items, n_mics, scores) for one in systems]
    heading = f"valid-mics.csv, {len(items)} mixtures of two voices and mild noise in rooms:"
    keep = options.first is None and not options.models and len(options.mics) == 4
    report.publish("microphones", [machine, heading, report.table(rows)], keep=keep)


if __name__ == "__main__":
    main()
