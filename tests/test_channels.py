"""What is said of the channels of a recording, and what is kept of them."""

from pathlib import Path

import numpy as np
import pytest
from meetings import RATE, SECONDS, Hears, meeting, written
from test_separation import IDENTITY, noise, spans, voice

from unmingle import separate_file
from unmingle.facts import MOST_MICS
from unmingle.media.microphones import Channels


@pytest.mark.parametrize("n_mics", [2, 4, MOST_MICS])
def test_channels_of_the_same_voices_are_mixed_and_said_to_be_microphones(
    n_mics: int, tmp_path: Path
) -> None:
    result = separate_file(written(tmp_path, meeting(n_mics)), tmp_path / "out", model=IDENTITY)
    assert f"{n_mics} channels were mixed to mono" in result.notes
    assert any(f"{n_mics} channels hold the same voices: with --mics all" in note for note in result.notes)


@pytest.mark.parametrize("options", [{}, {"mics": "all"}, {"mics": "all", "speakers": 1}])
def test_a_stereo_call_is_still_recognised_and_not_said_to_be_microphones(
    options: dict, tmp_path: Path
) -> None:
    sides = np.stack([spans(voice(110, 500, 12, 1), (0, 5), (8, 12)), spans(voice(230, 2000, 12, 2), (4, 9))])
    model = Hears() if options else IDENTITY
    result = separate_file(written(tmp_path, sides), tmp_path / "out", model=model, **options)
    assert any("stereo call" in note for note in result.notes)
    assert not any("same voices" in note for note in result.notes)


@pytest.mark.parametrize("make", ["copies", "noise", "too many", "one dead"])
def test_other_channels_are_not_said_to_be_microphones(make: str, tmp_path: Path) -> None:
    one = meeting(1)
    channels = {
        "copies": np.concatenate([one, one]),
        "noise": np.stack([noise(SECONDS * RATE, 1), noise(SECONDS * RATE, 2)]),
        "too many": meeting(MOST_MICS + 1),
        "one dead": np.concatenate([one, 0 * one]),
    }[make]
    result = separate_file(written(tmp_path, channels), tmp_path / "out", model=IDENTITY)
    assert not any("same voices" in note for note in result.notes)


def test_what_is_kept_of_the_channels_does_not_grow_with_the_recording() -> None:
    like, mixture = Channels(8, RATE), meeting(8)
    like.feed(mixture)

    def kept() -> int:
        return sum(value.nbytes for value in vars(like).values() if isinstance(value, np.ndarray))

    before = kept()
    for _ in range(10):
        like.feed(mixture)
    assert kept() == before < 20_000
