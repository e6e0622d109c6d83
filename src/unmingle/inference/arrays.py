"""separate() and enhance(): from array to array, for any length and sample rate."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from unmingle.facts import Speakers
from unmingle.inference.choosing import Model, as_enhancer, as_lip_reader, as_separator
from unmingle.inference.conversation import listen, voice_in
from unmingle.inference.faces import FaceVoices, only_faces
from unmingle.inference.pipeline import BLOCK_S, Enhancement, Process, Progress, Separation, report
from unmingle.inference.purpose import Purpose, for_recognition
from unmingle.media.microphones import Channels, Mics, check_mics, find_mics
from unmingle.media.recording import as_channels, as_whole, at_microphones

if TYPE_CHECKING:
    from unmingle.video import FaceTrack


def separate(
    samples: Any,
    sample_rate: int,
    speakers: Speakers | None = None,
    model: Model = None,
    progress: Progress | None = None,
    cues: Mapping[str, Any] | None = None,
    targets: Mapping[str, Any] | None = None,
    leakage: float = 0.0,
    faces: Sequence["FaceTrack"] | None = None,
    mics: Mics | None = None,
    reference_mic: int | None = None,
    purpose: Purpose = "listening",
) -> np.ndarray:
    """Separate an array into one row per person, in the level that each has in the mixture.

    Any number of people, up to as many at once as the separator has outputs: what it returns are streams, on
    which people are told apart by their voices. Where a model is named for just the number of voices that is
    asked for, its outputs are returned as they are.

    Args:
        samples: `(T,)` or `(channels, T)`, whatever converts to a NumPy array; never changed. Channels are
            averaged for a model of one microphone. Integers of up to 32 bits are scaled by their type's full
            range (int16 by 1/32768).
        sample_rate: [Hz], 1,000 to 768,000.
        speakers: number of people, 1 to 8; a range such as "2-4"; or "auto" for as many as are found, at
            least one. "auto" unless given; where a model is, the number of its own outputs.
        model: as for `load`; or a separator: one that was loaded, or any callable with `facts`.
        progress: called with the seconds done and in all; returning False cancels.
        cues: the cues that the model declares, by name.
        targets: samples of the voices of the people who are wanted, 5 to 30 s of each at `sample_rate`, by
            name.
        leakage: how much of the others stays where a person is silent, 0 (silence) to 1 (what the separator
            left there). Outputs that are returned as they are do not change.
        faces: people who are seen while this sounds, such as `unmingle.video.find_faces` returns: their
            voices are told apart by sight. `model` is then one whose cue is their lips.
        mics: use the channels as microphones of one scene: "all", or the numbers of two or more, from 1, as
            [1, 3] or "1,3"; silent ones are left out. `model` is then one that takes several.
        reference_mic: number of the microphone at which the voices are estimated; that of the best signal
            unless given.
        purpose: "recognition" makes tracks for a recogniser of speech: the recording itself where one person
            speaks alone. People are then also found where a model is named for their number.

    Returns:
        `(n_src, T)` float32; with `targets` or `faces`, one row for each, silent where the person is absent.

    Raises:
        InputError: no samples, not finite, a shape that is no recording, or a sample rate out of range; or
            `mics` are given, and less than two microphones are not silent.
        UsageError: no such model, microphone, number of speakers or purpose; or `faces` are given with what
            is for separating by ear.
        Cancelled: by `progress`.
    """
    channels, sample_rate = as_channels(samples), as_whole(sample_rate, "sample_rate")
    recognition = for_recognition(purpose, faces, cues)
    if faces is not None:
        only_faces({"speakers": speakers, "cues": cues, "targets": targets, "mics": mics})
        reader = as_lip_reader(model)
        mixture = at_microphones(channels, reader.facts.n_mics)
        return _through(FaceVoices(reader, faces, sample_rate), mixture, sample_rate, progress)
    check_mics(mics, reference_mic)
    separator, as_it_is = as_separator(model, speakers, cues, several_mics=mics is not None)
    if mics is not None:
        wanted_mics = find_mics(mics, reference_mic, len(channels), "samples")
        like = Channels(len(channels), sample_rate)
        for start in range(0, channels.shape[1], BLOCK_S * sample_rate):
            like.feed(channels[:, start : start + BLOCK_S * sample_rate])
        channels = channels[like.choose(*wanted_mics, "samples").order]
    mixture = at_microphones(channels, separator.facts.n_mics)
    wanted = None
    if targets is not None:
        wanted = {name: voice_in(sample, sample_rate, name) for name, sample in targets.items()}
    process: Process
    if as_it_is and wanted is None and not recognition:
        process = Separation(separator, sample_rate, cues)
    else:
        length, block = mixture.shape[1], BLOCK_S * sample_rate

        def blocks() -> Iterator[np.ndarray]:
            for start in range(0, length, block):
                report(progress, 0.9 * start / sample_rate, length / sample_rate)
                yield mixture[:, start : start + block]

        process = listen(
            separator, blocks(), sample_rate, speakers or "auto", wanted, leakage=leakage, purpose=purpose
        )
        progress = None
    return _through(process, mixture, sample_rate, progress)


def enhance(
    samples: Any,
    sample_rate: int,
    model: Model = None,
    keep: float = 0.0,
    progress: Progress | None = None,
    cues: Mapping[str, Any] | None = None,
    purpose: Purpose = "listening",
) -> np.ndarray:
    """Take the voice of an array out of its noise, in the level that it has there.

    Args:
        samples, sample_rate, progress, cues: as for `separate`.
        model: as for `load`, one that enhances; or an enhancer: one that was loaded, or any callable whose
            `facts` declare that task.
        keep: share of the noise that stays, 0 to 1; a little of it sounds more natural than silence.
        purpose: "recognition" gives a recogniser of speech the recording itself where it is not noisy.

    Returns:
        `(T,)` float32.

    Raises:
        InputError, Cancelled: as `separate`.
        UsageError: no such model or purpose, or none that enhances, or `keep` is out of range.
    """
    channels, sample_rate = as_channels(samples), as_whole(sample_rate, "sample_rate")
    enhancer = as_enhancer(model)
    mixture = at_microphones(channels, enhancer.facts.n_mics)
    process = Enhancement(enhancer, sample_rate, keep, cues, purpose)
    return _through(process, mixture, sample_rate, progress)[0]


def _through(
    process: Process, mixture: np.ndarray, sample_rate: int, progress: Progress | None
) -> np.ndarray:
    """`(C, T)` → `(n_src, T)`, fed in blocks."""
    length, block, filled = mixture.shape[1], BLOCK_S * sample_rate, 0
    outputs = np.empty((process.n_src, length), np.float32)
    for start in range(0, length, block):
        report(progress, start / sample_rate, length / sample_rate)
        ready = process.feed(mixture[:, start : start + block])
        outputs[:, filled : filled + ready.shape[1]] = ready
        filled += ready.shape[1]
    outputs[:, filled:] = process.flush()
    report(progress, length / sample_rate, length / sample_rate)
    return outputs
