"""Objectives on spectra: phase-sensitive targets, masks, and silence."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
import torch
from test_objectives import voices

from unmingle.data.batch import Batch
from unmingle.models import build
from unmingle.objectives.si_sdr import si_sdr
from unmingle.objectives.spectral import SpectrogramPIT, magnitude_loss, phase_sensitive_target


def spectra(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two sources `(B, 2, 2, F, N)` and their sum."""
    sources = voices(*shape, 2, 2, 9, 20)
    return sources, sources.sum(-4, keepdim=True)


def test_no_mask_on_the_magnitude_comes_closer_to_a_source_than_its_phase_sensitive_target() -> None:
    sources, mixture = spectra(3)
    magnitude = mixture.square().sum(-3).sqrt()

    def error(target: torch.Tensor) -> torch.Tensor:
        return ((target / magnitude)[..., None, :, :] * mixture - sources).square().sum((-3, -2, -1))

    best = phase_sensitive_target(sources, mixture)
    assert (error(best) < error(best + 0.01)).all()
    assert (error(best) < error(best - 0.01)).all()
    assert (error(best) < error(sources.square().sum(-3).sqrt())).all()


def test_phase_sensitive_targets_of_all_sources_sum_to_the_magnitude_of_the_mixture() -> None:
    sources, mixture = spectra(3)
    assert torch.allclose(
        phase_sensitive_target(sources, mixture).sum(1), mixture.square().sum(-3).sqrt()[:, 0], atol=1e-5
    )


def test_a_clamped_target_can_be_reached_by_masks_between_0_and_1() -> None:
    sources, mixture = spectra(3)
    masks = phase_sensitive_target(sources, mixture, clamp=True) / mixture.square().sum(-3).sqrt()
    assert masks.min() == 0
    assert masks.max() == pytest.approx(1)


def test_magnitude_loss_does_not_see_the_level() -> None:
    estimate, target, mixture = voices(3, 2, 9, 20).abs()
    assert torch.allclose(
        magnitude_loss(10 * estimate, 10 * target, 10 * mixture), magnitude_loss(estimate, target, mixture)
    )


@pytest.mark.parametrize("target", ["phase-sensitive", "magnitude"])
def test_masks_are_compared_with_the_sources_in_the_order_that_suits_the_whole_utterance(target: str) -> None:
    sources = voices(3, 3, 4000)
    separator, objective = (
        build("upit", n_src=3, hidden=8, n_layers=1, dropout=0.0),
        SpectrogramPIT(target=target),
    )  # type: ignore[arg-type]
    batch = Batch(sources.sum(1, keepdim=True), sources)
    parts = objective(separator, batch)
    fixed = {
        order: objective(separator, replace(batch, order=torch.tensor([order] * 3)))
        for order in permutations(range(3))
    }
    assert all(torch.equal(one["order"], torch.tensor([order] * 3)) for order, one in fixed.items())
    swapped = objective(separator, replace(batch, sources=sources[:, [2, 0, 1]]))
    assert torch.equal(swapped["order"], parts["order"][:, [2, 0, 1]])
    for name in ("loss", "si_sdri"):
        assert torch.allclose(swapped[name], parts[name], atol=1e-5)
    assert parts["loss"] <= min(one["loss"] for one in fixed.values()) + 1e-6


def test_the_best_masks_have_the_least_loss_and_the_gain_of_their_waveforms() -> None:
    sources = voices(2, 2, 4000)
    mixture = sources.sum(1, keepdim=True)
    separator = build("upit", hidden=8, n_layers=1, dropout=0.0)
    spectrum, references = (
        separator.stft(mixture[:, 0])[:, None],
        separator.stft(sources.flatten(0, 1)).unflatten(0, (2, 2)),
    )
    ideal = phase_sensitive_target(references, spectrum) / spectrum.square().sum(2).sqrt()
    separator.masks = lambda _: ideal
    parts = SpectrogramPIT()(separator, Batch(mixture, sources))
    estimates = separator.stft.inverse((ideal[:, :, None] * spectrum).flatten(0, 1), 4000).unflatten(
        0, (2, 2)
    )
    gain = si_sdr(estimates, sources) - si_sdr(mixture.expand_as(sources), sources)
    assert float(parts["loss"]) == pytest.approx(0, abs=1e-9)
    assert float(parts["si_sdri"]) == pytest.approx(float(gain.mean()), abs=1e-4)


@pytest.mark.parametrize("silent", ["one source", "everything"])
@pytest.mark.parametrize(
    "objective", [SpectrogramPIT(), SpectrogramPIT(clamp=True), SpectrogramPIT(target="magnitude")]
)
def test_spectral_loss_and_gradient_are_finite_on_silence(objective: SpectrogramPIT, silent: str) -> None:
    sources = voices(2, 2, 4000)
    sources[:, 0] = 0
    if silent == "everything":
        sources[:] = 0
    separator = build("upit", hidden=8, n_layers=1, dropout=0.0)
    loss = objective(separator, Batch(sources.sum(1, keepdim=True), sources))["loss"]
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in separator.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"target": "phase"}, "there are phase-sensitive"), ({"target": "magnitude", "clamp": True}, "clamp")],
)
def test_a_spectral_target_that_makes_no_sense_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpectrogramPIT(**arguments)
