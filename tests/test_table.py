"""Models on the terminal: the table and the cards."""

import json

import pytest

from unmingle.catalog import cards
from unmingle.cli import main
from unmingle.cli.table import how_trained

Captured = pytest.CaptureFixture[str]


def test_models_says_what_each_card_says(capsys: Captured) -> None:
    assert main(["models", "--json"]) == 0
    assert [entry["sha256"] for entry in json.loads(capsys.readouterr().out)["models"]] == [
        card.sha256 for card in cards()
    ]
    assert main(["models"]) == 0
    table = capsys.readouterr().out
    assert all(card.name in table for card in cards())
    for card in cards():
        assert main(["models", card.name]) == 0
        text = " ".join(capsys.readouterr().out.split())  # without line breaks
        assert all(licence in text for licence in card.licence.values())
        assert all(f"SI-SDRi {row['si_sdri_db']:.2f} dB" in text for row in card.measured)


def test_a_card_says_what_its_model_is_the_default_for_and_what_uses_it(capsys: Captured) -> None:
    for name, heading, used in (
        ("duet", "duet (default for 2 speakers)", "by separate"),
        ("trio", "trio (default for 3 speakers)", "by separate, where 3 or more speak at once"),
        ("lips", "lips (default for faces in a video)", "by separate --faces"),
        ("array", "array (default for several microphones)", "by separate --mics"),
        ("hush", "hush (default)", "by enhance"),
        ("hush-live", "hush-live", "by live"),
        ("one-and-rest", "one-and-rest", "where it is named: --model one-and-rest"),
    ):
        assert main(["models", name]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == heading and f"  used               {used}" in lines


def test_a_card_has_a_line_for_each_stage_of_its_training() -> None:
    stages = (
        "1.5 h of mixtures in 10 steps and 20 minutes (cpu time, 1 threads), then 2.0 h of mixtures in 9 "
        "steps and 40 minutes (wall time, 2 threads), the last of them drawn from here"
    )
    assert how_trained(stages) == [
        "3.5 h of mixtures in 1.0 h, in 2 stages:",
        "1.5 h, 10 steps, 20 minutes (cpu time, 1 thread)",
        "2.0 h, 9 steps, 40 minutes (wall time, 2 threads)",
        "the last of them drawn from here",
    ]
    assert how_trained("by hand") == ["by hand"]
