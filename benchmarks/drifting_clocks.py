"""What it costs when microphones' clocks drift against each other: `valid-mics.csv` at four microphones, of
which the second and the fourth run 50 ppm slower than the first, the third 50 ppm faster.

    pip install 'unmingle[rooms]'
    python benchmarks/drifting_clocks.py --speech data [--models mine.safetensors] [--first 20]

`filter` is what a Wiener filter over three frames, as the one in `array`, can do at best: it is fitted to the
references, over the mixture. The clocks were in step so many minutes before the mixture begins.
"""

import argparse
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import report
import soxr
import torch

from unmingle import load, separate
from unmingle.console import track
from unmingle.data.mixture import Mixture
from unmingle.data.sets import read_set
from unmingle.layers.stft import STFT
from unmingle.layers.wiener import wiener
from unmingle.metrics.ratios import si_sdr

PPM = (0.0, -50.0, 50.0, -50.0)
MINUTES = (0, 1, 10, 60)
FINER = 8  # steps per sample, between which is interpolated


def drifted(mixture: np.ndarray, sample_rate: int, minutes: float) -> np.ndarray:
    """The microphones `(C, T)` as their own clocks record them, so long after these were in step. What leaves
    the mixture at one end comes in at the other.
    """
    length = mixture.shape[1]
    begun = minutes * 60 * sample_rate
    rows = []
    for row, ppm in zip(mixture, PPM, strict=True):
        at = np.arange(length) + ppm * 1e-6 * (begun + np.arange(length))
        fine = soxr.resample(row, 1, FINER)
        rows.append(np.interp(at * FINER, np.arange(len(fine)), fine, period=length * FINER))
    return np.stack(rows).astype(np.float32)


def filtered(mixture: np.ndarray, item: Mixture) -> np.ndarray:
    """The references' best filters over the microphones `(C, T)`: `(S, T)`."""
    stft = STFT(n_fft=512, hop=256)
    heard, wanted = (stft(torch.from_numpy(np.ascontiguousarray(rows))) for rows in (mixture, item.sources))
    return stft.inverse(wiener(heard[None], wanted[None], 3)[0], mixture.shape[1]).numpy()


def gain_db(estimates: np.ndarray, item: Mixture) -> float:
    """Mean SI-SDR over the first microphone's, in the best order."""
    before = np.mean([si_sdr(item.mixture[0], source) for source in item.sources])
    orders = permutations(estimates, len(item.sources))
    return float(
        max(np.mean([si_sdr(*pair) for pair in zip(order, item.sources, strict=True)]) for order in orders)
        - before
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--speech", type=Path, default=Path("data"), help="folder that the set's paths start in"
    )
    parser.add_argument("--models", nargs="*", default=[], help="names or weights files")
    parser.add_argument("--first", type=int, default=20, help="so many mixtures of the set")
    options = parser.parse_args()
    machine = report.machine()
    entries = read_set(report.HERE / "valid-mics.csv", options.speech, first=options.first)
    systems: dict[str, Callable[[np.ndarray, Mixture], np.ndarray]] = {"filter": filtered}
    for name in options.models:
        separator = load(name)
        systems[separator.name] = lambda mixture, item, its=separator: separate(
            mixture, item.sample_rate, model=its
        )
    gains: dict[str, list[list[float]]] = {name: [] for name in systems}
    for entry in track(entries, "mixtures", len(entries)):
        item = entry.read()
        four = item.mixture[: len(PPM)]
        cases = [four[:1], four, *(drifted(four, item.sample_rate, minutes) for minutes in MINUTES)]
        for name, run in systems.items():
            gains[name].append([gain_db(run(mixture, item), item) for mixture in cases])
    headings = ["one microphone", "in step", *(f"after {minutes} min" for minutes in MINUTES)]
    rows = [
        {"SI-SDRi [dB]": name}
        | {heading: f"{value:.2f}" for heading, value in zip(headings, np.mean(values, axis=0), strict=True)}
        for name, values in gains.items()
    ]
    heading = f"The first {options.first} mixtures of valid-mics.csv, four microphones, 50 ppm:"
    report.publish("drifting-clocks", [machine, heading, report.table(rows)], keep=not options.models)


if __name__ == "__main__":
    main()
