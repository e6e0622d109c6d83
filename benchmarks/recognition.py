"""What separation is worth to a recogniser: word error rates of mixtures, of what is taken out of them, and
of clean voices before and after.

    python benchmarks/recognition.py --speech data [--first 10] [--recogniser NAME[:FOLDER]]

Two voices: the mixtures of valid-2mix.csv, as they are, through the default separator alone, and as
`separate(…, speakers=2)` returns them for a listener and for a recogniser. The set has no transcripts, so the
words are those that the recogniser hears in each clean voice; errors are added up before they are divided.
One voice: the clean voices of the same mixtures alone, as they are, through `hush` and through
`separate(…, speakers="auto")`, for either purpose. Where that returns several tracks, the words of all but
the best count as inserted.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import report

import unmingle
from unmingle.catalog import fitting
from unmingle.console import track
from unmingle.data.mixture import Mixture
from unmingle.data.sets import read_set
from unmingle.evaluation.evaluate import measured_rows, statistics
from unmingle.evaluation.systems import MIXTURE, System, system
from unmingle.inference.purpose import PURPOSES, RECOGNITION, Purpose
from unmingle.metrics import MEASURES, Value
from unmingle.metrics.recognisers import DEFAULT_RECOGNISER, recogniser
from unmingle.metrics.recognition import word_errors

N_KEPT = 10  # mixtures of the result that the documentation quotes
ENHANCER = "hush"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--speech", type=Path, default=Path("data"), help="folder that the set's paths start in"
    )
    parser.add_argument("--first", type=int, default=N_KEPT, help="so many mixtures")
    parser.add_argument("--recogniser", default=DEFAULT_RECOGNISER, help="as of unmingle evaluate")
    parser.add_argument(
        "--quick", action="store_true", help="only see that it runs: two mixtures; nothing is kept"
    )
    options = parser.parse_args()
    entries = read_set(
        report.HERE / "valid-2mix.csv", options.speech, first=2 if options.quick else options.first
    )
    score = MEASURES["wer"].columns["wer_to_clean"]
    default = fitting("separate", 2)[0].name
    mixtures: dict[str, dict[str, Value]] = {}
    two_voices = []
    systems = [system(name, 2) for name in (MIXTURE, default)]
    systems += [System(f"separate, for {purpose}", separated_for(purpose)) for purpose in PURPOSES]
    for each in [*systems, system("oracle-irm", 2)]:
        rows = list(
            track(
                measured_rows(each, entries, ("wer",), None, mixtures, options.recogniser),
                f"recognising what {each.name} returns",
                len(entries),
            )
        )
        found = statistics(rows, "wer_to_clean", score.weight)
        two_voices.append(
            {
                "two voices": each.name,
                "WER [%]": f"{found['mean']:.1f}",
                "median [%]": f"{found['median']:.1f}",
            }
            | {"words": f"{sum(row['clean_words'] or 0 for row in rows):.0f}", "mixtures": len(rows)}
        )
    two_voices.append(
        {**two_voices[0], "two voices": "clean voices (by definition)", "WER [%]": "0", "median [%]": "0"}
    )
    parts = [
        report.machine(),
        f"{options.recogniser}; {score.title}:",
        report.table(two_voices),
        report.table(one_voice(options.recogniser, [entry.read() for entry in entries])),
    ]
    keep = not options.quick and options.first == N_KEPT and options.recogniser == DEFAULT_RECOGNISER
    report.publish("recognition", parts, keep=keep)


def separated_for(purpose: Purpose) -> Callable[[Mixture], np.ndarray]:
    """What the package makes of a mixture of two voices."""
    return lambda item: unmingle.separate(item.mixture[:1], item.sample_rate, 2, purpose=purpose)


def one_voice(name: str, mixtures: list) -> list[dict[str, str]]:
    """The table of clean voices, processed: what a tool costs where there was nothing to do."""
    paths: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
        "as it is (by definition)": lambda voice, rate: voice[None],
        ENHANCER: lambda voice, rate: unmingle.enhance(voice, rate, model=ENHANCER)[None],
        "separate, speakers auto": lambda voice, rate: unmingle.separate(voice, rate, speakers="auto"),
        f"{ENHANCER}, for {RECOGNITION}": lambda voice, rate: unmingle.enhance(
            voice, rate, model=ENHANCER, purpose=RECOGNITION
        )[None],
        f"separate, speakers auto, for {RECOGNITION}": lambda voice, rate: unmingle.separate(
            voice, rate, speakers="auto", purpose=RECOGNITION
        ),
    }
    recognise = recogniser(name)
    rows = []
    for path, run in paths.items():
        errors, said, split = 0, 0, 0
        for item in track(mixtures, f"one voice, {path}", len(mixtures)):
            for voice in item.sources:
                words = recognise(voice, item.sample_rate).words
                tracks = run(voice, item.sample_rate)
                heard = [recognise(each, item.sample_rate).words for each in tracks]
                all_words = sum(map(len, heard))
                errors += min(word_errors(each, words) + all_words - len(each) for each in heard)
                said += len(words)
                split += len(tracks) > 1
        rows.append(
            {"one clean voice": path, "WER [%]": f"{100 * errors / said:.1f}", "words": str(said)}
            | {"taken for several": str(split), "voices": str(2 * len(mixtures))}
        )
    return rows


if __name__ == "__main__":
    main()
