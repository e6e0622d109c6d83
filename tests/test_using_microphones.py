"""Several microphones from the shell and from Python: which are used, which comes first, what is said."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from meetings import RATE, SECONDS, Hears, meeting, written
from small_models import tiny
from test_separation import IDENTITY, noise, voice

from unmingle import catalog, separate, separate_file
from unmingle.catalog import Card, fitting
from unmingle.cli import main
from unmingle.errors import InputError, UsageError
from unmingle.facts import MOST_MICS
from unmingle.inference.files import FileResult
from unmingle.inference.options import FileOptions
from unmingle.media.microphones import Channels
from unmingle.training.export import export
from unmingle.weights_file import float16_state, save_weights

#: What `export` reads of a weights file's header.
RECIPE = {"data": {"set": "arrays", "corpora": []}}
TRAINING = {"hours_of_audio": 1.0, "steps": 1, "minutes": 1.0, "clock": "cpu", "threads": 1}


@pytest.fixture(scope="module")
def array(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a small `array`, exported."""
    folder = tmp_path_factory.mktemp("array")
    model = tiny("array")
    path = folder / "model.safetensors"
    save_weights(path, model, float16_state(model.state_dict()), recipe=RECIPE, training=TRAINING)
    export(path, "mine", out=folder / "out")
    return folder / "out" / "mine.onnx"


def read(result: FileResult) -> np.ndarray:
    files = (*result.outputs, result.rest) if result.rest else result.outputs
    return np.stack([soundfile.read(path, dtype="float32")[0] for path in files])


# What is written.


@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_voices_and_rest_sum_to_the_reference_microphone(array: Path, tmp_path: Path, rate: int) -> None:
    mixture = soxr.resample(meeting(4).T, RATE, rate).T
    path = written(tmp_path, mixture, rate)
    result = separate_file(
        path, tmp_path / "out", model=array, speakers="auto", mics="all", reference_mic=3, rest=True
    )
    assert np.allclose(read(result).sum(axis=0), mixture[2], atol=1e-5)
    assert "4 microphones; the reference is microphone 3" in result.notes


def test_a_file_gives_what_the_array_of_its_samples_gives(array: Path, tmp_path: Path) -> None:
    mixture = meeting(3)
    result = separate_file(written(tmp_path, mixture), tmp_path / "out", model=array, mics=[3, 1])
    voices = separate(mixture, RATE, model=str(array), mics=[3, 1])
    assert voices.shape == (2, mixture.shape[1]) and np.abs(read(result) - voices).max() < 1e-5


def test_microphones_may_be_named_as_in_the_shell(array: Path) -> None:
    for text, numbers in (("1,3", [1, 3]), ("3, 1", [3, 1])):
        rows = [separate(meeting(3), RATE, model=str(array), mics=mics) for mics in (text, numbers)]
        assert np.array_equal(*rows)


def test_microphones_that_are_not_named_do_not_matter(array: Path) -> None:
    mixture = meeting(4)
    other = mixture.copy()
    other[[1, 3]] = 0.3 * noise(mixture.shape[1], 7)
    voices = [separate(samples, RATE, model=str(array), mics=[1, 3]) for samples in (mixture, other)]
    assert np.array_equal(*voices)


@pytest.mark.parametrize(
    ("speakers", "fewest", "most"), [("auto", 1, 8), (3, 3, 3), ("2-4", 2, 4), (1, 1, 1)]
)
def test_any_number_of_people_is_found_on_the_streams_of_several_microphones(
    array: Path, speakers: int | str, fewest: int, most: int
) -> None:
    voices = separate(meeting(3), RATE, speakers, model=str(array), mics="all")
    assert voices.shape[1] == SECONDS * RATE and np.isfinite(voices).all()
    assert fewest <= len(voices) <= most


def test_people_are_written_who_speak_when_at_several_microphones(array: Path, tmp_path: Path) -> None:
    path = written(tmp_path, meeting(3))
    result = separate_file(path, tmp_path / "out", model=array, mics="all", speakers=2, rest=True)
    people = separate_file(path, tmp_path / "auto", model=array, mics="all", speakers="auto")
    assert result.segments is None and people.segments
    assert (people.outputs[0].parent / "speakers.rttm").is_file()


def test_the_voice_of_a_target_is_found_at_several_microphones(array: Path, tmp_path: Path) -> None:
    sample = voice(110, 500, 8, 1)
    voices = separate(meeting(3), RATE, model=str(array), mics="all", targets={"anna": sample})
    assert voices.shape == (1, SECONDS * RATE)


def test_the_command_line_takes_numbers_and_a_reference(
    array: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, meeting(4))
    arguments = ["--mics", "1,3,4", "--reference-mic", "3", "--model", str(array), "--json"]
    assert main(["separate", str(path), "--out", str(tmp_path / "out"), *arguments]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["inputs"]
    assert "3 microphones; the reference is microphone 3" in entry["notes"]
    assert all(Path(output).is_file() for output in entry["outputs"])


# Which is the reference.


def test_the_reference_comes_first_and_the_others_stay_in_order() -> None:
    mixture, toy = meeting(4), Hears()
    separate(mixture, RATE, model=toy, mics="all", reference_mic=3)
    (first, *_) = toy.heard
    gain = first[0, 1000:9000].std() / mixture[2, 1000:9000].std()
    n = min(first.shape[1], mixture.shape[1])
    assert np.allclose(first[:, :n], gain * mixture[[2, 0, 1, 3], :n], atol=1e-3)


def test_the_reference_is_the_microphone_whose_voices_stand_out_of_the_noise(tmp_path: Path) -> None:
    path = written(tmp_path, meeting(4, [0.3, 0.1, 0.001, 0.1]))
    result = separate_file(path, tmp_path / "out", model=Hears(), mics="all")
    assert "4 microphones; the reference is microphone 3" in result.notes


def test_a_louder_microphone_of_the_same_signal_is_no_better_one(tmp_path: Path) -> None:
    mixture = meeting(2, [0.01, 0.01])
    path = written(tmp_path, np.stack([mixture[0], 3 * mixture[0]]))
    result = separate_file(path, tmp_path / "out", model=Hears(), mics="all")
    assert "2 microphones; the reference is microphone 1" in result.notes


def test_a_clipped_microphone_is_mentioned_and_not_the_reference(tmp_path: Path) -> None:
    mixture = meeting(3, [0.0001, 0.1, 0.1])
    mixture[0] = (30 * mixture[0]).clip(-1, 1)
    result = separate_file(written(tmp_path, mixture), tmp_path / "out", model=Hears(), mics="all")
    assert "3 microphones; the reference is microphone 2" in result.notes
    assert "microphone 1 is clipped: record at a lower level" in result.notes


def test_a_recording_that_is_loud_but_not_clipped_is_not_called_so() -> None:
    mixture = meeting(2)
    like = Channels(2, RATE)
    like.feed(mixture * 0.98 / np.abs(mixture).max())
    assert not like.clipped.any()


# Which are used.


@pytest.mark.parametrize("dead", [0.0, 0.25, "hiss"])
def test_a_silent_or_dead_microphone_is_left_out(dead: float | str, tmp_path: Path) -> None:
    mixture, toy = meeting(4), Hears()
    mixture[1] = 1e-5 * noise(mixture.shape[1]) if dead == "hiss" else dead
    result = separate_file(written(tmp_path, mixture), tmp_path / "out", model=toy, mics="all")
    assert {len(heard) for heard in toy.heard} == {3}
    assert "microphone 2 is silent, and left out" in result.notes


def test_one_microphone_that_is_left_is_separated_alone(tmp_path: Path) -> None:
    mixture = meeting(3)
    mixture[[0, 2]] = 0
    with pytest.raises(InputError, match=r"meeting.wav: only microphone 2 is not silent; .*channel 2"):
        separate_file(written(tmp_path, mixture), tmp_path / "out", model=Hears(), mics="all")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="only microphone 2 is not silent"):
        separate(mixture, RATE, model=Hears(), mics="all")


def test_silence_at_all_microphones_is_one_line() -> None:
    with pytest.raises(InputError, match="all of these microphones are silent"):
        separate(np.zeros((3, RATE)), RATE, model=Hears(), mics="all")


def test_a_silent_reference_is_refused() -> None:
    mixture = meeting(3)
    mixture[1] = 0
    with pytest.raises(InputError, match="microphone 2, the reference, is silent; choose another"):
        separate(mixture, RATE, model=Hears(), mics="all", reference_mic=2)


def test_sixteen_microphones_are_used() -> None:
    toy = Hears()
    separate(meeting(MOST_MICS), RATE, model=toy, mics="all")
    assert {len(heard) for heard in toy.heard} == {MOST_MICS}


def test_more_than_sixteen_microphones_are_refused_unless_some_are_chosen(tmp_path: Path) -> None:
    path, toy = written(tmp_path, meeting(MOST_MICS + 1)), Hears()
    with pytest.raises(InputError, match=r"meeting.wav: 17 channels are too many microphones; .* numbers"):
        separate_file(path, tmp_path / "out", model=toy, mics="all")
    separate_file(path, tmp_path / "out", model=toy, mics=[1, 17])
    assert {len(heard) for heard in toy.heard} == {2}


@pytest.mark.parametrize("mics", ["all", [1, 2]])
def test_one_channel_is_no_array(mics: str | list[int], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"meeting.wav: has one channel, .*leave the microphones out"):
        separate_file(written(tmp_path, meeting(1)), tmp_path / "out", model=Hears(), mics=mics)


@pytest.mark.parametrize("wrong", [{"mics": [1, 4]}, {"mics": "all", "reference_mic": 4}])
def test_a_microphone_that_is_not_there_is_refused(wrong: dict, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"meeting.wav: no microphone 4; choose from 1 to 3"):
        separate_file(written(tmp_path, meeting(3)), tmp_path / "out", model=Hears(), **wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mics": [2]}, "less than two microphones; give two or more"),
        ({"mics": "2"}, "less than two"),
        ({"mics": []}, "less than two"),
        ({"mics": [0, 1]}, "no microphone 0; they are numbered from 1"),
        ({"mics": [1, 2, 1]}, "each number once"),
        ({"mics": [1, 2.5]}, "a microphone is 2.5; give a whole number"),
        ({"mics": "some"}, "no microphones 'some'; give all, or numbers of channels such as 1,3"),
        ({"mics": "1,,3"}, "give all, or numbers"),
        ({"mics": 2}, "give all, or numbers"),
        ({"mics": list(range(1, 18))}, "17 microphones are too many; give 16 at most"),
        ({"mics": [1, 2], "reference_mic": 3}, "microphone 3, is not in use"),
        ({"mics": "all", "reference_mic": 0}, "microphone 0, is not in use"),
        ({"reference_mic": 1}, "reference_mic needs mics"),
    ],
)
def test_microphones_that_make_no_sense_are_one_line(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FileOptions(**options)
    with pytest.raises(UsageError, match=message):
        separate(meeting(3), RATE, model=Hears(), **options)


def test_microphones_and_one_channel_exclude_one_another() -> None:
    with pytest.raises(UsageError, match="one channel and several microphones exclude one another"):
        FileOptions(mics="all", channel=2)


def test_microphones_and_faces_exclude_one_another(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="faces and mics exclude one another"):
        separate_file(tmp_path / "talk.mp4", faces=True, mics="all")
    with pytest.raises(UsageError, match="faces and mics exclude one another"):
        separate(meeting(2), RATE, faces=[], mics="all")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mics", "1"], "--mics 1: less than two microphones"),
        (["--mics", "one"], "--mics one: no microphones 'one'; give all, or numbers of channels such as 1,3"),
        (["--mics", "all", "--channel", "1"], "exclude one another"),
        (["--mics", "all", "--faces"], "--faces and --mics exclude one another"),
        (["--reference-mic", "1"], "--reference-mic 1: needs --mics"),
        (["--mics", "all", "--model", "duet"], "model duet takes one microphone, not several"),
        (["--mics", "1,9", "--model", "ARRAY"], "no microphone 9; choose from 1 to 2"),
    ],
)
def test_the_command_line_says_what_is_wrong_in_one_line(
    arguments: list[str], message: str, array: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, meeting(2))
    chosen = [str(array) if text == "ARRAY" else text for text in arguments]
    assert main(["separate", str(path), "--out", str(tmp_path / "out"), *chosen]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line and not (tmp_path / "out").exists()


def test_samples_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    mixture = meeting(3)
    mixture[2, 5000] = np.nan
    with pytest.raises(InputError, match="NaN"):
        separate_file(written(tmp_path, mixture), tmp_path / "out", model=Hears(), mics=[1, 3])
    with pytest.raises(InputError, match="NaN"):
        separate(mixture, RATE, model=Hears(), mics="all")


def test_microphones_whose_clocks_drift_are_separated_in_step_with_the_reference(array: Path) -> None:
    mixture = meeting(3)
    drifting = soxr.resample(mixture[1], 1_000_000, 1_000_050)  # 50 ppm
    mixture[1] = np.resize(drifting, mixture.shape[1])
    voices = separate(mixture, RATE, model=str(array), mics="all", reference_mic=1)
    assert voices.shape == (2, mixture.shape[1]) and np.isfinite(voices).all()


# Which model.


def without_arrays() -> list[Card]:
    return [card for card in catalog.cards() if card.facts.n_mics == 1]


def test_where_no_model_for_several_microphones_is_installed_it_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = without_arrays()
    monkeypatch.setattr(catalog, "cards", lambda: few)
    with pytest.raises(UsageError, match="no model that is installed takes any number of microphones; give"):
        separate(meeting(2), RATE, mics="all")


def test_several_microphones_go_through_the_model_for_several(tmp_path: Path) -> None:
    result = separate_file(written(tmp_path, meeting(3)), tmp_path / "out", mics="all")
    assert result.model == "array" and result.segments is not None


def test_a_model_for_several_is_never_chosen_where_none_are_given() -> None:
    assert catalog.resolve().stem == catalog.resolve(task="separate", speakers=2).stem == "duet"
    assert "array" not in {card.name for card in fitting("separate", 2)}
    assert [card.name for card in fitting("separate", 2, several_mics=True)] == ["array"]


def test_a_toy_of_one_microphone_is_refused_several() -> None:
    with pytest.raises(UsageError, match="model Fake takes one microphone, not several; leave"):
        separate(meeting(2), RATE, model=IDENTITY, mics="all")
