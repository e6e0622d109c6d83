"""Separators for any number of microphones: order and repetition of the others change nothing, one graph
serves all arrays.
"""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from small_models import noise, tiny
from torch import Tensor
from torch.nn import functional

from unmingle import load, separate
from unmingle.layers.filter_and_sum import EPS, ContextFrames, unit
from unmingle.layers.tac import TAC
from unmingle.layers.wiener import wiener
from unmingle.models import MODELS
from unmingle.runtime.onnx import open_onnxruntime
from unmingle.runtime.openvino import compile_openvino
from unmingle.training.export import AGREEMENT_DB, MICROPHONES, agreement_db, export, to_onnx
from unmingle.weights_file import float16_state, save_weights

EVERY = [name for name in MODELS if tiny(name).facts.n_mics is None]
#: What `export` reads of a weights file's header.
RECIPE = {"data": {"set": "arrays", "corpora": []}}
TRAINING = {"hours_of_audio": 1.0, "steps": 1, "minutes": 1.0, "clock": "cpu", "threads": 1}

every_one = pytest.mark.parametrize("name", EVERY)


def differ(estimates: Tensor, reference: Tensor) -> float:
    """Largest difference over the reference's RMS."""
    error = (estimates - reference).abs().max() / reference.square().mean().sqrt()
    return float(error.detach())


@every_one
@pytest.mark.parametrize("n_mics", [3, 8])
def test_the_order_of_the_other_microphones_changes_nothing(name: str, n_mics: int) -> None:
    model, mixture = tiny(name), noise(2, n_mics, 1601)
    order = [0, *range(n_mics - 1, 0, -1)]
    assert differ(model(mixture[:, order]), model(mixture)) < 1e-4


@every_one
def test_which_microphone_is_the_first_changes_the_estimates(name: str) -> None:
    model, mixture = tiny(name), noise(1, 3, 1601)
    assert differ(model(mixture[:, [1, 0, 2]]), model(mixture)) > 1e-2


@every_one
@pytest.mark.parametrize("silenced", [1, 3])
def test_every_other_microphone_is_listened_to(name: str, silenced: int) -> None:
    model, mixture = tiny(name), noise(1, 4, 1601)
    changed = mixture.clone()
    changed[:, silenced] = 0
    assert differ(model(changed), model(mixture)) > 1e-2


@every_one
@pytest.mark.parametrize("n_mics", [1, 3, 8])
def test_microphones_that_hear_the_same_give_what_two_of_them_give(name: str, n_mics: int) -> None:
    model, mixture = tiny(name), noise(2, 1, 1601)
    two, more = (model(mixture.expand(-1, n, -1)) for n in (2, n_mics))
    assert differ(more, two) < 1e-4


@every_one
@pytest.mark.parametrize("length", [1, 5, 1601])
def test_one_set_of_weights_serves_1_to_16_microphones_at_any_length(name: str, length: int) -> None:
    model = tiny(name, n_src=3)
    for n_mics in (1, 2, 3, 8, 16):
        estimates = model(noise(2, n_mics, length))
        assert estimates.shape == (2, 3, length)
        assert estimates.isfinite().all()


@every_one
def test_with_one_voice_to_find_it_is_an_enhancer(name: str) -> None:
    model = tiny(name, n_src=1)
    assert model.facts.task == "enhance"
    assert model(noise(1, 4, 800)).shape == (1, 1, 800)


@every_one
@pytest.mark.parametrize("dead", [[], [0], [1], [1, 2, 3], [0, 1, 2, 3]], ids=str)
def test_gradients_are_finite_and_reach_every_parameter_whichever_microphones_are_dead(
    name: str, dead: list[int]
) -> None:
    model, mixture = tiny(name).train(), noise(2, 4, 1601)
    mixture[:, dead] = 0
    mixture.requires_grad_()
    model(mixture).square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in [mixture, *model.parameters()])
    silent = [key for key, parameter in model.named_parameters() if not parameter.grad.any()]
    assert dead or silent == []


@every_one
def test_an_array_alone_equals_the_array_in_a_batch(name: str) -> None:
    model, batch = tiny(name), noise(3, 4, 1601) * torch.tensor([1.0, 0.01, 3.0])[:, None, None]
    alone = torch.cat([model(item[None]) for item in batch])
    assert all(differ(*pair) < 1e-4 for pair in zip(alone, model(batch), strict=True))


@pytest.mark.parametrize("name", ["fasnet", "fasnet-tac"])  # others leave levels to whoever cuts chunks
def test_a_quieter_array_has_quieter_voices_and_no_others(name: str) -> None:
    model, mixture = tiny(name), noise(1, 3, 1601)
    assert differ(10 * model(mixture / 10), model(mixture)) < 1e-2


@every_one
def test_one_graph_serves_any_batch_number_of_microphones_and_length(name: str, tmp_path: Path) -> None:
    model, path = tiny(name), tmp_path / "model.onnx"
    graph = to_onnx(model, path)
    onnx.save(graph, path)
    axes = graph.graph.input[0].type.tensor_type.shape.dim
    assert [axis.dim_param for axis in axes] == ["B", "C", "T"]
    for run in (open_onnxruntime(path), compile_openvino(path, "f32")):
        for n_batch, n_mics, length in ((1, 2, 1), (3, 2, 5000), (1, 4, 799), (1, 6, 16_001), (2, 1, 5000)):
            mixture = noise(n_batch, n_mics, length)
            with torch.no_grad():
                expected = model(mixture).numpy()
            (estimates,) = run(mixture.numpy())
            assert estimates.shape == expected.shape
            error = np.square(estimates - expected).sum() / np.square(expected).sum()
            assert error < 10 ** (-AGREEMENT_DB / 10)


def test_the_number_of_microphones_of_other_graphs_stays_as_declared(tmp_path: Path) -> None:
    graph = to_onnx(tiny("dprnn"), tmp_path / "model.onnx")
    assert graph.graph.input[0].type.tensor_type.shape.dim[1].dim_value == 1


@every_one
def test_agreement_is_measured_at_several_microphones(name: str, tmp_path: Path) -> None:
    model, path = tiny(name), tmp_path / "model.onnx"
    onnx.save(to_onnx(model, path), path)
    assert min(agreement_db(model, path, 2001, n_mics) for n_mics in MICROPHONES) > AGREEMENT_DB
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    assert max(agreement_db(model, path, 2001, n_mics) for n_mics in MICROPHONES) < AGREEMENT_DB


@every_one
def test_an_exported_one_separates_arrays_of_any_number_of_channels(name: str, tmp_path: Path) -> None:
    model, path = tiny(name), tmp_path / "model.safetensors"
    save_weights(path, model, float16_state(model.state_dict()), recipe=RECIPE, training=TRAINING)
    export(path, "mine", out=tmp_path / "out")
    separator = load(tmp_path / "out" / "mine.onnx", backend="onnxruntime")
    assert separator.facts.n_mics is None
    for n_mics in (2, 5):
        mixture = noise(n_mics, 66_000).numpy()  # two chunks
        voices = separate(mixture, 16_000, model=separator)
        assert voices.shape == (2, 66_000)
        assert not np.allclose(voices, separate(mixture[:1], 16_000, model=separator), atol=1e-5)


#: Frame and context: usual ones, a context that is half a frame, and none.
shapes = pytest.mark.parametrize(("frame", "context"), [(16, 32), (8, 4), (8, 0)])


def contexts(framing: ContextFrames, padded: Tensor, n_frames: int) -> Tensor:
    """`(…, N, frame + 2 context)`, cut out one by one."""
    length = framing.frame + 2 * framing.context
    return torch.stack([padded[..., n * framing.hop : n * framing.hop + length] for n in range(n_frames)], -2)


@shapes
@pytest.mark.parametrize("length", [1, 64, 101])
def test_overlap_added_frames_are_the_signal_twice(frame: int, context: int, length: int) -> None:
    framing, signals = ContextFrames(frame=frame, context=context), noise(2, 3, length)
    assert torch.allclose(framing.join(framing(signals).frames, length), 2 * signals, atol=1e-6)


@shapes
def test_frames_are_filtered_with_their_context_as_the_definition_says(frame: int, context: int) -> None:
    framing, signals = ContextFrames(frame=frame, context=context), noise(2, 3, 101)
    framed = framing(signals)
    n_frames = framed.frames.shape[-2]
    filters = noise(2, 3, n_frames, framing.n_taps, level=1.0)
    pieces = contexts(framing, framed.padded, n_frames).unfold(-1, framing.n_taps, 1)
    assert torch.allclose(
        framing.filtered(framed, filters), (pieces * filters[..., None, :]).sum(-1), atol=1e-5
    )


@shapes
def test_similarity_is_the_cosine_of_a_frame_and_of_what_lies_at_each_lag(frame: int, context: int) -> None:
    framing, signals = ContextFrames(frame=frame, context=context), noise(2, 3, 101)
    framed = framing(signals)
    n_frames = framed.frames.shape[-2]
    pieces = contexts(framing, framed.padded, n_frames).unfold(-1, frame, 1)
    first = framed.frames[:, :1]
    expected = (pieces * first[..., None, :]).sum(-1)
    norms = (pieces.square().sum(-1) + EPS).sqrt() * (first.square().sum(-1, keepdim=True) + EPS).sqrt()
    assert torch.allclose(framing.similarity(framed, unit(first)), expected / norms, atol=2e-3)


@pytest.mark.parametrize("delay", [-20, 0, 7, 32])
def test_a_microphone_that_hears_later_is_most_alike_at_just_that_lag(delay: int) -> None:
    framing, signal = ContextFrames(frame=64, context=32), noise(1, 1, 2000)
    framed = framing(torch.cat([signal, signal.roll(delay, -1)], 1))
    alike = framing.similarity(framed, unit(framed.frames[:, :1]))[0, 1, 5:-5]
    assert (alike.argmax(-1) == framing.context + delay).all()
    assert torch.allclose(alike.amax(-1), torch.ones(()), atol=1e-3)


def test_filters_with_one_tap_in_the_middle_return_the_microphone() -> None:
    framing, signals = ContextFrames(frame=16, context=32), noise(1, 2, 500)
    framed = framing(signals)
    filters = torch.zeros(1, 2, framed.frames.shape[-2], framing.n_taps)
    filters[..., framing.context] = 0.5
    assert torch.allclose(framing.join(framing.filtered(framed, filters), 500), signals, atol=1e-6)


def test_tac_concatenates_each_microphone_with_what_all_have_in_common() -> None:
    torch.manual_seed(0)
    tac, x = TAC(6, 10), noise(2, 3, 4, 5, 6, level=1.0)
    own = tac.transform(x)
    both = torch.cat([own, tac.average(own.mean(1, keepdim=True)).expand_as(own)], -1)
    weights = torch.cat([tac.own.weight, tac.common.weight], 1)
    learned = tac.activation(both @ weights.T + tac.own.bias)
    expected = x + torch.stack([tac.norm(learned[:, mic]) for mic in range(3)], 1)
    assert torch.allclose(tac(x), expected, atol=1e-5)


@pytest.mark.parametrize("n_taps", [1, 3])
def test_the_wiener_filter_is_that_of_least_squares(n_taps: int) -> None:
    generator = torch.Generator().manual_seed(0)
    spectra = torch.randn(1, 3, 2, 4, 300, generator=generator)
    wanted = spectra[:, :2] + 0.5 * torch.randn(1, 2, 2, 4, 300, generator=generator)
    found, reach = wiener(spectra, wanted, n_taps), n_taps // 2
    inputs, outputs = (torch.complex(each[0, :, 0], each[0, :, 1]) for each in (spectra, wanted))
    padded = functional.pad(inputs, (reach, reach))
    taps = torch.cat([padded[..., tap : tap + 300] for tap in range(n_taps)])
    for voice in range(2):
        for bin in range(4):
            rows = taps[:, bin].T
            exact = rows @ torch.linalg.lstsq(rows, outputs[voice, bin, :, None]).solution
            got = torch.complex(found[0, voice, 0, bin], found[0, voice, 1, bin])
            assert (exact[:, 0] - got).abs().max() < 1e-2 * exact.abs().max()


def test_a_filter_of_two_microphones_mends_what_a_mask_left() -> None:
    generator = torch.Generator().manual_seed(0)
    voices = torch.randn(1, 2, 2, 5, 400, generator=generator)
    mixed = torch.stack([voices.sum(1), voices[:, 0] - 0.5 * voices[:, 1]], 1)
    heard = voices + 0.5 * torch.randn(voices.shape, generator=generator)

    def error(estimate: Tensor) -> float:
        return float((estimate - voices).square().mean())

    assert error(wiener(mixed, heard)) < error(heard) / 10


def test_a_filter_over_an_even_number_of_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="n_taps is 2; the filter spans an odd number of frames"):
        tiny("array", n_taps=2)
