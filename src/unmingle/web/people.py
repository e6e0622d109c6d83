"""What a visitor says of the people that were found: what they are called, and who is one and the same."""

import os
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from unmingle.errors import UsageError
from unmingle.inference.files import RESERVED, FileResult
from unmingle.media.audio import open_audio
from unmingle.media.writer import AudioWriter
from unmingle.results.rttm import Segment, write_segments

LONGEST_NAME, BLOCK = 60, 2**18
TAKEN = RESERVED | {"input", "input-with-noise", "spectrogram", "voice"}  # other files of the results


@dataclass(frozen=True)
class Person:
    """Somebody in a recording.

    Attributes:
        name: what they are called, which can be a file's name.
        tracks: names of the tracks that are theirs, as they were separated.
    """

    name: str
    tracks: tuple[str, ...]


def read_people(values: Any, tracks: list[str]) -> list[Person]:
    """From parsed JSON, `[{"name": …, "tracks": […]}, …]`.

    Raises:
        UsageError: a name that cannot be one, two equal ones, or not each of `tracks` once.
    """
    try:
        people = [Person(str(value["name"]).strip(), tuple(map(str, value["tracks"]))) for value in values]
    except (TypeError, KeyError):
        raise UsageError("not a list of people; load the page again") from None
    if sorted(track for person in people for track in person.tracks) != sorted(tracks) or not all(
        person.tracks for person in people
    ):
        raise UsageError("these are not the tracks of this recording; load the page again")
    for person in people:
        plain = re.fullmatch(rf"\w[\w .()'-]{{0,{LONGEST_NAME - 1}}}", person.name)
        if not plain or person.name.endswith(".") or person.name.casefold() in TAKEN:
            raise UsageError(
                f"{person.name[:LONGEST_NAME] or 'nothing'!r} cannot be a name here; take letters, digits, "
                f"{LONGEST_NAME} at most"
            )
    names = [person.name.casefold() for person in people]
    for person in people:
        if names.count(person.name.casefold()) > 1:
            raise UsageError(
                f"two people are called {person.name}; give other names, or say that they are the same person"
            )
    return people


def arrange(result: FileResult, people: list[Person], folder: Path, recording: str) -> FileResult:
    """The result with a track for each of `people`, written into the new `folder`, beside who spoke when."""
    folder.mkdir()
    files = {path.stem: path for path in result.outputs}
    outputs, silent, segments = [], [], []
    for person in people:
        own = [files[track] for track in person.tracks]
        path = folder / f"{person.name}{own[0].suffix}"
        if len(own) == 1:
            link_or_copy(own[0], path)
        else:
            write_sum(own, path)
        outputs.append(path)
        if all(each in result.silent for each in own):
            silent.append(path)
        spoken = [each for each in result.segments or () if each.speaker in person.tracks]
        segments += [Segment(person.name, start_s, end_s) for start_s, end_s in joined(spoken)]
    segments.sort(key=lambda segment: (segment.start_s, segment.speaker))
    seconds = {person.name: 0.0 for person in people}
    for segment in segments:
        seconds[segment.speaker] += segment.end_s - segment.start_s
    write_segments(folder, segments, recording)
    return replace(
        result, outputs=outputs, speakers=len(people), silent=silent, segments=segments, seconds=seconds
    )


def joined(segments: list[Segment]) -> list[tuple[float, float]]:
    """Begin and end of stretches without gaps [s]."""
    found: list[tuple[float, float]] = []
    for start_s, end_s in sorted((segment.start_s, segment.end_s) for segment in segments):
        if found and start_s <= found[-1][1]:
            found[-1] = found[-1][0], max(end_s, found[-1][1])
        else:
            found.append((start_s, end_s))
    return found


def link_or_copy(source: Path, path: Path) -> None:
    """The same file under another name, without taking room where the disk can do that."""
    try:
        os.link(source, path)
    except OSError:
        shutil.copy(source, path)


def write_sum(paths: list[Path], path: Path) -> None:
    """Add up tracks of one length and sample rate, a block at a time."""
    readers = [open_audio(each) for each in paths]
    try:
        with AudioWriter(
            path, sample_rate=readers[0].sample_rate, format=path.suffix.removeprefix(".")
        ) as writer:
            for blocks in zip(*(reader.blocks(BLOCK) for reader in readers), strict=False):
                writer.write(np.stack([block[0] for block in blocks]).sum(axis=0, keepdims=True))
    finally:
        for reader in readers:
            reader.close()
