"""Networks of their papers' sizes have their papers' numbers of parameters."""

from typing import Any

import pytest
import torch

from unmingle.models import build


@pytest.mark.parametrize(
    ("name", "arguments", "counted", "published"),
    [
        ("conv-tasnet", {"kernel_size": 16}, 4_984_881, 5.05e6),
        ("deep-clustering", {"n_layers": 2, "hidden": 600}, 18_355_818, 18.4e6),
        ("deep-clustering", {}, 10_630_218, 10.6e6),
        ("dprnn", {"kernel_size": 16, "stride": 8}, 2_609_921, 2.6e6),
        ("fasnet-tac", {}, 2_759_375, 2.9e6),
        ("looking-to-listen-audio", {}, 12_519_356, 12.5e6),
        ("resepformer", {"kernel_size": 16}, 7_955_201, 8.0e6),
        ("sepformer", {"kernel_size": 16}, 25_679_361, 25.7e6),
        ("sepreformer", {"kernel_size": 16, "stride": 4}, 3_907_336, 3.7e6),
        (
            "sudormrf",
            {"kernel_size": 21, "stride": 10, "n_filters": 512, "n_hidden": 512, "n_blocks": 16},
            2_704_640,
            2.66e6,
        ),
    ],
)
def test_at_the_size_of_its_paper_it_has_as_many_parameters(
    name: str, arguments: dict[str, Any], counted: int, published: float
) -> None:
    n_parameters = sum(
        parameter.numel() for parameter in build(name, sample_rate=8000, **arguments).parameters()
    )
    assert n_parameters == counted
    assert n_parameters == pytest.approx(published, rel=0.1)


@pytest.mark.parametrize(
    ("name", "arguments", "counted"),
    [
        ("tasnet", {}, 23.1e6),
        ("tasnet", {"causal": True, "hidden": 1000}, 31.1e6),
        ("mossformer2", {}, 55.7e6),
        ("upit", {}, 46.4e6),
        ("upit", {"causal": True, "hidden": 1792}, 65.7e6),
    ],
)
def test_a_large_network_of_its_papers_size_has_the_parameters_that_the_paper_describes(
    name: str, arguments: dict[str, Any], counted: float
) -> None:
    with torch.device("meta"):
        model = build(name, **arguments)
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(counted, rel=0.002)


@pytest.mark.parametrize(
    ("name", "arguments", "counted"),
    [
        ("deepfilternet", {}, 2_134_714),
        ("dtln", {}, 986_753 + 4 * 512),  # its code has one bias per gate, not two
        ("enhancer-pair", {}, 388_962 + 23_669),
        ("gtcrn", {}, 23_669),
        ("unet-a", {}, 322_670),
        ("unet-a", {"spectrogram": "magnitude"}, 322_639),
        ("unet-a", {"n_blocks": 17}, 799_310),
        ("unet-b", {}, 1_941_093),
    ],
)
def test_a_network_of_its_papers_size_has_as_many_parameters_as_ever(
    name: str, arguments: dict[str, Any], counted: int
) -> None:
    assert sum(parameter.numel() for parameter in build(name, **arguments).parameters()) == counted


@pytest.mark.parametrize("n_src", [1, 2, 5])
def test_looking_to_listen_has_the_parameters_of_its_paper_besides_those_that_see_mouths(n_src: int) -> None:
    with torch.device("meta"):
        model = build("looking-to-listen", n_src=n_src)
    seeing = sum(parameter.numel() for parameter in model.encoder.parameters())
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    assert n_parameters - seeing == 16_506_122 == pytest.approx(16.7e6, rel=0.02)
    assert seeing == 11_708_096


def test_the_conversation_has_as_many_parameters_as_ever() -> None:
    with torch.device("meta"):
        model = build("the-conversation")
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert parts == {"stft": 0, "encoder": 11_183_296, "magnitude": 77_643_585, "phase": 7_494_144}


def test_tiger_has_the_parameters_of_its_paper_but_for_those_that_nothing_reads() -> None:
    with torch.device("meta"):
        model = build("tiger")
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    unread = 2 * 3 * 3 * 256  # of both walks, at the coarsest scale, three convolutions and norms
    assert n_parameters + unread == 821_932 == pytest.approx(0.82e6, rel=0.01)


def test_fasnet_has_a_dual_path_network_for_each_of_its_two_stages() -> None:
    with torch.device("meta"):
        model, lone = build("fasnet"), build("dprnn")
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    blocks = sum(parameter.numel() for parameter in lone.blocks.parameters())  # 6, as each of the stages has
    assert counts == {"framing": 0, "encoder": 36_992, "first": 2_694_723, "second": 2_690_563}
    for stage in (model.first, model.second):
        assert sum(parameter.numel() for parameter in stage.blocks.parameters()) == blocks == 2_582_784
