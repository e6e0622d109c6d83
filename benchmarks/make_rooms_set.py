"""Make `valid-mics.csv`: mixtures of two voices, on which nothing was trained, at six microphones.

    pip install 'unmingle[rooms]'
    python benchmarks/make_rooms_set.py data/utterances.csv data/noises.csv

Voices and noises are those of the split "valid". Nothing but numbers is kept: where walls, voices, noise and
microphones are, and how long a room reverberates (0.1 to 0.6 s); the audio is computed when the set is read.
Half of the arrays are circles, the others ad hoc (see `unmingle.data.rooms.draw_room`).

Speakers, their utterances and the kinds of noise are dealt like cards: all once in random order, then all
once more. A mixture ends with the shorter voice, after 6 s at most. At the first microphone the louder voice
is at -30 to -20 dB (root mean square of its active part) and the other up to 5 dB softer; the energy of both
over that of the noise is 15, 20 or 25 dB, in turns. A mixture that would pass 0.99 is made softer as a whole.
What is drawn is fixed by the seed and the files.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import report
from make_noisy_sets import FRAME, PEAK, RATE, Cards, by_name, dealt

from unmingle.console import track
from unmingle.data.corpora import read_mono, read_recordings
from unmingle.data.entries import noise_passage
from unmingle.data.mixer import convolve, gain_to_level
from unmingle.data.rooms import draw_room, simulate

SEED, N, N_MICS = 1, 60, 6
SHORTEST_S, LONGEST_S = 3.0, 6.0
LEVEL_DB, DIFFERENCE_DB, SNR_DB = (-30.0, -20.0), 5.0, (15, 20, 25)
T60_S = (0.1, 0.6)


def text(place: tuple[float, ...]) -> str:
    """A place, or a size [m], as it stands in the table."""
    return " ".join(f"{value:g}" for value in place)


def draw(
    voices: Cards, kind: str, noises: dict[str, Cards], snr_db: float, root: Path, rng: np.random.Generator
) -> dict[str, Any]:
    """A row of the CSV after its id."""
    one = next(voices)
    other = next(speaker for speaker in voices if speaker is not one)
    paths = [next(one), next(other)]
    noise = next(noises[kind])
    spoken = [read_mono(path, RATE) for path in paths]
    length = min(*map(len, spoken), round(LONGEST_S * RATE)) // FRAME * FRAME
    start = int(rng.integers(len(read_mono(noise, RATE))))
    passage = noise_passage(noise, start, length, RATE)
    room = draw_room(rng, n_src=3, n_mics=N_MICS, t60_s=T60_S)
    responses, _ = simulate(room, RATE)
    in_air = [
        convolve(samples[:length], response)
        for samples, response in zip((*spoken, passage), responses, strict=True)
    ]
    loudest_db = rng.uniform(*LEVEL_DB)
    levels = loudest_db, loudest_db - rng.uniform(0, DIFFERENCE_DB)
    gains = [float(gain_to_level(heard[0], level)) for heard, level in zip(in_air, levels, strict=False)]
    both = gains[0] * in_air[0] + gains[1] * in_air[1]
    energies = [float(np.square(heard[0], dtype=np.float64).sum()) for heard in (both, in_air[2])]
    if not all(energies):
        raise ValueError(f"{noise}: silent from sample {start} on; leave it out")
    gains.append((energies[0] / energies[1] / 10 ** (snr_db / 10)) ** 0.5)
    softer = min(1.0, PEAK / float(np.abs(both + gains[2] * in_air[2]).max()))
    names = ("source_1", "source_2", "noise")
    return {
        **{
            f"{name}_path": path.relative_to(root).as_posix()
            for name, path in zip(names, (*paths, noise), strict=True)
        },
        **{f"{name}_gain": f"{softer * gain:.6g}" for name, gain in zip(names, gains, strict=True)},
        "noise_start": start,
        "kind": kind,
        "snr_db": snr_db,
        "samples": length,
        "t60_s": room.t60_s,
        "room_seed": room.seed,
        "room_size": text(room.size),
        **{f"{name}_place": text(place) for name, place in zip(names, room.sources, strict=True)},
        **{f"mic_{k}_place": text(place) for k, place in enumerate(room.mics, 1)},
    }


def mixtures(speech: Path, noise: Path, n: int, seed: int) -> Iterator[dict[str, Any]]:
    """Draw `n` rows."""
    rng, root = np.random.default_rng(seed), speech.parent
    long_enough = [
        voice
        for voice in read_recordings(speech)
        if voice.split == "valid" and len(read_mono(voice.path, RATE)) >= SHORTEST_S * RATE
    ]
    speakers, noises = by_name(long_enough, rng), by_name(read_recordings(noise, root), rng)
    voices, kinds = dealt(list(speakers.values()), rng), dealt(list(noises), rng)
    for index in range(n):
        row = draw(voices, next(kinds), noises, SNR_DB[index % len(SNR_DB)], root, rng)
        yield {"mixture_id": f"mics-{index:03d}", **row}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "speech", type=Path, help="CSV of utterances; the paths in both CSVs begin in its folder"
    )
    parser.add_argument("noise", type=Path, help="CSV of noises")
    parser.add_argument("--out", type=Path, default=report.HERE, help="folder for the CSV")
    parser.add_argument("--n", type=int, default=N, help="number of mixtures")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    path = options.out / "valid-mics.csv"
    drawn = mixtures(options.speech, options.noise, options.n, options.seed)
    rows = list(track(drawn, "drawing", options.n))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    minutes = sum(row["samples"] for row in rows) / RATE / 60
    print(f"{path}: {len(rows)} mixtures, {minutes:.1f} min")


if __name__ == "__main__":
    main()
