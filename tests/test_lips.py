"""What the encoder of mouths promises."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.layers.lips import SPREAD, LipEncoder
from unmingle.layers.pictures import beside_frames
from unmingle.layers.stft import STFT


def mouths(n_batch: int, n_pictures: int) -> Tensor:
    return 255 * torch.rand(n_batch, n_pictures, 88, 88, generator=torch.Generator().manual_seed(0))


def encoder(**arguments: int) -> LipEncoder:
    torch.manual_seed(0)
    return LipEncoder(**{"width": 2, "pool": 2, **arguments}).eval()


def test_at_the_size_of_its_paper_it_has_the_parameters_of_a_resnet_18() -> None:
    first = 64 * 5 * 7 * 7 + 2 * 64
    resnet_18 = 11_689_512 - (512 * 1000 + 1000) - (64 * 3 * 7 * 7 + 2 * 64)  # without its ends
    assert sum(parameter.numel() for parameter in LipEncoder().parameters()) == first + resnet_18 + 512


def test_the_first_convolution_is_one_over_space_and_time() -> None:
    network, pictures = encoder(pool=1), mouths(1, 6)
    seen: list[Tensor] = []
    network.enter[0].register_forward_hook(lambda _, __, output: seen.append(output))
    network(pictures)
    kernel = network.enter[0].weight[:, None]  # D 1 K H W
    whole = functional.conv3d(
        (pictures - pictures.mean(1, keepdim=True))[:, None] / SPREAD,
        kernel,
        stride=(1, 2, 2),
        padding=(2, 3, 3),
    )
    assert torch.allclose(seen[0], whole[0].transpose(0, 1), atol=1e-5)


def test_what_all_pictures_have_in_common_does_not_matter() -> None:
    network, pictures = encoder(), mouths(2, 5) / 2
    face = 100 * torch.rand(2, 1, 88, 88, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(network(pictures), network(pictures + face), atol=1e-4)


@pytest.mark.parametrize("pool", [1, 2, 4, 11])
@pytest.mark.parametrize("n_pictures", [1, 7])
def test_every_picture_has_its_features(pool: int, n_pictures: int) -> None:
    assert encoder(pool=pool, n_features=5)(mouths(2, n_pictures)).shape == (2, n_pictures, 5)


def test_a_picture_that_is_missing_has_learned_features_and_others_are_finite() -> None:
    network, pictures = encoder(), mouths(2, 6).requires_grad_()
    nn.init.normal_(network.missing)
    hidden = pictures * torch.tensor([1, 0, 0, 1, 1, 0])[:, None, None]
    features = network.train()(hidden)
    features.square().sum().backward()
    assert torch.equal(features[:, [1, 2, 5]], network.missing.expand(2, 3, -1))
    assert not torch.isclose(features[:, [0, 3, 4]], network.missing).all(-1).any()
    assert features.isfinite().all() and pictures.grad is not None and pictures.grad.isfinite().all()
    assert network.missing.grad is not None and network.missing.grad.any()


def test_a_black_film_is_finite_in_training_too() -> None:
    network = encoder().train()
    network(torch.zeros(1, 1, 88, 88)).sum().backward()
    assert network.eval()(torch.zeros(1, 3, 88, 88)).isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_a_pool_that_leaves_nothing_of_the_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="pool is 12; it must be from 1 to 11"):
        LipEncoder(pool=12)


@pytest.mark.parametrize(("sample_rate", "hop", "window"), [(16_000, 160, 400), (8_000, 80, 320)])
@pytest.mark.parametrize("group", [1, 4])
def test_every_frame_has_the_picture_of_its_middle(
    sample_rate: int, hop: int, window: int, group: int
) -> None:
    stft, n_pictures = STFT(n_fft=512, hop=hop, window=window), 10
    length = n_pictures * sample_rate // 25
    n_frames = stft(torch.zeros(1, length)).shape[-1] // group
    pictures = torch.arange(n_pictures)[None, :, None].float()
    found = beside_frames(pictures, n_frames, stft, sample_rate, group=group)[0, :, 0]
    for frame, picture in enumerate(found.tolist()):
        first, last = frame * group * hop - (window - hop), (frame + 1) * group * hop
        shown = (first + last) / 2 * 25 / sample_rate
        assert picture == min(max(int(shown), 0), n_pictures - 1)
