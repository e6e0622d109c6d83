"""The experiment behind docs/choosing-the-default.md: four families on the same data, at equal processor time
of one core.

for family in band-split-small dprnn-16k sudormrf-small sepreformer-small; do
  unmingle train recipes/libri/$family.yaml --out runs/$family
  unmingle evaluate runs/$family/last.safetensors benchmarks/valid-2mix.csv --speech data --json \\
    > runs/$family/valid-2mix.json
done
python benchmarks/families.py runs/band-split-small runs/dprnn-16k runs/sudormrf-small runs/sepreformer-small
"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import report

from unmingle.weights_file import load_model, parameter_count, read_header

MINUTES = (5, 10, 20, 30, 40)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", help="folders that 'unmingle train' wrote")
    rows = []
    for run in parser.parse_args().runs:
        with (run / "curves.csv").open(newline="", encoding="utf-8") as file:
            curve = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
        header, last = read_header(run / "last.safetensors"), curve[-1]
        times, scores = [row["minutes"] for row in curve], [row["valid_si_sdri"] for row in curve]
        measured = run / "valid-2mix.json"
        summary = json.loads(measured.read_text()) if measured.exists() else None
        rows.append(
            {
                "family": header["model"],
                "parameters [M]": parameter_count(load_model(run / "last.safetensors")) / 1e6,
                "audio per processor second [s]": last["hours_of_audio"] * 60 / last["minutes"],
                "minutes": last["minutes"],
                "hours of mixtures": last["hours_of_audio"],
                **{
                    f"at {m} min": f"{np.interp(m, times, scores):.2f}"
                    if times[0] - 2 <= m <= last["minutes"] + 1
                    else "–"
                    for m in MINUTES
                },
                "valid-2mix SI-SDRi [dB]": f"{summary['si_sdri_db']['mean']:.2f} ({summary['n']})"
                if summary
                else "–",
            }
        )
    heading = "SI-SDRi on held-out training speakers [dB] by processor minutes of one core:"
    report.publish("families", [report.machine(), heading, report.table(rows)], keep=True)


if __name__ == "__main__":
    main()
