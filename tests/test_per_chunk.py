"""More outputs where more people speak at once."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from unmingle import load, separate
from unmingle.errors import UsageError
from unmingle.inference.choosing import as_separator
from unmingle.inference.per_chunk import PerChunk, faintest_db

EXAMPLES = Path(__file__).parents[1] / "examples"
RATE = 16_000


def voice(number: int) -> np.ndarray:
    """Six seconds of one of the example's voices `(1, T)`."""
    samples, rate = soundfile.read(EXAMPLES / f"two-voices.reference-{number}.flac", dtype="float32")
    assert rate == RATE
    return samples[None, : 6 * RATE]


def per_chunk(fewest: int) -> PerChunk:
    return PerChunk(load("duet"), partial(load, "trio"), 3, fewest)


def test_one_voice_goes_through_the_first_network_and_leaves_the_last_output_silent() -> None:
    separator, alone = per_chunk(3), voice(1)
    found = separator(alone)
    assert np.array_equal(found[:2], load("duet")(alone))
    assert not found[2].any()
    assert separator.n_heard == 0


def test_where_three_are_asked_for_the_second_network_takes_what_is_crowded() -> None:
    separator, both = per_chunk(3), voice(1) + voice(2)
    assert np.array_equal(separator(both), load("trio")(both))
    assert separator.n_heard == 3


def test_chunks_are_decided_on_one_by_one() -> None:
    alone, both = voice(1), voice(1) + voice(2)
    found = per_chunk(3).separate_batch(np.stack([alone, both]))
    assert np.array_equal(found[0], per_chunk(3)(alone))
    assert np.array_equal(found[1], per_chunk(3)(both))


def test_two_voices_are_two_though_there_could_be_three() -> None:
    found = separate((voice(1) + voice(2))[0], RATE)
    assert len(found) == 2


def test_three_tracks_of_three_voices_at_once_sum_to_the_recording() -> None:
    mixture = (voice(1) + voice(2) + np.roll(voice(1), RATE, axis=1))[0]
    tracks = separate(mixture, RATE, speakers=3)
    assert tracks.shape == (3, len(mixture)) and all(track.any() for track in tracks)
    rest = mixture - tracks.sum(axis=0)
    assert np.square(rest).sum() < 0.05 * np.square(mixture).sum()


@pytest.mark.parametrize("speakers", ["auto", 3])
def test_the_default_is_called_as_its_first_network(speakers: int | str) -> None:
    separator, as_it_is = as_separator(None, speakers)
    assert isinstance(separator, PerChunk) and separator.name == "duet" and not as_it_is
    assert separator.facts.n_src == 3


def test_a_number_of_people_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError, match="give 1 to 8"):
        as_separator(None, 9)


def test_the_faintest_of_streams_is_told_in_decibels() -> None:
    streams = np.array([[1.0, 1.0], [0.1, 0.1], [0.5, 0.5]])
    assert faintest_db(streams) == pytest.approx(-20)
