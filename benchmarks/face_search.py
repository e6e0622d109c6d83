"""Search the faces of the clips in ../shared/data/faces; print in how many the person is found, how much of
the time, and how much processor time a picture takes.

    python benchmarks/face_search.py data/faces [--split valid]
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np

from unmingle.console import track
from unmingle.video import find_faces


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where faces.csv and the clips below it are")
    parser.add_argument("--split", action="append", help="of faces.csv; valid and test unless given")
    options = parser.parse_args()
    with (options.folder / "faces.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] in (options.split or ["valid", "test"])]
    results: dict[str, list[tuple[float, int, float, int]]] = {}
    for row in track(rows, "searching", len(rows)):
        began = time.process_time()
        tracks = find_faces(options.folder / row["path"])
        spent_s, most = time.process_time() - began, max((each.seen for each in tracks), default=0.0)
        n = len(tracks[0].mouths) if tracks else 1
        results.setdefault(row["corpus"], []).append((most, len(tracks), spent_s, n))
    print("| corpus | clips | found | one face only | seen, mean | seen, least | ms a picture |")
    print("|---|---|---|---|---|---|---|")
    for corpus, found in results.items():
        seen, count, spent_s, n = np.array(found).T
        cells = [corpus, len(found), int((count > 0).sum()), int((count == 1).sum())]
        cells += [f"{seen.mean():.1%}", f"{seen.min():.1%}", f"{1000 * spent_s.sum() / n.sum():.1f}"]
        print("|", " | ".join(map(str, cells)), "|")


if __name__ == "__main__":
    main()
