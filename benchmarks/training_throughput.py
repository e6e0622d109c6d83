"""How much audio `unmingle train` gets through: seconds of mixtures per second, for each recipe.

    python benchmarks/training_throughput.py recipes/libri/*.yaml --speech data

Counted between the first validation and the last one, so that starting and compiling are left out; validation
itself is made negligible.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import report


def throughput(recipe: Path, speech: Path, minutes: float, every: int, overrides: list[str]) -> dict:
    """Train for some minutes; return the row of the table."""
    settings = [
        f"data.speech={speech / 'utterances.csv'}",
        "data.n_valid=1",
        "trainer.steps=null",
        f"trainer.minutes={minutes}",
        "trainer.clock=wall",
        f"trainer.validate_every={every}",
        *overrides,
    ]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "unmingle",
            "train",
            str(recipe),
            *settings,
            "--out",
            f"{folder}/run",
            "--quiet",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
        with Path(folder, "run/curves.csv").open(newline="", encoding="utf-8") as file:
            curve = [
                {key: float(row[key]) for key in ("step", "minutes", "hours_of_audio")}
                for row in csv.DictReader(file)
            ]
    if len(curve) < 2 or curve[-1]["minutes"] == curve[0]["minutes"]:
        sys.exit(f"{recipe}: no two validations in {minutes:g} minutes; raise --minutes or lower --every")
    first, last = curve[0], curve[-1]
    seconds = 60 * (last["minutes"] - first["minutes"])
    audio, steps = 3600 * (last["hours_of_audio"] - first["hours_of_audio"]), last["step"] - first["step"]
    return {
        "recipe": str(recipe),
        "s of audio per s": audio / seconds,
        "steps per s": steps / seconds,
        "measured over [s]": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", type=Path, nargs="+")
    parser.add_argument(
        "--speech", type=Path, default=Path("data"), help="folder with utterances.csv and what it names"
    )
    parser.add_argument("--minutes", type=float, default=4, help="training time per recipe")
    parser.add_argument(
        "--every", type=int, default=50, help="steps between validations; the budget must hold several"
    )
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="for each recipe, such as trainer.threads=2",
    )
    parser.add_argument(
        "--quick", action="store_true", help="only see that it runs: a minute each; nothing is kept"
    )
    options = parser.parse_args()
    if options.quick:
        options.minutes, options.every = 1, 2
    before = report.machine()
    rows = [
        throughput(recipe, options.speech, options.minutes, options.every, options.overrides)
        for recipe in options.recipes
    ]
    report.publish("training_throughput", [before, report.table(rows)], keep=not options.quick)


if __name__ == "__main__":
    main()
