"""How often the number of people is found: recordings of one, two and three voices at once, and of two in
turns, as many of each.

    python benchmarks/counting.py --speech data [--model duet] [--first 40]

Each mixture of valid-3mix.csv gives four recordings: its first voice, its first two, all three; and the
first half of its first voice before the second half of its second. They are counted as `--speakers auto`
counts, for which a recording in which nobody is heard has one voice.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import report

import unmingle
from unmingle.console import track
from unmingle.data.sets import read_set

TURNS = "2, in turns"
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
    counted: dict[str, Counter[int]] = {name: Counter() for name in (*"123", TURNS)}
    for entry in track(entries, "counting", len(entries)):
        item = entry.read()
        half = item.sources.shape[1] // 2
        for name, found in counted.items():
            recording = item.sources[: int(name[0])].sum(axis=0)
            if name == TURNS:
                recording = np.concatenate([item.sources[0, :half], item.sources[1, half:]])
            rows = unmingle.separate(recording, item.sample_rate, speakers="auto", model=options.model)
            found[len(rows)] += 1
    most = max(max(found) for found in counted.values())
    rows = [
        {
            "voices": name,
            **{f"counted as {k}": found[k] for k in range(1, most + 1)},
            "right": f"{found[int(name[0])] / len(entries):.0%}",
        }
        for name, found in counted.items()
    ]
    at_once = [counted[str(n)][n] for n in (1, 2, 3)]
    parts = [
        before,
        f"{options.model or 'the default'} on {len(entries)} recordings of each number of voices:",
        report.table(rows),
        f"Right in all that speak at once: {sum(at_once) / (3 * len(entries)):.0%}.",
    ]
    report.publish(
        "counting", parts, keep=not options.quick and options.model is None and options.first == N_KEPT
    )


if __name__ == "__main__":
    main()
