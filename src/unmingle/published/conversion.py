"""What every format of checkpoints shares: arguments that are compared with what is known, and weights that
must be all there, of the shapes that follow from the arguments.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unmingle.errors import InputError
from unmingle.facts import Facts
from unmingle.models import build
from unmingle.published.checkpoints import plain_tensor

MOST_PARAMETERS = 100_000_000


class Imported(NamedTuple):
    """A checkpoint of others as a model of ours: with the facts of what is to be written, whose head may be
    another than the model's, and the SHA-256 of the file that held the weights.
    """

    model: Any
    facts: Facts
    sha256: str


@dataclass(frozen=True)
class Number:
    """An argument that is a whole number from `lowest` to `highest` in steps of `step`, and our name for
    it.
    """

    ours: str
    lowest: int
    highest: int
    step: int = 1

    def read(self, value: Any) -> dict[str, Any]:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
            raise ValueError("it must be a whole number")
        if not self.lowest <= value <= self.highest:
            raise ValueError(f"known: {self.lowest} to {self.highest}")
        if (value - self.lowest) % self.step:
            raise ValueError(f"known: {self.lowest}, {self.lowest + self.step}, … {self.highest}")
        return {self.ours: int(value)}


@dataclass(frozen=True)
class Choice:
    """An argument of which some values can be converted, each with what it means to our model."""

    known: tuple[tuple[Any, Any], ...]
    ours: str = ""

    def read(self, value: Any) -> dict[str, Any]:
        for theirs, own in self.known:
            if type(value) is type(theirs) and value == theirs:
                return {self.ours: own} if self.ours else {}
        raise ValueError(f"known: {', '.join(str(theirs) for theirs, _ in self.known)}")


def only(*values: Any) -> Choice:
    """An argument that must have one of these values."""
    return Choice(tuple((value, value) for value in values))


def fill(
    path: Path,
    name: str,
    arguments: Mapping[str, Any],
    names: Callable[[Mapping[str, torch.Size]], Iterable[tuple[str, str]]],
    state: Mapping[str, Any],
    *,
    unread: Iterable[str] = (),
    reshape: Callable[[str, Tensor], Tensor] = lambda _, tensor: tensor,
) -> nn.Module:
    """Our model `name` with the weights of theirs.

    Args:
        path: of the file, for messages.
        name, arguments: of our model.
        names: for the shapes of our tensors, the name of each and of theirs. Ours that it leaves out become
            zeros: biases that the original does without.
        state: their tensors.
        unread: theirs that make no difference and may be there.
        reshape: for our tensor's name, theirs in our order of axes.

    Raises:
        InputError: tensors that are missing, too many, of another shape or not finite; a network of more than
            `MOST_PARAMETERS`.
    """
    with torch.device("meta"):  # shapes only, until they are known to be those of the file
        model = build(name, **arguments)
    shapes = {key: tensor.shape for key, tensor in model.state_dict().items()}
    if sum(shape.numel() for shape in shapes.values()) > MOST_PARAMETERS:
        raise InputError(f"{path}: a network of more than {MOST_PARAMETERS // 10**6} million parameters")
    wanted = dict(names(shapes))
    unused = set(state) - set(wanted.values()) - set(unread)
    missing = set(wanted.values()) - set(state)
    if unused or missing:
        what, some = ("lacks", missing) if missing else ("has unknown", unused)
        raise InputError(f"{path}: {what} weights, such as {min(map(repr, some)):.80}; get the file again")
    ours = {
        key: _shaped(path, theirs, reshape(key, plain_tensor(path, theirs, state[theirs])), shapes[key])
        for key, theirs in wanted.items()
    }
    for key in set(shapes) - set(ours):
        ours[key] = torch.zeros(shapes[key])
    model = build(name, **arguments)  # again, with the constants that are no weights
    model.load_state_dict(ours, assign=True)
    return model.eval()


def _shaped(path: Path, name: str, tensor: Tensor, shape: torch.Size) -> Tensor:
    """A tensor of theirs as float32, if it has the shape that ours has."""
    while tensor.ndim > len(shape) and tensor.shape[-1] == 1:  # a convolution of one frame is a matrix
        tensor = tensor[..., 0]
    if tensor.shape != shape:
        found = tuple(tensor.shape)
        raise InputError(
            f"{path}: {name:.80} is of shape {found}, which its arguments do not allow; get the file again"
        )
    tensor = tensor.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    if not tensor.isfinite().all():
        raise InputError(f"{path}: {name:.80} has values that are no numbers; get the file again")
    return tensor
