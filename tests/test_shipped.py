"""The weights that ship: they are what their card says, and they do the job on the example."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from unmingle import Stream, enhance, load, separate, separate_file
from unmingle.catalog import cards
from unmingle.metrics import measure
from unmingle.training.export import agreement_db
from unmingle.web.noises import Noise, make_noise
from unmingle.weights_file import load_model, parameter_count

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "src/unmingle/weights"


def example() -> tuple[np.ndarray, np.ndarray, int]:
    """The example's mixture `(T,)`, its voices `(2, T)` and their sample rate."""
    mixture, sample_rate = soundfile.read(ROOT / "examples/two-voices.flac", dtype="float32")
    references = [
        soundfile.read(ROOT / f"examples/two-voices.reference-{k}.flac", dtype="float32")[0] for k in (1, 2)
    ]
    return mixture, np.stack(references), sample_rate


def test_the_default_separates_the_example_by_3_db() -> None:
    mixture, references, sample_rate = example()
    assert measure(separate(mixture, sample_rate), references, mixture, sample_rate)["si_sdri"] >= 3


def test_voices_are_counted_and_the_best_for_their_number_separates_them(tmp_path: Path) -> None:
    result = separate_file(ROOT / "examples/two-voices.flac", tmp_path, speakers="auto")
    counted = len(result.outputs)
    assert (
        counted in (2, 3)
        # the example is synthetic: a network that knows real voices only may hear a third one in what two leave
    )
    assert f"{counted} voices counted" in result.notes
    assert result.model == load(speakers=counted).name


def test_one_voice_of_the_example_is_counted_as_one(tmp_path: Path) -> None:
    result = separate_file(ROOT / "examples/two-voices.reference-1.flac", tmp_path, speakers="auto")
    assert "1 voice counted" in result.notes


def in_noise(kind: str) -> tuple[np.ndarray, np.ndarray, int]:
    """One voice of the example in a noise that was made, 5 dB below it: mixture `(T,)`, voice `(1, T)`,
    sample rate.
    """
    _, voices, sample_rate = example()
    noise = np.resize(make_noise(Noise(kind), sample_rate), voices.shape[1])
    return (
        voices[0] + noise * np.float32(np.linalg.norm(voices[0]) / np.linalg.norm(noise) / 10**0.25),
        voices[:1],
        sample_rate,
    )


@pytest.mark.parametrize("kind", ["street", "air-conditioner"])
@pytest.mark.parametrize("model", [None, "hush-live"])
def test_the_enhancers_take_3_db_of_noise_from_a_voice(model: str | None, kind: str) -> None:
    mixture, voice, sample_rate = in_noise(kind)
    assert measure(enhance(mixture, sample_rate, model)[None], voice, mixture, sample_rate)["si_sdri"] >= 3


def test_the_enhancer_that_streams_says_a_sample_within_40_ms_and_says_the_same_as_of_the_whole() -> None:
    mixture, _, sample_rate = in_noise("street")
    stream = Stream("hush-live", sample_rate=sample_rate)
    assert stream.latency <= 0.04 * sample_rate
    voice = np.concatenate(
        [*(stream.feed(piece) for piece in np.split(mixture, [1, 1_000, 50_000])), stream.flush()], axis=1
    )
    assert np.abs(voice - load("hush-live")(mixture[None])).max() < 1e-5


@pytest.mark.parametrize("card", cards(), ids=lambda card: card.name)
def test_a_card_tells_the_truth_about_size_and_facts(card) -> None:  # type: ignore[no-untyped-def]
    model = load_model(WEIGHTS / f"{card.name}.safetensors")
    assert parameter_count(model) == card.parameters <= 5_000_000
    assert (WEIGHTS / f"{card.name}.onnx").stat().st_size == card.size_bytes <= 6_000_000
    assert model.facts == load(card.name).facts
    assert card.measured
    assert "not stated" not in card.licence["data"]


@pytest.mark.parametrize("card", cards(), ids=lambda card: card.name)
def test_shipped_onnx_and_shipped_safetensors_say_the_same(card) -> None:  # type: ignore[no-untyped-def]
    assert (
        agreement_db(load_model(WEIGHTS / f"{card.name}.safetensors"), WEIGHTS / f"{card.name}.onnx", 20_000)
        > 60
    )


def test_all_weights_of_the_package_are_at_most_60_mb() -> None:
    assert 0 < sum(card.size_bytes for card in cards()) <= 60_000_000


def test_each_job_has_one_default() -> None:
    assert [(card.facts.task, card.name) for card in cards() if card.default] == [
        ("separate", "duet"),
        ("enhance", "hush"),
    ]
