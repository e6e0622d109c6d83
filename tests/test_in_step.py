"""Lips and voices in step: the objective, and trainings that take the encoder of lips from there."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import tiny
from torch import Tensor

from unmingle.data.batch import Batch
from unmingle.errors import InputError, UsageError
from unmingle.facts import LIPS_SIZE, Facts, lips
from unmingle.objectives import build_objective
from unmingle.objectives.in_step import InStep
from unmingle.training.recipe import OptimizerRecipe, recipe_from_dict
from unmingle.training.starting import build_parts, initialise_from
from unmingle.weights_file import save_weights

RATE, STEP = 16_000, 256


class Envelopes:
    """Its vectors are the loudness of the voice and the brightness of the pictures."""

    facts = Facts(RATE, n_src=1, cues=(lips(1),), order="cued")

    def in_step(self, sources: Tensor, lips: Tensor) -> tuple[Tensor, Tensor]:
        heard = sources.unfold(-1, STEP, STEP).square().mean(-1)
        seen = lips[:, 0, 0, 0].float()
        seen = seen[:, (torch.arange(heard.shape[1]) * STEP * 25 // RATE).clamp(max=seen.shape[1] - 1)]
        both = [torch.stack([values - values.mean(1, keepdim=True)], -1) for values in (seen, heard)]
        return tuple(
            values / values.square().mean((1, 2), keepdim=True).sqrt().clamp(min=1e-9) for values in both
        )  # type: ignore[return-value]


def batch_of(n: int, late: int = 0) -> Batch:
    """Bursts of noise, whose pictures are as bright, so many pictures late."""
    rng = np.random.default_rng(5)
    loudness = rng.uniform(0.1, 1, (n, 50))
    sources = np.repeat(loudness, RATE // 25, 1) * rng.standard_normal((n, 2 * RATE)) * 0.1
    bright = np.roll(255 * np.square(loudness), late, 1)
    pictures = np.broadcast_to(bright[:, None, None, None], (n, 1, LIPS_SIZE, LIPS_SIZE, 50))
    voices = torch.as_tensor(sources, dtype=torch.float32)[:, None]
    return Batch(voices, voices, cues={"lips": torch.as_tensor(pictures.copy())})


def test_what_is_in_step_is_found_among_what_is_not() -> None:
    parts = InStep(scale=5.0)(Envelopes(), batch_of(6))
    assert parts["accuracy"] == 1 and parts["loss"] < 0.5


def test_what_is_late_is_not_found() -> None:
    parts = InStep(scale=5.0)(Envelopes(), batch_of(6, late=12))
    assert parts["accuracy"] < 0.7 and parts["loss"] > 1


def test_an_item_that_is_silent_does_not_count() -> None:
    torch.manual_seed(1)
    batch = batch_of(4)
    batch.sources = batch.sources.clone()
    batch.sources[0] = 0
    torch.manual_seed(0)
    parts = build_objective("in-step", scale=5.0)(Envelopes(), batch)
    assert parts["loss"].isfinite() and parts["accuracy"] == 1


def weights_of(name: str, path: Path) -> Path:
    model = tiny(name)
    training = {"hours_of_audio": 1.0, "steps": 1, "minutes": 1.0, "clock": "cpu", "threads": 1}
    recipe = {"model": {"name": name}, "data": {"set": "toys", "seed": 0, "corpora": []}}
    save_weights(path, model, model.state_dict(), recipe=recipe, training=training)
    return path


def test_another_network_takes_the_encoder_that_it_has_in_common(tmp_path: Path) -> None:
    one, other = tiny("lips"), tiny("the-conversation")
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    before = {key: value.clone() for key, value in other.state_dict().items()}
    assert not initialise_from(other, weights_of("lips", tmp_path / "lips.safetensors"))
    for key, value in other.state_dict().items():
        taken = key.startswith("encoder.")
        assert torch.equal(value, one.state_dict()[key] if taken else before[key])


def test_networks_that_have_nothing_in_common_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="weights of another model than the recipe's upit"):
        initialise_from(tiny("upit"), weights_of("lips", tmp_path / "lips.safetensors"))


def test_frozen_parts_have_no_gradient_and_an_unknown_one_is_named() -> None:
    recipe = recipe_from_dict(
        {
            "model": {"name": "band-split", "n_features": 8, "hidden": 8, "n_blocks": 1},
            "objective": {"name": "waveform-pit"},
            "trainer": {"steps": 1},
            "optimizer": {"frozen": ["blocks"]},
        },
        "a recipe",
    )
    model, _ = build_parts(recipe)
    assert not any(parameter.requires_grad for parameter in model.blocks.parameters())
    assert all(parameter.requires_grad for parameter in model.expand.parameters())
    wrong = dataclasses.replace(recipe, optimizer=OptimizerRecipe(frozen=["ears"]))
    with pytest.raises(UsageError, match=r"optimizer\.frozen: the model has no part 'ears'; it has stft, "):
        build_parts(wrong)
