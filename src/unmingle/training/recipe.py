"""Recipes: YAML files that hold data only; every key is known, and the command line can override each."""

import json
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import TypeAdapter, ValidationError

from unmingle.data.recipe import STRICT, Count, DataRecipe, NotNegative, Positive, Share, Whole
from unmingle.errors import UsageError


class _Loader(yaml.SafeLoader):
    """Reads 1e-3 and 1.0e4 as numbers, as in YAML 1.2; PyYAML follows 1.1, where they are text."""


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
        frozen: parts of the model, by name, whose weights stay as they are.
    """

    __pydantic_config__ = STRICT

    name: Literal["adamw", "muon"] = "adamw"
    lr: NotNegative = 1e-3
    muon_lr: NotNegative = 2e-3
    weight_decay: NotNegative = 1e-2
    warm_up: Whole = 200
    decay: Share = 0.3
    clip: Positive = 5.0
    frozen: list[str] = field(default_factory=list)


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

    __pydantic_config__ = STRICT

    steps: Count | None = None
    minutes: Positive | None = None
    clock: Literal["wall", "cpu"] = "wall"
    batch_size: Count = 4
    workers: Whole = 0
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    threads: Whole = 0
    ema: Share = 0.999
    validate_every: Count = 500
    compile: bool = False
    device: Literal["auto", "cpu", "gpu"] = "auto"
    seed: Whole = 0


@dataclass
class Recipe:
    """Everything that makes a trained separator: model and objective by name with their arguments, data,
    optimizer, trainer.
    """

    __pydantic_config__ = STRICT

    model: dict[str, Any]
    objective: dict[str, Any]
    data: DataRecipe = field(default_factory=DataRecipe)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    trainer: TrainerRecipe = field(default_factory=TrainerRecipe)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as the YAML file has them."""
        return asdict(self)


def read_recipe(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe, with what it extends, and apply overrides such as `trainer.minutes=30`.

    `extends: other.yaml`, from the recipe's own folder, takes everything from another recipe but what stands
    here. A `model` or an `objective` that has a name replaces the other's; without one it changes arguments.

    Raises:
        UsageError: no such recipe, not YAML, recipes that extend each other in a circle, an unknown key or a
            value of the wrong type; the message names the file and the key.
    """
    values = _read(Path(path), [])
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


def _read(path: Path, extending: list[Path]) -> dict[str, Any]:
    """The values of a recipe over those of the one that it extends; `extending` are those that led here."""
    if path.resolve() in extending:
        raise UsageError(f"{path}: extends itself, by way of {extending[-1].name}; leave one 'extends' out")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        named = (
            f" (named by {extending[-1]})"
            if extending
            else "; those that come with unmingle are under recipes/"
        )
        raise UsageError(f"{path}: no such recipe{named}") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path}: not a recipe ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise UsageError(
            f"{path}: not a recipe; expected the keys {', '.join(f.name for f in fields(Recipe))}"
        )
    if "extends" not in values:
        return values
    base = values.pop("extends")
    if not isinstance(base, str):
        raise UsageError(f"{path}: extends is {base!r}; expected the path of one recipe")
    merged = _read(path.parent / base, [*extending, path.resolve()])
    for part, own in values.items():
        replaces = not isinstance(own, dict) or not isinstance(merged.get(part), dict)
        replaces = replaces or (part in ("model", "objective") and "name" in own)
        merged[part] = own if replaces else {**merged[part], **own}
    return merged


def recipe_from_dict(values: dict[str, Any], origin: str) -> Recipe:
    """Check every key and type; `origin` names the file in messages."""
    try:
        recipe = TypeAdapter(Recipe).validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise UsageError(f"{origin}: {_first(error, values)}") from None
    for part in ("model", "objective"):
        if "name" not in getattr(recipe, part):
            raise UsageError(f"{origin}: {part} lacks its name")
    if recipe.trainer.steps is None and recipe.trainer.minutes is None:
        raise UsageError(f"{origin}: set trainer.steps or trainer.minutes")
    return recipe


def _first(error: ValidationError, values: dict[str, Any]) -> str:
    """The first thing that is wrong with a recipe, in words."""
    found = error.errors(include_url=False)[0]
    *parents, last = map(str, found["loc"])
    key = ".".join([*parents, last])
    if found["type"] == "unexpected_keyword_argument":
        parts: dict[str, Any] = {"data": DataRecipe, "optimizer": OptimizerRecipe, "trainer": TrainerRecipe}
        part = parts[parents[0]] if parents else Recipe
        known = ", ".join(".".join([*parents, field.name]) for field in fields(part))
        return f"unknown key '{key}'; known are {known}"
    if found["type"] in ("missing", "missing_argument"):
        return f"lacks {key}"
    name = ".".join(map(str, found["loc"][:2]))
    section, _, entry = name.partition(".")
    value = values[section][entry] if entry else values[section]
    wrong = found["msg"].removeprefix("Value error, ").replace("Input should be ", "expected ")
    return f"{name} is {value!r}; {wrong}"
