"""The training floor end to end, on made voices: train, resume, start from weights, export, evaluate."""

import csv
import itertools
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from test_data import voices  # noqa: F401
from typer import Typer
from typer.testing import CliRunner

from unmingle.cli.bench import register
from unmingle.data.batch import Batch
from unmingle.errors import InputError, UsageError
from unmingle.models import build
from unmingle.objectives import OBJECTIVES, build_objective
from unmingle.objectives.pit import WaveformPIT
from unmingle.results.pictures import plot_curves
from unmingle.training.batches import EpochBatchSampler
from unmingle.training.optimizers import Muon, MuonAndAdamW
from unmingle.training.recipe import read_recipe
from unmingle.training.trainer import Training, train
from unmingle.weights_file import load_model, load_state, read_header

RECIPES = Path(__file__).parents[1] / "recipes"
SMALL = {"name": "band-split", "n_features": 8, "hidden": 8, "n_blocks": 1}


@pytest.fixture
def recipe_path(voices: Path, tmp_path: Path) -> Path:  # noqa: F811
    recipe = {
        "model": SMALL,
        "objective": {"name": "waveform-pit", "si_sdr": 0.5, "snr": 0.5},
        "data": {
            "speech": str(voices / "voices.csv"),
            "cache": str(tmp_path / "cache"),
            "held_out": 2,
            "n_valid": 2,
            "length_s": 0.5,
            "valid_length_s": 0.5,
        },
        "optimizer": {"name": "muon", "warm_up": 2},
        "trainer": {
            "steps": 6,
            "batch_size": 2,
            "validate_every": 3,
            "precision": "32-true",
            "device": "cpu",
        },
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(RECIPES.glob("*/*.yaml")) if path.stem != "common"],  # which others extend
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_a_recipe_asks_for_a_model_of_its_sample_rate_and_number_of_voices(path: Path) -> None:
    recipe = read_recipe(path)
    with torch.device("meta"):
        facts = build(**recipe.model).facts
    assert facts.sample_rate == recipe.data.sample_rate
    assert facts.n_src in (None, recipe.data.n_src)
    assert build_objective(**recipe.objective)


def test_a_training_leaves_weights_curves_and_a_checkpoint(recipe_path: Path, tmp_path: Path) -> None:
    best = train(read_recipe(recipe_path), tmp_path / "run", progress=False)
    assert load_model(best).config == {**load_model(best).config, "n_features": 8}
    header = read_header(tmp_path / "run/last.safetensors")
    assert header["training"]["steps"] == 6
    assert header["recipe"]["trainer"]["steps"] == 6
    with (tmp_path / "run/curves.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["3", "6"]
    assert (tmp_path / "run/last.ckpt").is_file()


def test_a_compiled_training_learns_what_another_learns(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Kernels are kept from run to run, and PyTorch does not tell apart those for a limited processor.
    limit = os.environ.get("ATEN_CPU_CAPABILITY", "none")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/unmingle-inductor-{limit}")
    model = (
        "{name: conv-tasnet, n_filters: 16, n_features: 4, n_hidden: 6, n_skip: 4, n_blocks: 2, n_repeats: 1}"
    )
    weights = []
    for compiled in ("true", "false"):
        changes = [
            f"model={model}",
            "trainer.steps=3",
            "trainer.precision=32-true",
            f"trainer.compile={compiled}",
        ]
        best = train(read_recipe(recipe_path, changes), tmp_path / compiled, progress=False)
        weights.append(load_state(best))
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.allclose(weights[0][key], weights[1][key], atol=1e-4) for key in weights[0])


def test_a_resumed_training_equals_one_in_a_single_run(recipe_path: Path, tmp_path: Path) -> None:
    whole = read_recipe(recipe_path, ["optimizer.decay=0"])
    train(whole, tmp_path / "whole", progress=False)
    train(
        read_recipe(recipe_path, ["optimizer.decay=0", "trainer.steps=3"]), tmp_path / "parts", progress=False
    )
    train(whole, tmp_path / "parts", resume=True, progress=False)
    one, two = (load_state(tmp_path / name / "last.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(one[key], two[key]) for key in one)


class Listening(WaveformPIT):
    """Remembers the shapes of the sources that it heard."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[int, ...]] = []

    def forward(self, separator: Any, batch: Batch) -> dict[str, torch.Tensor]:
        self.heard.append(tuple(batch.sources.shape))
        return super().forward(separator, batch)


def test_a_curriculum_cuts_every_mixture_into_segments_until_it_is_resumed_with_longer_ones(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening = Listening()
    monkeypatch.setitem(OBJECTIVES, "listening", lambda **_: listening)
    change = [
        "objective={name: listening}",
        "data.curriculum=[[0, 0.15], [0.5, 0.5]]",
        "data.n_valid=1",
        "trainer.validate_every=1",
    ]
    train(read_recipe(recipe_path, [*change, "trainer.steps=1"]), tmp_path / "run", progress=False)
    train(
        read_recipe(recipe_path, [*change, "trainer.steps=2"]), tmp_path / "run", resume=True, progress=False
    )
    assert listening.heard == [(6, 2, 2400), (1, 2, 8000), (2, 2, 8000), (1, 2, 8000)]


def test_segments_are_the_items_cut_into_pieces() -> None:
    samples = torch.arange(2 * 3 * 10).reshape(2, 3, 10)
    pieces = Batch(samples, samples).segmented(4).mixture
    assert torch.equal(
        pieces, torch.stack([samples[0, :, :4], samples[0, :, 4:8], samples[1, :, :4], samples[1, :, 4:8]])
    )


def test_training_refuses_to_write_over_another(recipe_path: Path, tmp_path: Path) -> None:
    recipe = read_recipe(recipe_path, ["trainer.steps=3"])
    train(recipe, tmp_path / "run", progress=False)
    with pytest.raises(UsageError, match="--resume"):
        train(recipe, tmp_path / "run", progress=False)
    with pytest.raises(UsageError, match="nothing to resume"):
        train(recipe, tmp_path / "other", resume=True, progress=False)


def test_training_can_start_from_weights(recipe_path: Path, tmp_path: Path) -> None:
    recipe = read_recipe(recipe_path, ["trainer.steps=3"])
    first = train(recipe, tmp_path / "run", progress=False)
    frozen = read_recipe(
        recipe_path, ["trainer.steps=1", "trainer.validate_every=1", "optimizer.lr=0", "optimizer.muon_lr=0"]
    )
    second = train(frozen, tmp_path / "second", init=first, progress=False)
    one, two = load_state(first), load_state(second)
    assert all(torch.allclose(one[key], two[key]) for key in one)
    told = read_header(second)["training"]
    assert [each["steps"] for each in (*told["earlier"], told)] == [3, 1]
    other = read_recipe(recipe_path, ["model.n_features=12"])
    with pytest.raises(InputError, match="weights of another model"):
        train(other, tmp_path / "third", init=first, progress=False)


def test_training_can_start_from_the_weights_of_a_part(recipe_path: Path, tmp_path: Path) -> None:
    sizes = (
        "n_filters: 16, kernel_size: 16, n_features: 4, n_hidden: 6, n_skip: 4, n_blocks: 2, n_repeats: 1, "
        "sample_rate: 8000"
    )
    frozen = [
        "data.sample_rate=8000",
        "trainer.steps=1",
        "trainer.validate_every=1",
        "optimizer.lr=0",
        "optimizer.muon_lr=0",
    ]
    part = train(
        read_recipe(recipe_path, [f"model={{name: conv-tasnet, {sizes}}}", *frozen]),
        tmp_path / "part",
        progress=False,
    )
    change = [f"model={{name: one-and-rest, {sizes}}}", "objective={name: one-and-rest}", *frozen]
    whole = load_state(train(read_recipe(recipe_path, change), tmp_path / "whole", init=part, progress=False))
    assert all(torch.allclose(value, whole[f"network.{key}"]) for key, value in load_state(part).items())


def test_muon_in_float32_and_that_of_pytorch_in_bfloat16_go_the_same_way() -> None:
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in ((8, 50), (40, 6), (8, 50))]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    before = [p.detach().clone() for p in ours]
    mine = Muon(ours, lr=0.01, weight_decay=0.1)
    mine.dtype = torch.float32
    other = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        mine.step()
        other.step()
    for p, q, old in zip(ours, theirs, before, strict=True):
        assert (p - q).norm() < 0.03 * (q - old).norm()
    assert mine.state_dict()["state"][0].keys() == other.state_dict()["state"][0].keys()


def test_the_scale_of_the_loss_changes_nothing_but_what_float16_can_hold(
    recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read_recipe(recipe_path, ["trainer.steps=2", "trainer.validate_every=2"])
    plain = load_state(train(recipe, tmp_path / "plain", progress=False))
    monkeypatch.setattr(Training, "loss_scale", 1024.0)
    scaled = load_state(train(recipe, tmp_path / "scaled", progress=False))
    assert all(torch.allclose(value, scaled[key], atol=1e-6) for key, value in plain.items())


def test_muon_and_adamw_move_every_parameter_once() -> None:
    model = torch.nn.Sequential(
        torch.nn.Conv1d(4, 6, 3),
        torch.nn.Conv1d(6, 6, 3, groups=6),
        torch.nn.Flatten(),
        torch.nn.Linear(36, 2),
    )
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = MuonAndAdamW(model, lr=0.01, muon_lr=0.01, weight_decay=0.0)
    model(torch.randn(3, 4, 10)).square().sum().backward()
    optimizer.step()
    assert all((p != old).any() for p, old in zip(model.parameters(), before, strict=True))
    optimizer.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_a_model_argument_that_does_not_exist_is_refused(recipe_path: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="band-split has no argument width; it has n_src"):
        train(read_recipe(recipe_path, ["model.width=3"]), tmp_path / "run", progress=False)


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"pickle")
    with pytest.raises(InputError, match="not a weights file"):
        load_model(tmp_path / "x.safetensors")


def test_the_four_commands_work_one_after_the_other(recipe_path: Path, tmp_path: Path) -> None:
    app = Typer()
    register(app)

    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    out = run("train", recipe_path, "trainer.steps=3", "--out", tmp_path / "run", "--quiet")
    best = Path(re.search(r"weights: (.+)", out)[1])  # type: ignore[index]
    run("mix", recipe_path, "data.length_s=1.0", "--out", tmp_path / "set", "--n", 3)
    card = Path(run("export", best, "tiny", "--out", tmp_path / "weights").split()[-1])
    assert yaml.safe_load(card.read_text())["sha256"]
    onnx = card.with_suffix(".onnx")
    by_onnx = json.loads(
        run(
            "evaluate",
            onnx,
            tmp_path / "set",
            "--json",
            "--csv",
            tmp_path / "rows.csv",
            "--backend",
            "onnxruntime",
        )
    )
    by_torch = json.loads(run("evaluate", card.with_suffix(".safetensors"), tmp_path / "set", "--json"))
    assert by_onnx["n"] == 3
    assert by_onnx["si_sdri_db"]["mean"] == pytest.approx(by_torch["si_sdri_db"]["mean"], abs=0.01)
    with (tmp_path / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert np.mean([float(row["si_sdri"]) for row in rows]) == pytest.approx(
        by_onnx["si_sdri_db"]["mean"], abs=1e-3
    )


FIXED = [
    "data.n_items=5",
    "trainer.steps=9",
    "trainer.validate_every=3",
    "optimizer.decay=0",
    "data.length_s=0.2",
]


def switches(run: Path) -> list[str]:
    """The column of `curves.csv`; an epoch of five items has three batches of two, and a row."""
    with (run / "curves.csv").open() as file:
        return [row["order_switches"] for row in csv.DictReader(file)]


def test_a_fixed_set_is_gone_through_in_another_order_every_epoch_and_from_anywhere_on() -> None:
    batches = list(itertools.islice(EpochBatchSampler(0, 5, 2, seed=1), 9))
    epochs = [[item for batch in batches[start : start + 3] for item in batch] for start in (0, 3, 6)]
    assert [len(batch) for batch in batches] == 3 * [2, 2, 1]
    assert [sorted(epoch) for epoch in epochs] == 3 * [[0, 1, 2, 3, 4]]
    assert epochs[0] != epochs[1]
    assert list(itertools.islice(EpochBatchSampler(7, 5, 2, seed=1), 5)) == batches[4:]


class Told(WaveformPIT):
    """Takes the orders that it is told, batch after batch, unless one is given."""

    def __init__(self, *, swapped: list[int], fix_after: int | None = None) -> None:
        super().__init__(fix_after=fix_after)
        self.swapped, self.n_batches, self.given = swapped, 0, []

    def forward(self, separator: Any, batch: Batch) -> dict[str, torch.Tensor]:
        if separator.training:
            self.given.append(batch.order)
            swap = self.swapped[self.n_batches]
            if batch.order is None:
                batch.order = torch.tensor([[1, 0] if swap else [0, 1]] * len(batch))
            self.n_batches += 1
        return super().forward(separator, batch)


@pytest.mark.parametrize(("fix_after", "third"), [(None, "0.2"), (2, "0.0")])
def test_the_share_of_items_whose_order_switched_since_the_epoch_before_is_in_the_curves(
    fix_after: int | None, third: str, recipe_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(swapped=[0, 0, 0, 1, 1, 0, 1, 1, 1], fix_after=fix_after)
    monkeypatch.setitem(OBJECTIVES, "told", lambda **_: told)
    train(read_recipe(recipe_path, [*FIXED, "objective={name: told}"]), tmp_path / "run", progress=False)
    assert switches(tmp_path / "run") == ["", "0.8", third]
    plot_curves(tmp_path / "run/curves.csv", tmp_path / "curves.png")
    given = [order for order in told.given if order is not None]
    if fix_after is None:
        assert given == []
    else:
        assert told.given[:6] == [None] * 6
        assert sorted(torch.cat(given).tolist()) == [[0, 1], *[[1, 0]] * 4]


def test_a_resumed_training_on_a_fixed_set_keeps_its_orders(recipe_path: Path, tmp_path: Path) -> None:
    changes = [*FIXED, "trainer.validate_every=2", "trainer.steps=8", "objective.fix_after=1"]
    train(read_recipe(recipe_path, changes), tmp_path / "whole", progress=False)
    train(read_recipe(recipe_path, [*changes, "trainer.steps=4"]), tmp_path / "parts", progress=False)
    train(read_recipe(recipe_path, changes), tmp_path / "parts", resume=True, progress=False)
    one, two = (load_state(tmp_path / name / "last.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert switches(tmp_path / "whole") == switches(tmp_path / "parts") == ["", "", "0.0", ""]
    with pytest.raises(UsageError, match=r"data\.n_items was 5"):
        train(
            read_recipe(recipe_path, [*changes, "data.n_items=6", "trainer.steps=9"]),
            tmp_path / "parts",
            resume=True,
            progress=False,
        )


@pytest.mark.parametrize("changes", [["objective.fix_after=2"], ["objective.fix_after=0", "data.n_items=5"]])
def test_orders_can_be_fixed_only_after_epochs_of_a_fixed_set(
    changes: list[str], recipe_path: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"set data\.n_items"):
        train(read_recipe(recipe_path, changes), tmp_path / "run", progress=False)
