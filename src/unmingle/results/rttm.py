"""Who spoke when, on disk."""

from dataclasses import dataclass
from pathlib import Path

from unmingle.errors import InputError

RTTM, LABELS = "speakers.rttm", "labels.txt"


@dataclass(frozen=True)
class Segment:
    """A stretch in which somebody speaks.

    Attributes:
        speaker: who.
        start_s, end_s: where in the recording [s].
    """

    speaker: str
    start_s: float
    end_s: float


def write_segments(folder: Path, segments: list[Segment], recording: str) -> None:
    """Write who spoke when as `speakers.rttm`, which tools for diarization read, and as `labels.txt`, which
    Audacity shows beside the tracks.
    """
    write_rttm(folder / RTTM, segments, recording)
    lines = [f"{s.start_s:.3f}\t{s.end_s:.3f}\t{s.speaker}\n" for s in segments]
    (folder / LABELS).write_text("".join(lines), encoding="utf-8")


def write_rttm(path: Path, segments: list[Segment], recording: str) -> None:
    """Write NIST's Rich Transcription Time Marked format: a line per segment, names without blanks."""
    lines = []
    for s in segments:
        named = [part.replace(" ", "_") for part in (recording, s.speaker)]
        lines.append(
            f"SPEAKER {named[0]} 1 {s.start_s:.3f} {s.end_s - s.start_s:.3f} <NA> <NA> {named[1]} <NA> <NA>\n"
        )
    path.write_text("".join(lines), encoding="utf-8")


def read_rttm(path: Path) -> list[Segment]:
    """The segments of a file in that format.

    Raises:
        InputError: it cannot be read, or a line is no segment.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give a file in RTTM format") from None
    found = []
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        try:
            start_s, duration_s, name = float(fields[3]), float(fields[4]), fields[7]
        except (IndexError, ValueError):
            shape = "SPEAKER recording 1 start duration <NA> <NA> name <NA> <NA>"
            raise InputError(f"{path}: line {number} is no segment; expected: {shape}") from None
        found.append(Segment(name, start_s, start_s + duration_s))
    return found
