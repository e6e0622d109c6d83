"""`summary`: the layers of a separator, what they cost, and what it declares."""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from unmingle.catalog import Card, cards
from unmingle.errors import InputError, UsageError
from unmingle.models import build
from unmingle.training.recipe import read_recipe
from unmingle.weights_file import parameter_count, read_header

SECONDS = 10


def find_model(name: str) -> Any:
    """Build, untrained, the model that a name, a weights file or a recipe speaks of.

    Args:
        name: of shipped weights, or the path of a `.safetensors`, of an `.onnx` with its card beside it, or
            of a recipe (`.yaml`).

    Raises:
        UsageError, InputError: there is no such thing, or it names a model that cannot be built; the message
            says what is wrong.
    """
    path, shipped = Path(name), {card.name: card for card in cards()}
    if name in shipped:
        model, config = shipped[name].model, shipped[name].config
    elif path.suffix in (".yaml", ".yml"):
        config = read_recipe(path).model
        model, config = config["name"], {key: value for key, value in config.items() if key != "name"}
    elif path.suffix == ".safetensors":
        header = read_header(path)
        model, config = header["model"], header["config"]
    elif path.suffix == ".onnx" and path.is_file():
        card = Card.read(path.with_suffix(".yaml"))
        model, config = card.model, card.config
    else:
        offered = ", ".join(shipped) or "none in this package"
        raise UsageError(
            f"no model {name!r}; there are: {offered}; or give the path of weights (.safetensors, .onnx) or "
            "of a recipe (.yaml)"
        )
    try:
        return build(model, **config)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: {error}") from None


def macs_per_second(model: Any) -> float:
    """Multiplications with an addition that a second of audio takes, on a mixture of 10 s.

    Counted are matrix products, convolutions, recurrent layers and attention; not counted are norms,
    activations and other work per element.
    """
    return _count(model)[0][""] / SECONDS


def summarise(model: Any) -> dict[str, Any]:
    """What `print_summary` shows.

    Returns:
        `model`; `layers`: rows of name, kind, parameters and MACs per second, down to the second level (None
        for a parameter that belongs to no layer; what a layer does inside another counts in both);
        `parameters`; `macs_per_second`; `causal`; `latency_ms`, None unless causal; `activations_bytes`: the
        outputs of the innermost layers for 10 s as float32, which is about what training keeps;
        `receptive_field` [samples], None unless the model declares it; `sample_rate` [Hz]; `n_mics`, None
        where it takes any number: what is counted is then that of one.
    """
    macs, activations_bytes = _count(model)
    facts = model.facts
    layers = [
        {
            "name": name,
            "kind": kind,
            "parameters": n,
            "macs_per_second": None if kind == "parameter" else _within(macs, model, name) / SECONDS,
        }
        for name, kind, n in _layers(model)
    ]
    return {
        "model": model.name,
        "layers": layers,
        "parameters": parameter_count(model),
        "macs_per_second": macs[""] / SECONDS,
        "causal": facts.causal,
        "latency_ms": 1000 * facts.latency / facts.sample_rate if facts.causal else None,
        "activations_bytes": activations_bytes,
        "receptive_field": getattr(model, "receptive_field", None),
        "sample_rate": facts.sample_rate,
        "n_mics": facts.n_mics,
    }


def print_summary(summary: dict[str, Any], name: str) -> None:
    """The summary as a table of layers and a list of facts, on standard output; `name` is what the model was
    asked for by.
    """
    table = Table(title=name if name == summary["model"] else f"{name} ({summary['model']})")
    for heading in ("layer", "kind", "parameters", "MACs per second"):
        table.add_column(heading, justify="left" if heading in ("layer", "kind") else "right")
    for row in summary["layers"]:
        indent = "  " * row["name"].count(".")
        macs = "" if row["macs_per_second"] is None else f"{row['macs_per_second'] / 1e6:,.1f} M"
        table.add_row(indent + row["name"], row["kind"], f"{row['parameters']:,}", macs)
    reach, latency_ms = summary["receptive_field"], summary["latency_ms"]
    heard = f"{SECONDS} s of audio" + " at one microphone" * (summary["n_mics"] is None)
    lines = {
        "parameters": f"{summary['parameters'] / 1e6:.2f} M",
        "MACs per second": f"{summary['macs_per_second'] / 1e9:.2f} G, on {heard}",
        "causal": "yes" if summary["causal"] else "no",
        "latency": "none declared, it needs what follows" if latency_ms is None else f"{latency_ms:.1f} ms",
        "receptive field": "not declared"
        if reach is None
        else f"{reach} samples, {reach / summary['sample_rate']:.3f} s",
        "memory": f"{summary['activations_bytes'] / 1e6:,.0f} MB "
        f"for its innermost layers' outputs on {SECONDS} s",
    }
    console = Console()
    console.print(table)
    for label, text in lines.items():
        console.print(f"{label:<17}{text}", highlight=False)


def _layers(model: nn.Module) -> Iterator[tuple[str, str, int]]:
    """Name, kind and number of parameters of the children, their children, and of the parameters that belong
    to none of these.
    """
    for name, parameter in model.named_parameters(recurse=False):
        yield name, "parameter", parameter.numel()
    for name, child in model.named_children():
        yield name, type(child).__name__, parameter_count(child)
        for inner, grandchild in child.named_children():
            yield f"{name}.{inner}", type(grandchild).__name__, parameter_count(grandchild)


def _within(macs: dict[str, int], model: nn.Module, name: str) -> int:
    """MACs of a layer: its own, or those of its children where these are called past it, as a list's and a
    filterbank's inverse are.
    """
    return max(
        macs.get(name, 0),
        sum(
            _within(macs, model, f"{name}.{inner}") for inner, _ in model.get_submodule(name).named_children()
        ),
    )


def _count(model: nn.Module) -> tuple[dict[str, int], int]:
    """Run the model on 10 s of noise: MACs by the names of its modules, "" for all of it, and bytes of what
    its innermost layers return.
    """
    n_values = 0

    def add(layer: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal n_values
        n_values += sum(
            value.numel()
            for value in (output if isinstance(output, tuple) else (output,))
            if isinstance(value, Tensor)
        )

    facts: Any = model.facts
    mixture = torch.randn(
        1, facts.n_mics or 1, SECONDS * facts.sample_rate, generator=torch.Generator().manual_seed(0)
    )
    cues = [
        torch.from_numpy(cue.drawn(1, mixture.shape[-1], facts.sample_rate, seed=0)) for cue in facts.cues
    ]
    hooks = [layer.register_forward_hook(add) for layer in model.modules() if not any(layer.children())]
    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.mkldnn_rnn_layer: _recurrent_flops}
    )
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), counter:
            model(0.1 * mixture, *cues)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    # The counter's names begin with the class of the model; "Global" is all of it as well.
    return {"": 0} | {
        name.partition(".")[2]: sum(kinds.values()) // 2 for name, kinds in counter.get_flop_counts().items()
    }, 4 * n_values


def _recurrent_flops(inputs: Any, weight_in: Any, weight_hidden: Any, *rest: Any, **more: Any) -> int:
    """Operations, two per MAC, of one direction of one recurrent layer, from the shapes of its input `(N, B,
    D)` and its matrices.

    Without this, PyTorch (where oneDNN runs the layer) takes it apart frame by frame, or in older versions
    does not see it.
    """
    return 2 * prod(inputs[:-1]) * (prod(weight_in) + prod(weight_hidden))
