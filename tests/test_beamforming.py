"""Beamformers, which need several microphones and no training."""

import numpy as np
import pytest

from unmingle.beamforming import BEAMFORMERS, beamform
from unmingle.data.mixer import convolve, level_db
from unmingle.data.mixture import Mixture
from unmingle.data.rooms import Room, simulate
from unmingle.errors import UsageError
from unmingle.evaluation.systems import system
from unmingle.metrics.ratios import si_sdr

pytest.importorskip("pyroomacoustics")

RATE = 16_000


@pytest.fixture(scope="module")
def spoken() -> Mixture:
    """Two made voices, harmonics of a pitch that glides, 4 s, at four microphones 10 cm apart."""
    time = np.arange(4 * RATE) / RATE
    mics = tuple((2 + 0.1 * k, 1.7, 1.0) for k in range(4))
    responses, _ = simulate(Room((4.0, 3.5, 2.6), 0.15, ((1.0, 1.0, 1.5), (3.0, 2.6, 1.4)), mics, 1), RATE)
    images = []
    for pitch, rate, response in ((110, 3.1, responses[0]), (190, 2.3, responses[1])):
        phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.2 * np.sin(2 * np.pi * rate * time))) / RATE
        voice = sum(np.sin(k * phase) / k for k in range(1, 25)) * (0.6 + 0.4 * np.sin(7 * rate * time))
        images.append(convolve(voice, response))
    mixture, first = np.sum(images, axis=0), np.stack(images)[:, 0]
    return Mixture(
        mixture.astype(np.float32), first.astype(np.float32), np.zeros(len(time), np.float32), RATE, "spoken"
    )


@pytest.mark.parametrize("name", BEAMFORMERS)
def test_a_beamformer_with_oracle_masks_improves_every_voice(name: str, spoken: Mixture) -> None:
    estimates = beamform(name, spoken.mixture, spoken.sources)
    for estimate, source in zip(estimates, spoken.sources, strict=True):
        assert si_sdr(estimate, source) > si_sdr(spoken.mixture[0], source) + 5


def test_mvdr_leaves_the_level_of_a_voice_at_the_first_microphone(spoken: Mixture) -> None:
    mixture = spoken.mixture.copy()
    for channel, (delay, gain) in enumerate(((0, 1.0), (3, 0.8), (5, 1.2))):
        one, other = spoken.sources
        mixture[channel] = gain * np.roll(one, delay) + np.roll(other, -delay) / gain
    estimates = beamform("mvdr", mixture[:3], spoken.sources)
    for estimate, source in zip(estimates, spoken.sources, strict=True):
        assert si_sdr(estimate, source) > 12
        assert abs(20 * np.log10((estimate @ source) / (source @ source))) < 0.5


@pytest.mark.parametrize("name", BEAMFORMERS)
def test_of_silence_a_beamformer_makes_silence(name: str) -> None:
    assert not beamform(name, np.zeros((3, RATE), np.float32), np.zeros((2, RATE), np.float32)).any()


def test_where_an_estimate_is_silent_the_filter_can_be_held_to_it(spoken: Mixture) -> None:
    estimates = spoken.sources.copy()
    estimates[1] *= 0.01
    estimates[0, 2 * RATE :] = 0
    held = beamform("mvdr", spoken.mixture, estimates, most=2.0)
    assert level_db(held[1]) < level_db(estimates[1]) + 6.1
    later, free = slice(3 * RATE, None), beamform("mvdr", spoken.mixture, estimates)
    assert level_db(held[0, later]) < level_db(free[0, later]) - 40


@pytest.mark.parametrize("name", BEAMFORMERS)
def test_a_dead_microphone_does_no_harm(name: str, spoken: Mixture) -> None:
    dead = np.concatenate([spoken.mixture, np.zeros_like(spoken.mixture[:1])])
    for estimate, source in zip(beamform(name, dead, spoken.sources), spoken.sources, strict=True):
        assert si_sdr(estimate, source) > si_sdr(spoken.mixture[0], source) + 5


def test_oracle_mvdr_is_a_system_and_needs_several_microphones(spoken: Mixture) -> None:
    one = system("oracle-mvdr", 2)
    assert np.array_equal(one.run(spoken), beamform("mvdr", spoken.mixture, spoken.sources))
    alone = Mixture(spoken.mixture[:1], spoken.sources, spoken.noise, RATE, "alone")
    with pytest.raises(UsageError, match="several microphones, and alone has one"):
        one.run(alone)


@pytest.mark.parametrize("name", BEAMFORMERS)
def test_beamformers_use_the_default_separators_masks(name: str, spoken: Mixture) -> None:
    one = system(name, 2)
    assert one.separator is not None
    assert one.run(spoken).shape == spoken.sources.shape


def test_a_model_of_one_microphone_is_measured_at_the_first(spoken: Mixture) -> None:
    one = system("duet", 2)
    alone = Mixture(spoken.mixture[:1], spoken.sources, spoken.noise, RATE, "alone")
    assert np.array_equal(one.run(spoken), one.run(alone))
