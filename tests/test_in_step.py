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

    facts = Facts(RATE, n_src=None, cues=(lips(None),), order="cued")

    def voice_of(self, samples: Tensor) -> Tensor:
        return levelled(samples.unfold(-1, STEP, STEP).square().mean(-1))

    def look(self, lips: Tensor, n_frames: int) -> Tensor:
        seen = lips[:, :, 0, 0].float()
        return levelled(seen[..., (torch.arange(n_frames) * STEP * 25 // RATE).clamp(max=seen.shape[-1] - 1)])


def levelled(values: Tensor) -> Tensor:
    """`(B, S, N)` without mean, of a power of 1 → vectors `(B, S, N, 1)`."""
    values = values - values.mean(-1, keepdim=True)
    return (values / values.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-9))[..., None]


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


def test_of_two_faces_in_a_mixture_each_is_found() -> None:
    one = batch_of(6)
    batch = Batch(
        one.mixture[:3] + one.mixture[3:],
        one.sources.unflatten(0, (2, 3))[:, :, 0].transpose(0, 1),
        cues={"lips": one.cues["lips"].unflatten(0, (2, 3))[:, :, 0].transpose(0, 1)},
    )
    assert InStep(scale=5.0)(Envelopes(), batch)["accuracy"] == 1


class Separated(Envelopes):
    """It hears the voices of `batch_of(4)`, each with another's in it, in another order."""

    def streams(self, mixture: Tensor) -> Tensor:
        voices = batch_of(4).sources
        return torch.cat([voices.roll(1, 0) + 0.3 * voices, voices + 0.3 * voices.roll(1, 0)], 1)


def test_of_streams_the_one_that_is_most_like_the_voice_is_its() -> None:
    parts = InStep(scale=5.0, streams=True)(Separated(), batch_of(4))
    assert parts["accuracy"] == 1 and parts["loss"] < 1


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
