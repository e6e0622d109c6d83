"""Recipes: read, extended, checked."""

# ruff: noqa: F811 — a fixture is an argument of the name under which it is imported

from pathlib import Path

import pytest
from test_data import voices  # noqa: F401
from test_training import recipe_path  # noqa: F401

from unmingle.errors import UsageError
from unmingle.training.recipe import read_recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("trainer.stepz=3", r"small.yaml: unknown key 'trainer.stepz'; known are trainer.steps"),
        ("trainer.steps=many", "trainer.steps is 'many'"),
        ("optimizer.name=sgd", "optimizer.name is 'sgd'; expected 'adamw' or 'muon'"),
        ("data.speed=[1, fast]", "data.speed is .* expected a valid number"),
        ("data.speed=[1.1, 0.9]", "expected the lower number first"),
        ("data.speed=[1]", "should have at least 2 items"),
        ("data.p_noise=2", "data.p_noise is 2; expected less than or equal to 1"),
        ("trainer.steps=-3", "trainer.steps is -3; expected greater than or equal to 1"),
        ("trainer.minutes=0", "expected greater than 0"),
        ("data.weights={a: much}", "data.weights is .* expected a valid number"),
        ("trainer.compile=3", "expected a valid boolean"),
        ("colour=red", "unknown key 'colour'"),
        ("steps", "key=value"),
    ],
)
def test_a_recipe_names_the_key_that_is_wrong(recipe_path: Path, change: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_recipe(recipe_path, [change])


def test_a_recipe_takes_from_another_all_that_it_does_not_say_itself(recipe_path: Path) -> None:
    recipe_path.with_name("own.yaml").write_text(
        "extends: small.yaml\nmodel: {n_blocks: 2}\ntrainer: {steps: null, minutes: 3}\n"
    )
    base, own = read_recipe(recipe_path), read_recipe(recipe_path.with_name("own.yaml"))
    assert own.model == {**base.model, "n_blocks": 2}
    assert (own.trainer.steps, own.trainer.minutes) == (None, 3)
    assert (own.data, own.objective, own.optimizer) == (base.data, base.objective, base.optimizer)


def test_a_model_with_a_name_replaces_that_of_the_recipe_which_is_extended(recipe_path: Path) -> None:
    recipe_path.with_name("own.yaml").write_text("extends: small.yaml\nmodel: {name: dprnn}\n")
    assert read_recipe(recipe_path.with_name("own.yaml"), ["model.hidden=8"]).model == {
        "name": "dprnn",
        "hidden": 8,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: own.yaml", r"own.yaml: extends itself, by way of own.yaml; leave one 'extends' out"),
        ("extends: other.yaml", r"other.yaml: no such recipe \(named by .*own.yaml\)"),
        ("extends: [small.yaml]", r"own.yaml: extends is \['small.yaml'\]; expected the path of one recipe"),
        ("extends: small.yaml\ncolour: red", r"own.yaml: unknown key 'colour'"),
    ],
)
def test_a_recipe_that_extends_wrongly_is_named(recipe_path: Path, text: str, message: str) -> None:
    recipe_path.with_name("own.yaml").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_recipe(recipe_path.with_name("own.yaml"))


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", "1.e-03", "0.001", "1.0E-3"])
def test_a_number_may_have_an_exponent(recipe_path: Path, text: str) -> None:
    assert read_recipe(recipe_path, [f"optimizer.lr={text}"]).optimizer.lr == 0.001
