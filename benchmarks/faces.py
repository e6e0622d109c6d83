"""Separators that see, on mixtures of two people of whom one or both are seen.

    python benchmarks/faces.py --speech data [--models lips mine.onnx] [--first 20]

`valid-faces.csv` (made by `make_faces_set.py`): each row is a person who is seen, and another voice.
Separators that see are told by the lips whose voice is wanted; of those that only hear, the output is taken
that is most like it ("best of two"). The right face is found where the estimate is more like the person seen
than the other voice.
The separator that sees by default is also given pictures half a second late, and none at all.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import report

import unmingle
from unmingle.console import track
from unmingle.data.mixture import Mixture
from unmingle.data.sets import read_set
from unmingle.evaluation.oracles import ORACLES, oracle
from unmingle.facts import LIPS, LIPS_RATE
from unmingle.metrics import measure
from unmingle.metrics.ratios import si_sdr

MEASURES = ("si-sdr", "sdr", "pesq", "stoi")
COLUMNS = {"si_sdri": "SI-SDRi [dB]", "sdri": "SDRi [dB]", "pesq_wb": "PESQ wb", "stoi": "STOI"}
LATE_S = 0.5
SHIPPED = ["lips", "duet"]

Run = Callable[[Mixture], np.ndarray]


def seeing(separator: Any, change: Callable[[np.ndarray], np.ndarray] = lambda lips: lips) -> Run:
    """Estimate `(T,)` of a separator for one face."""
    return lambda item: unmingle.separate(
        item.mixture, item.sample_rate, model=separator, cues={LIPS: change(item.cues[LIPS])}
    )[0]


def hearing(separator: Any) -> Run:
    """The output that is most like the person."""

    def run(item: Mixture) -> np.ndarray:
        estimates = unmingle.separate(item.mixture, item.sample_rate, 2, separator)
        return max(estimates, key=lambda estimate: si_sdr(estimate, item.sources[0]))

    return run


def late(lips: np.ndarray) -> np.ndarray:
    """The pictures half a second too late."""
    return np.roll(lips, round(LATE_S * LIPS_RATE), axis=-1)


def row_of(name: str, run: Run, items: list[Mixture]) -> dict[str, Any]:
    """The means of a system over some mixtures."""
    rows, right = [], []
    for item in track(items, name, len(items)):
        estimate = run(item)
        rows.append(measure(estimate[None], item.sources, item.mixture[0], item.sample_rate, MEASURES))
        own, other = (
            abs(float(estimate @ voice)) / np.linalg.norm(voice) for voice in (item.sources[0], item.noise)
        )
        right.append(own > other)
    means = {
        heading: round(
            float(np.mean([row[key] for row in rows if row[key] is not None])), 3 if key == "stoi" else 2
        )
        for key, heading in COLUMNS.items()
    }
    return {"system": name, **means, "right face": f"{np.mean(right):.0%}"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--speech", type=Path, default=Path("data"), help="folder that the set's paths start in"
    )
    parser.add_argument("--models", nargs="*", default=SHIPPED, help="names or weights files")
    parser.add_argument("--first", type=int, help="so many mixtures")
    options = parser.parse_args()
    machine = report.machine()
    entries = read_set(report.HERE / "valid-faces.csv", options.speech, first=options.first)
    items = [entry.read() for entry in track(entries, "finding mouths", len(entries))]
    systems: dict[str, Run] = {"mixture": lambda item: item.mixture[0]}
    for name in options.models:
        separator = unmingle.load(name)
        if separator.facts.cues:
            systems[separator.name] = seeing(separator)
            if name == options.models[0]:
                systems[f"{separator.name}, pictures {LATE_S:g} s late"] = seeing(separator, late)
                systems[f"{separator.name}, face covered"] = seeing(separator, np.zeros_like)
        else:
            systems[f"{separator.name}, best of two"] = hearing(separator)
    for name in ORACLES:
        if name == "oracle-cirm":  # the voice itself
            continue
        systems[name] = lambda item, name=name: oracle(
            name, item.mixture[0], np.stack([item.sources[0], item.noise]), item.sample_rate
        )[0]
    parts = [machine]
    for kind, what in (("seen", "both people are seen"), ("unseen", "the other is a reader who is not seen")):
        some = [item for item, entry in zip(items, entries, strict=True) if entry.about["kind"] == kind]
        if some:
            table = report.table([row_of(name, run, some) for name, run in systems.items()])
            parts += [f"{what}, {len(some)} rows:", table]
    report.publish("faces", parts, keep=options.first is None and options.models == SHIPPED)


if __name__ == "__main__":
    main()
