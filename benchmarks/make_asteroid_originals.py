"""Checkpoints and outputs of Asteroid itself, which the tests compare ours with.

    benchmarks/setup_asteroid.sh /tmp/asteroid
    /tmp/asteroid/bin/python benchmarks/make_asteroid_originals.py tests/asteroid_outputs.json [--full FOLDER]

The weights of the small ones follow a formula (`formula`, the same in tests/asteroid_checkpoints.py), so
that the tests can make the checkpoints again without Asteroid; only what it printed for them is kept: the
names and shapes of its weights, its arguments, and some samples of its outputs. With --full it also writes
checkpoints of the usual sizes, randomly initialised, saved as Asteroid saves them, each with its input and
output, for compare_asteroid.py.
"""

import argparse
import json
import sys
import types
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from asteroid_checkpoints import SMALL, formula, signal

# serialize() asks it for its version; nothing else of it is used, and installing it is not needed.
sys.modules.setdefault("pytorch_lightning", types.ModuleType("pytorch_lightning")).__version__ = "none"
import asteroid  # noqa: E402
from asteroid import models  # noqa: E402

FULL = {
    "convtasnet-2-16k-relu": (
        "ConvTasNet",
        {"n_src": 2, "sample_rate": 16000, "kernel_size": 32, "stride": 16, "mask_act": "relu"},
    ),
    "convtasnet-3-8k-sigmoid": ("ConvTasNet", {"n_src": 3, "sample_rate": 8000, "mask_act": "sigmoid"}),
    "convtasnet-2-8k-cln": ("ConvTasNet", {"n_src": 2, "norm_type": "cLN", "mask_act": "relu"}),
    "convtasnet-3-16k-cln-sigmoid": (
        "ConvTasNet",
        {"n_src": 3, "sample_rate": 16000, "kernel_size": 32, "stride": 16, "norm_type": "cLN"},
    ),
    "convtasnet-1-16k": (
        "ConvTasNet",
        {"n_src": 1, "sample_rate": 16000, "kernel_size": 32, "stride": 16, "mask_act": "relu"},
    ),
    "dprnn-2-8k": ("DPRNNTasNet", {"n_src": 2, "mask_act": "sigmoid"}),
    "dprnn-3-16k-relu": (
        "DPRNNTasNet",
        {"n_src": 3, "sample_rate": 16000, "mask_act": "relu", "encoder_activation": "relu"},
    ),
    "dprnn-2-8k-ks2": (
        "DPRNNTasNet",
        {"n_src": 2, "kernel_size": 2, "stride": 1, "chunk_size": 250, "mask_act": "sigmoid"},
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--full", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {"asteroid": asteroid.__version__, "checkpoints": {}}
    for name, (network, arguments, length) in SMALL.items():
        model = getattr(models, network)(**arguments).eval()
        saved = model.serialize()
        shapes = {key: list(value.shape) for key, value in saved["state_dict"].items()}
        model.load_state_dict({key: torch.from_numpy(formula(key, shape)) for key, shape in shapes.items()})
        with torch.inference_mode():
            outputs = model(torch.from_numpy(signal(length))[None, None])[0]
        step = max(1, length // 40)
        found["checkpoints"][name] = {
            "model_args": saved["model_args"],
            "shapes": shapes,
            "step": step,
            "outputs": [[float(f"{value:.7g}") for value in row] for row in outputs[:, ::step].tolist()],
        }
    options.out.write_text(json.dumps(found, indent=None, separators=(",", ":")) + "\n", encoding="utf-8")
    if options.full:
        options.full.mkdir(parents=True, exist_ok=True)
        for number, (name, (network, arguments)) in enumerate(FULL.items()):
            torch.manual_seed(number)
            model = getattr(models, network)(**arguments).eval()
            torch.save(model.serialize(), options.full / f"{name}.pth")
            length = 9_001 if "ks2" in name else 20_011
            mixture = 0.1 * torch.randn(1, 1, length)
            with torch.inference_mode():
                torch.save({"mixture": mixture, "outputs": model(mixture)}, options.full / f"{name}.outputs")


if __name__ == "__main__":
    main()
