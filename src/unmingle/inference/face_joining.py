"""Shots of one person that look too different to be joined by the face: joined by the voice too."""

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from unmingle.errors import InputError
from unmingle.facts import LIPS_RATE
from unmingle.inference.conversation import voice_in
from unmingle.inference.diarization import Voice
from unmingle.inference.faces import FaceVoices
from unmingle.inference.options import FileOptions
from unmingle.inference.pipeline import BLOCK_S
from unmingle.media.recording import at_microphones, pick_channel

if TYPE_CHECKING:
    from unmingle.inference.chunking import SeparatorLike
    from unmingle.video import FaceTrack

ALIKE = 0.7  # of two faces, and
SAME_VOICE = 0.5  # cosine of two voices, from which both are one person's
ENOUGH_S = 20.0  # of a voice while its face is seen, to know it


def join_by_voice(
    separator: "SeparatorLike", faces: list["FaceTrack"], sound: Any, options: FileOptions
) -> list["FaceTrack"]:
    """The same people, those as one who are never seen at the same time, look alike and sound alike; `sound`
    is the recording's `AudioReader`. Only where faces look alike is it listened to.
    """
    alike = [pair for pair in combinations(range(len(faces)), 2) if may_be_one(*(faces[k] for k in pair))]
    if not alike:
        return faces
    voices = heard(separator, faces, sorted({k for pair in alike for k in pair}), sound, options)
    scores = {}
    for one, other in alike:
        if (first := voices[one]) is not None and (second := voices[other]) is not None:
            scores[one, other] = first.like(second)
    people: list[FaceTrack | None] = list(faces)
    into = list(range(len(faces)))  # which face each has become a part of
    for one, other in sorted(scores, key=lambda pair: -scores[pair]):
        kept, gone = sorted((into[one], into[other]))
        first_face, second_face = people[kept], people[gone]
        if scores[one, other] < SAME_VOICE or kept == gone or first_face is None or second_face is None:
            continue
        if never_together(first_face, second_face):
            people[kept], people[gone] = first_face.joined(second_face), None
            into = [kept if each == gone else each for each in into]
    left = [face for face in people if face is not None]
    return [face.renamed(f"face-{number}") for number, face in enumerate(left, 1)]


def may_be_one(one: "FaceTrack", other: "FaceTrack") -> bool:
    """Whether two faces look somewhat alike and are never seen at the same time."""
    return never_together(one, other) and one.like(other) >= ALIKE


def never_together(one: "FaceTrack", other: "FaceTrack") -> bool:
    return not (~np.isnan(one.boxes[:, 0]) & ~np.isnan(other.boxes[:, 0])).any()


def heard(
    separator: "SeparatorLike",
    faces: Sequence["FaceTrack"],
    some: list[int],
    sound: Any,
    options: FileOptions,
) -> dict[int, Voice | None]:
    """How some of the faces sound while they are seen, by their numbers; None who says too little."""
    from unmingle.media.audio import open_audio

    rate, enough = sound.sample_rate, ENOUGH_S * sound.sample_rate
    pick = pick_channel(options.channel, sound.n_channels, sound.name)
    others = [face for k, face in enumerate(faces) if k not in some]
    process = FaceVoices(separator, [faces[k] for k in some], rate, others=others)
    said: list[list[np.ndarray]] = [[] for _ in some]
    counts, n_done = np.zeros(len(some)), 0

    def take(voices: np.ndarray) -> None:
        """The samples of each voice `(n, t)` during which its face is seen."""
        pictures = ((n_done + np.arange(voices.shape[1])) * LIPS_RATE / rate).astype(int)
        for row, k in enumerate(some):
            boxes = faces[k].boxes
            seen = ~np.isnan(boxes[pictures.clip(max=len(boxes) - 1), 0])
            if counts[row] < enough:
                said[row].append(voices[row, seen])
                counts[row] += seen.sum()

    with open_audio(sound.file, track=options.track) as reader:
        for block in reader.blocks(BLOCK_S * rate):
            voices = process.feed(at_microphones(block, separator.facts.n_mics, pick, sound.name))
            take(voices)
            n_done += voices.shape[1]
            if (counts >= enough).all():
                break
        else:
            take(process.flush())
    return {k: voice_of(np.concatenate(parts), rate) for k, parts in zip(some, said, strict=True)}


def voice_of(samples: np.ndarray, sample_rate: int) -> Voice | None:
    """How the person sounds who speaks in `(T,)`; None if nobody does."""
    try:
        return voice_in(samples, sample_rate, "") if len(samples) else None
    except InputError:
        return None
