"""Which separator a recording goes through: the one that was named, or the best there is."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from unmingle.catalog import check, fitting, named
from unmingle.errors import UsageError
from unmingle.facts import LIPS, MOST_PEOPLE, Speakers, lips
from unmingle.inference.chunking import SeparatorLike
from unmingle.inference.per_chunk import PerChunk
from unmingle.media.recording import as_whole
from unmingle.runtime.loading import load

Model = str | Path | SeparatorLike | None


N_MORE = 3  # outputs of the default where more speak at once than the usual one has outputs
STREAMS = 2  # of a separator that returns as many voices as it is told, where their number is not known


def as_separator(
    model: Model,
    speakers: Speakers | None,
    cues: Mapping[str, Any] | None = None,
    several_mics: bool = False,
) -> tuple[SeparatorLike, bool]:
    """The separator that `model` names or is, the default unless given; and whether its outputs are the
    voices.

    They are where it was named for just that number of voices or without a number, or takes cues. Otherwise
    they are streams, on which people are found.

    Raises:
        UsageError: there is none, it is for another task, `speakers` is no number of people, the cues are
            not those that it takes, or it takes one microphone where there are several.
    """
    separator = opened(model)
    fewest, most = number_of_people("auto" if speakers is None else speakers)
    if separator is None:
        default: SeparatorLike
        if several_mics:
            default = load(task="separate", several_mics=True)
        else:
            more = partial(load, task="separate", speakers=N_MORE)
            default = PerChunk(load(task="separate"), more, N_MORE, fewest)
        default.facts.arranged(cues)
        return default, False
    facts = separator.facts
    check(facts, name_of(separator), task="separate", several_mics=several_mics)
    if cues is None and LIPS in {cue.name for cue in facts.cues}:
        remedy = "ask for faces (--faces), or choose another model"
        raise UsageError(f"model {name_of(separator)} tells people apart by sight; {remedy}")
    given = facts.arranged(cues)
    if facts.cues and facts.n_src is None:
        n_src = next(len(given[cue.name]) for cue in facts.cues if None in cue.shape)
        return for_speakers(separator, n_src), True
    if facts.cues or (speakers is None and facts.n_src is not None):
        return separator, True
    if speakers is None:
        return for_speakers(separator, STREAMS), True
    if fewest == most and facts.serves(fewest):
        return for_speakers(separator, fewest), True
    return for_speakers(separator, STREAMS) if facts.n_src is None else separator, False


def number_of_people(speakers: Speakers) -> tuple[int, int]:
    """Fewest and most people that "auto", "2-4" or 3 allows.

    Raises:
        UsageError: it is none of these.
    """
    if speakers == "auto":
        return 1, MOST_PEOPLE
    text = speakers if isinstance(speakers, str) else ""
    low, dash, high = text.partition("-")
    if dash and low.isdecimal() and high.isdecimal():
        fewest, most = int(low), int(high)
    elif text and not text.isdecimal():
        raise UsageError(f"speakers is {speakers!r:.80}; give auto, a number, or a range such as 2-4")
    else:
        fewest = most = as_whole(int(text) if text else speakers, "speakers")
    if not 1 <= fewest <= most <= MOST_PEOPLE:
        raise UsageError(f"speakers is {speakers!r:.80}; give 1 to {MOST_PEOPLE}, or a range such as 2-4")
    return fewest, most


def as_enhancer(model: Model, several_mics: bool = False) -> SeparatorLike:
    """The enhancer that `model` names or is, the default one if it is None; UsageError if it is none, or
    takes one microphone where there are several.
    """
    enhancer = opened(model)
    if enhancer is None:
        return load(task="enhance", several_mics=several_mics)
    check(enhancer.facts, name_of(enhancer), task="enhance", several_mics=several_mics)
    return enhancer


def as_lip_reader(model: Model) -> SeparatorLike:
    """The separator that `model` names or is, the default one if it is None, which takes the voices of faces,
    one or any number, out of a mixture; UsageError if it does not.
    """
    reader = opened(model) or load(cue=LIPS)
    if reader.facts.cues not in ((lips(1),), (lips(None),)):
        remedy = f"choose from: {named(fitting(cue=LIPS))}, or leave the choice to unmingle"
        raise UsageError(f"model {name_of(reader)} does not separate by sight; {remedy}")
    return reader


def for_speakers(separator: SeparatorLike, speakers: int) -> SeparatorLike:
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
