"""What single separators promise by themselves."""

from typing import Any

import pytest
import torch
from small_models import TINY, noise, tiny
from torch import nn

from unmingle.layers.masks import MASKS
from unmingle.layers.norms import NORMS
from unmingle.layers.tcn import TCN
from unmingle.models import build
from unmingle.models.unet_a import DenseBlock
from unmingle.weights_file import float16_state


@pytest.mark.parametrize("n_blocks", [1, 7, 17])
@pytest.mark.parametrize("spectrogram", ["complex", "magnitude"])
def test_unet_a_is_made_of_1_to_17_neural_transforms_for_any_length(n_blocks: int, spectrogram: str) -> None:
    model = build("unet-a", n_blocks=n_blocks, spectrogram=spectrogram, growth=2, n_channels=2).eval()
    assert sum(isinstance(module, DenseBlock) for module in model.modules()) == n_blocks
    assert all(model(noise(1, 1, length)).shape == (1, 1, length) for length in (3, 300, 2345))


def test_a_batch_norm_trains_on_its_batch_and_is_used_with_what_it_kept() -> None:
    model, mixture = tiny("unet-a").train(), noise(2, 1, 4000)
    before, trained = model.eval()(mixture), model.train()(mixture)
    assert not torch.allclose(before, trained)
    kept = float16_state(model.state_dict())
    counters = [key for key in kept if key.endswith("num_batches_tracked")]
    assert counters
    assert all(kept[key] == 1 and not kept[key].is_floating_point() for key in counters)


def test_unet_b_takes_the_noise_that_it_says_from_the_magnitudes_of_the_mixture() -> None:
    model, mixture = tiny("unet-b"), noise(2, 1, 4000)
    spectrum, said = model.stft(mixture[:, 0]), model.noise_db(mixture)
    magnitude = spectrum.square().sum(1).sqrt()
    assert said.shape == (2, 128, spectrum.shape[-1])
    left = (magnitude - 10 ** ((82 * said + 6) / 20)).relu() / magnitude
    assert torch.allclose(model(mixture)[:, 0], model.stft.inverse(left[:, None] * spectrum, 4000), atol=1e-4)


def test_the_noise_that_unet_b_says_moves_with_the_level_of_the_mixture() -> None:
    model, mixture = tiny("unet-b"), noise(1, 1, 4000)
    assert torch.allclose(
        model.noise_db(mixture) - model.noise_db(mixture / 10), torch.tensor(20 / 82), atol=1e-4
    )


def test_masks_of_looking_to_listen_can_be_of_any_size_and_sign() -> None:
    model, mixture = tiny("looking-to-listen-audio", n_src=1), noise(1, 1, 4000)
    for gain in (-3.0, 5.0):
        with torch.no_grad():
            model.mask.weight.zero_()
            model.mask.bias.copy_(torch.tensor([gain, 0.0]).repeat_interleave(model.stft.n_bins))
        assert torch.allclose(model(mixture), gain * mixture, atol=1e-4)


def test_conv_tasnet_with_the_residual_that_nobody_reads_has_the_5_05_million_of_its_paper() -> None:
    model = build("conv-tasnet", sample_rate=8000, kernel_size=16)
    unread = sum(parameter.numel() for parameter in model.tcn.blocks[0].residual.parameters())
    assert (sum(parameter.numel() for parameter in model.parameters()) + unread) / 1e6 == pytest.approx(
        5.05, abs=0.005
    )


def test_conv_tasnet_sees_1531_ms_at_8_khz(monkeypatch: pytest.MonkeyPatch) -> None:
    # Norms look at everything; without them, what a gradient reaches is what the convolutions see.
    monkeypatch.setitem(NORMS, "none", lambda n_features: nn.Identity())
    network = TCN(
        n_features=2, n_hidden=4, n_skip=2, kernel_size=3, n_blocks=8, n_repeats=3, norm="none"
    ).double()
    frames = noise(1, 2, 2001).double().requires_grad_()
    network(frames)[0, :, 1000].sum().backward()
    seen = frames.grad.abs().sum((0, 1)).nonzero()
    assert int(seen.max() - seen.min()) + 1 == network.receptive_field
    assert network.receptive_field * 8 / 8000 == 1.531


@pytest.mark.parametrize("arguments", [{"norm": "gLN"}, {"norm": "cLN"}, {"kernel_size": 21}], ids=str)
def test_conv_tasnet_declares_how_many_samples_it_sees(
    arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for norm in ("gLN", "cLN"):
        monkeypatch.setitem(NORMS, norm, lambda n_features: nn.Identity())
    model = build(
        "conv-tasnet",
        **{**TINY["conv-tasnet"], "kernel_size": 16, "n_blocks": 3, "mask": "linear", **arguments},
    )
    mixture = noise(1, 1, 2000).requires_grad_()
    widest = 0
    for now in range(1000, 1000 + model.filterbank.stride):
        seen = torch.autograd.grad(model(mixture)[0, :, now].sum(), mixture)[0].flatten().nonzero()
        widest = max(widest, int(seen.max() - seen.min()) + 1)
    assert widest == model.receptive_field


def test_masks_of_conv_tasnet_lie_where_their_activation_puts_them() -> None:
    said = noise(2, 3, 4, 5, level=3.0)
    assert torch.equal(MASKS["linear"](said), said)
    assert torch.equal(MASKS["relu"](said), said.clamp(min=0))
    assert 0 < MASKS["sigmoid"](said).min() < MASKS["sigmoid"](said).max() < 1
    assert torch.allclose(MASKS["softmax"](said).sum(1), torch.ones(2, 4, 5))


def test_the_voices_of_a_conv_tasnet_with_softmax_masks_sum_to_what_its_filterbank_makes_of_the_mixture() -> (
    None
):
    model, mixture = tiny("conv-tasnet", n_src=3, mask="softmax"), noise(1, 1, 4000)
    whole = model.filterbank.inverse(model.filterbank(mixture[:, 0]), 4000)
    assert torch.allclose(model(mixture).sum(1), whole, atol=1e-6)


def test_with_an_encoder_relu_the_frames_that_conv_tasnet_masks_are_not_negative() -> None:
    model, mixture = tiny("conv-tasnet", mask="softmax", encoder_relu=True), noise(1, 1, 4000)
    whole = model.filterbank.inverse(model.filterbank(mixture[:, 0]).relu(), 4000)
    assert torch.allclose(model(mixture).sum(1), whole, atol=1e-6)


def test_without_skips_conv_tasnet_has_a_third_fewer_parameters_all_of_which_it_uses() -> None:
    assert (
        sum(
            parameter.numel()
            for parameter in build("conv-tasnet", sample_rate=8000, kernel_size=16, n_skip=0).parameters()
        )
        == 3_474_609
    )
    torch.manual_seed(0)
    model = build("conv-tasnet", **{**TINY["conv-tasnet"], "n_skip": 0})
    model(noise(2, 1, 4000)).square().sum().backward()
    assert [
        key
        for key, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ] == []


def test_the_last_stage_of_sepreformer_is_its_estimate() -> None:
    model, mixture = tiny("sepreformer"), noise(1, 1, 4000)
    stages = model.forward_stages(mixture)
    assert len(stages) == 1 + TINY["sepreformer"]["n_stages"]
    assert all(stage.shape == (1, 2, 4000) for stage in stages)
    assert torch.equal(stages[-1], model(mixture))


@pytest.mark.parametrize("mask", ["relu", "sigmoid", "softmax"])
def test_masks_of_upit_lie_where_their_activation_puts_them_and_make_its_estimates(mask: str) -> None:
    model, mixture = tiny("upit", mask=mask), noise(2, 1, 4000)
    masks, spectrum = model.masks(mixture), model.stft(mixture[:, 0])
    assert masks.min() >= 0
    assert mask == "relu" or masks.max() <= 1
    assert mask != "softmax" or torch.allclose(masks.sum(1), torch.ones(()))
    first = model.stft.inverse(masks[:, :1] * spectrum, 4000)
    assert torch.allclose(first, model(mixture)[:, 0], atol=1e-6)
