"""What a listener notices beside the mean SI-SDRi: one voice alone, long recordings, and the highs of a 44.1
kHz recording.

    python benchmarks/properties.py --speech data

The voices are the utterances that `valid-2mix.csv` and `valid-3mix.csv` name (ten speakers of LibriSpeech
test-other), found below `--speech` by their ids, so that the public corpus does as well. What is drawn from
them is fixed by its seed.
"""

import argparse
import csv
import sys
import tempfile
from itertools import permutations
from pathlib import Path

import numpy as np
import report
import soundfile
import soxr

from unmingle import Separator, load, separate, separate_file
from unmingle.data.mixer import at_level
from unmingle.data.sets import read_set
from unmingle.metrics import measure
from unmingle.metrics.ratios import snr

SAMPLE_RATE = 16_000
FULL_RATE = 44_100
PIECE_S = 10
HIGHS = (8_000, 20_000)  # [Hz]

Voices = dict[str, list[np.ndarray]]  # speaker to utterances (T,)


def read_voices(speech: Path) -> Voices:
    """All utterances of the two lists, by speaker, in the order of their names."""
    there = {path.stem: path for path in speech.rglob("*.flac")}
    named = set()
    for name in ("valid-2mix.csv", "valid-3mix.csv"):
        with (report.HERE / name).open(newline="", encoding="utf-8") as file:
            named |= {
                Path(value).stem
                for row in csv.DictReader(file)
                for key, value in row.items()
                if key.endswith("_path")
            }
    if missing := named - set(there):
        sys.exit(
            f"{speech}: lacks {len(missing)} of {len(named)} utterances, such as {min(missing)}; give the "
            "folder with LibriSpeech test-other"
        )
    voices: Voices = {}
    for utterance in sorted(named):
        voices.setdefault(utterance.split("-")[0], []).append(
            soundfile.read(there[utterance], dtype="float32")[0]
        )
    return voices


def in_order(estimates: np.ndarray, references: np.ndarray) -> np.ndarray:
    """The estimates `(S, T)` in the order that leaves the least error."""
    similarity = estimates @ references.T
    best = max(
        permutations(range(len(estimates))),
        key=lambda order: sum(similarity[index, row] for row, index in enumerate(order)),
    )
    return estimates[list(best)]


def decibels(part: np.ndarray, whole: np.ndarray) -> float:
    """Energy of one signal relative to another [dB], −120 at the lowest."""
    return float(10 * np.log10(np.vdot(part, part) / np.vdot(whole, whole) + 1e-12))


def one_voice(separator: Separator, voices: Voices, n_files: int) -> list[dict]:
    """Files with one voice, as many of each speaker: how far the fainter output lies below the other."""
    rng = np.random.default_rng(1)
    drawn = {speaker: rng.permutation(len(utterances)) for speaker, utterances in voices.items()}
    rows = []
    for index in range(n_files):
        speaker = list(voices)[index % len(voices)]
        voice = at_level(voices[speaker][drawn[speaker][index // len(voices) % len(drawn[speaker])]], -25)
        fainter, louder = sorted(
            separate(voice, SAMPLE_RATE, model=separator), key=lambda output: np.vdot(output, output)
        )
        rows.append(
            {
                "file": index,
                "speaker": speaker,
                "seconds": len(voice) / SAMPLE_RATE,
                "second_output_db": decibels(fainter, louder),
            }
        )
    return rows


def monologue(utterances: list[np.ndarray], length: int, rng: np.random.Generator) -> np.ndarray:
    """Utterances in random order with pauses of 0 to 2 s, again from the start when all are used, cut to
    `length` samples.
    """
    parts, n = [], 0
    while n < length:
        for index in rng.permutation(len(utterances)):
            parts += [
                np.zeros(int(rng.uniform(0, 2) * SAMPLE_RATE), np.float32),
                at_level(utterances[index], -25),
            ]
            n += len(parts[-2]) + len(parts[-1])
    return np.concatenate(parts)[:length]


def long_mixtures(separator: Separator, voices: Voices, n_mixtures: int, length_s: float) -> list[dict]:
    """Whole-file SI-SDRi against what the best order in every ten seconds would give.

    That order is applied to pieces of the whole file's outputs, and to pieces that were separated on their
    own, where nothing was stitched.
    """
    rng = np.random.default_rng(2)
    speakers = rng.permutation(list(voices))
    rows = []
    for index in range(n_mixtures):
        pair = speakers[[2 * index % len(speakers), (2 * index + 1) % len(speakers)]]
        references = np.stack(
            [monologue(voices[speaker], round(length_s * SAMPLE_RATE), rng) for speaker in pair]
        )
        references[1] *= 10 ** (rng.uniform(-2.5, 2.5) / 20)
        mixture = references.sum(axis=0)
        estimates = separate(mixture, SAMPLE_RATE, model=separator)
        pieces = [
            slice(start, start + PIECE_S * SAMPLE_RATE)
            for start in range(0, len(mixture), PIECE_S * SAMPLE_RATE)
        ]
        reordered = np.concatenate(
            [in_order(estimates[:, piece], references[:, piece]) for piece in pieces], axis=1
        )
        alone = [
            in_order(separate(mixture[piece], SAMPLE_RATE, model=separator), references[:, piece])
            for piece in pieces
        ]
        outputs = (estimates, reordered, np.concatenate(alone, axis=1))
        whole, best, alone_best = (
            measure(each, references, mixture, SAMPLE_RATE)["si_sdri"] for each in outputs
        )
        rows.append(
            {
                "speakers": " + ".join(pair),
                "whole file [dB]": whole,
                "its pieces in best order [dB]": best,
                "pieces separated alone, in best order [dB]": alone_best,
                "lost at most [dB]": max(best, alone_best) - whole,
            }
        )
    return rows


def band(samples: np.ndarray, low: float, high: float) -> np.ndarray:
    """What of `(..., T)` at 44.1 kHz lies between two frequencies [Hz]."""
    spectrum = np.fft.rfft(samples)
    frequencies = np.fft.rfftfreq(samples.shape[-1], 1 / FULL_RATE)
    spectrum[..., (frequencies < low) | (frequencies >= high)] = 0
    return np.fft.irfft(spectrum, samples.shape[-1])


def with_highs(voice: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A 16 kHz voice at 44.1 kHz with highs: noise from 7.5 to 20 kHz that falls by 18 dB and rises and falls
    with the voice's 4 to 7.5 kHz.

    The corpus has none of its own; in speech, what is up there is mostly the same fricatives.
    """
    voice = soxr.resample(voice, SAMPLE_RATE, FULL_RATE)
    window = np.hanning(FULL_RATE // 50)
    envelope = np.sqrt(np.convolve(band(voice, 4_000, 7_500) ** 2, window / window.sum(), "same").clip(0))
    spectrum = np.fft.rfft(rng.standard_normal(len(voice)))
    frequencies = np.fft.rfftfreq(len(voice), 1 / FULL_RATE)
    spectrum *= 10 ** (-18 / 20 * (frequencies - 7_500) / 12_500)
    noise = band(np.fft.irfft(spectrum, len(voice)), 7_500, 20_000)
    return (voice + band(envelope * noise / noise.std(), 7_500, 20_000)).astype(np.float32)


def full_band(separator: Separator, speech: Path, n_mixtures: int) -> list[dict]:
    """44.1 kHz mixtures from disk to disk: between 8 and 20 kHz, what the outputs and the rest sum to, and
    the voices beside half the mixture.
    """
    rng = np.random.default_rng(3)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for entry in read_set(report.HERE / "valid-2mix.csv", speech)[:n_mixtures]:
            references = np.stack([with_highs(source, rng) for source in entry.read().sources])
            path = Path(folder) / f"{entry.id}.wav"
            soundfile.write(path, references.sum(axis=0), FULL_RATE, "FLOAT")
            mixture = soundfile.read(path)[0]
            result = separate_file(path, folder, model=separator, rest=True)
            assert result.rest
            rest = soundfile.read(result.rest)[0]
            estimates = in_order(
                np.stack([soundfile.read(output)[0] for output in result.outputs]), references
            )
            highs, references, whole = (
                band(estimates, *HIGHS),
                band(references, *HIGHS),
                band(mixture, *HIGHS),
            )
            rows.append(
                {
                    "mixture": entry.id,
                    "sum_error_db": decibels(whole - highs.sum(axis=0) - band(rest, *HIGHS), whole),
                    "outputs_snr_db": np.mean([snr(e, r) for e, r in zip(highs, references, strict=True)]),
                    "even_split_snr_db": np.mean([snr(whole / 2, r) for r in references]),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speech", type=Path, required=True, help="folder below which the utterances lie")
    parser.add_argument("--model", help="name or .onnx file; the default model unless given")
    parser.add_argument(
        "--quick", action="store_true", help="only see that it runs: few and short; nothing is kept"
    )
    options = parser.parse_args()
    n_files, n_long, length_s, n_full = (3, 1, 25, 2) if options.quick else (50, 4, 300, 20)
    separator, voices, before = load(options.model, speakers=2), read_voices(options.speech), report.machine()
    alone, long, full = (
        one_voice(separator, voices, n_files),
        long_mixtures(separator, voices, n_long, length_s),
        full_band(separator, options.speech, n_full),
    )

    levels = -np.array([row["second_output_db"] for row in alone])
    errors = -np.array([row["sum_error_db"] for row in full])
    gains = np.array([row["outputs_snr_db"] - row["even_split_snr_db"] for row in full])
    summary = [
        {"property": name, "median": float(np.median(values)), "worst": float(values.min()), "wanted": wanted}
        for name, values, wanted in (
            (
                f"{n_files} files of one voice: the fainter output lies below the other by",
                levels,
                "15 (median)",
            ),
            (
                f"{n_full} mixtures at 44.1 kHz, 8 to 20 kHz: mixture minus outputs and rest lies below it "
                "by",
                errors,
                "60 (each)",
            ),
            (
                "the same: SNR of the outputs above that of an even split",
                gains,
                f"above 0; {(gains > 0).sum()} of {n_full} are",
            ),
        )
    ]
    title = f"{separator.name}, {separator.backend}; values in dB"
    heading = f"Two speakers for {length_s} s, SI-SDRi; at most 1.5 dB may be lost:"
    report.publish(
        "properties",
        [before, title, report.table(summary), heading, report.table(long)],
        keep=not options.quick,
    )
    if not options.quick:
        report.write_rows("properties_one_voice", alone)
        report.write_rows("properties_full_band", full)


if __name__ == "__main__":
    main()
