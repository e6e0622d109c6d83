"""Terms of an objective: closed forms, independent libraries, invariances, silence; and sums of them."""

import doctest
from pathlib import Path
from typing import Any

import pystoi
import pytest
import soundfile
import torch
from pystoi.utils import resample_oct
from test_objectives import voices

from unmingle.data.batch import Batch
from unmingle.facts import Facts
from unmingle.layers.resample import resample
from unmingle.layers.stft import STFT
from unmingle.objectives import (
    build_objective,
    compressed,
    magnitude_phase,
    multi_resolution,
    noise_huber,
    projection,
    squares,
    ssim,
    stoi,
)
from unmingle.objectives.pit import WaveformPIT
from unmingle.objectives.weighted_sum import TERMS, WeightedSum

EXAMPLES = Path(__file__).parent.parent / "examples"
FROM_FILES = ("recogniser", "pesq-proxy")  # test_frozen_terms.py has them
BY_NAME = [name for name in TERMS if name not in FROM_FILES]


class Says:
    """A separator that says the same estimates whatever it hears, and counts how often it is asked."""

    training, facts = True, Facts(sample_rate=8000)

    def __init__(self, estimates: torch.Tensor) -> None:
        self.estimates, self.n_asked = estimates, 0

    def __call__(self, mixture: torch.Tensor, **cues: torch.Tensor) -> torch.Tensor:
        self.n_asked += 1
        return self.estimates


def noisy(sources: torch.Tensor, level: float = 0.3) -> Batch:
    noise = level * voices(len(sources), 1, sources.shape[2], seed=9)
    return Batch(sources.sum(1, keepdim=True) + noise, sources)


def test_the_examples_in_the_docstrings_are_true() -> None:
    for module in (
        compressed,
        magnitude_phase,
        multi_resolution,
        noise_huber,
        projection,
        squares,
        ssim,
        stoi,
    ):
        found = doctest.testmod(module, extraglobs={"torch": torch})
        assert found.attempted and not found.failed


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("n_src", [1, 2, 3])
def test_a_term_does_not_see_the_order_of_the_sources_and_is_least_for_perfect_estimates(
    name: str, n_src: int
) -> None:
    sources = 0.1 * voices(2, n_src, 6000)
    batch, objective = noisy(sources, 0.03), build_objective(name)
    estimates = sources + 0.05 * voices(2, n_src, 6000, seed=1)
    near, swapped, far = (
        objective(Says(e), batch)["loss"]
        for e in (estimates, estimates.flip(1), estimates + 0.1 * voices(2, n_src, 6000, seed=2))
    )
    assert float(near) == pytest.approx(float(swapped), abs=1e-5)
    perfect = objective(Says(sources.flip(1)), batch)
    assert perfect["loss"] < near < far
    assert torch.equal(perfect["order"], torch.arange(n_src).flip(0).expand(2, n_src))
    if name != "waveform":
        assert float(perfect["loss"]) == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("silent", ["one source", "everything", "estimates"])
@pytest.mark.parametrize("n_src", [1, 2])
def test_a_term_and_its_gradient_are_finite_on_silence(name: str, silent: str, n_src: int) -> None:
    sources, estimates = 0.1 * voices(2, n_src, 6000), 0.1 * voices(2, n_src, 6000, seed=1)
    if silent == "estimates":
        estimates[:] = 0
    else:
        sources[: 1 if silent == "one source" else 2, 0] = 0
        sources[:, 1:] *= silent == "one source"
    estimates.requires_grad_()
    loss = build_objective(name)(Says(estimates), noisy(sources, 0.03 * (silent == "one source")))["loss"]
    loss.backward()
    assert loss.isfinite()
    assert estimates.grad is not None and estimates.grad.isfinite().all()


@pytest.mark.parametrize("name", BY_NAME)
def test_a_term_is_the_same_under_autocast(name: str) -> None:
    sources = 0.1 * voices(2, 2, 6000)
    batch, estimates = noisy(sources, 0.03), sources + 0.05 * voices(2, 2, 6000, seed=1)
    expected = build_objective(name)(Says(estimates), batch)["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert float(build_objective(name)(Says(estimates), batch)["loss"]) == pytest.approx(
            float(expected), rel=1e-4
        )


@pytest.mark.parametrize("name", ["projection", "ssim", "stoi", "waveform"])
def test_a_term_does_not_see_the_level_of_a_recording(name: str) -> None:
    sources = 0.3 * voices(2, 1, 6000)
    batch, estimates = noisy(sources, 0.1), sources + 0.05 * voices(2, 1, 6000, seed=1)
    loud, faint = (
        build_objective(name)(Says(g * estimates), Batch(g * batch.mixture, g * batch.sources))["loss"]
        for g in (1.0, 0.1)
    )
    assert float(faint) == pytest.approx(float(loud), rel=1e-3)


def test_bins_have_half_the_squared_error_of_samples() -> None:
    batch, estimates = noisy(torch.zeros(4, 1, 40000)), 0.1 * voices(4, 1, 40000, seed=1)
    samples, bins = (
        float(build_objective("mse", domain=domain)(Says(estimates), batch)["loss"])
        for domain in ("waveform", "spectrogram")
    )
    assert samples == pytest.approx(float(estimates.square().mean()))
    assert bins == pytest.approx(samples / 2, rel=0.03)


def test_an_error_where_there_is_no_noise_has_no_weight() -> None:
    sources = voices(2, 1, 4000)
    batch = noisy(sources)
    batch.mixture[..., :2000] = sources[..., :2000]
    estimates = sources.clone()
    estimates[..., :2000] += 1
    assert float(build_objective("noise-weighted-mse")(Says(estimates), batch)["loss"]) == 0
    estimates[..., 2000:] += 2
    noise = (batch.mixture - sources)[..., 2000:]
    expected = float(4 * noise.abs().sum()) / (2 * 4000)
    assert float(build_objective("noise-weighted-mse")(Says(estimates), batch)["loss"]) == pytest.approx(
        expected, rel=1e-5
    )


def test_a_separator_that_predicts_the_noise_is_taken_at_its_word_and_not_asked_for_estimates() -> None:
    batch = noisy(voices(2, 1, 4000))
    separator: Any = Says(batch.sources)
    separator.stft = STFT(n_fft=128, hop=32)
    separator.noise_db = lambda mixture: (
        noise_huber.scaled_db(separator.stft((mixture - batch.sources)[:, 0])) + 0.5
    )
    objective = build_objective("noise-huber")
    parts = objective(separator, batch)
    assert float(parts["loss"]) == pytest.approx(0.125, abs=1e-5)
    assert separator.n_asked == 0 and "si_sdri" not in parts
    assert "si_sdri" in objective.eval()(separator, batch)


def test_a_projection_finds_how_much_of_the_voice_and_of_the_noise_there_is() -> None:
    voice, noise, rest = voices(3, 4000)
    for other in (voice, noise):
        rest = rest - (rest @ other) / (other @ other) * other
    noise = noise + 0.5 * voice  # not orthogonal
    rest = rest - torch.linalg.lstsq(torch.stack([voice, noise], 1), rest[:, None]).solution.mT @ torch.stack(
        [voice, noise]
    )
    found = projection.project(0.7 * voice + 0.2 * noise + 0.1 * rest[0], voice, noise)
    assert float(found.a) == pytest.approx(0.7, abs=1e-4)
    assert float(found.b) == pytest.approx(0.2, abs=1e-4)
    assert torch.allclose(found.rest, 0.1 * rest[0], atol=1e-3)


@pytest.mark.parametrize("sample_rate", [8000, 16000, 44100])
def test_resampling_equals_that_of_octave(sample_rate: int) -> None:
    samples = voices(2, sample_rate // 2 + 37)
    for channel, found in zip(samples, resample(samples, sample_rate, 10000), strict=True):
        assert torch.allclose(
            found,
            torch.from_numpy(resample_oct(channel.double().numpy(), 10000, sample_rate)).float(),
            atol=1e-5,
        )


@pytest.mark.parametrize("sample_rate", [8000, 16000])
def test_stoi_of_speech_equals_that_of_pystoi(sample_rate: int) -> None:
    one, other = (
        torch.from_numpy(soundfile.read(EXAMPLES / f"two-voices.reference-{i}.flac", dtype="float32")[0])
        for i in (1, 2)
    )
    one, other = (resample(voice[: 4 * 16000], 16000, sample_rate) for voice in (one, other))
    one[sample_rate : 2 * sample_rate] = 0  # frames that are cut out
    estimates = torch.stack([one + gain * other for gain in (0.0, 0.1, 0.5, 1.0, 3.0)])
    found = stoi.stoi(estimates, one, sample_rate)
    for estimate, value in zip(estimates, found, strict=True):
        assert float(value) == pytest.approx(
            pystoi.stoi(one.double().numpy(), estimate.double().numpy(), sample_rate), abs=1e-3
        )


def test_descending_the_gradient_raises_what_pystoi_measures() -> None:
    one, other = (
        torch.from_numpy(soundfile.read(EXAMPLES / f"two-voices.reference-{i}.flac", dtype="float32")[0])[
            :24000
        ]
        for i in (1, 2)
    )
    estimate = (one + other).requires_grad_()
    before = pystoi.stoi(one.numpy(), estimate.detach().numpy(), 16000)
    optimizer = torch.optim.Adam([estimate], 3e-3)
    for _ in range(10):
        optimizer.zero_grad()
        (1 - stoi.stoi(estimate, one, 16000)).backward()
        optimizer.step()
    assert pystoi.stoi(one.numpy(), estimate.detach().numpy(), 16000) > before + 0.05


@pytest.mark.parametrize("length", [1, 100, 1000, 3000])
def test_stoi_of_what_is_too_short_for_a_segment_is_a_number(length: int) -> None:
    voice = voices(length)
    assert stoi.stoi(voice, voice, 8000).isfinite()


def test_a_spectrum_with_exponent_1_is_left_as_it_is_and_phase_is_kept_by_any() -> None:
    spectrum = voices(3, 2, 9, 20)
    assert torch.allclose(compressed.compressed(spectrum, 1.0), spectrum)
    once = compressed.compressed(spectrum)
    assert torch.allclose(once.square().sum(1), spectrum.square().sum(1) ** 0.3, rtol=1e-4)
    assert torch.allclose(
        torch.atan2(once[:, 1], once[:, 0]), torch.atan2(spectrum[:, 1], spectrum[:, 0]), atol=1e-5
    )


def test_of_an_estimate_with_the_wrong_phase_only_the_complex_part_of_the_distance_is_left() -> None:
    sources = voices(2, 1, 6000)
    turned, batch = Says(-sources), noisy(sources)
    whole, half, none = (
        float(build_objective("compressed-spectrum", magnitude=share)(turned, batch)["loss"])
        for share in (0.0, 0.5, 1.0)
    )
    assert half == pytest.approx(whole / 2, rel=1e-5)
    assert 0 <= none < 1e-9


@pytest.mark.parametrize(("gain", "phase", "loss"), [(0.5, 3.0, 0.5), (2.0, 3.0, 1.0), (-1.0, 3.0, 6.0)])
def test_wrong_magnitudes_and_wrong_phases_cost_their_share_of_the_magnitudes(
    gain: float, phase: float, loss: float
) -> None:
    sources = voices(2, 1, 6000)
    objective = build_objective("magnitude-and-phase", phase=phase, n_fft=256, hop=64)
    mean_magnitude = STFT(n_fft=256, hop=64)(sources[:, 0]).square().sum(1).sqrt().mean()
    found = objective(Says(gain * sources), noisy(sources))["loss"]
    assert float(found) == pytest.approx(loss * float(mean_magnitude), rel=1e-3)


def test_a_quarter_turn_of_all_phases_costs_what_the_cosine_says_and_no_magnitude() -> None:
    wave = torch.outer(torch.tensor([0.0, 0.25, 0.5]), torch.ones(80_000)) + torch.arange(80_000) / 16
    sine = torch.sin(2 * torch.pi * wave)
    objective = build_objective("magnitude-and-phase", phase=1.0)
    early, late, opposite = (
        float(objective(Says(row[None, None]), noisy(sine[:1, None], 0.0))["loss"]) for row in sine
    )
    assert early == pytest.approx(0, abs=1e-4)
    assert late == pytest.approx(opposite / 2, rel=0.05)


def test_estimates_in_the_order_of_the_faces_are_compared_in_that_order() -> None:
    sources = 0.1 * voices(2, 2, 6000)
    cued: Any = Says(sources.flip(1))
    cued.facts = Facts(sample_rate=8000, order="cued")
    objectives = (build_objective(name) for name in ("magnitude-and-phase", "compressed-spectrum", "mse"))
    for objective in (*objectives, WaveformPIT()):
        wrong, free = objective(cued, noisy(sources)), objective(Says(sources.flip(1)), noisy(sources))
        assert torch.equal(wrong["order"], torch.tensor([[0, 1], [0, 1]]))
        assert wrong["loss"] > free["loss"] and wrong["si_sdri"] < free["si_sdri"]


def test_an_estimate_at_a_tenth_of_the_amplitude_has_the_multi_resolution_loss_of_its_scale() -> None:
    sources = voices(2, 1, 6000)
    loss = build_objective("multi-resolution-stft")(Says(0.1 * sources), noisy(sources))["loss"]
    assert float(loss) == pytest.approx(0.9 + 2.302585, abs=0.01)


def test_a_sum_is_the_sum_of_its_parts_and_runs_the_separator_once() -> None:
    sources = 0.1 * voices(2, 2, 6000)
    separator = Says(sources.flip(1) + 0.05 * voices(2, 2, 6000, seed=1))
    weights = {name: 10.0**number for number, name in enumerate(BY_NAME, -4)}
    parts = WeightedSum(terms=[{"name": name, "weight": weight} for name, weight in weights.items()])(
        separator, noisy(sources)
    )
    assert separator.n_asked == 1
    assert float(parts["loss"]) == pytest.approx(
        sum(weight * float(parts[name]) for name, weight in weights.items()), rel=1e-5
    )
    assert torch.equal(parts["order"], torch.tensor([[1, 0], [1, 0]]))


@pytest.mark.parametrize(("weight", "order"), [(1e-3, [0, 1]), (1e3, [1, 0])])
def test_all_terms_are_taken_in_the_one_order_that_suits_their_sum(weight: float, order: list[int]) -> None:
    sources = voices(1, 2, 4000)
    # SI-SDR does not see that the signs are wrong; the squared error would rather have them swapped.
    terms = [{"name": "waveform", "si_sdr": 1.0, "snr": 0.0}, {"name": "mse", "weight": weight}]
    parts = WeightedSum(terms=terms)(Says(-sources), noisy(sources, 0.0))
    assert parts["order"].tolist() == [order]
    assert float(parts["mse"]) == pytest.approx(4.0 if order == [0, 1] else 2.0, rel=0.1)
    assert (parts["waveform"] < -29) == (order == [0, 1])


def test_a_waveform_term_is_the_objective_of_the_same_measures() -> None:
    sources = voices(2, 2, 4000)
    batch, separator = noisy(sources), Says(sources.flip(1) + voices(2, 2, 4000, seed=1))
    one, other = (
        objective(separator, batch)
        for objective in (build_objective("waveform", si_sdr=0.3, snr=0.7), WaveformPIT(si_sdr=0.3, snr=0.7))
    )
    for name in ("loss", "si_sdri", "order"):
        assert torch.allclose(one[name], other[name], atol=1e-4)


def test_two_terms_of_one_name_are_told_apart() -> None:
    sources = voices(2, 1, 4000)
    terms = [{"name": "mse"}, {"name": "mse", "domain": "spectrogram"}]
    assert {"mse", "mse-2"} < WeightedSum(terms=terms)(Says(0.5 * sources), noisy(sources)).keys()


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([], "expected a list of at least one"),
        ({"name": "mse"}, "expected a list of at least one"),
        (["mse"], "expected a list of at least one"),
        ([{"weight": 1}], "expected a list of at least one"),
        ([{"name": "msse"}], "no term 'msse'; there are compressed-spectrum, magnitude-and-phase, "),
        ([{"name": "mse", "weight": -1}], "the weight of mse is -1; expected a number above 0"),
        ([{"name": "mse", "weight": "much"}], "the weight of mse is 'much'"),
        ([{"name": "mse", "weight": True}], "the weight of mse is True"),
        ([{"name": "mse", "wait": 1}], "mse has no argument wait; it has weight, domain, n_fft, hop"),
        ([{"name": "mse", "domain": "cepstrum"}], "there are waveform, spectrogram"),
        ([{"name": "mse", "domain": "spectrogram", "hop": 400}], "hop"),
        ([{"name": "noise-huber", "delta": 0}], "delta is 0"),
        ([{"name": "ssim", "range_db": -80}], "range_db is -80"),
        ([{"name": "compressed-spectrum", "exponent": 3}], "exponent is 3"),
        ([{"name": "compressed-spectrum", "magnitude": 2}], "magnitude is 2"),
        ([{"name": "magnitude-and-phase", "phase": -1}], "phase is -1"),
        ([{"name": "multi-resolution-stft", "resolutions": []}], "expected pairs"),
        ([{"name": "multi-resolution-stft", "resolutions": [512, 128]}], "expected pairs"),
    ],
)
def test_terms_that_make_no_sense_are_refused(terms: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WeightedSum(terms=terms)


def test_an_unknown_objective_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"no objective 'x'; there are adversarial, .*mse"):
        build_objective("x")
    with pytest.raises(ValueError, match="mse has no argument colour"):
        build_objective("mse", colour=1)
    assert isinstance(build_objective("mse", weight=3), WeightedSum)
