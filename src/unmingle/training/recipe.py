"""Recipes: YAML files that hold data only; every key is known, and the command line can override each."""

import typing
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from unmingle.data.recipe import DataRecipe
from unmingle.errors import UsageError


@dataclass
class OptimizerRecipe:
    """AdamW, or Muon for the matrices and AdamW for the rest.

    Attributes:
        name: "adamw" or "muon".
        lr: highest learning rate; `muon_lr` is that of the matrices under Muon.
        warm_up: steps from 0 to `lr`.
        decay: last share of the budget, in which the learning rate falls linearly to 0.
        clip: highest norm of the gradient.
    """

    name: Literal["adamw", "muon"] = "adamw"
    lr: float = 1e-3
    muon_lr: float = 2e-3
    weight_decay: float = 1e-2
    warm_up: int = 200
    decay: float = 0.3
    clip: float = 5.0


@dataclass
class TrainerRecipe:
    """The budget and its bookkeeping.

    Attributes:
        steps, minutes: the budget; the one that is set counts, whichever ends first if both are.
        clock: "wall", or "cpu" for the processor time of the training process, which other work on the machine does not shorten.
        precision: "auto" is bfloat16 where the processor or accelerator computes in it, else float32.
        threads: for the CPU; 0 leaves it to PyTorch.
        ema: decay of the averaged weights, which are what is evaluated and saved.
        validate_every: steps between validations, each of which also writes a checkpoint.
        compile: use torch.compile.
        device: "auto", "cpu" or "gpu".
    """

    steps: int | None = None
    minutes: float | None = None
    clock: Literal["wall", "cpu"] = "wall"
    batch_size: int = 4
    workers: int = 0
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    threads: int = 0
    ema: float = 0.999
    validate_every: int = 500
    compile: bool = False
    device: Literal["auto", "cpu", "gpu"] = "auto"
    seed: int = 0


@dataclass
class Recipe:
    """Everything that makes a trained separator: model and objective by name with their arguments, data, optimizer, trainer."""

    model: dict[str, Any]
    objective: dict[str, Any]
    data: DataRecipe = field(default_factory=DataRecipe)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    trainer: TrainerRecipe = field(default_factory=TrainerRecipe)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as the YAML file has them."""
        return asdict(self)


def read_recipe(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe and apply overrides such as `trainer.minutes=30`.

    Raises:
        UsageError: no such file, not YAML, an unknown key or a value of the wrong type; the message names the file and the key.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such recipe; those that come with unmingle are under recipes/") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path}: not a recipe ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path}: not a recipe; expected the keys {', '.join(f.name for f in fields(Recipe))}")
    for override in overrides or []:
        key, equals, text = override.partition("=")
        if not equals:
            raise UsageError(f"{override!r}: an override is written key=value, for example trainer.minutes=30")
        *parents, last = key.split(".")
        level = values
        for parent in parents:
            level = level.setdefault(parent, {})
            if not isinstance(level, dict):
                raise UsageError(f"{override!r}: {parent} holds no keys")
        level[last] = yaml.safe_load(text)
    return recipe_from_dict(values, str(path))


def recipe_from_dict(values: dict[str, Any], origin: str) -> Recipe:
    """Check every key and type; `origin` names the file in messages."""
    recipe: Recipe = _fill(Recipe, values, origin, "")
    for part in ("model", "objective"):
        if "name" not in getattr(recipe, part):
            raise UsageError(f"{origin}: {part} lacks its name")
    if recipe.trainer.steps is None and recipe.trainer.minutes is None:
        raise UsageError(f"{origin}: set trainer.steps or trainer.minutes")
    return recipe


def _fill(cls: Any, values: dict[str, Any], origin: str, prefix: str) -> Any:
    if not isinstance(values, dict):
        raise UsageError(f"{origin}: {prefix.rstrip('.')} must hold keys, not {values!r}")
    types = typing.get_type_hints(cls)
    for key in values:
        if key not in types:
            raise UsageError(f"{origin}: unknown key '{prefix}{key}'; known are {', '.join(prefix + name for name in types)}")
    filled = {}
    for key, value in values.items():
        if is_dataclass(types[key]):
            filled[key] = _fill(types[key], value, origin, f"{prefix}{key}.")
        else:
            if types[key] in (float, float | None) and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
            if not _fits(value, types[key]):
                raise UsageError(f"{origin}: {prefix}{key} is {value!r}; expected {_type_name(types[key])}")
            filled[key] = value
    try:
        return cls(**filled)
    except TypeError as error:
        raise UsageError(f"{origin}: {str(error).split('__init__() ')[-1]}") from None


def _fits(value: Any, expected: Any) -> bool:
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin is Literal:
        return value in arguments
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) or (arguments[0] is float and isinstance(item, int)) for item in value)
    if origin is dict:
        return isinstance(value, dict)
    if arguments:
        return any(_fits(value, argument) for argument in arguments)
    return isinstance(value, expected) and not (expected is int and isinstance(value, bool))


def _type_name(expected: Any) -> str:
    if typing.get_origin(expected) is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(expected)))
    return getattr(expected, "__name__", str(expected)) if not typing.get_args(expected) else str(expected)
