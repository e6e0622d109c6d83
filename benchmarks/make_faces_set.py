"""Make `valid-faces.csv`: mixtures of the two validation people of the VoxCeleb2 excerpts with each other,
and with readers of LibriSpeech test-other, who are not seen.

    python benchmarks/make_faces_set.py data/faces/faces.csv data/utterances.csv

A row is one person who is seen and heard (`source_1`, a video) and another who is heard only (`noise`), up to
8 s long. Of two people who are both seen there are two rows, `…-a` and `…-b`, of the same mixture. What is
drawn is fixed by the seed.
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
COLUMNS = ["mixture_id", "source_1_path", "source_1_gain", "noise_path", "noise_start", "noise_gain", "kind"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("faces", type=Path, help="CSV of videos; its folder is below that of the voices")
    parser.add_argument("voices", type=Path, help="CSV of utterances, whose folder the set's paths start in")
    parser.add_argument("--out", type=Path, default=report.HERE / "valid-faces.csv")
    arguments = parser.parse_args()
    root, rng = arguments.voices.parent.resolve(), np.random.default_rng(SEED)
    seen = [r for r in read_recordings(arguments.faces) if r.split == "valid"]
    names = sorted({r.speaker for r in seen})
    clips = {name: [r for r in seen if r.speaker == name] for name in names}
    readers = [
        r for r in read_recordings(arguments.voices) if r.split == "valid" and "test-other" in r.corpus
    ]
    rows: list[list[str | float | int]] = []

    def spoken(recording: Utterance) -> np.ndarray:
        return read_mono(recording.path, RATE)

    def add(id: str, recordings: list[Utterance], kind: str) -> None:
        voices = [spoken(recording) for recording in recordings]
        length = min(*map(len, voices), round(LONGEST_S * RATE))
        gains = [10 ** ((rng.uniform(*LEVEL_DB) - level_db(voice[:length])) / 20) for voice in voices]
        paths = [recording.path.resolve().relative_to(root).as_posix() for recording in recordings]
        targets = (0, 1) if kind == "seen" else (0,)
        for target in targets:
            ends = f"-{'ab'[target]}" if len(targets) > 1 else ""
            own, other = (round(gains[k], 6) for k in (target, 1 - target))
            rows.append([id + ends, paths[target], own, paths[1 - target], 0, other, kind, length])

    for index in range(N_FACES):
        add(f"faces-{index:03d}", [clips[n][index % len(clips[n])] for n in names], "seen")
    for index in range(N_READERS):
        for place, name in enumerate(names):
            clip = clips[name][index % len(clips[name])]
            while len(spoken(reader := readers[rng.integers(len(readers))])) < SHORTEST_S * RATE:
                pass
            add(f"reader-{2 * index + place:03d}", [clip, reader], "unseen")
    with arguments.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, "samples"])
        writer.writerows(rows)
    print(f"{len(rows)} rows of {', '.join(names)} and readers: {arguments.out}")


if __name__ == "__main__":
    main()
