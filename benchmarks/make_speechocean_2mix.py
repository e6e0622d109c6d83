"""Make `speechocean-2mix.csv`: 200 mixtures of two speakers each of a corpus that no model trained on
LibriSpeech alone has heard.

    python benchmarks/make_speechocean_2mix.py data/utterances.csv
    python benchmarks/make_speechocean_2mix.py speechocean762/WAVE

speechocean762 (openslr.org/101) is English read aloud by 250 learners, half of them children. Speakers are
drawn evenly, then one of their utterances of 3.5 s or more. Each voice gets its own level, as in LibriMix
between -33 and -25 dB (here the root mean square of its active part); no sum passes 0.81. What is drawn is
fixed by the seed and by the names and lengths of the files. The CSV that is here was made from Opus copies of
them; from the original WAV files the gains differ in their last digits, and another set of files gives
another draw.
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import report
import soundfile

from unmingle.data.corpora import Utterance, read_mono, read_recordings
from unmingle.data.mixer import level_db

SEED, N_MIXTURES, SHORTEST_S = 762, 200, 3.5
RATE, FRAME = 16_000, 320  # [Hz], [samples]
LEVEL_DB = (-33.0, -25.0)


def by_speaker(source: Path) -> list[list[Utterance]]:
    """The utterances that are long enough, by speaker, in the order of their names."""
    voices = defaultdict(list)
    for recording in sorted(read_recordings(source), key=lambda recording: recording.path.stem):
        if (source.is_dir() or recording.corpus == "speechocean762") and soundfile.info(
            recording.path
        ).duration >= SHORTEST_S:
            voices[recording.speaker].append(recording)
    return list(voices.values())


def draw(voices: list[list[Utterance]], root: Path, rng: np.random.Generator) -> list[str | float]:
    """A row of the CSV after its id: path and gain of either voice, and the length [samples], in whole
    frames.
    """
    chosen = [
        voices[speaker][rng.integers(len(voices[speaker]))].path
        for speaker in rng.choice(len(voices), 2, replace=False)
    ]
    spoken = [read_mono(path, RATE) for path in chosen]
    length = min(map(len, spoken)) // FRAME * FRAME
    gains = [round(10 ** ((rng.uniform(*LEVEL_DB) - level_db(voice[:length])) / 20), 6) for voice in spoken]
    paths = [path.relative_to(root).as_posix() for path in chosen]
    return [paths[0], gains[0], paths[1], gains[1], length]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="CSV of utterances, or the folder WAVE of speechocean762")
    parser.add_argument("--out", type=Path, default=report.HERE / "speechocean-2mix.csv")
    arguments = parser.parse_args()
    voices, rng = by_speaker(arguments.source), np.random.default_rng(SEED)
    root = arguments.source if arguments.source.is_dir() else arguments.source.parent
    with arguments.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["mixture_id", "source_1_path", "source_1_gain", "source_2_path", "source_2_gain", "samples"]
        )
        writer.writerows([f"so2mix-{index:03d}", *draw(voices, root, rng)] for index in range(N_MIXTURES))
    print(f"{N_MIXTURES} mixtures of {len(voices)} speakers: {arguments.out}")


if __name__ == "__main__":
    main()
