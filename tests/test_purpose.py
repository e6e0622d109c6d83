"""Outputs for a recogniser of speech: the recording itself where that costs nothing, as arrays, as files and
on the command line. The voices are synthetic, the example's.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from test_conversations import RATE, talk, voices

from unmingle.cli import main
from unmingle.errors import UsageError
from unmingle.inference.arrays import enhance, separate
from unmingle.inference.conversation import alone
from unmingle.inference.files import separate_file
from unmingle.inference.purpose import NoiseGivenBack, share_given_back

ROOT = Path(__file__).parents[1]
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def tracks() -> np.ndarray:
    """Of a talk in turns, half a minute."""
    return separate(talk(), RATE, purpose="recognition")


@pytest.mark.parametrize("model", [None, "duet"])
def test_one_voice_comes_back_as_it_is(model: str | None) -> None:
    voice, _ = voices()
    assert np.array_equal(separate(voice, RATE, "auto", model, purpose="recognition"), voice[None])


def test_where_one_person_speaks_alone_their_track_is_the_recording(tracks: np.ndarray) -> None:
    mixture, stretches = talk(), ((0, 1, slice(RATE, 6 * RATE)), (1, 0, slice(10 * RATE, 14 * RATE)))
    for own, other, at in stretches:
        assert np.allclose(tracks[own, at], mixture[at], atol=1e-6)
        assert np.mean(tracks[other, at] ** 2) < 0.01 * np.mean(mixture[at] ** 2)


def test_where_two_speak_at_once_each_is_still_separated(tracks: np.ndarray) -> None:
    at, mixture = slice(18 * RATE, 22 * RATE), talk()
    changed = tracks[:, at] - separate(mixture, RATE)[:, at]
    assert np.mean(changed**2) < 1e-2 * np.mean(mixture[at] ** 2)


def test_tracks_for_a_recogniser_and_the_rest_are_the_mixture(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "talk.wav", talk(), RATE, "FLOAT")
    result = separate_file(tmp_path / "talk.wav", tmp_path / "out", rest=True, purpose="recognition")
    assert result.rest is not None
    rows = [soundfile.read(path, dtype="float32")[0] for path in (*result.outputs, result.rest)]
    assert len(rows) == 3 and np.abs(np.sum(rows, axis=0) - talk()).max() < 1e-5


def test_an_array_gives_a_recogniser_what_a_file_does(tracks: np.ndarray, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "talk.wav", talk(), RATE, "FLOAT")
    result = separate_file(tmp_path / "talk.wav", tmp_path / "out", purpose="recognition")
    for row, path in zip(tracks, result.outputs, strict=True):
        assert np.abs(row - soundfile.read(path, dtype="float32")[0]).max() < 1e-6


def test_a_target_who_speaks_alone_gets_the_recording_and_an_absent_one_nothing() -> None:
    first, second = voices()
    samples = {"second": second, "first": first}
    rows = separate(first, RATE, targets=samples, purpose="recognition")
    assert not rows[0].any() and np.array_equal(rows[1], first)


def test_of_several_microphones_the_reference_is_given_back() -> None:
    voice, _ = voices()
    channels = np.stack([np.roll(voice, k) for k in range(3)])
    rows = separate(channels, RATE, mics="all", reference_mic=2, purpose="recognition")
    assert np.array_equal(rows, channels[1:2])


def test_nobody_is_alone_where_another_begins() -> None:
    labels = np.full((2, 100), -1)
    labels[0, 10:90], labels[1, 60:80] = 0, 1
    share = alone(labels, [0, 1])
    assert share[0, 20:50].min() == 1 and not share[:, 57:87].any() and not share[1].any()


@pytest.mark.parametrize("purpose", ["asr", "", None])
def test_a_purpose_that_is_none_is_refused(purpose: Any) -> None:
    samples = np.ones(100, np.float32)
    for run in (separate, enhance):
        with pytest.raises(UsageError, match="choose from listening, recognition"):
            run(samples, RATE, purpose=purpose)


@pytest.mark.parametrize("given", [{"faces": ["somebody"]}, {"cues": {"lips": np.ones(1)}}])
def test_what_does_not_say_who_speaks_alone_is_refused_for_recognition(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"who speaks alone, and (faces|cues) do not say"):
        separate(np.ones(100, np.float32), RATE, purpose="recognition", **given)


def test_the_command_line_takes_the_purpose(tmp_path: Path, capsys: Captured) -> None:
    voice = ROOT / "examples/two-voices.reference-1.flac"
    for command, name in (("separate", "speaker-1.wav"), ("enhance", "voice.wav")):
        assert main([command, str(voice), "--for", "recognition", "--out", str(tmp_path / command)]) == 0
        found = soundfile.read(tmp_path / command / voice.stem / name, dtype="float32")[0]
        assert np.array_equal(found, voices()[0])
        assert main([command, str(voice), "--for", "fun"]) == 2
        assert "--for fun: unknown; choose from listening, recognition" in capsys.readouterr().err
    assert main(["separate", str(voice), "--for", "recognition", "--faces"]) == 2
    assert "faces do not say" in capsys.readouterr().err


def with_noise(level: float) -> tuple[np.ndarray, np.ndarray]:
    """A voice, and the same in noise."""
    voice, _ = voices()
    noise = np.random.default_rng(0).standard_normal(len(voice))
    return voice, (voice + level * noise).astype(np.float32)


def test_enhancing_leaves_a_recording_that_is_clean_as_it_is() -> None:
    voice, _ = voices()
    assert not np.array_equal(enhance(voice, RATE), voice)
    assert np.array_equal(enhance(voice, RATE, purpose="recognition"), voice)


def test_enhancing_takes_strong_noise_away_for_a_recogniser_too() -> None:
    voice, noisy = with_noise(0.05)
    found = enhance(noisy, RATE, purpose="recognition")
    assert np.array_equal(found, enhance(noisy, RATE))
    assert np.mean((found - voice) ** 2) < 0.1 * np.mean((noisy - voice) ** 2)


def test_what_is_to_stay_of_the_noise_stays_for_a_recogniser_too() -> None:
    _, noisy = with_noise(0.05)
    found = enhance(noisy, RATE, keep=0.3, purpose="recognition")
    assert np.allclose(found, enhance(noisy, RATE, keep=0.3), atol=1e-6)


def test_the_more_noise_the_less_is_given_back() -> None:
    shares = share_given_back(np.ones(5), 10.0 ** np.array([-9, -2.81, -2.3, -1.79, 2]))
    assert np.allclose(shares, [1, 1, 0.5, 0, 0])


def test_noise_is_given_back_by_the_seconds_around_whatever_the_blocks() -> None:
    rng, n = np.random.default_rng(0), 37 * 1000 + 123
    voice, noise = rng.standard_normal((2, n)) * np.array(
        [np.ones(n), np.repeat([1e-3, 1], [n // 2, n - n // 2])]
    )
    rows = np.stack([voice, noise, voice + noise]).astype(np.float32)
    whole = NoiseGivenBack(1000).feed(rows, last=True)[0]
    assert np.array_equal(whole[:12_000], rows[2, :12_000])
    assert np.array_equal(whole[-12_000:], rows[0, -12_000:])
    parts, process = np.split(rows, [0, 1, 99, 5_000, 30_001], axis=1), NoiseGivenBack(1000)
    found = [process.feed(part, last=index == len(parts) - 1)[0] for index, part in enumerate(parts)]
    assert np.array_equal(np.concatenate(found), whole)
