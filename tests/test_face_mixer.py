"""Mixtures of people who are seen: pictures in step with the sound, and what becomes of both."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from unmingle.data.corpora import Corpus
from unmingle.data.face_mixer import FaceMixer
from unmingle.data.utterance import Utterance
from unmingle.facts import LIPS, LIPS_RATE, LIPS_SIZE

RATE, SECONDS = 16_000, 6
STEP = int(RATE / LIPS_RATE)


class Pictures:
    """Every picture is as bright as the sound beside it is loud."""

    def __init__(self, speech: Corpus) -> None:
        self.speech = speech

    def read(self, index: int) -> np.ndarray:
        frames = self.speech.read(index).reshape(-1, STEP)
        levels = (1 + 250 * np.abs(frames).max(1)).astype(np.uint8)
        return np.broadcast_to(levels[:, None, None], (len(levels), LIPS_SIZE, LIPS_SIZE))


@pytest.fixture
def mixer(tmp_path: Path) -> Callable[..., FaceMixer]:
    """Four people, whose voices are noise in bursts of random loudness."""
    recordings, rng = [], np.random.default_rng(3)
    for person in range(4):
        loudness = np.repeat(rng.uniform(0, 1, SECONDS * 5), RATE // 5)
        samples = loudness * rng.choice([-0.9, 0.9], SECONDS * RATE)
        path = tmp_path / f"{person}.wav"
        soundfile.write(path, samples, RATE, "FLOAT")
        recordings.append(Utterance(path, f"person-{person}", "people"))
    speech = Corpus(recordings, sample_rate=RATE, cache=tmp_path)

    def make(**options: Any) -> FaceMixer:
        settings = {"seed": 1, "n_items": 50, "length_s": 2.0, "n_src": 1, "mouths": Pictures(speech)}
        return FaceMixer(speech, **(settings | options))

    return make


@pytest.mark.parametrize("speed", [(1.0, 1.0), (0.8, 1.2)])
def test_pictures_and_sound_are_in_step_at_any_speed(
    mixer: Callable[..., FaceMixer], speed: tuple[float, float]
) -> None:
    for index in range(10):
        item = mixer(speed=speed)[index]
        shown = item.cues[LIPS][0, 0, 0].astype(float)
        heard = np.sqrt(np.square(item.sources[0].reshape(-1, STEP)).mean(1))
        assert np.corrcoef(shown, heard)[0, 1] > 0.75
        assert np.corrcoef(np.roll(shown, 5), heard)[0, 1] < 0.7


def test_sources_and_noise_are_the_mixture(mixer: Callable[..., FaceMixer]) -> None:
    item = mixer(n_src=2, p_room=1.0, p_others=(0.0, 0.0, 1.0))[3]
    assert np.allclose(item.sources.sum(0) + item.noise, item.mixture[0], atol=1e-6)
    assert item.sources.any(1).all() and item.noise.any()
    assert item.cues[LIPS].shape == (2, LIPS_SIZE, LIPS_SIZE, 2 * LIPS_RATE)


def test_an_item_depends_on_seed_and_place_alone(mixer: Callable[..., FaceMixer]) -> None:
    first, again = (mixer(augment=True, p_still=0.5)[7] for _ in range(2))
    assert np.array_equal(first.mixture, again.mixture)
    assert np.array_equal(first.cues[LIPS], again.cues[LIPS])
    assert not np.array_equal(first.mixture, mixer(augment=True, p_still=0.5, seed=2)[7].mixture)


def test_a_mouth_that_keeps_still_is_silent(mixer: Callable[..., FaceMixer]) -> None:
    for index in range(10):
        item = mixer(p_still=1.0)[index]
        silent = ~item.sources[0].reshape(-1, STEP).any(1)
        assert silent.mean() > 0.15
        shown = item.cues[LIPS][0, 0, 0].astype(float)
        assert len(np.unique(shown[silent])) <= 2


def test_who_is_not_seen_may_speak_alone(mixer: Callable[..., FaceMixer]) -> None:
    alone = mixer(p_others=(1.0,))[0]
    assert not alone.noise.any() and alone.sources.any()


def test_a_picture_that_is_missing_stays_missing_however_it_is_changed(
    mixer: Callable[..., FaceMixer],
) -> None:
    longer = mixer(length_s=8.0, augment=True)
    for index in range(10):
        pictures = longer[index].cues[LIPS][0]
        assert not pictures[..., SECONDS * int(LIPS_RATE) + 1 :].any()
        assert pictures[..., : SECONDS * int(LIPS_RATE) - 2].any((0, 1)).mean() > 0.5
