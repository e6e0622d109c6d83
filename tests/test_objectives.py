"""Objectives: closed forms, brute force, an independent library, and silence."""

import doctest
from itertools import permutations
from types import SimpleNamespace
from typing import Any

import fast_bss_eval
import pytest
import torch

from unmingle.data.batch import Batch
from unmingle.facts import Facts
from unmingle.layers.stft import STFT
from unmingle.metrics import ratios
from unmingle.models import build
from unmingle.objectives import build_objective, clustering, one_and_rest, pit, spectral
from unmingle.objectives.clustering import DeepClusteringObjective, affinity_loss
from unmingle.objectives.one_and_rest import OneAndRestObjective, one_and_rest_loss
from unmingle.objectives.pit import WaveformPIT, best_permutation, thresholded_snr, thresholded_snr_of
from unmingle.objectives.si_sdr import energies, pairwise_si_sdr, si_sdr, snr
from unmingle.objectives.spectral import SpectrogramPIT


def voices(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_si_sdr_equals_fast_bss_eval() -> None:
    estimate, reference = voices(4, 8000), voices(4, 8000, seed=1)
    estimate = estimate * 0.3 + reference
    expected = -fast_bss_eval.si_sdr_loss(estimate.double(), reference.double(), zero_mean=True)
    assert torch.allclose(si_sdr(estimate, reference).double(), expected, atol=1e-3)


def test_si_sdr_does_not_see_scale_and_snr_does() -> None:
    estimate, reference = voices(8000) + voices(8000, seed=1), voices(8000)
    assert float(si_sdr(7 * estimate, reference)) == pytest.approx(
        float(si_sdr(estimate, reference)), abs=1e-3
    )
    assert float(snr(2 * reference, reference)) == pytest.approx(0.0, abs=1e-4)


def test_snr_of_noise_at_a_tenth_of_the_amplitude_is_20_db() -> None:
    reference = torch.ones(1000)
    assert float(snr(reference + 0.1, reference)) == pytest.approx(20.0, abs=1e-3)


@pytest.mark.parametrize("n_src", [2, 3])
def test_best_permutation_equals_brute_force(n_src: int) -> None:
    scores = voices(16, n_src, n_src)
    value, permutation = best_permutation(scores)
    for b in range(16):
        best = max(
            permutations(range(n_src)),
            key=lambda order: sum(float(scores[b, i, j]) for j, i in enumerate(order)),
        )
        assert tuple(permutation[b].tolist()) == best
        assert float(value[b]) == pytest.approx(
            sum(float(scores[b, i, j]) for j, i in enumerate(best)) / n_src, abs=1e-5
        )


@pytest.mark.parametrize("n_src", [2, 3, 4, 5])
def test_hungarian_and_brute_force_find_the_same_order(n_src: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = voices(32, n_src, n_src)
    monkeypatch.setattr(pit, "BRUTE_FORCE_UP_TO", 1)
    hungarian = best_permutation(scores)
    monkeypatch.setattr(pit, "BRUTE_FORCE_UP_TO", 5)
    brute_force = best_permutation(scores)
    assert torch.equal(hungarian[1], brute_force[1])
    assert torch.allclose(hungarian[0], brute_force[0])


def test_loss_does_not_depend_on_the_order_of_the_references() -> None:
    sources, estimates = voices(2, 2, 4000), voices(2, 2, 4000, seed=1)
    objective = WaveformPIT(si_sdr=0.5, snr=0.5)
    mixture = sources.sum(1, keepdim=True)
    losses = [objective(lambda _: estimates, Batch(mixture, s))["loss"] for s in (sources, sources.flip(1))]
    assert float(losses[0]) == pytest.approx(float(losses[1]), abs=1e-5)


def test_perfect_estimates_reach_the_threshold() -> None:
    sources = voices(2, 2, 4000)
    loss = WaveformPIT(si_sdr=0.0, snr=1.0)(lambda _: sources, Batch(sources.sum(1, keepdim=True), sources))[
        "loss"
    ]
    assert float(loss) == pytest.approx(-30.0, abs=0.01)


@pytest.mark.parametrize("silent", ["one source", "everything"])
def test_loss_and_gradient_are_finite_on_silence(silent: str) -> None:
    sources = voices(2, 2, 4000)
    sources[:, 0] = 0
    if silent == "everything":
        sources[:] = 0
    estimates = voices(2, 2, 4000, seed=1).requires_grad_()
    loss = WaveformPIT(si_sdr=0.5, snr=0.5)(
        lambda _: estimates, Batch(sources.sum(1, keepdim=True), sources)
    )["loss"]
    loss.backward()
    assert loss.isfinite()
    assert estimates.grad is not None and estimates.grad.isfinite().all()


def test_a_silent_reference_rewards_a_quieter_estimate() -> None:
    mixture, silence = voices(4000), torch.zeros(4000)
    louder, quieter = (float(thresholded_snr(mixture * gain, silence, mixture)) for gain in (0.1, 0.05))
    assert louder == pytest.approx(20.0, abs=0.5)
    assert quieter > louder


def test_what_a_silent_source_is_worth_can_be_capped_apart() -> None:
    mixture = torch.randn(1, 8000)
    sources = torch.stack([mixture, torch.zeros_like(mixture)], dim=1)
    values = WaveformPIT(si_sdr=0.5, snr=0.5, silent_db=12.0).scores(sources, sources, mixture)
    assert values[0, 0, 0] == pytest.approx(30, abs=0.01)
    assert values[0, 1, 1] == pytest.approx(12, abs=0.01)


def test_measures_of_all_pairs_at_once_equal_those_of_every_pair() -> None:
    sources = voices(2, 3, 4000) + 0.2
    sources[1, 2] = 0
    estimates, mixture = sources.flip(1) + 0.1 * voices(2, 3, 4000, seed=1), sources.sum(1)
    each, every = estimates[:, :, None], sources[:, None]
    assert torch.allclose(pairwise_si_sdr(estimates, sources), si_sdr(each, every), atol=2e-3)
    found = thresholded_snr_of(energies(estimates, sources)[0], mixture.square().sum(-1), 30.0)
    assert torch.allclose(found, thresholded_snr(each, every, mixture[:, None, None]), atol=2e-3)


def test_evaluation_measures_equal_those_of_training() -> None:
    estimate, reference = voices(4000) + voices(4000, seed=1), voices(4000)
    assert ratios.si_sdr(estimate.numpy(), reference.numpy()) == pytest.approx(
        float(si_sdr(estimate, reference)), abs=1e-3
    )
    assert ratios.snr(estimate.numpy(), reference.numpy()) == pytest.approx(
        float(snr(estimate, reference)), abs=1e-3
    )


def test_the_examples_in_the_docstrings_are_true() -> None:
    for module in (clustering, one_and_rest, spectral):
        found = doctest.testmod(module, extraglobs={"torch": torch})
        assert found.attempted and not found.failed


def test_affinity_loss_equals_that_of_the_whole_affinity_matrices() -> None:
    embeddings = torch.nn.functional.normalize(voices(3, 50, 7), dim=2)
    targets = torch.nn.functional.one_hot(voices(3, 50, 4, seed=1).argmax(2), 4).float()
    weights = (voices(3, 50, seed=2) > 0).float()
    pairs = weights[:, :, None] * weights[:, None]
    expected = (pairs * (embeddings @ embeddings.mT - targets @ targets.mT).square()).sum((1, 2)) / pairs.sum(
        (1, 2)
    )
    assert torch.allclose(affinity_loss(embeddings, targets, weights), expected, atol=1e-6)


def test_affinity_loss_is_zero_for_ideal_embeddings_and_does_not_see_the_order_of_the_sources() -> None:
    targets = torch.nn.functional.one_hot(voices(2, 30, 3).argmax(2), 3).float()
    embeddings, weights = torch.nn.functional.normalize(voices(2, 30, 5), dim=2), torch.ones(2, 30)
    assert torch.allclose(affinity_loss(targets, targets.flip(2), weights), torch.zeros(2), atol=1e-6)
    assert torch.allclose(
        affinity_loss(embeddings, targets, weights), affinity_loss(embeddings, targets.flip(2), weights)
    )


@pytest.mark.parametrize("n_src", [None, 2])
@pytest.mark.parametrize("level", [0.0, 1e-6, 1.0])
def test_deep_clustering_has_finite_gradients_for_every_parameter_on_silence(
    n_src: int | None, level: float
) -> None:
    torch.manual_seed(0)
    model = build("deep-clustering", n_src=n_src, hidden=4, n_layers=1, n_embedding=3)
    sources = level * voices(2, 2, 2000)
    parts = DeepClusteringObjective(masks=1.0)(model, Batch(sources.sum(1, keepdim=True), sources))
    parts["loss"].backward()
    assert ("si_sdri" in parts) == (n_src == 2)
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters()
    )


def test_in_validation_deep_clustering_measures_what_its_head_separates() -> None:
    sources = voices(2, 2, 4000)
    sources[:, 0, 2000:] = 0
    sources[:, 1, :2000] = 0
    stft = STFT(n_fft=256, hop=64)
    owners = stft(sources.flatten(0, 1)).square().sum(1).unflatten(0, (2, 2)).argmax(1)
    ideal = SimpleNamespace(
        stft=stft,
        training=False,
        facts=Facts(sample_rate=8000, n_src=None, head="k-means"),
        forward_both=lambda mixture: (
            torch.nn.functional.one_hot(owners, 2).permute(0, 3, 1, 2).float(),
            None,
        ),
    )
    parts = DeepClusteringObjective()(ideal, Batch(sources.sum(1, keepdim=True), sources))
    assert float(parts["loss"]) == pytest.approx(0, abs=1e-6)
    assert parts["si_sdri"] > 15


def test_one_and_rest_takes_the_best_of_all_sources_that_are_there() -> None:
    sources, estimates, score = (
        voices(4, 3, 500),
        voices(4, 2, 500, seed=1),
        WaveformPIT(si_sdr=0.5, snr=0.5).scores,
    )
    sources[1, 0] = 0
    sources[2, :2] = 0
    mixture = sources.sum(1)
    loss, one = one_and_rest_loss(estimates, sources, mixture, score)
    for b, there in enumerate(([0, 1, 2], [1, 2], [2], [0, 1, 2])):
        expected = {}
        for i in there:
            rest = sum((sources[b, n] for n in there if n != i), torch.zeros(500))
            values = [
                score(e[None, None], r[None, None], mixture[b : b + 1])
                for e, r in zip(estimates[b], (sources[b, i], rest), strict=True)
            ]
            expected[i] = -float(values[0] + values[1] / max(1, len(there) - 1))
        assert int(one[b]) == min(expected, key=lambda i: expected[i])
        assert float(loss[b]) == pytest.approx(min(expected.values()), abs=1e-3)


@pytest.mark.parametrize(("n_there", "expected_db"), [(1, -60), (2, -60), (3, -45)])
def test_a_perfect_one_and_rest_reaches_the_threshold(n_there: int, expected_db: float) -> None:
    sources = voices(1, 3, 4000)
    sources[:, n_there:] = 0
    estimates = torch.stack([sources[:, 0], sources[:, 1:].sum(1)], 1)
    loss, one = one_and_rest_loss(estimates, sources, sources.sum(1), WaveformPIT(si_sdr=0.0, snr=1.0).scores)
    assert int(one) == 0
    assert float(loss) == pytest.approx(expected_db, abs=0.05)


@pytest.mark.parametrize("recursions", [1, 2, 3])
def test_one_and_rest_has_finite_gradients_on_silent_sources(recursions: int) -> None:
    torch.manual_seed(0)
    model = build(
        "one-and-rest",
        n_filters=16,
        n_features=8,
        n_hidden=16,
        n_skip=8,
        n_blocks=2,
        n_repeats=1,
        n_channels=4,
    )
    sources = voices(4, 3, 2000)
    for b in range(4):
        sources[b, b:] = 0
    parts = OneAndRestObjective(recursions=recursions)(model, Batch(sources.sum(1, keepdim=True), sources))
    parts["loss"].backward()
    assert ("counted" in parts) == (recursions > 1)
    assert all(
        parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters()
    )


def test_a_perfect_recursion_is_measured_as_such() -> None:
    sources = voices(3, 3, 4000)
    sources[1, 2] = 0
    sources[2, 1:] = 0
    steps = iter([sources[:, 0], sources[:, 1]])

    def take_one(rest: torch.Tensor) -> torch.Tensor:
        one = next(steps)[:, None]
        return torch.cat([one, rest - one], 1)

    def speech(samples: torch.Tensor) -> torch.Tensor:
        return torch.where(samples.square().mean((1, 2)) > 0.01, 20.0, -20.0)

    perfect = SimpleNamespace(training=False, network=take_one, classifier=speech)
    parts = OneAndRestObjective()(perfect, Batch(sources.sum(1, keepdim=True), sources))
    assert float(parts["counted"]) == 1
    assert float(parts["stop"]) < 1e-6
    assert parts["si_sdri"] > 30


@pytest.mark.parametrize("order", ["free", "cued", "fixed"])
@pytest.mark.parametrize(
    "objective",
    [
        WaveformPIT(),
        SpectrogramPIT(),
        build_objective("mse"),
        build_objective("sum", terms=[{"name": "waveform"}]),
    ],
    ids=["waveform", "spectrogram", "mse", "sum"],
)
def test_only_a_separator_whose_order_is_free_is_scored_in_the_best_order(objective: Any, order: Any) -> None:
    sources = voices(2, 2, 4000)
    swapped = sources.flip(1)
    stft = STFT(n_fft=256, hop=64)

    class Swapping:
        facts, training = Facts(8000, order=order), True

        def __init__(self) -> None:
            self.stft = stft

        def __call__(self, mixture: torch.Tensor) -> torch.Tensor:
            return swapped

        def masks(self, mixture: torch.Tensor) -> torch.Tensor:
            heights = stft(swapped.flatten(0, 1)).unflatten(0, (2, 2)).square().sum(2).sqrt()
            return heights / heights.sum(1, keepdim=True)

    taken = objective(Swapping(), Batch(sources.sum(1, keepdim=True), sources))["order"]
    assert taken.tolist() == [[1, 0] if order == "free" else [0, 1]] * 2
