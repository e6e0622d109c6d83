"""Arguments of the command line that are text, read and checked."""

import sys
from pathlib import Path
from typing import Any, BinaryIO

from unmingle.errors import UsageError


def file_options(
    format: str, channel: str, start: str | None, end: str | None, purpose: str
) -> dict[str, Any]:
    """The options that are text, as `FileOptions` has them; UsageError names the one that is wrong."""
    from unmingle.inference.purpose import PURPOSES
    from unmingle.media.writer import FORMATS

    start_s, end_s, format = seconds("--start", start), seconds("--end", end), format.lower()
    if end_s is not None and end_s <= (start_s or 0):
        raise UsageError(f"--end {end} is not after --start {start or 0}; choose a later end")
    if format not in FORMATS:
        raise UsageError(f"--format {format}: unknown; choose from {', '.join(FORMATS)}")
    if channel != "mix" and not (channel.isdecimal() and int(channel) > 0):
        raise UsageError(f"--channel {channel}: unknown; choose mix, or a number from 1")
    if purpose not in PURPOSES:
        raise UsageError(f"--for {purpose}: unknown; choose from {', '.join(PURPOSES)}")
    passage = {"start_s": start_s, "end_s": end_s}
    return {"format": format, "channel": channel, "purpose": purpose, **passage}


def seconds(option: str, text: str | None) -> float | None:
    """Read "90", "1:30" or "0:01:30.5" as seconds.

    Raises:
        UsageError: it is none of these.
    """
    if text is None:
        return None
    parts = text.split(":")
    if len(parts) > 3 or not all(
        part.replace(".", "", index == len(parts) - 1).isdecimal() for index, part in enumerate(parts)
    ):
        raise UsageError(
            f"{option} {text}: not a time; write seconds, mm:ss or hh:mm:ss, such as 90, 1:30 or 0:01:30.5"
        )
    if any(float(part) >= 60 for part in parts[1:]):
        raise UsageError(f"{option} {text}: not a time; minutes and seconds behind a colon are below 60")
    return sum(float(part) * 60**power for power, part in enumerate(reversed(parts)))


def microphones(mics: str | None, reference_mic: int | None) -> dict[str, Any]:
    """The options about microphones, as `FileOptions` has them; UsageError names the one that is wrong."""
    from unmingle.media.microphones import check_mics

    if mics is None and reference_mic is not None:
        raise UsageError(f"--reference-mic {reference_mic}: needs --mics; add it, or leave this out")
    try:
        check_mics(mics, reference_mic)
    except UsageError as error:
        raise UsageError(f"--mics {mics}: {error}") from None
    return {"mics": mics, "reference_mic": reference_mic}


def wanted_faces(
    every: bool, numbers: list[int] | None, points: list[str] | None
) -> bool | list[int | tuple[float, float, float]]:
    """Which faces are asked for, as `separate_file` takes them; UsageError names a point that is none."""
    found: list[int | tuple[float, float, float]] = list(numbers or ())
    for text in points or ():
        place, _, time = text.partition("@")
        parts = place.split(",")
        if not time or len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
            raise UsageError(f"--face-at {text}: not a point; write x,y@time, such as 320,180@1:05")
        found.append((float(parts[0]), float(parts[1]), seconds("--face-at", time) or 0.0))
    return found or every


def list_sources(inputs: list[str], out: Path) -> list[tuple[str, Path | BinaryIO]]:
    """Name and source of every input, each once. Results of an earlier run are left out where a folder is
    walked.

    Raises:
        UsageError: standard input is a terminal.
    """
    from unmingle.media.recording import find_inputs

    sources: dict[str, Path | BinaryIO] = {}
    for text in inputs:
        if text == "-":
            if sys.stdin.isatty():
                raise UsageError(
                    "- reads a file from standard input, which is the keyboard here; write: unmingle "
                    "separate - < talk.mp3"
                )
            sources["<stdin>"] = sys.stdin.buffer
            continue
        results = out.resolve()
        for path in find_inputs([text]):
            is_result = Path(text).resolve() in results.parents and results in path.resolve().parents
            if not is_result:
                sources[str(path)] = path
    return list(sources.items())
