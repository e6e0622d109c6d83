"""Weights of a band-split network with another number of outputs.

    python benchmarks/change_outputs.py IN.safetensors OUT.safetensors --outputs 3

Outputs that are too many are dropped, the last first; new ones begin as the mean of the others and a tenth
of noise. (One that begins near silence stays there: mixtures in which it is to be silent outweigh the rest.)
"""

import argparse
from pathlib import Path

import torch

from unmingle.models import build
from unmingle.weights_file import load_state, read_header, save_weights


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--outputs", type=int, required=True)
    options = parser.parse_args()
    torch.manual_seed(0)
    header, state = read_header(options.weights), load_state(options.weights)
    n_src = header["config"].get("n_src", 2)
    model = build(header["model"], **{**header["config"], "n_src": options.outputs})
    for key, value in model.state_dict().items():
        if state[key].shape != value.shape:
            state[key] = changed(state[key].float(), n_src, options.outputs)
    model.load_state_dict(state)
    recipe = {**header["recipe"], "model": {**header["recipe"]["model"], "n_src": options.outputs}}
    save_weights(options.out, model, state, recipe=recipe, training=header["training"])


def changed(values: torch.Tensor, before: int, after: int) -> torch.Tensor:
    """The last layer's weights, whose last axis lists the outputs, one after the other."""
    heads = values.unflatten(-1, (before, -1))
    mean = heads.mean(-2, keepdim=True)
    new = [mean + 0.1 * heads.std() * torch.randn_like(mean) for _ in range(after - before)]
    return torch.cat([heads[..., :after, :], *new], dim=-2).flatten(-2)


if __name__ == "__main__":
    main()
