"""A trunk: a training at a constant learning rate, from whose file others go on; and steps
that do not wait.
"""

import csv
import traceback
from pathlib import Path
from typing import Any

import pytest
import torch
from test_data import voices  # noqa: F401
from test_training import recipe_path  # noqa: F401
from torch.utils._python_dispatch import TorchDispatchMode

from unmingle.errors import InputError
from unmingle.models import build
from unmingle.training.optimizers import MuonAndAdamW, optimizer_tensors, restore_optimizer
from unmingle.training.recipe import read_recipe
from unmingle.training.trainer import train
from unmingle.weights_file import load_model, load_optimizer, load_state, read_header

TRUNK = ["optimizer.decay=0", "optimizer.warm_up=0"]


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.GRU(5, 4))


def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model(torch.randn(40, 6, generator=torch.Generator().manual_seed(1)))[0].square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def muon(model: torch.nn.Module) -> MuonAndAdamW:
    return MuonAndAdamW(model, lr=0.01, muon_lr=0.01, weight_decay=0.0)


def adamw(model: torch.nn.Module) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), 0.01)


@pytest.mark.parametrize("make", [muon, adamw])
def test_a_restored_optimizer_steps_as_the_one_it_was_saved_from(make: Any) -> None:
    one = network()
    optimizer = make(one)
    for _ in range(5):
        step(one, optimizer)
    two = network()
    two.load_state_dict(one.state_dict())
    restored = make(two)
    restore_optimizer(restored, optimizer_tensors(optimizer))
    before = torch.cat([p.detach().flatten() for p in one.parameters()])
    step(one, optimizer)
    step(two, restored)
    moves = [torch.cat([p.detach().flatten() for p in m.parameters()]) - before for m in (one, two)]
    assert (moves[0] - moves[1]).norm() < 0.05 * moves[0].norm()


@pytest.mark.parametrize("make", [muon, adamw])
def test_a_restored_optimizer_obeys_the_learning_rate_it_is_given(make: Any) -> None:
    one = network()
    optimizer = make(one)
    step(one, optimizer)
    restored = make(one)
    restore_optimizer(restored, optimizer_tensors(optimizer))
    for group in restored.param_groups:
        group["lr"] = 0.0
    before = [p.detach().clone() for p in one.parameters()]
    step(one, restored)
    assert all(torch.equal(p, old) for p, old in zip(one.parameters(), before, strict=True))


@pytest.mark.parametrize(("saved", "fresh"), [(muon, adamw), (adamw, muon)])
def test_the_state_of_another_optimizer_is_refused(saved: Any, fresh: Any) -> None:
    model = network()
    optimizer = saved(model)
    step(model, optimizer)
    with pytest.raises(InputError, match="another optimizer or model"):
        restore_optimizer(fresh(model), optimizer_tensors(optimizer))


def test_a_trunk_that_goes_on_from_its_file_learns_what_it_learns_in_a_single_run(
    recipe_path: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    runs = {}
    for name, steps, init in (("whole", 6, None), ("first", 3, None), ("second", 3, "first")):
        recipe = read_recipe(recipe_path, [*TRUNK, f"trainer.steps={steps}"])
        train(recipe, tmp_path / name, init=init and tmp_path / init / "last.safetensors", progress=False)
        runs[name] = load_state(tmp_path / name / "last.safetensors")
    flat = {name: torch.cat([value.flatten() for value in state.values()]) for name, state in runs.items()}
    moved, missed = flat["whole"] - flat["first"], flat["whole"] - flat["second"]
    assert missed.norm() < 0.15 * moved.norm()  # weights are kept in 16 bits, their momentum in 8


def test_the_file_of_a_trunk_counts_on_and_names_what_came_before(
    recipe_path: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    recipe = read_recipe(recipe_path, [*TRUNK, "trainer.steps=3"])
    train(recipe, tmp_path / "first", progress=False)
    train(recipe, tmp_path / "second", init=tmp_path / "first/last.safetensors", progress=False)
    training = read_header(tmp_path / "second/last.safetensors")["training"]
    assert (training["steps"], training["items_seen"]) == (3, 12)
    assert [each["steps"] for each in training["earlier"]] == [3]
    with (tmp_path / "second/curves.csv").open() as file:
        hours = [float(row["total_hours"]) for row in csv.DictReader(file)]
    assert hours[-1] == pytest.approx(12 * 0.5 / 3600, abs=1e-3)


def test_a_branch_that_decays_falls_from_the_full_rate_and_leaves_weights_only(
    recipe_path: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train(read_recipe(recipe_path, [*TRUNK, "trainer.steps=3"]), tmp_path / "trunk", progress=False)
    rates = []

    def remember(optimizer: MuonAndAdamW, closure: Any = None) -> Any:
        loss = original(optimizer, closure)  # the closure sets the rate
        rates.append(optimizer.parts[0].param_groups[0]["lr"])
        return loss

    original = MuonAndAdamW.step
    monkeypatch.setattr(MuonAndAdamW, "step", remember)
    branch = read_recipe(recipe_path, ["optimizer.decay=1", "trainer.steps=4", "optimizer.muon_lr=0.004"])
    train(branch, tmp_path / "branch", init=tmp_path / "trunk/last.safetensors", progress=False)
    assert rates == pytest.approx([0.004, 0.003, 0.002, 0.001])
    assert load_optimizer(tmp_path / "trunk/last.safetensors")
    assert load_optimizer(tmp_path / "branch/last.safetensors") == {}


def test_a_trunk_of_the_default_fits_into_eight_megabytes(tmp_path: Path) -> None:
    model = build("band-split")
    optimizer = muon(model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    tensors = model.state_dict() | optimizer_tensors(optimizer)
    assert sum(value.numel() * value.element_size() for value in tensors.values()) < 8e6


def test_a_model_is_loaded_from_the_file_of_a_trunk(recipe_path: Path, tmp_path: Path) -> None:  # noqa: F811
    train(read_recipe(recipe_path, [*TRUNK, "trainer.steps=3"]), tmp_path / "trunk", progress=False)
    path = tmp_path / "trunk/last.safetensors"
    loaded, state = load_model(path).state_dict(), load_state(path)
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


class CountsReads(TorchDispatchMode):
    """Counts how often a value is read from a tensor, which waits for the device.

    Optimizers and averages count their steps in tensors that always lie on the processor.
    """

    n = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            files = [frame.filename for frame in traceback.extract_stack(limit=30)]
            self.n += not any("/torch/optim/" in file for file in files)
        return func(*args, **(kwargs or {}))


def test_steps_read_nothing_from_the_device(recipe_path: Path, tmp_path: Path) -> None:  # noqa: F811
    reads = []
    for steps in (3, 9):
        changes = [f"trainer.steps={steps}", f"trainer.validate_every={steps}"]
        with CountsReads() as counts:
            train(read_recipe(recipe_path, changes), tmp_path / str(steps), progress=True)
        reads.append(counts.n)
    assert reads[0] == reads[1] > 0


def test_a_trunk_starts_another_model_with_the_weights_that_fit(
    recipe_path: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    train(read_recipe(recipe_path, [*TRUNK, "trainer.steps=2"]), tmp_path / "trunk", progress=False)
    trunk = tmp_path / "trunk/last.safetensors"
    other = read_recipe(recipe_path, ["model.n_blocks=2", "trainer.steps=2"])
    train(other, tmp_path / "other", init=trunk, progress=False)
    shapes = [
        {k: v.shape for k, v in load_state(p).items()} for p in (trunk, tmp_path / "other/last.safetensors")
    ]
    assert shapes[0] != shapes[1]
