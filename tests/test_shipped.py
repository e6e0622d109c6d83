"""The weights that ship: they are what their card says, and they do the job on the example."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from unmingle import load, separate, separate_file
from unmingle.metrics import measure
from unmingle.runtime import cards
from unmingle.training.export import agreement_db
from unmingle.training.weights import load_model, parameter_count

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "src/unmingle/weights"


def example() -> tuple[np.ndarray, np.ndarray, int]:
    """The example's mixture `(T,)`, its voices `(2, T)` and their sample rate."""
    mixture, sample_rate = soundfile.read(ROOT / "examples/two-voices.flac", dtype="float32")
    references = [soundfile.read(ROOT / f"examples/two-voices.reference-{k}.flac", dtype="float32")[0] for k in (1, 2)]
    return mixture, np.stack(references), sample_rate


def test_the_default_separates_the_example_by_3_db() -> None:
    mixture, references, sample_rate = example()
    assert measure(separate(mixture, sample_rate), references, mixture, sample_rate)["si_sdri"] >= 3


def test_voices_are_counted_and_the_best_for_their_number_separates_them(tmp_path: Path) -> None:
    result = separate_file(ROOT / "examples/two-voices.flac", tmp_path, speakers="auto")
    counted = len(result.outputs)
    assert counted in (2, 3)  # the example is synthetic: a network that knows real voices only may hear a third one in what two leave
    assert f"{counted} voices counted" in result.notes
    assert result.model == load(speakers=counted).name


def test_one_voice_of_the_example_is_counted_as_one(tmp_path: Path) -> None:
    result = separate_file(ROOT / "examples/two-voices.reference-1.flac", tmp_path, speakers="auto")
    assert "1 voice counted" in result.notes


@pytest.mark.parametrize("card", cards(), ids=lambda card: card.name)
def test_a_card_tells_the_truth_about_size_and_facts(card) -> None:  # type: ignore[no-untyped-def]
    model = load_model(WEIGHTS / f"{card.name}.safetensors")
    assert parameter_count(model) == card.parameters <= 5_000_000
    assert (WEIGHTS / f"{card.name}.onnx").stat().st_size == card.size_bytes <= 6_000_000
    assert model.facts == load(card.name).facts
    assert card.measured


@pytest.mark.parametrize("card", cards(), ids=lambda card: card.name)
def test_shipped_onnx_and_shipped_safetensors_say_the_same(card) -> None:  # type: ignore[no-untyped-def]
    assert agreement_db(load_model(WEIGHTS / f"{card.name}.safetensors"), WEIGHTS / f"{card.name}.onnx", 20_000) > 60


def test_all_weights_of_the_package_are_at_most_60_mb() -> None:
    assert 0 < sum(card.size_bytes for card in cards()) <= 60_000_000


def test_exactly_one_model_is_the_default_for_two_speakers() -> None:
    assert [card.name for card in cards() if card.default and card.facts["n_src"] == 2] == ["duet"]
