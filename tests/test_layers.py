"""Layers that models share: closed forms and inverses."""

import doctest
from types import ModuleType

import numpy as np
import pytest
import torch
from torch.nn import functional

from unmingle.layers import crm, running_mean
from unmingle.layers.attention import Transformer, positional_waves
from unmingle.layers.dual_path import overlap_add, segment
from unmingle.layers.filterbank import LearnedFilterbank
from unmingle.layers.norms import CumulativeLayerNorm, FrameLayerNorm, GlobalLayerNorm, SheetNorm
from unmingle.layers.running_mean import RunningMean
from unmingle.layers.stft import STFT
from unmingle.layers.tcn import TCN
from unmingle.models import deepfilternet, erb_unet, gtcrn
from unmingle.models.sepreformer import RelativePositions
from unmingle.training.export import cosine_parts


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("n_fft", "hop", "window"),
    [(512, 128, None), (512, 256, None), (64, 16, None), (255, 63, None), (512, 160, 400), (255, 63, 252)],
)
@pytest.mark.parametrize("length", [1, 511, 16_001])
def test_an_inverse_stft_gives_the_signal_back(n_fft: int, hop: int, window: int | None, length: int) -> None:
    stft, samples = STFT(n_fft=n_fft, hop=hop, window=window), noise(2, length)
    assert torch.allclose(stft.inverse(stft(samples), length), samples, atol=1e-5)


@pytest.mark.parametrize("hop", [32, 16, 20])
def test_an_inverse_stft_with_vorbis_windows_gives_the_signal_back(hop: int) -> None:
    stft, samples = STFT(n_fft=64, hop=hop, taper="vorbis"), noise(2, 1001)
    assert torch.allclose(stft.inverse(stft(samples), 1001), samples, atol=1e-5)


@pytest.mark.parametrize("length", [1, 99, 100, 357, 2001])
def test_a_running_mean_is_its_recursion(length: int) -> None:
    first, frames = torch.tensor([1.0, -2.0, 30.0]), noise(2, length, 3)
    expected, mean = [], first.expand(2, 3).double()
    for frame in frames.double().unbind(1):
        mean = 0.99 * mean + 0.01 * frame
        expected.append(mean)
    found = RunningMean(0.99, first)(frames)
    assert torch.allclose(found, torch.stack(expected, 1).float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("module", [running_mean, deepfilternet, gtcrn, erb_unet])
def test_documented_examples_are_right(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0 < doctest.testmod(module).attempted


def test_a_spectrum_of_short_windows_has_the_magnitudes_of_torch() -> None:
    samples = noise(1, 4096)
    # torch puts the window into the middle of the transform, which turns phases only.
    window = torch.hann_window(400).sqrt()
    expected = torch.stft(
        samples, 512, 160, 400, window, center=False, normalized=True, return_complex=True
    ).abs()
    # So that our third frame begins where the window of their first does.
    later = functional.pad(samples, (24, 0))
    spectrum = STFT(n_fft=512, hop=160, window=400)(later)[:, :, :, 2 : 2 + expected.shape[-1]]
    assert torch.allclose(spectrum.square().sum(1).sqrt(), expected, atol=1e-4)


def test_a_hop_of_more_than_half_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="at least twice as long as hop"):
        STFT(n_fft=512, hop=256, window=400)


def test_a_spectrum_equals_that_of_torch() -> None:
    samples = noise(1, 4096)
    expected = torch.stft(
        samples,
        512,
        128,
        window=torch.hann_window(512).sqrt(),
        center=False,
        normalized=True,
        return_complex=True,
    )
    real, imaginary = STFT(n_fft=512, hop=128)(samples)[:, :, :, 3 : 3 + expected.shape[-1]].unbind(1)
    assert torch.allclose(torch.complex(real, imaginary), expected, atol=1e-4)


def test_the_examples_of_complex_ratio_masks_are_true() -> None:
    found = doctest.testmod(crm, extraglobs={"torch": torch})
    assert found.attempted > 0
    assert found.failed == 0


def test_a_complex_ratio_mask_makes_the_source_of_the_mixture() -> None:
    source, mixture = noise(2, 3, 2, 5, 7), noise(2, 1, 2, 5, 7).flip(-1) + 0.1
    mask = crm.compute(source, mixture)
    assert mask.shape == source.shape
    assert mask.min() < 0
    assert mask.max() > 2
    assert torch.allclose(crm.apply(mask, mixture), source, atol=1e-5)


def test_applying_a_complex_ratio_mask_is_the_product_of_complex_numbers() -> None:
    mask, spectrum = noise(3, 2, 5, 7), noise(3, 2, 5, 7).flip(0)
    expected = torch.complex(*mask.unbind(1)) * torch.complex(*spectrum.unbind(1))
    assert torch.allclose(
        crm.apply(mask, spectrum), torch.stack([expected.real, expected.imag], 1), atol=1e-6
    )


def test_a_mask_comes_back_from_its_compression() -> None:
    mask = torch.linspace(-60, 60, 241)
    assert torch.allclose(crm.decompress(crm.compress(mask)), mask, rtol=1e-3)
    exact = 10 * (1 - torch.exp(-0.1 * mask)) / (1 + torch.exp(-0.1 * mask))
    assert torch.allclose(crm.compress(mask), exact, atol=1e-5)


def test_masks_of_silence_and_of_what_is_out_of_reach_are_finite() -> None:
    silence, loud = torch.zeros(2, 3, 4), torch.full((2, 3, 4), 1e3)
    assert torch.equal(crm.compute(silence, silence), silence)
    assert crm.compute(loud, silence).isfinite().all()
    assert crm.compress(crm.compute(loud, loud * 1e-9)).isfinite().all()
    assert 100 < crm.decompress(torch.tensor(10.0)) == crm.decompress(torch.tensor(1e9)) < float("inf")


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("n_frames", [1, 9, 10, 57])
def test_overlap_add_of_segments_is_twice_the_sequence(n_frames: int, wide: bool) -> None:
    sequence = noise(2, n_frames, 3)
    segments = segment(sequence, 10, wide=wide)
    assert torch.equal(overlap_add(segments, n_frames, wide=wide), 2 * sequence)


@pytest.mark.parametrize("n_frames", [1, 4, 5, 6, 15, 57])
def test_an_even_number_of_segments_ends_in_zeros_and_adds_up_to_twice_the_sequence(n_frames: int) -> None:
    sequence = noise(2, n_frames, 3)
    segments = segment(sequence, 10, even=True)
    assert segments.shape[1] % 2 == 0 and not segments[:, -1, 4:].any()
    assert torch.equal(overlap_add(segments, n_frames), 2 * sequence)


def test_transformers_see_where_in_a_sequence_a_vector_is() -> None:
    waves = positional_waves(100, 8)
    assert torch.allclose(waves[:, 0], torch.arange(100.0).sin(), atol=1e-5)
    assert torch.allclose(waves[:, 5], (torch.arange(100.0) / 100).cos(), atol=1e-5)
    transformer, same = Transformer(8, 2, 16, 1).eval(), torch.ones(1, 5, 8)
    assert not torch.allclose(transformer(same)[:, 0], transformer(same)[:, 1], atol=1e-2)


def test_means_of_one_axis_after_the_other_stay_exact_over_millions_of_values() -> None:
    x = noise(1, 300, 100, 64) + 3
    scaled = SheetNorm(64)(x).double()
    assert scaled.mean().abs() < 1e-6 and (scaled.square().mean() - 1).abs() < 1e-5


def test_wide_segments_begin_and_end_with_one_of_zeros() -> None:
    narrow, wide = segment(noise(2, 50, 3), 10), segment(noise(2, 50, 3), 10, wide=True)
    assert torch.equal(wide[:, 1:-1], narrow)
    assert not wide[:, 0].any() and not wide[:, -1].any()


def test_segments_overlap_by_half() -> None:
    segments = segment(noise(2, 57, 3), 10)
    assert torch.equal(segments[:, 1:, :5], segments[:, :-1, 5:])


def test_global_layer_norm_equals_its_formula_on_either_axis() -> None:
    x = noise(2, 5, 7) * 3 + 1
    expected = (x - x.mean((1, 2), keepdim=True)) / x.var((1, 2), keepdim=True, correction=0).sqrt()
    assert torch.allclose(GlobalLayerNorm(5)(x), expected, atol=1e-5)
    assert torch.allclose(GlobalLayerNorm(7, channels_last=True)(x), expected, atol=1e-5)
    assert torch.allclose(SheetNorm(7)(x), expected, atol=1e-5)


def test_a_norm_of_each_frame_alone_equals_the_global_one_of_that_frame() -> None:
    x = noise(2, 5, 30) * 3 + 1
    alone = FrameLayerNorm(5)(x)
    for frame in (0, 29):
        each = x[:, :, frame : frame + 1]
        assert torch.allclose(alone[:, :, frame : frame + 1], GlobalLayerNorm(5)(each), atol=1e-5)


def test_cumulative_layer_norm_of_a_frame_equals_the_global_one_of_all_frames_up_to_it() -> None:
    x = noise(2, 5, 30) * 3 + 1
    cumulative = CumulativeLayerNorm(5)(x)
    for frame in (0, 7, 29):
        assert torch.allclose(
            cumulative[:, :, frame], GlobalLayerNorm(5)(x[:, :, : frame + 1])[:, :, frame], atol=1e-4
        )


@pytest.mark.parametrize("length", [1, 31, 32, 33, 1000])
def test_every_sample_lies_in_the_same_number_of_frames(length: int) -> None:
    bank = LearnedFilterbank(n_filters=1, kernel_size=32, stride=8, multiple=4)
    torch.nn.init.ones_(bank.synthesis.weight)
    frames = bank(torch.zeros(1, length))
    assert frames.shape[-1] % 4 == 0
    assert torch.equal(bank.inverse(torch.ones_like(frames), length), torch.full((1, length), 4.0))


@pytest.mark.parametrize(("length", "lost"), [(1, 0), (31, 0), (32, 0), (39, 7), (1000, 0)])
def test_without_padding_frames_begin_with_the_first_sample_and_whole_ones_only_count(
    length: int, lost: int
) -> None:
    bank = LearnedFilterbank(n_filters=64, kernel_size=32, stride=8, padded=False)
    samples = noise(2, length)
    frames = bank(samples)
    assert frames.shape[-1] == max(1, (length - 32) // 8 + 1)
    first = functional.pad(samples, (0, max(0, 32 - length)))[:, :32]
    assert torch.allclose(frames[:, :, 0], first @ bank.analysis.weight[:, 0].T, atol=1e-5)
    again = bank.inverse(frames, length)
    assert again.shape == samples.shape and not again[:, length - lost :].any()


@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize(
    ("n_filters", "kernel_size", "stride"), [(64, 16, 8), (512, 32, 16), (128, 64, 32), (64, 16, 4)]
)
def test_a_new_filterbank_gives_the_signal_back(
    n_filters: int, kernel_size: int, stride: int, rectified: bool
) -> None:
    bank, samples = (
        LearnedFilterbank(n_filters=n_filters, kernel_size=kernel_size, stride=stride, rectified=rectified),
        noise(2, 1001),
    )
    assert bool((bank(samples) >= 0).all()) == rectified
    assert torch.allclose(bank.inverse(bank(samples), 1001), samples, atol=1e-5)


@pytest.mark.parametrize("norm", ["gLN", "LN", "cLN"])
def test_what_a_compiled_tcn_computes_with_its_features_last_is_the_same(norm: str) -> None:
    x = noise(2, 6, 50)
    for block in TCN(
        n_features=6, n_hidden=8, n_skip=5, kernel_size=3, n_blocks=3, n_repeats=1, norm=norm
    ).blocks[:-1]:
        for expected, actual in zip(block(x), block.features_last(x.transpose(1, 2)), strict=True):
            assert torch.allclose(actual.transpose(1, 2), expected, atol=1e-5)


def test_relative_positions_equal_the_sum_over_pairs() -> None:
    positions, queries = RelativePositions(4, max_distance=3), noise(2, 3, 9, 4)
    scores = positions(queries)
    for row in range(9):
        for column in range(9):
            embedding = positions.embedding[max(-3, min(3, column - row)) + 3]
            assert torch.allclose(
                scores[:, :, row, column],
                functional.linear(queries[:, :, row], embedding[None])[..., 0],
                atol=1e-5,
            )


@pytest.mark.parametrize(("n_fft", "hop", "window"), [(512, 256, 512), (256, 64, 200), (255, 60, 255)])
def test_filters_of_an_stft_are_unfolded_from_a_period_of_their_waves(
    n_fft: int, hop: int, window: int
) -> None:
    stft = STFT(n_fft=n_fft, hop=hop, window=window)
    for filters in (stft.analysis.numpy(), stft.synthesis.numpy()):
        parts = cosine_parts(filters)
        assert parts is not None and sum(part.nbytes for part in parts.values()) < filters.nbytes / 10
        places = parts["bins"] * parts["times"] % parts["period"] + parts["starts"]
        assert np.allclose(parts["waves"][places] * parts["window"], filters, atol=1e-7)


def test_filters_that_are_no_stft_are_kept_as_they_are() -> None:
    filters = STFT(n_fft=64, hop=32).analysis.numpy().copy()
    filters[5, 0, 7] += 0.01
    assert cosine_parts(filters) is None
