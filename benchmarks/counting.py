"""How often a model that counts voices counts right: recordings of one, two and three voices, as many of
each.

    python benchmarks/counting.py --speech data [--model one-and-rest] [--first 40]

Each mixture of valid-3mix.csv gives three recordings: its first voice, its first two, all three. They are
counted as `--speakers auto` counts, for which a recording in which nobody is heard has one voice.
"""

import argparse
from collections import Counter
from pathlib import Path

import report
import soxr

import unmingle
from unmingle.console import track
from unmingle.data.sets import read_set

SAMPLE_RATE = 8_000
N_KEPT = 40  # mixtures of the result that the documentation quotes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="one-and-rest", help="name or .onnx file")
    parser.add_argument(
        "--speech", type=Path, default=Path("data"), help="folder that the paths of the set start in"
    )
    parser.add_argument(
        "--first",
        type=int,
        default=N_KEPT,
        help="so many mixtures; the result is kept only of as many as it is unless given",
    )
    parser.add_argument(
        "--quick", action="store_true", help="only see that it runs: two mixtures; nothing is kept"
    )
    options = parser.parse_args()
    entries = read_set(
        report.HERE / "valid-3mix.csv", options.speech, first=2 if options.quick else options.first
    )
    before, separator = report.machine(), unmingle.load(options.model, speakers="auto")
    counted: dict[int, Counter[int]] = {n: Counter() for n in (1, 2, 3)}
    for entry in track(entries, "counting", len(entries)):
        item = entry.read()
        for n, found in counted.items():
            recording = soxr.resample(item.sources[:n].sum(0), item.sample_rate, SAMPLE_RATE)
            found[len(unmingle.separate(recording, SAMPLE_RATE, speakers="auto", model=separator))] += 1
    most = max(max(found) for found in counted.values())
    rows = [
        {
            "voices": n,
            **{f"counted as {k}": found[k] for k in range(1, most + 1)},
            "right": f"{found[n] / len(entries):.0%}",
        }
        for n, found in counted.items()
    ]
    share = sum(found[n] for n, found in counted.items()) / (3 * len(entries))
    parts = [
        before,
        f"{separator.name} on {len(entries)} recordings of each number of voices:",
        report.table(rows),
        f"Right in all: {share:.0%}.",
    ]
    report.publish("counting", parts, keep=not options.quick and options.first == N_KEPT)


if __name__ == "__main__":
    main()
