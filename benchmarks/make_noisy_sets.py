"""Make `valid-noisy.csv` and `valid-tasks.csv`: mixtures of one voice and noise, with voices and noises on
which nothing was trained.

    python benchmarks/make_noisy_sets.py data/utterances.csv data/noises.csv

Voices and noises are those of the split "valid". `valid-noisy.csv` has 200 mixtures, with every kind of noise
as often as the others; `valid-tasks.csv` has 40 for each of its tasks: a tone, two kinds of noise, any kind,
any kind with the voice in a room. One mixture in four has a signal-to-noise ratio of -5 dB, one of 0, one of
5 and one of 10 dB, in turns.

Speakers, their utterances and the kinds are dealt like cards: all once in random order, then all once more. A
mixture has the first 10 s of an utterance of at least 5 s, which is at -30 to -20 dB (root mean square of its
active part). The noise begins at a random place of a recording and goes round in it where it is too short.
The ratio is that of the energies over the whole mixture: of the voice as it is in air, in its room if it is
in one, to the noise without what the room adds. A mixture that would pass 0.99 is made softer as a whole.
What is drawn is fixed by the seed and the files.
"""

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import report

from unmingle.data.corpora import Utterance, read_mono, read_recordings
from unmingle.data.entries import noise_passage, through_room
from unmingle.data.mixer import TONE, gain_to_level

SEED, N_NOISY, N_TASK = 1, 200, 40
RATE, FRAME = 16_000, 320  # [Hz], [samples]
SHORTEST_S, LONGEST_S = 5.0, 10.0
SNR_DB, LEVEL_DB = (-5, 0, 5, 10), (-30.0, -20.0)
TONE_HZ, T60_S = (750.0, 3000.0), (0.1, 0.5)
PEAK = 0.99
#: kinds of noise by task, every recorded one if none is named
TASKS = {
    "tone": [TONE],
    "air-conditioner": ["air_conditioner"],
    "dog-bark": ["dog_bark"],
    "general-noise": [],
    "noise-and-reverberation": [],
}
IN_ROOM = "noise-and-reverberation"

Cards = Iterator[Any]


def dealt(things: Sequence[Any], rng: np.random.Generator) -> Cards:
    """Things without end: all of them once in random order, then all once more, and so on."""
    while True:
        yield from (things[index] for index in rng.permutation(len(things)))


def by_name(recordings: list[Utterance], rng: np.random.Generator) -> dict[str, Cards]:
    """The recordings of the split "valid", dealt, by who or what is in_air, in the order of the names."""
    found = defaultdict(list)
    for recording in sorted(recordings, key=lambda recording: (recording.speaker, recording.path.stem)):
        if recording.split == "valid":
            found[recording.speaker].append(recording.path)
    return {name: dealt(paths, rng) for name, paths in found.items()}


def draw(
    voices: Cards,
    kind: str,
    noises: dict[str, Cards],
    snr_db: float,
    in_room: bool,
    root: Path,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """A row of the CSV after its id and task."""
    path = next(next(voices))
    voice = read_mono(path, RATE)[: round(LONGEST_S * RATE)]
    voice = voice[: len(voice) // FRAME * FRAME]
    t60_s, seed = (round(rng.uniform(*T60_S), 3), int(rng.integers(2**31))) if in_room else ("", "")
    in_air = through_room(voice[None], seed, RATE, t60_s)[0] if in_room else voice
    noise = f"{TONE}:{rng.uniform(*TONE_HZ):.1f}" if kind == TONE else next(noises[kind])
    start = 0 if kind == TONE else int(rng.integers(len(read_mono(noise, RATE))))
    passage = noise_passage(noise, start, len(voice), RATE)
    gain = float(gain_to_level(in_air, rng.uniform(*LEVEL_DB)))
    energies = [float(np.square(samples, dtype=np.float64).sum()) for samples in (gain * in_air, passage)]
    if not all(energies):
        raise ValueError(f"{noise}: silent from sample {start} on, or {path} is; leave it out")
    noise_gain = (energies[0] / energies[1] / 10 ** (snr_db / 10)) ** 0.5
    softer = min(1.0, PEAK / float(np.abs(gain * in_air + noise_gain * passage).max()))
    return {
        "source_1_path": path.relative_to(root).as_posix(),
        "source_1_gain": f"{softer * gain:.6g}",
        "room_seed": seed,
        "t60_s": t60_s,
        "noise_path": noise if kind == TONE else noise.relative_to(root).as_posix(),
        "noise_start": start,
        "noise_gain": f"{softer * noise_gain:.6g}",
        "kind": kind,
        "snr_db": snr_db,
        "samples": len(voice),
    }


def mixtures(
    speech: Path, noise: Path, tasks: dict[str, list[str]], n: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Draw `n` rows for each task."""
    rng, root = np.random.default_rng(seed), speech.parent
    long_enough = [
        voice
        for voice in read_recordings(speech)
        if voice.split == "valid" and len(read_mono(voice.path, RATE)) >= SHORTEST_S * RATE
    ]
    speakers, noises = by_name(long_enough, rng), by_name(read_recordings(noise, root), rng)
    voices = dealt(list(speakers.values()), rng)
    for task, kinds in tasks.items():
        drawn = dealt(kinds or list(noises), rng)
        for index in range(n):
            row = draw(voices, next(drawn), noises, SNR_DB[index % len(SNR_DB)], task == IN_ROOM, root, rng)
            yield {"mixture_id": f"{task}-{index:03d}", "task": task, **row}


def write(rows: list[dict[str, Any]], path: Path) -> None:
    """Write the rows as CSV, without the columns that are the same task or empty in all of them, and print
    what was made.
    """
    columns = [
        key
        for key in rows[0]
        if any(row[key] != "" for row in rows) and (key != "task" or len({row[key] for row in rows}) > 1)
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    hours = sum(row["samples"] for row in rows) / RATE / 3600
    speakers = len({Path(row["source_1_path"]).parent for row in rows})
    print(
        f"{path}: {len(rows)} mixtures, {hours:.2f} h, {speakers} speakers, "
        f"{len({row['kind'] for row in rows})} kinds of noise"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "speech", type=Path, help="CSV of utterances; the paths in both CSVs begin in its folder"
    )
    parser.add_argument("noise", type=Path, help="CSV of noises")
    parser.add_argument("--out", type=Path, default=report.HERE, help="folder for the two CSVs")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    sources = arguments.speech, arguments.noise
    write(list(mixtures(*sources, {"noisy": []}, N_NOISY, arguments.seed)), arguments.out / "valid-noisy.csv")
    write(list(mixtures(*sources, TASKS, N_TASK, arguments.seed + 1)), arguments.out / "valid-tasks.csv")


if __name__ == "__main__":
    main()
