"""What a recogniser hears: word error rates of spoken sentences whose words are known."""

import csv
import doctest
import json
from pathlib import Path

import numpy as np
import pocketsphinx
import pytest
import soundfile
import soxr

from unmingle.cli import main
from unmingle.errors import InputError, Undefined, UsageError
from unmingle.metrics import choose, measure, recognisers, recognition
from unmingle.metrics.recognisers import Recogniser, plain_words, recogniser
from unmingle.metrics.recognition import error_rate, word_errors

EXAMPLES = Path(__file__).parents[1] / "examples"
RATE = 16_000
#: what the voices of the example say, from make_two_voices.py
SAID = (
    "The harbour was quiet that morning. Only two small boats had gone out before the fog came in, and "
    "nobody looked for them before dark.",
    "We counted every box twice, but the number on the list never agreed with what was standing on the "
    "floor of the shop.",
)
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def voices() -> np.ndarray:
    """The two voices of the example, each alone: `(2, T)`."""
    paths = [EXAMPLES / f"two-voices.reference-{k}.flac" for k in (1, 2)]
    return np.stack([soundfile.read(path, dtype="float32")[0] for path in paths])


def noise(level: float, length: int) -> np.ndarray:
    return (level * np.random.default_rng(0).standard_normal(length)).astype(np.float32)


def test_a_clean_voice_has_fewer_word_errors_than_the_same_in_loud_noise(voices: np.ndarray) -> None:
    voice = voices[:1]
    loud = voice + noise(0.02, voice.shape[1])
    row = measure(voice, voice, loud[0], RATE, ("wer",), transcripts=SAID[:1])
    assert row["wer"] == row["wer_clean"] < 20
    assert row["wer"] + 30 < row["wer_before"]
    assert row["wer_to_clean"] == 0 < row["wer_to_clean_before"]
    assert row["confidence"] > row["confidence_before"]
    assert row["transcript_words"] == 25
    assert row["missing"] == ""


def test_the_same_words_are_no_error_and_none_at_all_are_a_hundred_percent() -> None:
    said = [plain_words(text) for text in SAID]
    assert error_rate(said, said) == 0
    assert error_rate([(), ()], said) == 100
    assert error_rate([said[0], said[0] + said[0]], [said[0], said[0]]) == 50


def test_the_words_of_all_voices_are_added_up_before_they_are_divided() -> None:
    assert error_rate([("a",), ("b", "c", "d")], [("x",), ("b", "c", "d")]) == 25


def test_words_count_as_equal_whatever_their_case_and_punctuation() -> None:
    assert word_errors(plain_words("“Don’t,” HE said."), plain_words("don't he said")) == 0


def test_silence_is_heard_as_nothing_and_its_error_rate_is_a_hundred_percent(voices: np.ndarray) -> None:
    row = measure(0 * voices, voices, voices.sum(axis=0), RATE, ("wer",), transcripts=SAID)
    assert row["wer"] == row["wer_to_clean"] == 100
    assert row["words_per_minute"] == 0
    assert row["confidence"] is None
    assert row["missing"] == "confidence: nothing is heard"


def test_without_transcripts_the_words_of_the_clean_voices_take_their_place(voices: np.ndarray) -> None:
    row = measure(voices, voices, voices.sum(axis=0), RATE, ("wer",))
    assert row["wer"] is row["wer_clean"] is None
    assert "needs transcripts" in row["missing"]
    assert row["wer_to_clean"] == 0
    assert row["wer_to_clean_before"] > 30


def test_recordings_without_references_have_words_per_minute_and_confidence(voices: np.ndarray) -> None:
    row = measure(voices[:1], voices[:0], voices.sum(axis=0), RATE, ("wer",))
    assert 60 < row["words_per_minute"] < 300
    assert 0 < row["confidence"] <= 1
    assert row["wer"] is row["wer_to_clean"] is None


def test_a_voice_without_words_has_no_error_rate() -> None:
    with pytest.raises(Undefined, match="voice 2 has a reference without words"):
        error_rate([("a",), ("b",)], [("a",), ()])


def test_the_same_signal_gives_the_same_words_whatever_was_heard_before(voices: np.ndarray) -> None:
    recogniser.cache_clear()
    first = recogniser()(voices[0], RATE)
    recogniser.cache_clear()
    fresh = recogniser()
    fresh(noise(0.1, RATE), RATE)
    assert fresh(voices[1], RATE) == fresh(voices[1], RATE)
    assert fresh(voices[0], RATE) == first


def test_a_recogniser_is_loaded_once() -> None:
    assert recogniser("pocketsphinx") is recogniser("pocketsphinx")


def test_level_and_sample_rate_change_hardly_a_word(voices: np.ndarray) -> None:
    heard = recogniser()(voices[0], RATE).words
    assert recogniser()(np.float32(0.01) * voices[0], RATE).words == heard
    assert recogniser()(np.float32(20) * voices[0], RATE).words == heard
    higher = recogniser()(soxr.resample(voices[0], RATE, 44_100), 44_100).words
    assert word_errors(higher, heard) <= 3


def test_pocketsphinx_takes_the_folder_of_another_model(voices: np.ndarray) -> None:
    own = pocketsphinx.get_model_path("en-us")
    heard = recogniser(f"pocketsphinx:{own}")(voices[0], RATE)
    assert heard == recogniser("pocketsphinx")(voices[0], RATE)


def test_parts_of_a_token_are_sure_on_the_average() -> None:
    heard = Recogniser(lambda samples: (["Good day"], [0.5, 0.9, 1.0]))(np.ones(9, np.float32), RATE)
    assert heard.words == ("good", "day")
    assert heard.confidence == pytest.approx(0.8)
    silent_about_it = Recogniser(lambda samples: (["good"], []))
    assert silent_about_it(np.ones(9, np.float32), RATE).confidence is None


@pytest.mark.parametrize(
    ("name", "error", "about"),
    [
        ("siri", UsageError, "--recogniser siri: unknown; choose from pocketsphinx, vosk, faster-whisper"),
        (
            "pocketsphinx:nowhere",
            InputError,
            "nowhere: no such folder; give that of a model",
        ),
        (f"pocketsphinx:{EXAMPLES}", InputError, "has no "),
    ],
)
def test_what_is_wrong_with_a_recogniser_is_one_line(name: str, error: type[Exception], about: str) -> None:
    with pytest.raises(error) as found:
        recogniser(name)
    assert about in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("name", ["vosk", "faster-whisper", "sherpa-onnx"])
def test_others_say_which_package_or_folder_is_missing(name: str) -> None:
    package = name.replace("-", "_")
    if recognisers.find_spec(package):
        with pytest.raises(UsageError, match=f"needs the folder of a model: --recogniser {name}:FOLDER"):
            recogniser(name)
    else:
        with pytest.raises(UsageError, match=f"needs the package {package}: pip install {name}"):
            recogniser(f"{name}:folder")


def test_all_measures_leave_out_the_one_that_takes_longer_than_the_others() -> None:
    assert "wer" not in choose("all")
    assert choose("si-sdr,wer") == ("si-sdr", "wer")


@pytest.fixture(scope="module")
def set_with_words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of one mixture, with what is said in it."""
    path = tmp_path_factory.mktemp("set") / "set.csv"
    row = {"mixture_id": "m0", "samples": 8 * RATE}
    for k, text in enumerate(SAID, 1):
        row |= {f"source_{k}_path": f"two-voices.reference-{k}.flac", f"source_{k}_gain": 1}
        row |= {f"source_{k}_text": text}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    return path


def test_evaluate_reads_what_is_said_from_the_set(set_with_words: Path, capsys: Captured) -> None:
    arguments = ["evaluate", "oracle-irm", str(set_with_words), "--speech", str(EXAMPLES)]
    assert main([*arguments, "--measures", "wer", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["recogniser"] == "pocketsphinx"
    assert summary["wer_percent"]["mean"] < summary["wer_before_percent"]["mean"]
    assert summary["wer_clean_percent"]["mean"] < 20
    assert summary["transcript_words"]["mean"] == 48
    assert main([*arguments, "--measures", "wer", "--recogniser", "siri"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_compare_has_a_column_for_either_error_rate(set_with_words: Path, tmp_path: Path) -> None:
    arguments = ["compare", str(set_with_words), "--speech", str(EXAMPLES), "--models", "oracle-irm"]
    assert main([*arguments, "--measures", "wer", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "compare.md").read_text(encoding="utf-8")
    assert (
        "| WER [%] | WER of the clean reference [%] | WER against the clean reference's words [%] |" in text
    )
    with (tmp_path / "rows.csv").open(encoding="utf-8") as file:
        assert {row["recogniser"] for row in csv.DictReader(file)} == {"pocketsphinx"}


def test_a_folder_of_recordings_is_measured_by_what_is_heard(tmp_path: Path, capsys: Captured) -> None:
    samples, rate = soundfile.read(EXAMPLES / "two-voices.reference-1.flac", dtype="float32")
    soundfile.write(tmp_path / "talk.wav", samples, rate)
    assert main(["evaluate", "mixture", str(tmp_path), "--measures", "wer", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["words_per_minute"]["mean"] == summary["words_per_minute_before"]["mean"] > 60
    assert summary["wer_percent"]["missing"] == 1


@pytest.mark.parametrize("module", [recognisers, recognition])
def test_the_examples_in_the_docstrings_hold(module: object) -> None:
    found = doctest.testmod(module)  # type: ignore[arg-type]
    assert found.attempted
    assert not found.failed
