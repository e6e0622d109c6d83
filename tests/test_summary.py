"""summary: layers, parameters, work, memory."""

import pytest
import torch
from small_models import tiny
from torch import Tensor, nn

from unmingle.evaluation.summary import macs_per_second, print_summary, summarise
from unmingle.facts import Facts
from unmingle.models import MODELS

Captured = pytest.CaptureFixture[str]


class Parts(nn.Module):
    """The layers whose cost is checked by hand, each fed with what makes its count easy."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self.facts = Facts(sample_rate=1_000)
        self.part = part
        layers: dict[str, nn.Module] = {
            "convolution": nn.Conv1d(1, 6, 5, stride=5),
            "grouped convolution": nn.Conv1d(4, 8, 3, groups=2, padding=1),
            "transposed convolution": nn.ConvTranspose1d(4, 2, 8, stride=4),
            "linear": nn.Linear(4, 7),
            "lstm": nn.LSTM(4, 5, num_layers=2, batch_first=True),
            "blstm": nn.LSTM(4, 5, num_layers=2, batch_first=True, bidirectional=True),
        }
        self.layer = layers.get(part, nn.Identity())

    def forward(self, mixture: Tensor) -> Tensor:
        four = mixture.expand(-1, 4, -1)  # B 4 T
        frames = four.transpose(1, 2)
        if self.part == "bmm":
            return torch.bmm(four, frames)
        if self.part == "einsum":
            return torch.einsum("bct,bdt->bcd", four, four)
        if self.part == "attention":
            return nn.functional.scaled_dot_product_attention(
                frames[:, :100], frames[:, :100], frames[:, :100]
            )
        out = self.layer(
            mixture if self.part == "convolution" else four if "convolution" in self.part else frames
        )
        return out[0] if isinstance(out, tuple) else out


@pytest.mark.parametrize(
    ("part", "macs"),
    [
        ("convolution", 2_000 * 6 * 5),
        ("grouped convolution", 10_000 * 8 * 2 * 3),
        ("transposed convolution", 10_000 * 4 * 2 * 8),
        ("linear", 10_000 * 4 * 7),
        ("lstm", 10_000 * 4 * 5 * ((4 + 5) + (5 + 5))),
        ("blstm", 10_000 * 2 * 4 * 5 * ((4 + 5) + (10 + 5))),
        ("bmm", 4 * 4 * 10_000),
        ("einsum", 4 * 4 * 10_000),
        ("attention", 2 * 100 * 100 * 4),
        ("nothing", 0),
    ],
)
def test_macs_equal_the_count_by_hand(part: str, macs: int) -> None:
    assert macs_per_second(Parts(part)) == macs / 10


@pytest.mark.parametrize("name", MODELS)
def test_the_layers_of_a_summary_have_all_parameters_and_no_more_work_than_the_model(name: str) -> None:
    summary = summarise(tiny(name))
    top = [row for row in summary["layers"] if "." not in row["name"]]
    assert sum(row["parameters"] for row in top) == summary["parameters"]
    assert 0 < max(row["macs_per_second"] or 0 for row in top) <= summary["macs_per_second"]
    assert summary["activations_bytes"] > 0


def test_a_declared_receptive_field_is_shown(capsys: Captured) -> None:
    model = Parts("linear")
    model.name, model.receptive_field = "parts", 250  # type: ignore[assignment]
    print_summary(summarise(model), "mine")
    assert "receptive field  250 samples, 0.250 s" in capsys.readouterr().out
