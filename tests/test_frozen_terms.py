"""The terms `recogniser` and `pesq-proxy`, which look through frozen networks."""

import doctest
from pathlib import Path

import pytest
import soundfile
import torch
from test_terms import FROM_FILES, Says

from unmingle.data.batch import Batch
from unmingle.errors import InputError
from unmingle.facts import Facts
from unmingle.layers.resample import resample
from unmingle.objectives import build_objective, recogniser
from unmingle.objectives.pesq_proxy import PESQProxyNetwork, load_pesq_proxy, save_pesq_proxy
from unmingle.objectives.recogniser import AcousticModel, load_acoustic_model, save_acoustic_model

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of both networks as they are before training."""
    path = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    model = AcousticModel(n_phones=4, channels=16, n_blocks=2)
    save_acoustic_model(path / "recogniser.safetensors", model, list("abcd"), {})
    save_pesq_proxy(path / "pesq-proxy.safetensors", PESQProxyNetwork(channels=(8, 8)), {"minutes": 0})
    return path


@pytest.fixture(params=FROM_FILES)
def term(request: pytest.FixtureRequest, folder: Path) -> tuple[str, str]:
    """Name and file of weights."""
    return request.param, str(folder / f"{request.param}.safetensors")


@pytest.fixture(scope="module")
def sources() -> torch.Tensor:
    """Two voices at 8 kHz, `(1, 2, T)`."""
    voices = [soundfile.read(EXAMPLES / f"two-voices.reference-{i}.flac", dtype="float32")[0] for i in (1, 2)]
    return resample(torch.stack([torch.from_numpy(voice[16_000:48_000]) for voice in voices]), 16_000, 8_000)[
        None
    ]


def noise_like(samples: torch.Tensor) -> torch.Tensor:
    return 0.02 * torch.randn(samples.shape, generator=torch.Generator().manual_seed(0))


def loss(term: tuple[str, str], estimates: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    name, weights = term
    batch = Batch(sources.sum(1, keepdim=True), sources)
    return build_objective(name, weights=weights)(Says(estimates), batch)["loss"]


def test_the_example_in_the_docstring_is_true() -> None:
    found = doctest.testmod(recogniser, extraglobs={"torch": torch})
    assert found.attempted and not found.failed


def test_the_sources_themselves_cost_nothing_in_whatever_order(
    term: tuple[str, str], sources: torch.Tensor
) -> None:
    assert float(loss(term, sources, sources)) == 0
    assert float(loss(term, sources.flip(1), sources)) == 0


def test_level_costs_nothing_and_more_noise_costs_more(term: tuple[str, str], sources: torch.Tensor) -> None:
    noise = noise_like(sources)
    louder, noisy, noisier = (
        float(loss(term, each, sources)) for each in (7 * sources, sources + noise, sources + 5 * noise)
    )
    assert louder < 1e-4 < noisy < noisier


def test_another_utterance_costs_more_than_noise(term: tuple[str, str], sources: torch.Tensor) -> None:
    one = sources[:, :1]
    noisy, other = (float(loss(term, each, one)) for each in (one + noise_like(one), sources[:, 1:]))
    assert noisy < other


def test_where_the_order_is_given_it_is_taken(term: tuple[str, str], sources: torch.Tensor) -> None:
    separator = Says(sources.flip(1))
    separator.facts = Facts(sample_rate=8000, order="fixed")
    batch = Batch(sources.sum(1, keepdim=True), sources)
    found = build_objective(term[0], weights=term[1])(separator, batch)
    assert found["order"].tolist() == [[0, 1]]
    assert float(found["loss"]) > 0.005


@pytest.mark.parametrize("silent", ["estimates", "sources", "both"])
def test_the_gradient_reaches_the_estimates_and_is_finite(
    silent: str, term: tuple[str, str], sources: torch.Tensor
) -> None:
    wanted = sources * (silent == "estimates")
    given = (sources.flip(-1) * (silent == "sources")).requires_grad_()
    value = loss(term, given, wanted)
    value.backward()
    assert value.isfinite()
    assert given.grad is not None and given.grad.isfinite().all()


def test_descending_the_gradient_takes_noise_out(term: tuple[str, str], sources: torch.Tensor) -> None:
    estimates = (sources + noise_like(sources)).requires_grad_()
    optimizer = torch.optim.Adam([estimates], 1e-3)
    values = []
    for _ in range(5):
        optimizer.zero_grad()
        value = loss(term, estimates, sources)
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert values[-1] < values[0]


def test_a_term_is_the_same_under_autocast(term: tuple[str, str], sources: torch.Tensor) -> None:
    noisy = sources + noise_like(sources)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(term, noisy, sources)
    assert float(found) == pytest.approx(float(loss(term, noisy, sources)), rel=1e-4)


def test_the_network_is_frozen(term: tuple[str, str]) -> None:
    objective = build_objective(term[0], weights=term[1])
    assert not any(parameter.requires_grad for parameter in objective.parameters())


def test_a_network_is_the_same_after_a_file(folder: Path, sources: torch.Tensor) -> None:
    once, again = (load_acoustic_model(folder / "recogniser.safetensors")(sources[0]) for _ in range(2))
    assert torch.equal(once, again)
    torch.manual_seed(1)
    network = PESQProxyNetwork()
    save_pesq_proxy(folder / "own.safetensors", network, {})
    loud = network.loudness(sources[0])
    assert torch.equal(
        load_pesq_proxy(folder / "own.safetensors")(loud, loud.flip(0)), network(loud, loud.flip(0))
    )


def test_a_phone_is_scored_every_20_ms_however_short_the_signal(folder: Path) -> None:
    model = load_acoustic_model(folder / "recogniser.safetensors")
    assert model(torch.zeros(3, 16_000)).shape == (3, 49, 4)
    assert model(torch.zeros(1, 5)).shape == (1, 1, 4)


def test_a_proxy_scores_from_0_to_1(folder: Path, sources: torch.Tensor) -> None:
    network = load_pesq_proxy(folder / "pesq-proxy.safetensors")
    loud = network.loudness(torch.cat([sources[0], 0 * sources[0]]))
    scores = network(loud, loud[[0, 0, 0, 0]])
    assert scores.shape == (4,)
    assert scores[0] == 1 and ((scores[1:] >= 0) & (scores[1:] < 1)).all()


def test_what_is_no_such_network_is_one_line(term: tuple[str, str], folder: Path, tmp_path: Path) -> None:
    name = term[0]
    other = folder / f"{next(each for each in FROM_FILES if each != name)}.safetensors"
    (tmp_path / "text.safetensors").write_text("no weights", encoding="utf-8")
    what, script = {
        "recogniser": ("an acoustic model", "train_acoustic_model"),
        "pesq-proxy": ("a PESQ proxy", "train_pesq_proxy"),
    }[name]
    for path in (tmp_path / "text.safetensors", tmp_path / "nothing.safetensors", other):
        with pytest.raises(InputError, match=rf"{path.name}: not {what} .*{script}") as found:
            build_objective(name, weights=str(path))
        assert "\n" not in str(found.value)
