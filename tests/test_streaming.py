"""Stream: however a signal is cut, what comes out is what the model says of the whole, when
it was promised.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unmingle
from unmingle.errors import InputError, UsageError
from unmingle.layers.norms import HORIZON, CumulativeLayerNorm
from unmingle.layers.stream_state import StreamState
from unmingle.models import build
from unmingle.runtime.loading import load
from unmingle.runtime.separator import Separator
from unmingle.training.export import export
from unmingle.weights_file import save_weights

SIZE: dict[str, Any] = {
    "n_filters": 32,
    "n_features": 16,
    "n_hidden": 32,
    "n_skip": 16,
    "n_blocks": 4,
    "n_repeats": 2,
    "sample_rate": 8_000,
}
CAUSAL_BANDS: dict[str, Any] = {
    "causal": True,
    "attention": False,
    "n_features": 16,
    "hidden": 8,
    "n_blocks": 2,
}
SPECTRAL: dict[str, Any] = {"causal": True, "hidden": 8, "n_layers": 2}
GTCRN: dict[str, Any] = {"n_low": 9, "n_points": 8, "channels": 4, "dilations": (1, 2)}
ERB: dict[str, Any] = {
    "n_src": 2,
    "n_points": 32,
    "channels": (8, 16),
    "hidden": 8,
    "frame_hidden": 16,
}
CAUSAL_CONV: dict[str, Any] = {"norm": "cLN", **SIZE}
BACKENDS = ("torch", "onnxruntime", "openvino")


@pytest.fixture(scope="module", params=["conv-tasnet", "band-split", "erb-unet", "upit"])
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained causal model, exported, with its PyTorch weights beside it."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    arguments = {
        "conv-tasnet": {**CAUSAL_CONV, "kernel_size": 16},
        "band-split": CAUSAL_BANDS,
        "erb-unet": ERB,
        "upit": {**SPECTRAL, "ahead": 2},
    }
    model = build(request.param, **arguments[request.param])
    recipe = {"data": {"corpora": [], "speech": "none"}}
    training = {"minutes": 0, "clock": "cpu", "threads": 1, "hours_of_audio": 0.0, "steps": 0}
    save_weights(folder / "trained.safetensors", model, model.state_dict(), recipe=recipe, training=training)
    export(folder / "trained.safetensors", "causal", out=folder)
    return folder / "causal.onnx"


@pytest.fixture(scope="module")
def separator(weights: Path) -> Separator:
    return load(weights, backend="onnxruntime")


def noise(n: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(n)).astype(np.float32)


def streamed(stream: unmingle.Stream, samples: np.ndarray, ends: list[int]) -> np.ndarray:
    pieces = [stream.feed(piece) for piece in np.split(samples, ends)]
    return np.concatenate([*pieces, stream.flush()], axis=1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("length", [1, 7, 8, 2_345])
def test_a_signal_cut_at_random_comes_out_as_if_it_were_whole(
    backend: str, length: int, weights: Path
) -> None:
    model, mixture = load(weights, backend=backend), noise(length)
    cuts = np.sort(np.random.default_rng(length).integers(0, length + 1, 9))  # some pieces are empty
    expected = model(mixture[None])
    assert expected.shape == (2, length)
    assert np.abs(streamed(unmingle.Stream(model), mixture, list(cuts)) - expected).max() < 1e-5


@pytest.mark.parametrize("step", [1, 8, 13, 400])
def test_a_signal_in_equal_pieces_comes_out_as_if_it_were_whole(step: int, separator: Separator) -> None:
    mixture = noise(400)
    assert (
        np.abs(
            streamed(unmingle.Stream(separator), mixture, list(range(step, 400, step)))
            - separator(mixture[None])
        ).max()
        < 1e-5
    )


def test_what_is_longer_than_a_chunk_goes_through_in_several(separator: Separator) -> None:
    mixture = noise(2 * separator.facts.chunk + 999)
    assert np.abs(streamed(unmingle.Stream(separator), mixture, []) - separator(mixture[None])).max() < 1e-5


def test_all_runtimes_and_the_network_in_training_say_the_same(weights: Path) -> None:
    mixture = noise(3_000)
    expected = load(weights, backend="onnxruntime")(mixture[None])
    found = load(weights, backend="openvino")
    assert np.abs(found(mixture[None]) - expected).max() < 1e-5
    assert found.backend == "openvino"  # and not in bfloat16


def test_no_sample_comes_out_later_than_the_latency_and_some_do_not_come_earlier(
    separator: Separator,
) -> None:
    stream, n_out, held_back = unmingle.Stream(separator), 0, []
    for n_in, sample in enumerate(noise(3 * separator.facts.hop + separator.facts.latency), 1):
        n_out += stream.feed(sample[None]).shape[1]
        held_back.append(n_in - n_out)
    assert max(held_back) == stream.latency == separator.facts.latency


def test_what_comes_out_depends_on_the_input_as_late_as_the_latency_and_no_later(
    separator: Separator,
) -> None:
    # Samples at the start of a window that have no weight in it.
    unheard = int(separator.card.model in ("band-split", "erb-unet", "upit"))
    mixture, now = noise(5 * separator.facts.hop + 800), 3 * separator.facts.hop + unheard
    stream = unmingle.Stream(separator)
    expected = streamed(stream, mixture, [])
    for after, depends in ((stream.latency - unheard, True), (stream.latency + 1, False)):
        changed = mixture.copy()
        changed[now + after] += 1
        assert np.array_equal(streamed(stream, changed, [])[:, : now + 1], expected[:, : now + 1]) != depends


def test_after_a_flush_a_new_stream_begins(separator: Separator) -> None:
    stream, mixture = unmingle.Stream(separator), noise(333)
    first = streamed(stream, mixture, [100])
    assert np.array_equal(streamed(stream, mixture, [100]), first)
    assert stream.flush().shape == (2, 0)


def test_what_was_fed_may_be_overwritten(separator: Separator) -> None:
    stream, buffer = unmingle.Stream(separator), noise(5)
    stream.feed(buffer)
    expected = unmingle.Stream(separator)
    expected.feed(buffer)
    buffer[:] = 9
    assert np.array_equal(stream.flush(), expected.flush())


def test_samples_that_are_none_are_refused_and_the_stream_goes_on(separator: Separator) -> None:
    stream, mixture = unmingle.Stream(separator), noise(200)
    first = stream.feed(mixture[:100])
    with pytest.raises(InputError, match="NaN"):
        stream.feed(np.full(100, np.nan))
    joined = np.concatenate([first, stream.feed(mixture[100:]), stream.flush()], axis=1)
    assert np.abs(joined - separator(mixture[None])).max() < 1e-5


def test_a_model_that_does_not_stream_is_refused_in_one_line() -> None:
    with pytest.raises(
        UsageError, match="duet does not stream, it needs what follows; choose from: "
    ) as caught:
        unmingle.Stream("duet")
    assert "\n" not in str(caught.value)


def test_another_sample_rate_is_refused_with_the_remedy(separator: Separator) -> None:
    with pytest.raises(UsageError, match=r"streams at \d+ Hz, not at 44100; resample to \d+ Hz first"):
        unmingle.Stream(separator, sample_rate=44_100)


def test_a_causal_model_separates_through_chunks_too(separator: Separator) -> None:
    mixture = noise(2 * separator.facts.chunk)
    assert unmingle.separate(mixture, separator.sample_rate, model=separator).shape == (2, len(mixture))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("conv-tasnet", {**CAUSAL_CONV, "n_skip": 0}),
        ("conv-tasnet", {**CAUSAL_CONV, "kernel_size": 21}),
        ("conv-tasnet", {**CAUSAL_CONV, "n_src": 3, "mask": "softmax", "encoder_relu": True}),
        ("band-split", CAUSAL_BANDS),
        ("band-split", {**CAUSAL_BANDS, "n_src": 1, "hop": 128}),
        ("band-split", {**CAUSAL_BANDS, "ahead": 5}),
        ("upit", SPECTRAL),
        ("upit", {**SPECTRAL, "ahead": 4}),
        ("erb-unet", ERB),
        ("erb-unet", {**ERB, "ahead": 4}),
        ("dtln", {"n_filters": 8, "hidden": 8}),
        ("gtcrn", GTCRN),
        ("erb-unet", {**ERB, "n_src": 1, "hop": 128}),
    ],
)
def test_every_kind_of_causal_model_streams(name: str, arguments: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = build(name, **arguments).eval()
    facts, mixture = (
        model.facts,
        torch.from_numpy(noise(1_000))[None, None] * torch.tensor([1.0, 0.5])[:, None, None],
    )
    padded = torch.nn.functional.pad(mixture, (0, facts.behind(1_000)))
    state, pieces = torch.zeros(2, facts.state), []
    with torch.no_grad():
        for piece in padded.split(3 * facts.hop, -1):
            estimates, state = model.forward_stream(piece, state)
            pieces.append(estimates)
        expected = model(mixture)
    assert state.shape == (2, facts.state)
    assert torch.allclose(torch.cat(pieces, -1)[..., facts.delay : facts.delay + 1_000], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("n_frames", "n_at_once"), [(600_000, 1_000), (20_000, 10)], ids=["ten minutes", "small pieces"]
)
def test_cumulative_statistics_of_a_stream_are_as_precise_as_in_float64(
    n_frames: int, n_at_once: int
) -> None:
    norm = CumulativeLayerNorm(2)
    frames = np.random.default_rng(0).gamma(0.5, size=(2, n_frames)).astype(np.float32)
    state = torch.zeros(1, norm.n_kept)
    with torch.no_grad():
        for piece in torch.from_numpy(frames)[None].split(n_at_once, -1):
            past = StreamState(state)
            norm(piece, past)
            state = past.state()
    mean, power, n_seen = state[0].tolist()
    exact = frames.astype(np.float64)
    assert n_seen == n_frames
    assert mean == pytest.approx(exact.mean(), rel=2e-5)
    assert power == pytest.approx(np.square(exact).mean(), rel=2e-5)


def test_after_hours_cumulative_statistics_still_follow_the_signal_frame_by_frame() -> None:
    norm, state = CumulativeLayerNorm(1), torch.tensor([[1.0, 2.0, HORIZON]])
    with torch.no_grad():
        for _ in range(100):
            past = StreamState(state)
            norm(torch.full((1, 1, 1), 3.0), past)
            state = past.state()
    mean, _, n_seen = state[0].tolist()
    assert n_seen == HORIZON
    assert mean - 1 == pytest.approx(2 * 100 / HORIZON, rel=0.05)
