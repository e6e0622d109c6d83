"""What separators that see faces promise: estimates belong to faces, and pictures count."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from small_models import cues, estimates_of, noise, tiny
from torch import Tensor

from unmingle.data.mixture import Mixture
from unmingle.data.sets import read_set, write_mixtures
from unmingle.evaluation.evaluate import measured_rows
from unmingle.evaluation.systems import System, system
from unmingle.facts import LIPS_SIZE, lips
from unmingle.models import MODELS
from unmingle.runtime.loading import load
from unmingle.training.export import AGREEMENT_DB, agreement_db, export, to_onnx
from unmingle.training.recipe import read_recipe
from unmingle.training.starting import freeze
from unmingle.training.trainer import train
from unmingle.weights_file import load_state, save_weights

RATE, LENGTH, N_PICTURES = 16_000, 8_000, 13

SEEING = [name for name in MODELS if tiny(name).facts.cues == (lips(tiny(name).facts.n_src),)]
every_one = pytest.mark.parametrize("name", SEEING)


def faces_of(model: Any, n_batch: int, n_pictures: int = N_PICTURES) -> Tensor:
    """Pictures of random brightness and texture, some of them missing `(B, S, 88, 88, N)`; two faces where
    there may be any number.
    """
    generator, n_src = torch.Generator().manual_seed(n_batch), model.facts.n_src or 2
    brightness = torch.rand(n_batch, n_src, 1, 1, n_pictures, generator=generator)
    texture = torch.rand(n_batch, n_src, LIPS_SIZE, LIPS_SIZE, 1, generator=generator)
    return 255 * texture * brightness * (brightness > 0.2)


def seeing(name: str, **arguments: Any) -> Any:
    """A tiny one whose batch norms have seen a batch, so that pictures reach its estimates."""
    model = tiny(name, **arguments).train()
    with torch.no_grad():
        for _ in range(20):
            model(noise(4, 1, LENGTH), faces_of(model, 4))
    return model.eval()


def saved(model: Any, path: Path) -> Path:
    recipe = {"model": {"name": model.name}, "data": {"set": "toys", "seed": 0, "corpora": []}}
    state = {key: value.half() for key, value in model.state_dict().items()}
    training = {"hours_of_audio": 1.0, "steps": 1, "minutes": 1.0, "clock": "cpu", "threads": 1}
    save_weights(path, model, state, recipe=recipe, training=training)
    return path


def differ(one: Tensor, other: Tensor) -> float:
    return float(((one - other).abs().max() / one.abs().max()).detach())


@pytest.mark.parametrize("order", [[1, 0], [2, 0, 1]])
def test_faces_in_another_order_give_their_estimates_in_that_order(order: list[int]) -> None:
    model, mixture = seeing("looking-to-listen", n_src=len(order)), noise(2, 1, LENGTH)
    faces = faces_of(model, 2)
    estimates = model(mixture, faces)
    assert differ(estimates[:, order], model(mixture, faces[:, order])) < 1e-5
    assert differ(estimates, estimates[:, order]) > 1e-4


def test_weights_for_one_face_serve_three() -> None:
    one, three = seeing("looking-to-listen", n_src=1), tiny("looking-to-listen", n_src=3)
    three.load_state_dict(one.state_dict())
    mixture = noise(2, 1, LENGTH)
    faces = faces_of(three, 2)
    alone = torch.cat([one(mixture, faces[:, face : face + 1]) for face in range(3)], 1)
    assert differ(alone, three(mixture, faces)) < 1e-5


def shares(alike: Tensor, hidden: Tensor | None = None, power: Tensor | None = None) -> Tensor:
    """What `lips` makes of likeness `(B, S, K)`, of faces that are all seen and streams of one level unless
    given.
    """
    hidden = torch.zeros_like(alike[:, :, 0]) if hidden is None else hidden
    power = torch.ones_like(alike[:, 0]) if power is None else power
    return tiny("lips", n_streams=alike.shape[2]).shares(alike, hidden, power)


@pytest.mark.parametrize("order", [[1, 0], [2, 0, 1]])
def test_lips_take_any_number_of_faces_in_any_order(order: list[int]) -> None:
    model, mixture = seeing("lips", n_streams=3), noise(2, 1, LENGTH)
    faces = torch.cat([faces_of(model, 2), faces_of(model, 2).flip(-1)], 1)[:, : len(order)]
    estimates = model(mixture, faces)
    assert estimates.shape == (2, len(order), LENGTH)
    assert differ(estimates[:, order], model(mixture, faces[:, order])) < 1e-4
    assert differ(estimates, estimates[:, order]) > 1e-4


def test_what_one_face_claims_another_does_not_get() -> None:
    alike = torch.tensor([[[0.5, 0.1], [0.4, 0.3]]])
    alone, together = shares(alike[:, 1:])[0], shares(alike)[0, 1:]
    assert alone.argmax() == 0 and together.argmax() == 1


def test_a_face_that_is_like_no_stream_is_silent_and_one_that_is_not_seen_gets_what_is_left() -> None:
    alike = torch.tensor([[[0.5, 0.0], [0.05, 0.02]]])
    still, hidden = shares(alike)[0, 1], shares(alike, torch.tensor([[0.0, 1.0]]))[0, 1]
    assert still.max() < 0.1 and hidden[0] < 0.1 and hidden[1] > 0.4


def test_a_stream_that_is_hardly_there_is_not_taken() -> None:
    alike = torch.tensor([[[0.4, 0.42]]])
    assert shares(alike).argmax() == 1 and shares(alike, power=torch.tensor([[1.0, 1e-4]])).argmax() == 0


@pytest.mark.parametrize("n_streams", [2, 3])
def test_a_stream_goes_to_one_face_and_a_face_has_one_stream(n_streams: int) -> None:
    alike = 0.2 * torch.randn(20, 3, n_streams, generator=torch.Generator().manual_seed(0))
    found = shares(alike)
    assert found.sum(1).max() < 1.05 and found.sum(2).max() < 1.05


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_an_exported_one_takes_any_number_of_faces(backend: str, tmp_path: Path) -> None:
    model = seeing("lips")
    export(saved(model, tmp_path / "model.safetensors"), "mine", out=tmp_path / "out")
    mixture, found = noise(1, LENGTH).numpy(), load(tmp_path / "out" / "mine.onnx", backend=backend)
    exact = load(tmp_path / "out" / "mine.safetensors")
    for n_faces in (1, 3):
        faces = faces_of(model, 1)[0].repeat(2, 1, 1, 1)[:n_faces].numpy()
        voices = found(mixture, {"lips": faces})
        assert voices.shape == (n_faces, LENGTH)
        assert np.allclose(voices, exact(mixture, {"lips": faces}), atol=1e-2 * np.abs(mixture).max())


@every_one
def test_where_no_face_is_seen_estimates_are_finite_and_all_alike(name: str) -> None:
    model, mixture = seeing(name), noise(2, 1, LENGTH)
    estimates = model(mixture, torch.zeros_like(faces_of(model, 2)))
    assert estimates.isfinite().all()
    assert differ(estimates, estimates[:, :1].expand_as(estimates)) < 1e-5


@every_one
def test_a_silent_mixture_gives_silence_whatever_is_seen(name: str) -> None:
    mixture = torch.zeros(1, 1, LENGTH)
    assert estimates_of(seeing(name), mixture).abs().max() < 1e-6


@every_one
def test_pictures_that_are_late_change_what_is_heard(name: str) -> None:
    model, mixture = seeing(name), noise(1, 1, LENGTH)
    faces = faces_of(model, 1)
    assert differ(model(mixture, faces), model(mixture, faces.roll(3, -1))) > 1e-4


@every_one
@pytest.mark.parametrize("n_pictures", [1, N_PICTURES - 1, N_PICTURES + 5])
def test_too_few_or_too_many_pictures_are_no_error(name: str, n_pictures: int) -> None:
    model = seeing(name)
    faces = faces_of(model, 1, n_pictures)
    assert model(noise(1, 1, LENGTH), faces).shape == (1, faces.shape[1], LENGTH)


@every_one
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_pictures_may_be_whole_numbers(name: str, dtype: torch.dtype) -> None:
    model, mixture = seeing(name), noise(1, 1, LENGTH)
    faces = faces_of(model, 1).round()
    assert differ(model(mixture, faces), model(mixture, faces.to(dtype))) < 1e-6


@every_one
def test_what_is_exported_looks_at_the_faces(name: str, tmp_path: Path) -> None:
    model, path = seeing(name), tmp_path / "model.onnx"
    to_onnx(model, path)
    assert min(agreement_db(model, path, length) for length in (2_001, LENGTH)) > AGREEMENT_DB


@every_one
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_an_exported_one_is_loaded_and_called_with_its_cue(name: str, backend: str, tmp_path: Path) -> None:
    path = saved(seeing(name), tmp_path / "model.safetensors")
    export(path, "mine", out=tmp_path / "out")
    mixture = noise(1, LENGTH).numpy()
    expected, found = load(path), load(tmp_path / "out" / "mine.onnx", backend=backend)
    told = {key: value[0].numpy() for key, value in cues(expected, torch.zeros(1, 1, LENGTH)).items()}
    # A runtime may choose bfloat16.
    assert np.allclose(found(mixture, told), expected(mixture, told), atol=1e-2 * np.abs(mixture).max())


def toys(n: int, n_faces: int) -> list[Mixture]:
    """Mixtures of noises with random faces."""
    rng, found = np.random.default_rng(0), []
    for number in range(n):
        sources = 0.1 * rng.standard_normal((n_faces, LENGTH)).astype(np.float32)
        item = Mixture.of_sources(
            sources, np.zeros(LENGTH, np.float32), RATE, f"{number:03d}", ["a"] * n_faces
        )
        pictures = rng.integers(256, size=(n_faces, LIPS_SIZE, LIPS_SIZE, N_PICTURES))
        item.cues = {"lips": pictures.astype(np.uint8)}
        found.append(item)
    return found


@every_one
def test_evaluation_shows_a_model_its_faces(name: str, tmp_path: Path) -> None:
    model = seeing(name)
    n_src, path = model.facts.n_src or 2, saved(model, tmp_path / "model.safetensors")
    item = toys(1, n_src)[0]
    item.cues["voice"] = np.zeros(3, np.float32)  # which it does not declare
    blind = toys(1, n_src)[0]
    blind.cues["lips"][:] = 0
    seen, unseen = (system(str(path), n_src).run(each) for each in (item, blind))
    assert seen.shape == (n_src, LENGTH)
    assert not np.allclose(seen, unseen, atol=1e-4 * np.abs(seen).max())


def test_estimates_of_faces_are_measured_in_the_order_of_the_faces(tmp_path: Path) -> None:
    write_mixtures(toys(1, 2), tmp_path / "set", noisy=True)
    separator = load(saved(tiny("looking-to-listen"), tmp_path / "model.safetensors"))
    entries = read_set(tmp_path / "set")

    def nearly(item: Mixture) -> np.ndarray:
        return item.sources + 0.03 * item.mixture

    right, wrong = (
        next(measured_rows(System("told", run, separator), entries, ("si-sdr",), None, {}))["si_sdri"]
        for run in (nearly, lambda item: nearly(item)[::-1])
    )
    assert right > 20 and wrong < -20


@pytest.mark.parametrize(
    ("mixture_phase", "frozen", "learn"),
    [
        (True, [], {"encoder", "magnitude"}),
        (False, ["encoder", "magnitude"], {"phase"}),
        (False, [], {"encoder", "magnitude", "phase"}),
    ],
)
def test_the_conversation_learns_in_stages(mixture_phase: bool, frozen: list[str], learn: set[str]) -> None:
    model = tiny("the-conversation", mixture_phase=mixture_phase)
    for name in frozen:
        freeze(model.get_submodule(name))
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    estimates_of(model, noise(2, 1, LENGTH)).square().sum().backward()
    assert {key.split(".")[0] for key, value in model.named_parameters() if value.grad is not None} == learn
    after = model.state_dict()  # batch norms
    assert {key.split(".")[0] for key in after if not torch.equal(before[key], after[key])} == learn


def test_the_mixture_s_phase_is_taken_where_only_magnitudes_are_learnt() -> None:
    model, mixture = seeing("the-conversation", mixture_phase=True), noise(1, 1, LENGTH)
    with torch.no_grad():
        model.magnitude.joint[-1].bias += 50  # a mask of 1
        assert torch.allclose(estimates_of(model, mixture), mixture, atol=1e-3)


def test_a_later_stage_begins_with_the_weights_of_the_one_before(tmp_path: Path) -> None:
    write_mixtures(toys(4, 1), tmp_path / "set", noisy=True)
    config = {key: value for key, value in tiny("the-conversation").config.items() if key != "mixture_phase"}
    values = {
        "model": {"name": "the-conversation", **config},
        "objective": {"name": "magnitude-and-phase"},
        "data": {
            "set": str(tmp_path / "set"),
            "valid_set": str(tmp_path / "set"),
            "sample_rate": RATE,
            "n_src": 1,
            "n_valid": 1,
            "length_s": 0.25,
            "valid_length_s": 0.25,
        },
        "trainer": {"steps": 2, "batch_size": 2, "validate_every": 2, "device": "cpu"},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    first = train(
        read_recipe(tmp_path / "recipe.yaml", ["model.mixture_phase=true", "objective.phase=0"]),
        tmp_path / "first",
        progress=False,
    )
    second = train(
        read_recipe(tmp_path / "recipe.yaml", ["optimizer.frozen=[encoder,magnitude]"]),
        tmp_path / "second",
        init=first,
        progress=False,
    )
    one, other = (load(path) for path in (first, second))
    assert one.card.config["mixture_phase"] and not other.card.config["mixture_phase"]
    before, after = load_state(first), load_state(second)
    changed = {key.split(".")[0] for key in after if not torch.equal(before[key], after[key])}
    assert changed == {"phase"}
