"""Separators that see, on mixtures of two people of whom both or one are seen.

    python benchmarks/faces.py --speech data [--models lips mine.onnx] [--first 20]

`valid-2faces.csv` and `valid-face.csv` are made by `make_faces_set.py`. Separators that see are told by the
lips whose voices are wanted; of those that only hear, the output is taken that is most like each ("best of
two"). The right face is found where the estimate is more like the person seen than the other voice.
The separator that sees by default is also given pictures half a second late, and one face covered: of two
faces it is the covered one whose voice is measured.
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
SHIPPED = ["lips", "duet", "trio"]
SETS = {"valid-2faces.csv": "both people are seen", "valid-face.csv": "the other is a reader who is not seen"}

# A mixture to the voices of some of its faces, by the numbers of these.
Run = Callable[[Mixture], dict[int, np.ndarray]]


def seeing(separator: Any, change: Callable[[np.ndarray], np.ndarray] = lambda lips: lips) -> Run:
    """All faces, at once or one by one."""

    def run(item: Mixture) -> dict[int, np.ndarray]:
        lips = change(item.cues[LIPS])
        passes = [lips] if separator.facts.n_src is None else np.split(lips, len(lips))
        voices = [
            unmingle.separate(item.mixture, item.sample_rate, model=separator, cues={LIPS: some})
            for some in passes
        ]
        return dict(enumerate(np.concatenate(voices)))

    return run


def covered(separator: Any) -> Run:
    """Each face in turn is covered, and its voice returned."""

    def cover(face: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda lips: lips * (np.arange(len(lips)) != face)[:, None, None, None]

    return lambda item: {
        face: seeing(separator, cover(face))(item)[face] for face in range(len(item.sources))
    }


def hearing(separator: Any) -> Run:
    """The outputs that are most like the people."""

    def run(item: Mixture) -> dict[int, np.ndarray]:
        estimates = unmingle.separate(item.mixture, item.sample_rate, separator.facts.n_src, separator)
        return {
            face: max(estimates, key=lambda estimate: si_sdr(estimate, source))
            for face, source in enumerate(item.sources)
        }

    return run


def knowing(name: str) -> Run:
    """An oracle's voices."""

    def run(item: Mixture) -> dict[int, np.ndarray]:
        voices = item.sources if len(item.sources) > 1 else np.stack([item.sources[0], item.noise])
        return dict(enumerate(oracle(name, item.mixture[0], voices, item.sample_rate)[: len(item.sources)]))

    return run


def late(lips: np.ndarray) -> np.ndarray:
    """The pictures half a second too late."""
    return np.roll(lips, round(LATE_S * LIPS_RATE), axis=-1)


def row_of(name: str, run: Run, items: list[Mixture]) -> dict[str, Any]:
    """The means of a system over the faces of some mixtures."""
    rows, right = [], []
    for item in track(items, name, len(items)):
        for face, estimate in run(item).items():
            source = item.sources[face]
            rows.append(measure(estimate[None], source[None], item.mixture[0], item.sample_rate, MEASURES))
            voices = source, item.mixture[0] - source
            own, other = (abs(float(estimate @ voice)) / np.linalg.norm(voice) for voice in voices)
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
        "--speech", type=Path, default=Path("data"), help="folder that the sets' paths start in"
    )
    parser.add_argument("--models", nargs="*", default=SHIPPED, help="names or weights files")
    parser.add_argument("--first", type=int, help="so many mixtures of each set")
    options = parser.parse_args()
    machine = report.machine()
    systems: dict[str, Run] = {
        "mixture": lambda item: dict.fromkeys(range(len(item.sources)), item.mixture[0])
    }
    for name in options.models:
        separator = unmingle.load(name)
        if separator.facts.cues:
            systems[separator.name] = seeing(separator)
            if name == options.models[0]:
                systems[f"{separator.name}, pictures {LATE_S:g} s late"] = seeing(separator, late)
                systems[f"{separator.name}, face covered"] = covered(separator)
        else:
            systems[f"{separator.name}, best of {separator.facts.n_src}"] = hearing(separator)
    for name in ORACLES:
        if name != "oracle-cirm":  # the voice itself
            systems[name] = knowing(name)
    parts = [machine]
    for name, what in SETS.items():
        entries = read_set(report.HERE / name, options.speech, first=options.first)
        items = [entry.read() for entry in track(entries, "finding mouths", len(entries))]
        parts += [f"{name}: {what}, {len(items)} mixtures:"]
        parts += [report.table([row_of(system, run, items) for system, run in systems.items()])]
    report.publish("faces", parts, keep=options.first is None and options.models == SHIPPED)


if __name__ == "__main__":
    main()
