"""Recipes: YAML files that hold data only; every key is known, and the command line can override each."""

import re
import typing
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal

import yaml

from unmingle.data.recipe import Count, DataRecipe, NotNegative, Positive, Range, Share
from unmingle.errors import UsageError


class _Loader(yaml.SafeLoader):
    """Reads 1e-3 and 1.0e4 as the numbers that they are in YAML 1.2; PyYAML knows 1.1, where they are text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


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
    lr: NotNegative = 1e-3
    muon_lr: NotNegative = 2e-3
    weight_decay: NotNegative = 1e-2
    warm_up: Annotated[int, Range(0)] = 200
    decay: Share = 0.3
    clip: Positive = 5.0


@dataclass
class TrainerRecipe:
    """The budget and its bookkeeping.

    Attributes:
        steps, minutes: the budget; the one that is set counts, whichever ends first if both are.
        clock: "wall", or "cpu" for the processor time of the training process, which other work on the
            machine does not shorten.
        precision: "auto" is bfloat16 where the processor or accelerator computes in it, else float32.
        threads: for the CPU; 0 leaves it to PyTorch.
        ema: decay of the averaged weights, which are what is evaluated and saved.
        validate_every: steps between validations, each of which also writes a checkpoint.
        compile: use torch.compile; the first step, which compiles, does not count in `minutes`.
        device: "auto", "cpu" or "gpu".
    """

    steps: Count | None = None
    minutes: Positive | None = None
    clock: Literal["wall", "cpu"] = "wall"
    batch_size: Count = 4
    workers: Annotated[int, Range(0)] = 0
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    threads: Annotated[int, Range(0)] = 0
    ema: Share = 0.999
    validate_every: Count = 500
    compile: bool = False
    device: Literal["auto", "cpu", "gpu"] = "auto"
    seed: Annotated[int, Range(0)] = 0


@dataclass
class Recipe:
    """Everything that makes a trained separator: model and objective by name with their arguments, data,
    optimizer, trainer.
    """

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
        UsageError: no such file, not YAML, an unknown key or a value of the wrong type; the message names the
            file and the key.
    """
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise UsageError(
            f"{path}: no such recipe; those that come with unmingle are under recipes/"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path}: not a recipe ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise UsageError(
            f"{path}: not a recipe; expected the keys {', '.join(f.name for f in fields(Recipe))}"
        )
    for override in overrides or []:
        key, equals, text = override.partition("=")
        if not equals:
            raise UsageError(
                f"{override!r}: an override is written key=value, for example trainer.minutes=30"
            )
        *parents, last = key.split(".")
        level = values
        for parent in parents:
            level = level.setdefault(parent, {})
            if not isinstance(level, dict):
                raise UsageError(f"{override!r}: {parent} holds no keys")
        level[last] = yaml.load(text, _Loader)
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
    types = typing.get_type_hints(cls, include_extras=True)
    for key in values:
        if key not in types:
            raise UsageError(
                f"{origin}: unknown key '{prefix}{key}'; known are {', '.join(prefix + name for name in types)}"
            )
    lacking = [
        prefix + entry.name
        for entry in fields(cls)
        if entry.default is entry.default_factory is MISSING and entry.name not in values
    ]
    if lacking:
        raise UsageError(f"{origin}: lacks {' and '.join(lacking)}")
    filled = {}
    for key, value in values.items():
        if is_dataclass(types[key]):
            filled[key] = _fill(types[key], value, origin, f"{prefix}{key}.")
        elif (wanted := _wanted(value, types[key])) is not None:
            raise UsageError(f"{origin}: {prefix}{key} is {value!r}; expected {wanted}")
        else:
            filled[key] = value
    return cls(**filled)


def _wanted(value: Any, expected: Any) -> str | None:
    """None if `value` is of the type `expected` and in its range; otherwise what it should be, in words."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin is Annotated:
        kind, allowed = arguments
        wanted = _wanted(value, kind)
        numbers = value if isinstance(value, list) else [value]
        if (
            wanted is None
            and (allowed.length or len(numbers)) == len(numbers)
            and all(allowed.least <= number <= allowed.most for number in numbers)
        ):
            return None if numbers == sorted(numbers) else "the lower number first"
        length = f", {allowed.length} of them" if allowed.length else ""
        least, most = (
            "above 0" if 0 < allowed.least < 1e-6 else f"of at least {allowed.least:g}",
            f" and at most {allowed.most:g}",
        )
        return f"{_wanted(None, kind)} {least}{most if allowed.most < float('inf') else ''}{length}"
    if origin is Literal:
        return None if value in arguments else "one of " + ", ".join(map(str, arguments))
    if origin is list:
        fits = isinstance(value, list) and all(_wanted(item, arguments[0]) is None for item in value)
        return None if fits else f"a list, each {_wanted(None, arguments[0])}"
    if origin is dict:
        fits = isinstance(value, dict) and all(
            _wanted(key, arguments[0]) is _wanted(item, arguments[1]) is None for key, item in value.items()
        )
        return None if fits else "keys with a value each"
    if origin is UnionType or origin is typing.Union:  # with None, of what may be left out
        return None if value is None else _wanted(value, arguments[0])
    if expected is Any:
        return None
    fits = isinstance(value, int | float if expected is float else expected) and (
        expected is bool or not isinstance(value, bool)
    )
    return (
        None
        if fits
        else {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[expected]
    )
