"""separate_file(): from disk to disk, tracks of their own names, formats, passages, channels."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_separation import IDENTITY, RATE, Fake, db, noise, spans, split_bands, voice

from unmingle.errors import Cancelled, UsageError
from unmingle.inference.arrays import separate
from unmingle.inference.files import FileResult, separate_file
from unmingle.inference.outputs import output_stems


def test_inputs_of_the_same_name_never_share_a_folder() -> None:
    stems = output_stems(
        ["a/talk.mp3", "b/talk.wav", "Talk.flac", "talk-2.wav", "été.m4a", "..wav", "<stdin>"]
    )
    assert len({stem.casefold() for stem in stems}) == len(stems) and stems[0] == "talk" and stems[4] == "été"


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """Two synthetic voices at 44.1 kHz."""
    path = tmp_path / "in" / "a talk.wav"
    path.parent.mkdir()
    soundfile.write(path, voice(110, 300, 11, 1, 44_100) + voice(230, 2500, 11, 2, 44_100), 44_100, "FLOAT")
    return path


def read(result: FileResult) -> np.ndarray:
    return np.stack([soundfile.read(path, dtype="float32")[0] for path in result.outputs])


def test_a_file_gives_what_the_array_gives(talk: Path, tmp_path: Path) -> None:
    result = separate_file(talk, tmp_path / "out", model=Fake(split_bands))
    mixture, rate = soundfile.read(talk, dtype="float32")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in result.outputs] == [
        "a talk/speaker-1.wav",
        "a talk/speaker-2.wav",
    ]
    assert np.abs(read(result) - separate(mixture, rate, model=Fake(split_bands))).max() < 1e-6
    assert (result.speakers, result.silent, result.duration_s, result.sample_rate) == (2, [], 11.0, 44_100)


def test_voices_and_rest_sum_to_the_mixture(talk: Path, tmp_path: Path) -> None:
    deaf = Fake(lambda mixture: 0.4 * split_bands(mixture))
    result = separate_file(talk, tmp_path / "out", model=deaf, rest=True)
    mixture, _ = soundfile.read(talk, dtype="float32")
    assert result.rest is not None
    assert (
        db(mixture, read(result).sum(axis=0) + soundfile.read(result.rest, dtype="float32")[0] - mixture) > 60
    )


def test_one_voice_is_said_to_be_one(talk: Path, tmp_path: Path) -> None:
    result = separate_file(talk, tmp_path / "out", model=IDENTITY)
    assert result.speakers == 1 and result.silent == [result.outputs[1]] and result.outputs[1].is_file()
    assert any("speaker-2 silent" in note for note in result.notes)


def test_a_format_that_clips_is_lowered_by_one_gain_and_says_so(talk: Path, tmp_path: Path) -> None:
    opposed = Fake(lambda mixture: np.stack([9 * mixture, -8 * mixture]))
    result = separate_file(talk, tmp_path / "out", model=opposed, format="flac")
    assert any("lowered" in note for note in result.notes)
    loud = separate(*soundfile.read(talk, dtype="float32"), model=opposed)
    assert np.abs(read(result) - loud / np.abs(loud).max()).max() < 1e-5
    assert sorted(path.name for path in result.outputs[0].parent.iterdir()) == [
        "speaker-1.flac",
        "speaker-2.flac",
    ]


def test_wav_is_never_lowered(talk: Path, tmp_path: Path) -> None:
    result = separate_file(
        talk, tmp_path / "out", model=Fake(lambda mixture: np.stack([9 * mixture, -8 * mixture]))
    )
    assert np.abs(read(result)).max() > 2 and not result.notes


def test_a_rate_that_the_format_lacks_is_said(talk: Path, tmp_path: Path) -> None:
    result = separate_file(talk, tmp_path / "out", model=IDENTITY, format="opus")
    assert result.sample_rate == 48_000 and any("48000" in note for note in result.notes)


def test_a_passage_is_cut_to_the_sample(talk: Path, tmp_path: Path) -> None:
    result = separate_file(talk, tmp_path / "out", model=IDENTITY, start_s=1.5, end_s=4)
    mixture, _ = soundfile.read(talk, dtype="float32")
    assert db(mixture[66_150:176_400], read(result)[0] - mixture[66_150:176_400]) > 120


def test_a_stereo_call_is_recognised_and_each_side_can_be_chosen(tmp_path: Path) -> None:
    sides = np.stack([spans(voice(110, 500, 12, 1), (0, 5), (8, 12)), spans(voice(230, 2000, 12, 2), (4, 9))])
    soundfile.write(tmp_path / "call.wav", sides.T, RATE, "FLOAT")
    mixed = separate_file(tmp_path / "call.wav", tmp_path / "out", model=IDENTITY)
    picked = separate_file(tmp_path / "call.wav", tmp_path / "out", model=IDENTITY, channel=2, stem="second")
    assert any("stereo call" in note for note in mixed.notes) and any(
        "2 channels were mixed" in note for note in mixed.notes
    )
    assert db(sides[1], read(picked)[0] - sides[1]) > 120 and not any(
        "mixed" in note for note in picked.notes
    )


def test_stereo_of_one_scene_is_no_stereo_call(tmp_path: Path) -> None:
    scene = voice(110, 500, 12, 1) + voice(230, 2000, 12, 2)
    late = np.roll(scene, 8) * 0.7 + noise(len(scene), 3) * 0.01
    soundfile.write(tmp_path / "scene.wav", np.stack([scene, late]).T, RATE, "FLOAT")
    result = separate_file(tmp_path / "scene.wav", tmp_path / "out", model=IDENTITY)
    assert not any("stereo call" in note for note in result.notes)


def test_stereo_noise_is_no_stereo_call(tmp_path: Path) -> None:
    soundfile.write(
        tmp_path / "noise.wav", np.stack([noise(12 * RATE, 1), noise(12 * RATE, 2)]).T, RATE, "FLOAT"
    )
    result = separate_file(tmp_path / "noise.wav", tmp_path / "out", model=IDENTITY)
    assert not any("stereo call" in note for note in result.notes)


def test_a_channel_that_is_not_there_is_refused(talk: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="from 1 to 1"):
        separate_file(talk, tmp_path / "out", model=IDENTITY, channel=2)


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_a_cancelled_file_leaves_nothing_behind(talk: Path, tmp_path: Path, format: str) -> None:
    with pytest.raises(Cancelled):
        separate_file(
            talk, tmp_path / "out", model=IDENTITY, format=format, progress=lambda done, total: done < 5
        )
    assert not (tmp_path / "out").exists()


def test_a_file_object_is_separated(talk: Path, tmp_path: Path) -> None:
    with talk.open("rb") as file:
        result = separate_file(file, tmp_path / "out", model=IDENTITY)
    assert all(path.is_file() for path in result.outputs)


def test_a_result_is_plain_values_for_json(talk: Path, tmp_path: Path) -> None:
    result = separate_file(talk, tmp_path / "out", model=IDENTITY)
    assert json.loads(json.dumps(result.to_dict()))["outputs"] == [str(path) for path in result.outputs]
