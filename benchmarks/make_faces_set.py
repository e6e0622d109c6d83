"""Make `valid-2faces.csv`, mixtures of the two validation people of the VoxCeleb2 excerpts with each other,
and `valid-face.csv`, of each with readers of LibriSpeech test-other, who are not seen.

    python benchmarks/make_faces_set.py data/faces/faces.csv data/utterances.csv

Sources are videos, up to 8 s long; a reader is noise. What is drawn is fixed by the seed.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import report

from unmingle.data.corpora import Utterance, read_mono, read_recordings
from unmingle.data.mixer import level_db

SEED, RATE, LONGEST_S, SHORTEST_S = 25, 16_000, 8.0, 3.5
N_FACES, N_READERS = 40, 20  # mixtures of two faces; of each person with readers
LEVEL_DB = (-31.0, -26.0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("faces", type=Path, help="CSV of videos; its folder is below that of the voices")
    parser.add_argument("voices", type=Path, help="CSV of utterances, whose folder the set's paths start in")
    parser.add_argument("--out", type=Path, default=report.HERE, help="folder for both")
    arguments = parser.parse_args()
    root, rng = arguments.voices.parent.resolve(), np.random.default_rng(SEED)
    seen = [r for r in read_recordings(arguments.faces) if r.split == "valid"]
    names = sorted({r.speaker for r in seen})
    clips = {name: [r for r in seen if r.speaker == name] for name in names}
    readers = [
        r for r in read_recordings(arguments.voices) if r.split == "valid" and "test-other" in r.corpus
    ]

    def spoken(recording: Utterance) -> np.ndarray:
        return read_mono(recording.path, RATE)

    def mixed(id: str, recordings: list[Utterance], n_seen: int) -> dict[str, str | float | int]:
        """A row, of which so many are seen."""
        voices = [spoken(recording) for recording in recordings]
        length = min(*map(len, voices), round(LONGEST_S * RATE))
        gains = [10 ** ((rng.uniform(*LEVEL_DB) - level_db(voice[:length])) / 20) for voice in voices]
        row: dict[str, str | float | int] = {"mixture_id": id, "samples": length}
        for k, recording in enumerate(recordings):
            part = f"source_{k + 1}" if k < n_seen else "noise"
            row[f"{part}_path"] = recording.path.resolve().relative_to(root).as_posix()
            row[f"{part}_gain"] = round(gains[k], 6)
        return row

    pairs = [
        mixed(f"faces-{index:03d}", [clips[n][index % len(clips[n])] for n in names], 2)
        for index in range(N_FACES)
    ]
    alone = []
    for index in range(N_READERS):
        for place, name in enumerate(names):
            clip = clips[name][index % len(clips[name])]
            while len(spoken(reader := readers[rng.integers(len(readers))])) < SHORTEST_S * RATE:
                pass
            alone.append(mixed(f"reader-{2 * index + place:03d}", [clip, reader], 1))
    for name, rows in (("valid-2faces", pairs), ("valid-face", alone)):
        path = arguments.out / f"{name}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        print(f"{len(rows)} mixtures of {', '.join(names)}: {path}")


if __name__ == "__main__":
    main()
