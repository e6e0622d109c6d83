"""Optimizers that PyTorch does not have."""

from collections import defaultdict
from typing import Any

import torch
from torch import nn

from unmingle.errors import InputError
from unmingle.training.precision import choose_precision
from unmingle.weights_file import OPTIMIZER


def orthogonalised(matrix: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """`U S V'` → about `U V'`, with singular values near 1: five steps of a Newton-Schulz iteration in
    `dtype`, of a matrix or of each matrix of a batch, `(…, n, m)`.

    References:
        K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
    """
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = (matrix.mT if tall else matrix).to(dtype)
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Muon):
    """PyTorch's, but in float32 where the machine does not compute in bfloat16: there, imitating it takes
    longer than everything else in the step of a small network.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.dtype = torch.bfloat16 if choose_precision("auto") == "bf16-mixed" else torch.float32

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            of_shape = defaultdict(list)  # those of one shape step together: small matrices cost their calls
            for parameter in group["params"]:
                if parameter.grad is not None:
                    of_shape[parameter.shape].append(parameter)
            for shape, parameters in of_shape.items():
                for parameter in parameters:
                    if not self.state[parameter]:
                        self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter.grad)
                gradients = torch.stack([parameter.grad for parameter in parameters])
                means = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
                torch._foreach_lerp_(means, list(gradients), 1 - momentum)
                updates = orthogonalised(gradients.lerp(torch.stack(means), momentum), self.dtype)
                torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
                torch._foreach_add_(
                    parameters, list(updates.to(gradients.dtype)), alpha=-0.2 * max(shape) ** 0.5 * lr
                )


class MuonAndAdamW(torch.optim.Optimizer):
    """Muon for matrices (linear, recurrent and dense convolution weights, flattened), AdamW for everything
    else, stepping as one.

    References:
        K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
    """

    def __init__(self, model: nn.Module, *, lr: float, muon_lr: float, weight_decay: float) -> None:
        dense = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)
        kernels = {
            id(module.weight)
            for module in model.modules()
            if isinstance(module, dense) and module.weight.shape[1] > 1
        }
        parameters = list(model.parameters())
        self.matrices = [p for p in parameters if p.ndim == 2 or id(p) in kernels]
        chosen = {id(p) for p in self.matrices}
        # The same storage seen as two axes, which is what Muon takes.
        self.views = [nn.Parameter(p.detach().flatten(1)) for p in self.matrices]
        rest = [p for p in parameters if id(p) not in chosen]
        self.parts = [
            Muon(self.views, lr=muon_lr, weight_decay=weight_decay),
            torch.optim.AdamW(rest, lr, betas=(0.9, 0.99), weight_decay=weight_decay),
        ]
        super().__init__(parameters, {})
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for view, matrix in zip(self.views, self.matrices, strict=True):
            view.grad = None if matrix.grad is None else matrix.grad.flatten(1)
        for part in self.parts:
            part.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        for parameter in [*self.matrices, *self.parts[1].param_groups[0]["params"]]:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts], "state": {}, "param_groups": []}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


TINY = 1e-30
SCALE = ".scale"  # ends the name of what a tensor of 8 bits is to be multiplied by


def optimizer_tensors(optimizer: Any) -> dict[str, torch.Tensor]:
    """An optimizer's state as named tensors, compactly: momentum in 8 bits, which is made orthogonal anyway.
    Of AdamW's second moments the root, in 8 bits that have its range; of its first moments the ratio to it.
    """
    found = {}
    for number, part in enumerate(_parts(optimizer)):
        for index, state in part.state_dict()["state"].items():
            root = torch.as_tensor(state.get("exp_avg_sq", 0.0)).sqrt()
            for key, value in state.items():
                name = f"{OPTIMIZER}{number}/{index}/{key}"
                if key == "exp_avg_sq":
                    found[name], found[name + SCALE] = _in_8_bits(root, torch.float8_e5m2)
                elif key == "exp_avg":
                    found[name], found[name + SCALE] = _in_8_bits(value / (root + TINY), torch.float8_e4m3fn)
                elif key == "momentum_buffer":
                    found[name], found[name + SCALE] = _in_8_bits(value, torch.float8_e4m3fn)
                else:
                    found[name] = torch.as_tensor(value)
    return found


def _in_8_bits(value: Any, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Rounded, and the scale by which it is to be multiplied."""
    scale = (value.abs().max() / torch.finfo(dtype).max).clamp(min=TINY)
    return (value / scale).to(dtype), scale


def restore_optimizer(optimizer: Any, tensors: dict[str, torch.Tensor]) -> None:
    """Give a fresh optimizer the state that `optimizer_tensors` returned; its learning rates stay.

    Raises:
        InputError: the state is that of another kind of optimizer, or of other parameters.
    """
    states: dict[int, dict[int, dict[str, torch.Tensor]]] = {}
    for name, value in tensors.items():
        if name.endswith(SCALE):
            continue
        part_text, index_text, key = name.removeprefix(OPTIMIZER).split("/")
        whole = value.float() * tensors[name + SCALE] if name + SCALE in tensors else value
        states.setdefault(int(part_text), {}).setdefault(int(index_text), {})[key] = whole
    for state in (each for part in states.values() for each in part.values()):
        if "exp_avg_sq" in state:
            state["exp_avg"] = state["exp_avg"] * state["exp_avg_sq"]
            state["exp_avg_sq"] = state["exp_avg_sq"].square()
    parts = _parts(optimizer)
    misfit = InputError(
        "--init: the optimizer state in this file belongs to another optimizer or model; take those of its "
        "recipe, or a best.safetensors, which holds weights only"
    )
    if max(states, default=0) >= len(parts):
        raise misfit
    for number, part in enumerate(parts):
        parameters = [parameter for group in part.param_groups for parameter in group["params"]]
        for index, state in states.get(number, {}).items():
            if index >= len(parameters):
                raise misfit
            parameter = parameters[index]
            if any(value.ndim and value.shape != parameter.shape for value in state.values()):
                raise misfit
            part.state[parameter] = {
                key: value.to(parameter) if value.ndim else value.clone() for key, value in state.items()
            }


def _parts(optimizer: Any) -> list[Any]:
    """The optimizers that one is made of, or itself."""
    optimizer = getattr(optimizer, "optimizer", optimizer)  # Lightning wraps it
    return getattr(optimizer, "parts", [optimizer])
