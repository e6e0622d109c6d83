"""What a training starts with: model and objective of a recipe that fit each other, and given weights."""

from pathlib import Path
from typing import Any

import torch

from unmingle.console import say
from unmingle.errors import InputError, UsageError
from unmingle.facts import LIPS
from unmingle.models import build
from unmingle.objectives import build_objective
from unmingle.training.recipe import Recipe
from unmingle.weights_file import load_state, read_header


def initialise_from(model: Any, init: Path) -> bool:
    """Load weights of the same model, or of a network that is part of it, as Conv-TasNet is of one-and-rest,
    or of one that has a part in common with it, as those that see have their encoder, which is said;
    InputError if they are none of these. Return whether they were the whole model's.

    Of the same model with other arguments (another number of voices, or a causal one) those that fit are
    taken, if they are most of it, which is said.
    """
    state = load_state(init)
    shapes = {key: value.shape for key, value in state.items()}
    for part in (model, *model.children()):
        if {key: value.shape for key, value in part.state_dict().items()} == shapes:
            part.load_state_dict(state)
            return part is model
    theirs = read_header(init)
    differ = ", ".join(
        key for key in model.config if theirs["config"].get(key, model.config[key]) != model.config[key]
    )
    own = model.state_dict()
    fitting = {key: state[key] for key, value in own.items() if shapes.get(key) == value.shape}
    if theirs["model"] == model.name and 2 * sum(map(torch.numel, fitting.values())) > sum(
        map(torch.numel, own.values())
    ):
        model.load_state_dict(fitting, strict=False)
        say(f"{init}: differs in {differ}; {len(own) - len(fitting)} of {len(own)} tensors begin anew")
        return False
    common = [
        name
        for name, part in model.named_children()
        if (own := {f"{name}.{key}": value.shape for key, value in part.state_dict().items()})
        and own == {key: shape for key, shape in shapes.items() if key.startswith(f"{name}.")}
    ]
    if theirs["model"] != model.name and common:
        for name in common:
            prefix = f"{name}."
            part = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            model.get_submodule(name).load_state_dict(part)
        say(f"{init}: of {theirs['model']}; what it has in common is taken: {', '.join(common)}")
        return False
    what = f"they differ in {differ}" if theirs["model"] == model.name else f"they are of {theirs['model']}"
    raise InputError(f"{init}: weights of another model than the recipe's {model.name}: {what}")


def freeze(part: torch.nn.Module) -> None:
    """Keep a part of a model as it is in use, its batch norms included, also while the rest is trained."""
    part.eval().requires_grad_(False)
    part.train = lambda mode=True: part  # type: ignore[method-assign]


def build_parts(recipe: Recipe) -> tuple[Any, torch.nn.Module]:
    """Model and objective of a recipe.

    Raises:
        UsageError: unknown arguments, or parts of the recipe that do not fit each other.
    """
    try:
        arguments = {key: value for key, value in recipe.model.items() if key != "name"}
        model = build(recipe.model["name"], **arguments)
        objective = build_objective(
            recipe.objective["name"],
            **{key: value for key, value in recipe.objective.items() if key != "name"},
        )
    except (ValueError, TypeError) as error:
        raise UsageError(f"recipe: {error}") from None
    parts = dict(model.named_children())
    for name in recipe.optimizer.frozen:
        if name not in parts:
            there = ", ".join(parts)
            raise UsageError(f"recipe: optimizer.frozen: the model has no part {name!r}; it has {there}")
        freeze(parts[name])
    fix_after = getattr(objective, "fix_after", None)
    if recipe.data.n_items and recipe.data.curriculum:
        raise UsageError(
            "recipe: data.curriculum cuts items into several, so that data.n_items cannot count them; leave "
            "one of the two out"
        )
    if fix_after is not None and not (recipe.data.n_items and isinstance(fix_after, int) and fix_after > 0):
        raise UsageError(
            f"recipe: objective.fix_after ({fix_after}) is a number of epochs, at least 1, of a fixed set; "
            "set data.n_items too"
        )
    if model.facts.sample_rate != recipe.data.sample_rate:
        raise UsageError(
            f"recipe: the model works at {model.facts.sample_rate} Hz, data.sample_rate is "
            f"{recipe.data.sample_rate}; make them equal"
        )
    names = {cue.name for cue in model.facts.cues}
    drawn = {LIPS} if recipe.data.faces else set()
    if names and not recipe.data.set and names != drawn:
        remedy = "set data.faces" if names == {LIPS} else "only sets on disk have them: set data.set"
        raise UsageError(f"recipe: the model needs the cues {', '.join(sorted(names))}; {remedy}")
    if names and recipe.data.curriculum:
        raise UsageError("recipe: items with cues are not cut into segments; leave data.curriculum out")
    fewest, most = recipe.data.n_mics or (1, 1)
    takes: Any = model.facts.n_mics
    if takes is not None and not recipe.data.set and (fewest, most) != (takes, takes):
        numbers = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        remedy = f"set data.n_mics=[{takes},{takes}], or data.set" if takes > 1 else "leave data.n_mics out"
        takes = f"{takes} microphone{'s' if takes > 1 else ''}"
        raise UsageError(f"recipe: the model takes {takes}, and mixtures are drawn at {numbers}; {remedy}")
    return model, objective
