"""How often the number of people is found: recordings of one, two and three voices, as many of each.

    python benchmarks/counting.py --speech data [--model duet] [--first 40]

Each mixture of valid-3mix.csv gives three recordings: its first voice, its first two, all three. They are
counted as `--speakers auto` counts, for which a recording in which nobody is heard has one voice.
"""

import argparse
from collections import Counter
from pathlib import Path

import report

import unmingle
from unmingle.console import track
from unmingle.data.sets import read_set

N_KEPT = 40  # mixtures of the result that the documentation quotes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="name or file of the local separator; the default unless given")
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
    before = report.machine()
    counted: dict[int, Counter[int]] = {n: Counter() for n in (1, 2, 3)}
    for entry in track(entries, "counting", len(entries)):
        item = entry.read()
        for n, found in counted.items():
            recording = item.sources[:n].sum(axis=0)
            rows = unmingle.separate(recording, item.sample_rate, speakers="auto", model=options.model)
            found[len(rows)] += 1
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
        f"{options.model or 'the default'} on {len(entries)} recordings of each number of voices:",
        report.table(rows),
        f"Right in all: {share:.0%}.",
    ]
    report.publish(
        "counting", parts, keep=not options.quick and options.model is None and options.first == N_KEPT
    )


if __name__ == "__main__":
    main()
