"""Objectives: closed forms, brute force, an independent library, and silence."""

from itertools import permutations

import fast_bss_eval
import pytest
import torch

from unmingle.metrics import ratios
from unmingle.objectives import pit
from unmingle.objectives.pit import WaveformPIT, best_permutation, reorder, thresholded_snr
from unmingle.objectives.si_sdr import si_sdr, snr


def voices(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_si_sdr_equals_fast_bss_eval() -> None:
    estimate, reference = voices(4, 8000), voices(4, 8000, seed=1)
    estimate = estimate * 0.3 + reference
    expected = -fast_bss_eval.si_sdr_loss(estimate.double(), reference.double(), zero_mean=True)
    assert torch.allclose(si_sdr(estimate, reference).double(), expected, atol=1e-3)


def test_si_sdr_does_not_see_scale_and_snr_does() -> None:
    estimate, reference = voices(8000) + voices(8000, seed=1), voices(8000)
    assert float(si_sdr(7 * estimate, reference)) == pytest.approx(float(si_sdr(estimate, reference)), abs=1e-3)
    assert float(snr(2 * reference, reference)) == pytest.approx(0.0, abs=1e-4)


def test_snr_of_noise_at_a_tenth_of_the_amplitude_is_20_db() -> None:
    reference = torch.ones(1000)
    assert float(snr(reference + 0.1, reference)) == pytest.approx(20.0, abs=1e-3)


@pytest.mark.parametrize("n_src", [2, 3])
def test_best_permutation_equals_brute_force(n_src: int) -> None:
    scores = voices(16, n_src, n_src)
    value, permutation = best_permutation(scores)
    for b in range(16):
        best = max(permutations(range(n_src)), key=lambda order: sum(float(scores[b, i, j]) for j, i in enumerate(order)))
        assert tuple(permutation[b].tolist()) == best
        assert float(value[b]) == pytest.approx(sum(float(scores[b, i, j]) for j, i in enumerate(best)) / n_src, abs=1e-5)


def test_hungarian_and_brute_force_find_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = voices(32, 4, 4)
    hungarian = best_permutation(scores)
    monkeypatch.setattr(pit, "BRUTE_FORCE_UP_TO", 4)
    brute_force = best_permutation(scores)
    assert torch.equal(hungarian[1], brute_force[1])
    assert torch.allclose(hungarian[0], brute_force[0])


def test_reorder_puts_estimates_to_their_references() -> None:
    references = voices(3, 3, 100)
    estimates = references[:, [2, 0, 1]]
    scores = si_sdr(estimates[:, :, None], references[:, None])
    assert torch.equal(reorder(estimates, best_permutation(scores)[1]), references)


def test_loss_does_not_depend_on_the_order_of_the_references() -> None:
    sources, estimates = voices(2, 2, 4000), voices(2, 2, 4000, seed=1)
    objective = WaveformPIT(si_sdr=0.5, snr=0.5)
    mixture = sources.sum(1, keepdim=True)
    losses = [objective(lambda _: estimates, {"mixture": mixture, "sources": s})["loss"] for s in (sources, sources.flip(1))]
    assert float(losses[0]) == pytest.approx(float(losses[1]), abs=1e-5)


def test_perfect_estimates_reach_the_threshold() -> None:
    sources = voices(2, 2, 4000)
    loss = WaveformPIT(si_sdr=0.0, snr=1.0)(lambda _: sources, {"mixture": sources.sum(1, keepdim=True), "sources": sources})["loss"]
    assert float(loss) == pytest.approx(-30.0, abs=0.01)


@pytest.mark.parametrize("silent", ["one source", "everything"])
def test_loss_and_gradient_are_finite_on_silence(silent: str) -> None:
    sources = voices(2, 2, 4000)
    sources[:, 0] = 0
    if silent == "everything":
        sources[:] = 0
    estimates = voices(2, 2, 4000, seed=1).requires_grad_()
    loss = WaveformPIT(si_sdr=0.5, snr=0.5)(lambda _: estimates, {"mixture": sources.sum(1, keepdim=True), "sources": sources})["loss"]
    loss.backward()
    assert loss.isfinite()
    assert estimates.grad is not None and estimates.grad.isfinite().all()


def test_a_silent_reference_rewards_a_quieter_estimate() -> None:
    mixture, silence = voices(4000), torch.zeros(4000)
    louder, quieter = (float(thresholded_snr(mixture * gain, silence, mixture)) for gain in (0.1, 0.05))
    assert louder == pytest.approx(20.0, abs=0.5)
    assert quieter > louder


def test_evaluation_measures_equal_those_of_training() -> None:
    estimate, reference = voices(4000) + voices(4000, seed=1), voices(4000)
    assert ratios.si_sdr(estimate.numpy(), reference.numpy()) == pytest.approx(float(si_sdr(estimate, reference)), abs=1e-3)
    assert ratios.snr(estimate.numpy(), reference.numpy()) == pytest.approx(float(snr(estimate, reference)), abs=1e-3)
