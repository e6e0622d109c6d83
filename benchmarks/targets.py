"""One voice picked out of conversations: whose track it is, and who is said to be absent.

    unmingle mix conversations recipes/libri/conversations.yaml --out conversations
    python benchmarks/targets.py conversations --speech data [--model NAME] [--only 'people-*']

Each person of a conversation is asked for by 10 seconds of another recording of theirs (it may be among those
that the conversation was made of), and so are `ABSENT` people who are not in it.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import report
import soundfile
import soxr

from unmingle.console import track
from unmingle.data.corpora import Utterance, read_recordings
from unmingle.evaluation.conversations import Conversation, assign_tracks, si_sdr_gain
from unmingle.inference.choosing import as_separator
from unmingle.inference.conversation import find_targets, listen, voice_in

SAMPLE_S, ABSENT, BLOCK_S = 10.0, 3, 5


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", type=Path, help="folder that 'unmingle mix conversations' wrote")
    parser.add_argument("--speech", type=Path, default=Path("data"), help="folder with utterances.csv")
    parser.add_argument("--model", help="name or file of the local separator; the default unless given")
    parser.add_argument("--only", default="people-*", help="pattern of recordings' names")
    options = parser.parse_args()
    machine = report.machine()
    of_speaker: dict[str, list[Utterance]] = {}
    for each in read_recordings(options.speech / "utterances.csv"):
        of_speaker.setdefault(each.speaker, []).append(each)
    folders = sorted(path.parent for path in options.set.glob(f"{options.only}/mixture.wav"))
    present: list[dict[str, Any]] = []
    absent: list[bool] = []
    for number, folder in enumerate(track(folders, "conversations", len(folders))):
        known = Conversation.read(folder)
        split = of_speaker[next(iter(known.voices))][0].split
        others = sorted(
            name for name, own in of_speaker.items() if own[0].split == split and name not in known.voices
        )
        step = BLOCK_S * known.sample_rate
        blocks = [known.mixture[None, k : k + step] for k in range(0, len(known.mixture), step)]
        separator, _ = as_separator(options.model, "auto")
        tracks = listen(separator, blocks, known.sample_rate)
        outputs = np.concatenate([tracks.feed(block) for block in blocks], axis=1)
        names = [f"{k}" for k in range(tracks.n_src)]
        mine = assign_tracks(known.segments, tracks.segments(names), known.seconds)

        def asked(name: str) -> int | None:
            return find_targets(tracks.people, {name: sample_of(of_speaker[name], name)})[0]  # noqa: B023

        for name, voice in known.voices.items():
            chosen = asked(name)
            speaks = known.regions(name)
            at = speaks["single"] | speaks["overlapped"]
            gains = [si_sdr_gain(row, voice, known.mixture, at) for row in outputs]
            row = {"chosen": chosen, "own": mine[name], "best": max(gains)}
            present.append(row | {"gain": 0.0 if chosen is None else gains[chosen]})
        rng = np.random.default_rng(number)
        absent += [asked(str(name)) is not None for name in rng.choice(others, ABSENT, replace=False)]
    said = [row for row in present if row["chosen"] is not None]
    wrong = [row for row in said if str(row["chosen"]) != row["own"]]
    table = [
        {
            "people asked for": len(present),
            "said to be absent": f"{1 - len(said) / len(present):.1%}",
            "another person's track": f"{len(wrong) / len(present):.1%}",
            "SI-SDRi where they speak [dB]": f"{np.mean([row['gain'] for row in said]):.2f}",
            "of the best track [dB]": f"{np.mean([row['best'] for row in said]):.2f}",
            "absent people asked for": len(absent),
            "said to be absent ": f"{1 - np.mean(absent):.1%}",
        }
    ]
    whole = options.only == "people-*" and options.model is None
    report.publish(
        "targets", [machine, f"{options.model or 'the default'}:", report.table(table)], keep=whole
    )


def sample_of(recordings: list[Utterance], name: str) -> Any:
    """How somebody sounds in `SAMPLE_S` of their last recordings."""
    rate, pieces, seconds = 16_000, [], 0.0
    for each in reversed(recordings):
        samples, own_rate = soundfile.read(each.path, dtype="float32")
        pieces.append(samples if own_rate == rate else soxr.resample(samples, own_rate, rate))
        seconds += len(pieces[-1]) / rate
        if seconds >= SAMPLE_S:
            break
    return voice_in(np.concatenate(pieces)[: round(SAMPLE_S * rate)], rate, name)


if __name__ == "__main__":
    main()
