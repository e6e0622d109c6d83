"""What limits masks."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

#: By name, for masks `(B, S, …)`; those of "softmax" sum to 1 over the sources.
MASKS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "softmax": partial(torch.softmax, dim=1),
    "linear": nn.Identity(),
}
