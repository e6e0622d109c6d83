"""Which separator a recording goes through: the one that was named, or the best for so many voices."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soxr

from unmingle.catalog import check
from unmingle.errors import UsageError
from unmingle.facts import Speakers
from unmingle.inference.chunking import SeparatorLike, chunk_gain
from unmingle.inference.queue import Queue
from unmingle.media.recording import as_whole
from unmingle.runtime.loading import load

Model = str | Path | SeparatorLike | None


def as_separator(model: Model, speakers: Speakers) -> SeparatorLike:
    """The separator that `model` names or is; with "auto" one that counts.

    Raises:
        UsageError: there is none, it is for another task, or it returns another number of voices.
    """
    separator = opened(model)
    if speakers != "auto":
        speakers = as_whole(speakers, "speakers")
    if separator is not None:
        check(separator.facts, name_of(separator), task="separate")
    if separator is None or (speakers == "auto" and not separator.facts.serves("auto")):
        return load(speakers=speakers)
    return for_speakers(separator, speakers)


def as_enhancer(model: Model) -> SeparatorLike:
    """The enhancer that `model` names or is, the default one if it is None; UsageError if it is none."""
    enhancer = opened(model)
    if enhancer is None:
        return load(task="enhance")
    check(enhancer.facts, name_of(enhancer), task="enhance")
    return enhancer


def for_speakers(separator: SeparatorLike, speakers: Speakers) -> SeparatorLike:
    """The separator, returning so many voices; UsageError if it has another number."""
    check(separator.facts, name_of(separator), speakers=speakers)
    bind = getattr(separator, "for_speakers", None)
    return bind(speakers) if bind else separator


def name_of(separator: SeparatorLike) -> str:
    """What messages and results call it."""
    return getattr(separator, "name", None) or type(separator).__name__


def opened(model: Model) -> SeparatorLike | None:
    """The separator that a name stands for, or the separator itself; UsageError if it is something else."""
    if isinstance(model, str | Path):
        return load(model)
    if model is not None and (not callable(model) or not hasattr(model, "facts")):
        remedy = "give a name, a path, or a separator, such as unmingle.load() returns"
        raise UsageError(f"model is {model!r:.80}; {remedy}")
    return model


def count_speakers(separator: SeparatorLike, blocks: Iterable[np.ndarray], sample_rate: int) -> int:
    """How many voices a recording holds, in constant memory.

    It is cut into chunks of the separator's length, each at the level at which chunks are separated; the
    number that most of them hold counts, the larger one of two that are as frequent. Chunks more than 30 dB
    fainter than the loudest do not count.

    Args:
        separator: one that counts: its `n_src` is None, and it returns as many voices as it finds.
        blocks: the recording at one microphone, `(1, T)` each, at `sample_rate` [Hz].
    """
    facts, ahead = separator.facts, Queue()
    stream = (
        None
        if sample_rate == facts.sample_rate
        else soxr.ResampleStream(sample_rate, facts.sample_rate, 1, dtype="float32")
    )
    found: list[tuple[float, int]] = []  # energy and number of voices of each chunk

    def count(chunk: np.ndarray) -> None:
        level = np.float32(chunk_gain(chunk, facts.sample_rate))
        found.append((float(np.vdot(chunk, chunk)), len(separator(level * chunk[None]))))

    for block in blocks:
        ahead.push(block[0] if stream is None else stream.resample_chunk(np.array(block[0], np.float32)))
        while len(ahead) >= facts.chunk:
            count(ahead.take(facts.chunk))
    if stream is not None:
        ahead.push(stream.resample_chunk(np.zeros(0, np.float32), last=True))
    if len(ahead) >= facts.sample_rate // 2 or not found:
        count(np.pad(ahead.take(len(ahead)), (0, 0 if len(ahead) else 1)))
    loudest = max(energy for energy, _ in found)
    counts = Counter(n for energy, n in found if energy >= 1e-3 * loudest)
    return max(counts, key=lambda n: (counts[n], n))


def after_counting(counter: SeparatorLike, counted: int, model: Model) -> SeparatorLike:
    """What separates so many voices: `model`, or the best for that number; the one that counted them if there
    is but one.

    Raises:
        UsageError: `model` has another number.
    """
    if counted <= 1:
        return for_speakers(counter, 1)
    try:
        return as_separator(model, counted)
    except UsageError as error:
        raise UsageError(f"{counted} voices counted: {error}") from None
