"""The weights that ship: they are what their card says, and they do the job on the example."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from unmingle import Stream, catalog, enhance, load, separate, separate_file
from unmingle.catalog import WEIGHTS, Card, cards, not_installed
from unmingle.cli.table import model_table
from unmingle.errors import UsageError
from unmingle.evaluation.conversations import diarization_error
from unmingle.metrics import measure
from unmingle.models import build
from unmingle.results.rttm import read_rttm
from unmingle.web.noises import Noise, make_noise
from unmingle.weights_file import parameter_count

ROOT = Path(__file__).parents[1]


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


def test_two_people_are_found_in_the_example(tmp_path: Path) -> None:
    result = separate_file(ROOT / "examples/two-voices.flac", tmp_path, speakers="auto")
    assert "2 people found" in result.notes and len(result.outputs) == 2


def test_three_people_are_followed_through_the_example_of_a_conversation(tmp_path: Path) -> None:
    result = separate_file(ROOT / "examples/conversation.flac", tmp_path)
    assert "3 people found" in result.notes and len(result.outputs) == 3
    known = read_rttm(ROOT / "examples/conversation.rttm")
    assert diarization_error(known, result.segments, known[-1].end_s)["der"] < 0.1


def test_one_voice_of_the_example_is_counted_as_one(tmp_path: Path) -> None:
    result = separate_file(ROOT / "examples/two-voices.reference-1.flac", tmp_path, speakers="auto")
    assert "1 person found" in result.notes and len(result.outputs) == 1


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
def test_a_card_tells_the_truth_about_size_and_facts(card: Card) -> None:
    model = build(card.model, **card.config)
    assert parameter_count(model) == card.parameters <= 5_000_000
    assert card.path.stat().st_size == card.size_bytes <= 6_000_000
    assert model.facts == card.facts == load(card.name).facts
    assert card.measured
    assert "not stated" not in card.licence["data"]


def test_a_plain_install_holds_the_defaults_the_streaming_one_and_the_counter_in_16_mb() -> None:
    own = [card for card in cards() if card.path.parent == WEIGHTS]
    assert {card.name for card in own} == {
        "array",
        "duet",
        "hush",
        "hush-live",
        "lips",
        "one-and-rest",
        "trio",
    }
    assert sum(card.size_bytes for card in own) <= 16_000_000


def test_the_tracked_tree_stays_below_64_mib() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a clone")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert 0 < sum(file.stat().st_size for file in files if file.is_file()) < 64 * 2**20


def test_the_table_of_what_data_packages_hold_is_true() -> None:
    table = yaml.safe_load((WEIGHTS / "packages.yaml").read_text())
    assert set(table) == {path.name for path in (ROOT / "packages").iterdir()}
    for package, rows in table.items():
        found = sorted((ROOT / "packages" / package).glob("src/*/*.yaml"))
        there = [Card.read(path) for path in found]
        assert rows == [
            {"name": card.name, "model": card.model, "task": card.facts.task, "n_src": card.facts.n_src}
            for card in there
        ]


def test_a_model_that_is_not_installed_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "folders", lambda: [WEIGHTS])
    cards.cache_clear()
    try:
        with pytest.raises(UsageError, match=r"conv-tasnet is in the package unmingle-classics; pip install"):
            load("conv-tasnet")
        assert "conv-tasnet" in model_table(cards(), not_installed()).split("Not installed")[1]
    finally:
        cards.cache_clear()


def test_the_table_of_models_fits_80_columns_and_marks_the_defaults() -> None:
    lines = model_table(cards(), not_installed()).split("\n")
    assert max(map(len, lines)) <= 80
    assert [line.split()[1:3] for line in lines if line.startswith("* ") and "default" not in line] == [
        ["array", "2"],
        ["duet", "(band-split)"],
        ["lips", "any"],
        ["trio", "(band-split)"],
        ["hush", "(band-split)"],
    ]


def test_each_task_has_one_default_and_faces_microphones_and_three_voices_have_their_own() -> None:
    assert [(card.facts.task, card.name) for card in cards() if card.default] == [
        ("separate", "array"),
        ("separate", "duet"),
        ("enhance", "hush"),
        ("separate", "lips"),
        ("separate", "trio"),
    ]
