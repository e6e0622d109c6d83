"""What every separator must keep to."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import SMALL, TINY, cues, estimates_of, noise, tiny
from torch import Tensor, nn

from unmingle.data.batch import Batch
from unmingle.errors import UsageError
from unmingle.heads import HEADS
from unmingle.models import MODELS, build
from unmingle.objectives.clustering import DeepClusteringObjective
from unmingle.objectives.one_and_rest import OneAndRestObjective
from unmingle.objectives.pit import WaveformPIT
from unmingle.training.export import AGREEMENT_DB, LENGTHS, agreement_db, to_onnx
from unmingle.training.precision import bfloat16_trains, choose_precision

#: What each model is trained with, if not the best order of its estimates.
OWN_OBJECTIVES: dict[str, nn.Module] = {
    "deep-clustering": DeepClusteringObjective(),
    "one-and-rest": OneAndRestObjective(),
}

#: Of those that do not learn at 3e-3.
LEARNING_RATES = {"unet-b": 1e-3}

every_model = pytest.mark.parametrize("name", MODELS)

#: Those that take one voice out of noise and nothing else.
ENHANCERS = [name for name in MODELS if "n_src" not in inspect.signature(MODELS[name]).parameters]


def separate(model: Any, mixture: Tensor, n_src: int = 2) -> Tensor:
    """`(B, C, T)` → estimates `(B, S, T)`, through the model's head as at run time."""
    head, number = HEADS[model.facts.head], model.facts.n_src or n_src

    def infer(samples: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return estimates_of(model, torch.from_numpy(samples)).numpy()

    return torch.stack([torch.from_numpy(head(infer, item.numpy(), number)) for item in mixture])


def everything_it_says(model: Any, mixture: Tensor) -> Tensor:
    """Sum of squares of the estimates, of those that serve only training too."""
    if hasattr(model, "forward_stages"):
        stages = model.forward_stages(mixture, **cues(model, mixture))
    else:
        stages = [estimates_of(model, mixture)]
    return torch.stack([estimates.square().sum() for estimates in stages]).sum()


def voices(n_samples: int) -> Tensor:
    """Two mixtures of two voices, or of a voice and a noise that is one: harmonics of a moving pitch, `(2, 2,
    T)`.
    """
    time = torch.arange(n_samples) / 16_000
    rows = []
    for number, pitch in enumerate((110, 210, 140, 250)):
        phase = 2 * torch.pi * (pitch * (1 + 0.1 * torch.sin(20 * time + number)) / 16_000).cumsum(0)
        harmonics = torch.stack([torch.sin(k * phase) / k for k in range(1, 12)]).sum(0)
        rows.append(0.05 * harmonics * (0.6 + 0.4 * torch.sin(25 * time + number)))
    return torch.stack(rows).reshape(2, 2, n_samples)


def test_every_model_is_tested() -> None:
    assert set(TINY) == set(SMALL) == set(MODELS)


@every_model
@pytest.mark.parametrize("length", [1, 5, 1601])
def test_estimates_are_as_long_as_the_mixture(name: str, length: int) -> None:
    model = tiny(name)
    assert separate(model, noise(2, 1, length)).shape == (2, model.facts.n_src or 2, length)


@pytest.mark.parametrize("name", ENHANCERS)
def test_an_enhancer_estimates_one_voice_at_the_sample_rate_asked_for(name: str) -> None:
    facts = tiny(name, sample_rate=16_000).facts
    one = None if name == "lips" else 1  # one for each face
    assert (facts.sample_rate, facts.n_src) == (16_000, one)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ENHANCERS])
def test_declared_sample_rate_and_number_of_sources_are_those_asked_for(name: str) -> None:
    model = tiny(name, n_src=3, sample_rate=8000)
    assert (model.facts.sample_rate, model.facts.n_src) == (8000, 3)
    assert separate(model, noise(1, 1, 800)).shape == (1, 3, 800)


@every_model
@pytest.mark.parametrize(
    "mixture",
    [torch.zeros(1, 1, 4000), noise(1, 1, 4000, level=100.0).clamp(-1, 1), noise(1, 1, 4000, level=1e-6)],
    ids=["silent", "clipped", "tiny"],
)
def test_estimates_and_gradients_are_finite(name: str, mixture: Tensor) -> None:
    model = tiny(name).train()
    mixture = mixture.clone().requires_grad_()
    everything_it_says(model, mixture).backward()
    assert estimates_of(model, mixture).isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in [mixture, *model.parameters()])


@every_model
def test_a_gradient_reaches_every_parameter(name: str) -> None:
    model = tiny(name).train()
    everything_it_says(model, noise(2, 1, 4000)).backward()
    assert [
        key
        for key, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ] == []


@every_model
def test_an_item_alone_equals_the_item_in_a_batch(name: str) -> None:
    model, batch = tiny(name), noise(3, 1, 4000) * torch.tensor([1.0, 0.01, 3.0])[:, None, None]
    told = cues(model, batch)
    together = model(batch, **told)
    alone = torch.cat(
        [
            model(batch[i : i + 1], **{name: values[i : i + 1] for name, values in told.items()})
            for i in range(len(batch))
        ]
    )
    assert torch.allclose(alone, together, atol=1e-4 * together.abs().max().item())


@every_model
def test_it_can_be_built_again_from_its_config_and_its_weights(name: str) -> None:
    model = tiny(name)
    again = build(name, **model.config).eval()
    again.load_state_dict(model.state_dict())
    assert set(TINY[name]) < set(again.config)
    assert again.config == model.config
    assert torch.equal(*(estimates_of(network, noise(1, 1, 4000)) for network in (again, model)))


@pytest.mark.processor
@every_model
def test_under_bfloat16_autocast_it_trains_and_its_estimates_stay_float32(name: str) -> None:
    if not bfloat16_trains():
        with pytest.raises(UsageError, match="does not train in bfloat16"):
            choose_precision("bf16-mixed")
        assert choose_precision("auto") == "32-true"
        return
    model = tiny(name).train()
    with torch.autocast("cpu", torch.bfloat16):
        estimates = estimates_of(model, noise(1, 1, 4000))
    estimates.square().sum().backward()
    full = estimates_of(model, noise(1, 1, 4000))
    assert estimates.dtype == torch.float32
    assert (estimates - full).norm() < 0.1 * full.norm()


@every_model
def test_its_onnx_graph_says_the_same(name: str, tmp_path: Path) -> None:
    model, path = tiny(name), tmp_path / "model.onnx"
    to_onnx(model, path)
    assert min(agreement_db(model, path, length) for length in LENGTHS) > AGREEMENT_DB


@every_model
def test_it_learns_two_mixtures_by_heart(name: str) -> None:
    torch.manual_seed(0)
    model = build(name, **SMALL[name])
    objective = OWN_OBJECTIVES.get(name, WaveformPIT(stages=0.4))
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATES.get(name, 3e-3))
    heard = voices(3000)
    sources = heard[:, : model.facts.n_src]
    batch = Batch(heard.sum(1, keepdim=True), sources)
    batch.cues = cues(model, batch.mixture)
    first = None
    for _ in range(300):
        parts = objective(model, batch)
        first = first or float(parts["loss"].detach())
        # Deep clustering has no estimates to measure while it learns.
        if parts["si_sdri"] >= 10 if "si_sdri" in parts else parts["loss"] <= first / 10:
            return
        optimizer.zero_grad()
        parts["loss"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    pytest.fail(f"{parts} after 300 steps")


def test_chimera_learns_two_mixtures_by_heart_and_exports_its_masks(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build("deep-clustering", n_src=2, **SMALL["deep-clustering"])
    objective, optimizer = (
        DeepClusteringObjective(affinity=10.0, masks=1.0),
        torch.optim.AdamW(model.parameters(), 3e-3),
    )
    sources = voices(3000)
    for _ in range(300):
        parts = objective(model, Batch(sources.sum(1, keepdim=True), sources))
        if parts["si_sdri"] >= 10:
            break
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
    assert parts["si_sdri"] >= 10
    to_onnx(model.eval(), tmp_path / "model.onnx")
    assert agreement_db(model, tmp_path / "model.onnx", 5000) > AGREEMENT_DB


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("unet-a", {}),
        ("unet-a", {"spectrogram": "magnitude"}),
        ("unet-b", {}),
        ("looking-to-listen", {}),
        ("looking-to-listen-audio", {"n_src": 1}),
        ("the-conversation", {}),
    ],
    ids=str,
)
def test_the_level_of_the_mixture_does_not_change_what_an_enhancer_does(
    name: str, arguments: dict[str, Any]
) -> None:
    model, mixture = tiny(name, **arguments), noise(1, 1, 4000)
    expected = estimates_of(model, mixture)
    assert torch.allclose(
        estimates_of(model, mixture / 10) * 10, expected, atol=1e-3 * expected.abs().max().item()
    )


#: With a sample whose estimate has to wait longest: the first of a frame, or the first that a window lets
# through.
causal_models = pytest.mark.parametrize(
    ("name", "arguments", "now"),
    [
        ("conv-tasnet", {"norm": "cLN"}, 16 * 100),
        ("tasnet", {"causal": True}, 40 * 50),
        ("upit", {"causal": True}, 128 * 20 + 1),
        ("upit", {"causal": True, "ahead": 3}, 128 * 20 + 1),
        ("band-split", {"causal": True, "attention": False}, 256 * 6 + 1),
        ("band-split", {"causal": True, "attention": False, "ahead": 2}, 256 * 6 + 1),
        ("deepfilternet", {}, 32 * 20),
        ("dtln", {}, 128 * 20),
        ("enhancer-pair", {}, 256 * 6 + 1),
        ("erb-unet", {}, 256 * 6 + 1),
        ("erb-unet", {"ahead": 3}, 256 * 6 + 1),
        ("gtcrn", {}, 256 * 6 + 1),
    ],
)


@causal_models
def test_a_causal_model_ignores_what_comes_later_than_its_latency(
    name: str, arguments: dict[str, Any], now: int
) -> None:
    model, mixture = tiny(name, **arguments), noise(1, 1, 4000)
    changed = mixture.clone()
    changed[..., now + model.facts.latency + 1 :] = 1
    assert model.facts.causal
    assert torch.equal(model(changed)[..., : now + 1], model(mixture)[..., : now + 1])


@causal_models
def test_the_declared_latency_of_a_causal_model_is_not_longer_than_it_is(
    name: str, arguments: dict[str, Any], now: int
) -> None:
    model, mixture = tiny(name, **arguments), noise(1, 1, 4000)
    changed = mixture.clone()
    # A stream waits for a whole window, whose first sample has no weight.
    whole = name in ("band-split", "enhancer-pair", "erb-unet", "gtcrn", "upit")
    changed[..., now + model.facts.latency - whole] += 100
    assert not torch.equal(model(changed)[..., now], model(mixture)[..., now])


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("conv-tasnet", {"norm": "BN"}, "no norm 'BN'; there are gLN, LN, cLN"),
        ("conv-tasnet", {"mask": "tanh"}, "no mask 'tanh'; there are relu, sigmoid, softmax, linear"),
        ("dprnn", {"segment_size": 99}, "must be even"),
        ("fasnet", {"frame": 63}, r"context \(256\) must be a multiple of half a frame, and frame \(63\)"),
        ("fasnet-tac", {"context": 100}, r"context \(100\) must be a multiple of half a frame"),
        ("fasnet-tac", {"segment_size": 25}, "must be even"),
        ("dprnn", {"kernel_size": 8, "stride": 16}, "at least as long as stride"),
        ("sepformer", {"segment_size": 25}, "must be even"),
        ("resepformer", {"n_heads": 7}, r"n_features \(128\) must be even and a multiple of n_heads \(7\)"),
        ("sepreformer", {"n_heads": 7}, "multiple of n_heads"),
        ("upit", {"mask": "tanh"}, "no mask 'tanh'; there are relu, sigmoid, softmax"),
        ("unet-a", {"n_blocks": 8}, "must be odd"),
        ("unet-a", {"spectrogram": "phase"}, "no spectrogram 'phase'; there are complex, magnitude"),
        ("looking-to-listen", {"n_src": 6}, "n_src is 6; there are 1 to 5 faces"),
        ("lips", {"n_streams": 1}, "n_streams is 1; faces are to choose among two or more"),
        ("unet-b", {"n_fft": 256}, "n_fft=256 has 129 bins; their number must be a multiple of 16"),
        ("band-split", {"ahead": 1}, "ahead is 1; only a causal network waits"),
        ("upit", {"ahead": 1}, "ahead is 1; only a causal network waits"),
        ("enhancer-pair", {"unet": {"ahead": 1}}, "unet must have one source and no frames ahead"),
        ("enhancer-pair", {"unet": {"n_src": 2}}, "unet must have one source and no frames ahead"),
        ("erb-unet", {"n_points": 100}, "must be a multiple of 8"),
        ("erb-unet", {"n_points": 264}, "264 points of the ERB scale do not fit in 257 bins"),
        ("gtcrn", {"n_points": 62}, "sum to 127; it must be 1 more than a multiple of 4"),
        ("gtcrn", {"channels": 6}, "channels is 6; it must be a multiple of 4"),
        ("dprnn", {"n_filter": 8}, "dprnn has no argument n_filter; it has n_src"),
        ("dprrn", {}, "no model 'dprrn'; there are array, band-split, conv-tasnet"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, **arguments)
