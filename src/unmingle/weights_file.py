"""Weights files of the training floor: safetensors whose header holds everything that is needed to use or to
go on training them.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from unmingle.errors import InputError
from unmingle.facts import Facts
from unmingle.models import build
from unmingle.results.folders import replacing

FORMAT = "unmingle-1"
OPTIMIZER = "optimizer/"  # how the names of an optimizer's tensors begin, in the file of a trunk


def save_weights(
    path: Path, model: Any, state: dict[str, Tensor], *, recipe: dict[str, Any], training: dict[str, Any]
) -> None:
    """Write `state` with the model's name, arguments and facts, the resolved recipe and training's account of
    itself, by renaming into place.
    """
    header = {
        "format": FORMAT,
        "model": model.name,
        "config": model.config,
        "facts": model.facts.to_dict(),
        "recipe": recipe,
        "training": training,
    }
    with replacing(path) as beside:
        save_file(
            {key: value.contiguous() for key, value in state.items()},
            beside,
            {key: json.dumps(value) for key, value in header.items()},
        )


def read_header(path: str | Path) -> dict[str, Any]:
    """What `save_weights` wrote besides the tensors; InputError if it is no weights file of ours."""
    try:
        with safe_open(path, "pt") as file:
            header = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise InputError(
            f"{path}: not a weights file ({error}); expected a .safetensors written by 'unmingle train'"
        ) from None
    if header.get("format") != FORMAT:
        raise InputError(
            f"{path}: weights format {header.get('format')!r}, expected {FORMAT!r}; train or export it "
            "again with this version"
        )
    return header


def load_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a weights file in float32 (a shipped one holds them as float16)."""
    read_header(path)
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key).float() for key in file.keys() if not key.startswith(OPTIMIZER)}  # noqa: SIM118


def load_optimizer(path: str | Path) -> dict[str, Tensor]:
    """The state of the optimizer in a trunk's file; empty where there is none."""
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys() if key.startswith(OPTIMIZER)}  # noqa: SIM118


def load_model(path: str | Path) -> Any:
    """Build the model that the header describes, with its weights, in evaluation mode."""
    header = read_header(path)
    model = build(header["model"], **header["config"])
    model.load_state_dict(load_state(path))
    # A fact that is newer than the file has the model's value.
    if model.facts != Facts.from_dict({**model.facts.to_dict(), **header["facts"]}):
        raise InputError(
            f"{path}: the file declares {header['facts']}, the model {model.facts.to_dict()}; it was "
            "written by another version"
        )
    return model.eval()


def parameter_count(model: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in model.parameters())


def float16_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Round to float16, as shipped, but not the counters of batch norms; ValueError if a
    value does not fit.
    """
    rounded = {
        key: value.to(torch.float16) if value.is_floating_point() else value for key, value in state.items()
    }
    bad = [key for key, value in rounded.items() if not value.isfinite().all()]
    if bad:
        raise ValueError(f"weights {bad} do not fit into float16")
    return rounded
