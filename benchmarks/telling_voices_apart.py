"""Equal error rate of telling whether two pieces of speech are of one person.

    python benchmarks/telling_voices_apart.py --speech data [--own FILE] [--model NAME] [--first 200]

All pairs of pieces of 1.6 and of 3 seconds of the readers of valid-2mix.csv, alone and as the separator
returns them, by the cosine of the vectors of the encoder that ships, and of one that own_embedding.py made.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import report

import unmingle
from unmingle.console import track
from unmingle.data.entries import MixtureEntry
from unmingle.data.sets import read_set
from unmingle.inference.speaker_embedding import embed
from unmingle.runtime.separator import Separator

LENGTHS_S = (1.6, 3.0)
N_KEPT = 100  # mixtures of the result that is kept
Piece = tuple[str, float, str, np.ndarray]  # kind, length [s], speaker, samples `(T,)`


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--speech", type=Path, default=Path("data"), help="folder that the set's paths start in"
    )
    parser.add_argument("--model", help="name or file of the separator; the default unless given")
    parser.add_argument("--first", type=int, default=N_KEPT, help="so many mixtures")
    parser.add_argument("--own", type=Path, help="weights of own_embedding.py; without them nothing is kept")
    options = parser.parse_args()
    encoders: dict[str, Callable[[list[np.ndarray]], np.ndarray]] = {"CAM++ (ships)": embed}
    if options.own:
        from own_embedding import embedding

        encoders["our own"] = embedding(options.own)
    entries = read_set(report.HERE / "valid-2mix.csv", options.speech, first=options.first)
    machine, separator = report.machine(), unmingle.load(options.model, task="separate")
    drawn = list(pieces(track(entries, "separating", len(entries)), separator))
    groups = list(dict.fromkeys((kind, length_s) for kind, length_s, _, _ in drawn))
    table = []
    for kind, length_s in groups:
        speakers = [speaker for *group, speaker, _ in drawn if group == [kind, length_s]]
        voices = [voice for *group, _, voice in drawn if group == [kind, length_s]]
        table.append(
            {"pieces": kind, "length [s]": length_s, "of people": len(set(speakers))}
            | {name: f"{rate(speakers, encode(voices)):.1%}" for name, encode in encoders.items()}
        )
    what = f"{separator.name}, {len(entries)} mixtures; equal error rates:"
    keep = options.first == N_KEPT and options.model is None and options.own is not None
    report.publish("telling-voices-apart", [machine, what, report.table(table)], keep=keep)


def pieces(entries: Iterable[MixtureEntry], separator: Separator) -> Iterator[Piece]:
    """The middle of every voice, alone and as the separator returns it."""
    for entry in entries:
        item = entry.read()
        estimates = unmingle.separate(item.mixture, item.sample_rate, model=separator)
        alike = np.abs(estimates @ item.sources.T)
        if alike[0, 0] + alike[1, 1] < alike[0, 1] + alike[1, 0]:
            estimates = estimates[::-1]
        for kind, voices in (("alone", item.sources), ("separated", estimates)):
            for length_s in LENGTHS_S:
                n = round(length_s * item.sample_rate)
                for speaker, voice in zip(item.speakers, voices, strict=True):
                    middle = max(0, (len(voice) - n) // 2)
                    yield kind, length_s, speaker, voice[middle : middle + n]


def rate(people: list[str], vectors: np.ndarray) -> float:
    """Equal error rate over all pairs of vectors `(n, D)`."""
    from pyannote.metrics.binary_classification import det_curve

    speakers = np.array(people)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = np.tril_indices(len(people), -1)
    same = (speakers[:, None] == speakers)[pairs]
    return float(det_curve(same, (vectors @ vectors.T)[pairs], distances=False)[3])


if __name__ == "__main__":
    main()
