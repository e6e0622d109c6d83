"""Equal error rate of telling whether two pieces of speech are of one person.

    python benchmarks/telling_voices_apart.py --speech data [--model NAME] [--first 200]

All pairs of pieces of 1.6 and of 3 seconds of the readers of valid-2mix.csv, alone and as the separator
returns them, by the cosine of the encoder's vectors.
"""

import argparse
from pathlib import Path

import numpy as np
import report

import unmingle
from unmingle.console import track
from unmingle.data.sets import read_set
from unmingle.inference.speaker_embedding import embed

LENGTHS_S = (1.6, 3.0)
N_KEPT = 100  # mixtures of the result that is kept


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--speech", type=Path, default=Path("data"), help="folder that the set's paths start in"
    )
    parser.add_argument("--model", help="name or file of the separator; the default unless given")
    parser.add_argument("--first", type=int, default=N_KEPT, help="so many mixtures")
    options = parser.parse_args()
    entries = read_set(report.HERE / "valid-2mix.csv", options.speech, first=options.first)
    machine, separator = report.machine(), unmingle.load(options.model, task="separate")
    found: dict[tuple[str, float], list[tuple[str, np.ndarray]]] = {}
    for entry in track(entries, "embedding", len(entries)):
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
                    vector = embed([voice[middle : middle + n]])[0]
                    found.setdefault((kind, length_s), []).append((speaker, vector))
    table = [
        {
            "pieces": kind,
            "length [s]": length_s,
            "of people": len({speaker for speaker, _ in pieces}),
            "equal error rate": f"{rate(pieces):.1%}",
        }
        for (kind, length_s), pieces in found.items()
    ]
    parts = [machine, f"{separator.name}, {len(entries)} mixtures:", report.table(table)]
    report.publish("telling-voices-apart", parts, keep=options.first == N_KEPT and options.model is None)


def rate(pieces: list[tuple[str, np.ndarray]]) -> float:
    """Equal error rate over all pairs."""
    from pyannote.metrics.binary_classification import det_curve

    speakers = np.array([speaker for speaker, _ in pieces])
    vectors = np.stack([vector for _, vector in pieces])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = np.tril_indices(len(pieces), -1)
    same = (speakers[:, None] == speakers)[pairs]
    return float(det_curve(same, (vectors @ vectors.T)[pairs], distances=False)[3])


if __name__ == "__main__":
    main()
