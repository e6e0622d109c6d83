"""Outputs of TIGER's authors' program, which the tests compare ours with.

    git clone https://github.com/JusperLee/TIGER
    python benchmarks/make_tiger_originals.py TIGER tests/tiger_outputs.json [--full FOLDER]

The weights of the small ones follow a formula, so that the tests can make the checkpoints again without the
clone; only what it printed for them is kept: the names and shapes of its weights, and some samples of its
outputs. With --full it also writes one of the published size, randomly initialised, saved as their program
saves it, with an input and its output, for compare_originals.py. Needs PyTorch and huggingface_hub, none of
the clone's other requirements.
"""

import argparse
import contextlib
import hashlib
import importlib
import io
import json
import sys
import types
from pathlib import Path
from typing import Any

import torch

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from asteroid_checkpoints import formula, signal
from tiger_checkpoints import LENGTHS, SMALL

PUBLISHED = {
    "att_hid_chan": 4,
    "att_kernel_size": 8,
    "att_n_head": 4,
    "att_stride": 1,
    "in_channels": 256,
    "num_blocks": 8,
    "num_sources": 2,
    "out_channels": 128,
    "sample_rate": 16_000,
    "stride": 160,
    "upsampling_depth": 5,
    "win": 640,
}
MODULE = "look2hear/models/tiger.py"


def network(clone: Path) -> Any:
    """Their class, without what their packages import besides."""
    for name in ("look2hear", "look2hear.layers", "look2hear.models"):
        package = sys.modules[name] = types.ModuleType(name)
        package.__path__ = [str(clone / name.replace(".", "/"))]
    for name in ("activations", "normalizations"):
        module = importlib.import_module(f"look2hear.layers.{name}")
        setattr(sys.modules["look2hear.layers"], name, module)
    return importlib.import_module("look2hear.models.tiger").TIGER


def quietly(make: Any, **arguments: int) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its bands
        return make(**arguments).eval()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("clone", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--full", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    make = network(options.clone)
    digest = hashlib.sha256((options.clone / MODULE).read_bytes()).hexdigest()
    found: dict[str, Any] = {"source": f"github.com/JusperLee/TIGER {MODULE}, SHA-256 {digest}"}
    found["checkpoints"] = {}
    for name, arguments in SMALL.items():
        model = quietly(make, **arguments)
        shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
        model.load_state_dict({key: torch.from_numpy(formula(key, shape)) for key, shape in shapes.items()})
        outputs, steps = [], []
        for length in LENGTHS:
            with torch.inference_mode():
                estimates = model(torch.from_numpy(signal(length))[None, None])[0]
            steps.append(length // 40)
            outputs.append(
                [[float(f"{value:.7g}") for value in row] for row in estimates[:, :: length // 40].tolist()]
            )
        found["checkpoints"][name] = {"shapes": shapes, "steps": steps, "outputs": outputs}
    options.out.write_text(json.dumps(found, separators=(",", ":")) + "\n", encoding="utf-8")
    if options.full:
        torch.manual_seed(0)
        model = quietly(make, **PUBLISHED)
        folder = options.full / "tiger-speech"
        model.save_pretrained(folder)
        mixture = 0.1 * torch.randn(1, 1, 20_011)
        with torch.inference_mode():
            torch.save({"mixture": mixture, "outputs": model(mixture)}, folder / "outputs")


if __name__ == "__main__":
    main()
