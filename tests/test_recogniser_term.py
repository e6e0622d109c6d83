"""The term `recogniser`: a distance in the features of an acoustic model."""

import doctest
from pathlib import Path

import pytest
import soundfile
import torch
from test_terms import Says

from unmingle.data.batch import Batch
from unmingle.errors import InputError
from unmingle.facts import Facts
from unmingle.layers.resample import resample
from unmingle.objectives import build_objective, recogniser
from unmingle.objectives.recogniser import AcousticModel, load_acoustic_model, save_acoustic_model

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network as it is before training."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "acoustic.safetensors"
    save_acoustic_model(path, AcousticModel(n_phones=4, channels=16, n_blocks=2), list("abcd"), {})
    return str(path)


@pytest.fixture(scope="module")
def sources() -> torch.Tensor:
    """Two voices at 8 kHz, `(1, 2, T)`."""
    voices = [soundfile.read(EXAMPLES / f"two-voices.reference-{i}.flac", dtype="float32")[0] for i in (1, 2)]
    return resample(torch.stack([torch.from_numpy(voice[16_000:48_000]) for voice in voices]), 16_000, 8_000)[
        None
    ]


def loss(weights: str, estimates: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    batch = Batch(sources.sum(1, keepdim=True), sources)
    return build_objective("recogniser", weights=weights)(Says(estimates), batch)["loss"]


def test_the_example_in_the_docstring_is_true() -> None:
    found = doctest.testmod(recogniser, extraglobs={"torch": torch})
    assert found.attempted and not found.failed


def test_the_sources_themselves_cost_nothing_in_whatever_order(weights: str, sources: torch.Tensor) -> None:
    assert float(loss(weights, sources, sources)) == 0
    assert float(loss(weights, sources.flip(1), sources)) == 0


def test_level_costs_nothing_and_another_utterance_costs_more_than_noise(
    weights: str, sources: torch.Tensor
) -> None:
    louder, one = float(loss(weights, 7 * sources, sources)), sources[:, :1]
    noise = 0.02 * torch.randn(one.shape, generator=torch.Generator().manual_seed(0))
    noisy, other = (float(loss(weights, each, one)) for each in (one + noise, sources[:, 1:]))
    assert louder < 1e-4 < noisy < other


def test_where_the_order_is_given_it_is_taken(weights: str, sources: torch.Tensor) -> None:
    separator = Says(sources.flip(1))
    separator.facts = Facts(sample_rate=8000, order="fixed")
    batch = Batch(sources.sum(1, keepdim=True), sources)
    found = build_objective("recogniser", weights=weights)(separator, batch)
    assert found["order"].tolist() == [[0, 1]]
    assert float(found["loss"]) > 0.1


@pytest.mark.parametrize("silent", ["estimates", "sources", "both"])
def test_the_gradient_reaches_the_estimates_and_is_finite(
    silent: str, weights: str, sources: torch.Tensor
) -> None:
    wanted = sources * (silent == "estimates")
    given = (sources.flip(-1) * (silent == "sources")).requires_grad_()
    value = loss(weights, given, wanted)
    value.backward()
    assert value.isfinite()
    assert given.grad is not None and given.grad.isfinite().all()


def test_descending_the_gradient_takes_noise_out(weights: str, sources: torch.Tensor) -> None:
    noise = 0.02 * torch.randn(sources.shape, generator=torch.Generator().manual_seed(0))
    estimates = (sources + noise).requires_grad_()
    optimizer = torch.optim.Adam([estimates], 1e-3)
    values = []
    for _ in range(5):
        optimizer.zero_grad()
        value = loss(weights, estimates, sources)
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert values[-1] < values[0]


def test_the_acoustic_model_is_frozen_and_the_same_after_a_file(weights: str, sources: torch.Tensor) -> None:
    objective = build_objective("recogniser", weights=weights)
    assert not any(parameter.requires_grad for parameter in objective.parameters())
    once, again = (load_acoustic_model(weights)(sources[0]) for _ in range(2))
    assert torch.equal(once, again)


def test_a_phone_is_scored_every_20_ms_however_short_the_signal(weights: str) -> None:
    model = load_acoustic_model(weights)
    assert model(torch.zeros(3, 16_000)).shape == (3, 49, 4)
    assert model(torch.zeros(1, 5)).shape == (1, 1, 4)


def test_what_is_no_acoustic_model_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("no weights", encoding="utf-8")
    for name in ("text.safetensors", "nothing.safetensors"):
        with pytest.raises(
            InputError, match=rf"{name}: not an acoustic model .*train_acoustic_model"
        ) as found:
            build_objective("recogniser", weights=str(tmp_path / name))
        assert "\n" not in str(found.value)
