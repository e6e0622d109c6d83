"""Adversarial training: what the discriminator learns, who learns when, and where it is kept."""

import csv
import doctest
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_data import voices  # noqa: F401
from test_training import recipe_path  # noqa: F401

from unmingle.data.batch import Batch
from unmingle.errors import UsageError
from unmingle.objectives import OBJECTIVES, adversarial
from unmingle.objectives.adversarial import AdversarialObjective
from unmingle.results.pictures import plot_curves
from unmingle.training.recipe import read_recipe
from unmingle.training.trainer import train
from unmingle.weights_file import load_state

TINY: dict[str, Any] = {"n_blocks": 1, "growth": 2, "n_features": 2}
TERMS = [{"name": "mse"}]


class Gain(torch.nn.Module):
    """Gives the mixture back, louder or softer."""

    def __init__(self, n_src: int = 1) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.full((n_src, 1), 0.9))

    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        return self.gain * mixture


def tones(seed: int, n_src: int = 1) -> Batch:
    """Sines between 750 and 3000 Hz in noise."""
    random = torch.Generator().manual_seed(seed)
    frequencies = 750 + 2250 * torch.rand(4, n_src, 1, generator=random)
    sources = 0.3 * torch.sin(2 * torch.pi * frequencies * torch.arange(1000) / 8000)
    noise = 0.1 * torch.randn(4, 1, 1000, generator=random)
    return Batch(sources.sum(1, keepdim=True) + noise, sources)


def test_the_example_in_the_docstring_is_true() -> None:
    found = doctest.testmod(adversarial, extraglobs={"torch": torch})
    assert found.attempted and not found.failed


def test_the_discriminator_learns_to_tell_tones_from_noisy_ones() -> None:
    torch.manual_seed(0)
    objective = AdversarialObjective(
        terms=TERMS,
        separator_first=0.0,
        discriminator_first=0.5,
        lr=3e-3,
        n_fft=64,
        hop=32,
        n_blocks=1,
        growth=4,
    )
    said = [objective(Gain(), replace(tones(seed), share_done=0.0)) for seed in range(30)]
    accuracy = torch.stack([parts["accuracy"] for parts in said])
    assert accuracy[:3].mean() < 0.7
    assert accuracy[-5:].mean() > 0.9
    assert said[-1]["discriminator"] < said[0]["discriminator"]
    assert objective.eval()(Gain(), tones(99))["accuracy"] > 0.9


@pytest.mark.parametrize("n_src", [1, 2])
def test_first_the_separator_learns_then_the_discriminator_then_both(n_src: int) -> None:
    objective, separator = (
        AdversarialObjective(terms=TERMS, separator_first=0.3, discriminator_first=0.2, **TINY),
        Gain(n_src),
    )
    learners = []
    for share in (0.0, 0.29, 0.3, 0.49, 0.5, 1.0):
        before = [parameter.clone() for parameter in objective.parameters()]
        parts = objective(separator, replace(tones(0, n_src), share_done=share))
        taught = any(
            not torch.equal(one, other) for one, other in zip(before, objective.parameters(), strict=True)
        )
        learners.append((parts["loss"].requires_grad, taught))
        assert all(
            bool(parts[name].isfinite()) == taught for name in ("adversarial", "discriminator", "accuracy")
        )
        if not taught:
            assert float(parts["loss"].detach()) == pytest.approx(float(parts["mse"]))
    assert learners == [(True, False)] * 2 + [(False, True)] * 2 + [(True, True)] * 2


def test_the_loss_is_the_weighted_sum_and_teaches_the_separator_alone() -> None:
    objective, separator = (
        AdversarialObjective(terms=[{"name": "mse", "weight": 100}], weight=0.5, **TINY),
        Gain(),
    )
    batch = tones(0)
    parts = objective(separator, batch)
    assert float(parts["loss"].detach()) == pytest.approx(
        100 * float(parts["mse"]) + 0.5 * float(parts["adversarial"]), rel=1e-5
    )
    objective.optimizer.zero_grad()
    parts["loss"].backward()
    assert (
        separator.gain.grad is not None and separator.gain.grad.isfinite().all() and separator.gain.grad != 0
    )
    assert all(parameter.requires_grad and parameter.grad is None for parameter in objective.parameters())
    objective.eval()
    before = [value.clone() for value in objective.state_dict().values() if isinstance(value, torch.Tensor)]
    with torch.no_grad():
        objective(separator, batch)
    after = [value for value in objective.state_dict().values() if isinstance(value, torch.Tensor)]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("level", [0.0, 1e-6])
def test_silence_is_no_trouble(level: float) -> None:
    objective, separator = AdversarialObjective(terms=TERMS, **TINY), Gain()
    loss = objective(separator, Batch(level * tones(0).mixture, level * tones(0).sources))["loss"]
    loss.backward()
    assert loss.isfinite()
    assert separator.gain.grad is not None and separator.gain.grad.isfinite().all()
    assert all(parameter.isfinite().all() for parameter in objective.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": -1}, "weight is -1"),
        ({"lr": 0}, "lr is 0"),
        ({"separator_first": 0.6, "discriminator_first": 0.4}, "together below 1"),
        ({"separator_first": -0.1}, "at least 0"),
        ({"terms": []}, "expected a list of at least one"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdversarialObjective(**{"terms": TERMS, **arguments})


# Of six steps two are the separator's, one the discriminator's, three are both's.
PHASES = "separator_first: 0.3, discriminator_first: 0.2, n_blocks: 1, growth: 2"
SUM = "terms: [{name: mse, weight: 100}, {name: noise-weighted-mse, weight: 1.0e4}]"


def test_a_resumed_adversarial_training_equals_one_in_a_single_run_and_ships_no_discriminator(
    recipe_path: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Interrupted(AdversarialObjective):
        left = 5  # steps

        def forward(self, separator: Any, batch: Batch) -> dict[str, torch.Tensor]:
            Interrupted.left -= self.training
            if Interrupted.left == 0:
                raise RuntimeError("the lights went out")
            return super().forward(separator, batch)

    recipe = read_recipe(recipe_path, [f"objective={{name: adversarial, {SUM}, {PHASES}}}"])
    train(recipe, tmp_path / "whole", progress=False)
    monkeypatch.setitem(OBJECTIVES, "adversarial", Interrupted)
    with pytest.raises(RuntimeError, match="lights"):
        train(recipe, tmp_path / "parts", progress=False)
    train(recipe, tmp_path / "parts", resume=True, progress=False)
    one, two = (load_state(tmp_path / name / "last.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not any("discriminator" in key or "objective" in key for key in one)
    states = [
        torch.load(tmp_path / name / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "parts")
    ]
    kept = [key for key in states[0] if key.startswith("objective.discriminator.")]
    assert kept and all(torch.equal(states[0][key], states[1][key]) for key in kept)
    steps = [
        {float(each["step"]) for each in state["objective._extra_state"]["state"].values()}
        for state in states
    ]
    assert steps == [{4.0}, {4.0}]
    with (tmp_path / "parts/curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all(0 <= float(row[f"{part}_accuracy"]) <= 1 for part in ("train", "valid") for row in rows)
    assert {
        "train_mse",
        "train_noise-weighted-mse",
        "train_adversarial",
        "train_discriminator",
        "valid_si_sdri",
    } < rows[0].keys()
    plot_curves(tmp_path / "parts/curves.csv", tmp_path / "curves.png")


def test_while_the_separator_rests_it_does_not_move(recipe_path: Path, tmp_path: Path) -> None:  # noqa: F811
    changes = ["optimizer.warm_up=0", "trainer.steps=2", "trainer.validate_every=2"]
    resting = (
        "objective={name: adversarial, terms: [{name: mse}], separator_first: 0, discriminator_first: 0.9, "
        "n_blocks: 1, growth: 2}"
    )
    train(read_recipe(recipe_path, [*changes, resting]), tmp_path / "resting", progress=False)
    train(
        read_recipe(
            recipe_path, [*changes, "objective={name: mse}", "optimizer.lr=0", "optimizer.muon_lr=0"]
        ),
        tmp_path / "still",
        progress=False,
    )
    one, two = (load_state(tmp_path / name / "last.safetensors") for name in ("resting", "still"))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_the_terms_of_a_sum_can_be_overridden_and_what_is_wrong_with_them_is_said(
    recipe_path: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    changes = ["objective={name: sum}", "trainer.steps=1", "trainer.validate_every=1"]
    train(
        read_recipe(recipe_path, [*changes, "objective.terms=[{name: mse, weight: 1e2}, {name: stoi}]"]),
        tmp_path / "run",
        progress=False,
    )
    with (tmp_path / "run/curves.csv").open() as file:
        assert {"train_mse", "valid_stoi"} < next(csv.DictReader(file)).keys()
    with pytest.raises(UsageError, match="recipe: no term 'ms'; there are compressed-spectrum"):
        train(
            read_recipe(recipe_path, [*changes, "objective.terms=[{name: ms}]"]),
            tmp_path / "other",
            progress=False,
        )
