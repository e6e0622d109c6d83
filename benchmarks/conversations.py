"""Conversations: people found, who spoke when, tracks, overlapped speech, speed and memory.

    unmingle mix conversations recipes/libri/conversations.yaml --out conversations
    python benchmarks/conversations.py conversations [--model NAME] [--speakers known] [--only 'people-*-a']
    python benchmarks/conversations.py conversations --only hour

Every recording goes through the command line in a process of its own.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import report
import soundfile

from unmingle.console import track
from unmingle.evaluation.conversations import Conversation
from unmingle.results.rttm import RTTM, Segment, read_rttm


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", type=Path, help="folder that 'unmingle mix conversations' wrote")
    parser.add_argument("--model", help="name or file of the local separator; the default unless given")
    parser.add_argument("--speakers", default="auto", help="auto, or 'known' for the true number")
    parser.add_argument("--only", default="people-*", help="pattern of recordings' names")
    options = parser.parse_args()
    machine, rows = report.machine(), []
    folders = sorted(path.parent for path in options.set.glob(f"{options.only}/mixture.wav"))
    for folder in track(folders, "conversations", len(folders)):
        names = {segment.speaker for segment in read_rttm(folder / RTTM)}
        speakers = str(len(names)) if options.speakers == "known" else options.speakers
        with tempfile.TemporaryDirectory() as out:
            chosen = ["--model", options.model] if options.model else []
            wanted = ["--out", out, "--speakers", speakers, *chosen]
            made, peak_mb = report.separated(folder / "mixture.wav", *wanted)
            tracks = {Path(path).stem: soundfile.read(path, dtype="float32")[0] for path in made["outputs"]}
        # Read only now: a process counts what its parent held when it began as its own peak.
        known = Conversation.read(folder)
        row = known.measure([Segment(**segment) for segment in made["segments"]], tracks)
        row |= {"rtf": made["real_time_factor"], "peak_mb": peak_mb}
        rows.append({"recording": folder.name, **row})
        print(json.dumps(rows[-1]), flush=True)
        del known, tracks
    short = [row for row in rows if not row["recording"].startswith("hour")]
    groups = {"all of five minutes": short}
    for n in sorted({row["people"] for row in short}):
        groups[f"{n} people"] = [row for row in short if row["people"] == n]
    for overlap in ("00", "15", "30"):
        groups[f"overlap {int(overlap)} %"] = [
            row for row in short if f"overlap-{overlap}" in row["recording"]
        ]
    groups["the hour"] = [row for row in rows if row["recording"].startswith("hour")]
    table = [summary(name, group) for name, group in groups.items() if group]
    about = f"{options.model or 'the default'}, {options.speakers} number of people:"
    name = {"people-*": "conversations", "hour": "conversations-hour"}.get(options.only, "")
    keep = bool(name) and options.model is None and options.speakers == "auto"
    report.publish(name, [machine, about, report.table(table)], keep=keep)


def summary(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means of a group of recordings, as a row of the table."""

    def mean(key: str, scale: float = 1.0, digits: int = 1) -> str:
        values = [row[key] for row in rows if row[key] is not None]
        return f"{scale * np.mean(values):.{digits}f}" if values else "–"

    off = np.array([abs(row["found"] - row["people"]) for row in rows])
    return {
        "": name,
        "n": len(rows),
        "number right": f"{(off == 0).mean():.0%}",
        "within one": f"{(off <= 1).mean():.0%}",
        "DER [%]": mean("der", 100),
        "missed": mean("missed", 100),
        "false alarm": mean("false_alarm", 100),
        "confusion": mean("confusion", 100),
        "DER, collar 0.25 s": mean("der_collar", 100),
        "on the right track [%]": mean("tracked", 100),
        "SI-SDRi overlapped [dB]": mean("overlapped_si_sdri_db"),
        "single [dB]": mean("single_si_sdri_db"),
        "leakage [dB]": mean("leakage_db"),
        "real-time factor": mean("rtf", 1, 2),
        "peak [MB]": mean("peak_mb", 1, 0),
    }


if __name__ == "__main__":
    main()
